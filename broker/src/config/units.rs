//! Sizes and times as people write them.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes: `1048576`, or `"1MB"`. KB, MB, GB and TB are powers of 1,024, as in NATS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// A time: a number of seconds, or a text such as `"500ms"`, `"2s"`, `"10m"`, `"24h"` or `"7d"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

const SIZES: [(&str, u64); 6] = [
    ("TB", 1 << 40),
    ("GB", 1 << 30),
    ("MB", 1 << 20),
    ("KB", 1 << 10),
    ("B", 1),
    ("", 1),
];
/// In milliseconds.
const TIMES: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("", 1_000),
];
/// Longest time: NATS counts in signed nanoseconds.
const PERIOD_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The number in front, times its unit.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|letter: char| !letter.is_ascii_digit());
    let (digits, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.trim();
    let (_, factor) = units
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

impl Bytes {
    /// Reads a text such as `10GB`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Bytes> {
        quantity(text, &SIZES)
            .filter(|&bytes| i64::try_from(bytes).is_ok())
            .map(Bytes)
    }
}

impl Period {
    /// Reads a text such as `24h`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Period> {
        quantity(text, &TIMES).and_then(|ms| Period::within(Duration::from_millis(ms)))
    }

    fn within(time: Duration) -> Option<Period> {
        (time <= PERIOD_MAX).then_some(Period(time))
    }

    /// In nanoseconds, as the JetStream API has them.
    #[must_use]
    pub fn as_nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }

    /// As nats-server's configuration has it: `90s` or `1500ms`.
    #[must_use]
    pub fn nats_text(self) -> String {
        match self.0.subsec_millis() {
            0 => format!("{}s", self.0.as_secs()),
            _ => format!("{}ms", self.0.as_millis()),
        }
    }
}

struct BytesVisitor;

impl Visitor<'_> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number of bytes, or a text such as \"10GB\"")
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<Bytes, E> {
        match i64::try_from(bytes) {
            Ok(_) => Ok(Bytes(bytes)),
            Err(_) => Err(E::custom("it is beyond what nats can hold")),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
        Bytes::parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

struct PeriodVisitor;

impl Visitor<'_> for PeriodVisitor {
    type Value = Period;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .write_str("a number of seconds, or a text such as \"500ms\", \"2s\", \"24h\" or \"7d\", of at most 100 years")
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Period, E> {
        let unexpected = serde::de::Unexpected::Unsigned(seconds);
        Period::within(Duration::from_secs(seconds))
            .ok_or_else(|| E::invalid_value(unexpected, &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Period, E> {
        Period::parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BytesVisitor)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PeriodVisitor)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.subsec_nanos() {
            0 => serializer.serialize_u64(self.0.as_secs()),
            _ => serializer.serialize_str(&self.nats_text()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024_and_times_are_seconds_without_a_unit() {
        assert_eq!(Bytes::parse("1GB"), Some(Bytes(1 << 30)));
        assert_eq!(Bytes::parse("10 mb"), Some(Bytes(10 << 20)));
        assert_eq!(Bytes::parse("7"), Some(Bytes(7)));
        let seconds = |seconds| Some(Period(Duration::from_secs(seconds)));
        assert_eq!(Period::parse("2m"), seconds(120));
        assert_eq!(Period::parse("7d"), seconds(604_800));
        assert_eq!(Period::parse("90"), seconds(90));
        let half = Period::parse("1500ms").expect("a time");
        assert_eq!(half.nats_text(), "1500ms");
        assert_eq!(
            Period::parse("2m").map(Period::nats_text),
            Some("120s".to_owned())
        );
    }

    #[test]
    fn quantities_beyond_what_nats_holds_are_refused() {
        for text in [
            "",
            "GB",
            "-1GB",
            "1.5GB",
            "1EB",
            "99999999999999999999",
            "9999999999TB",
        ] {
            assert_eq!(Bytes::parse(text), None, "{text}");
        }
        for text in [
            "",
            "s",
            "-1s",
            "1y",
            "99999999999999999999",
            "40000d",
            "18446744073709551615d",
        ] {
            assert_eq!(Period::parse(text), None, "{text}");
        }
        assert!(serde_json::from_str::<Period>("18446744073709551615").is_err());
        assert!(serde_json::from_str::<Bytes>("18446744073709551615").is_err());
        assert!(serde_json::from_str::<Bytes>("-5").is_err());
        assert!(serde_json::from_str::<Period>("true").is_err());
    }
}
