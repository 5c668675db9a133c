//! The span of time whose bars a replay prints.

use std::str::FromStr;

use market_core::{Bar, UnixMillis};

use crate::exchange::iso_time;

/// A time on the command line: `2024-08-08`, `2024-08-08T12:00:00Z`, or ms since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant(pub UnixMillis);

impl FromStr for Instant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let at_ms = if is_number {
            text.parse().ok()
        } else if text.len() == 10 {
            iso_time::parse(&format!("{text}T00:00:00Z"))
        } else {
            iso_time::parse(text)
        };
        at_ms.filter(|at_ms| is_plausible(*at_ms)).map(Self).ok_or_else(|| {
            "must be a time of the years 2000 to 2100: 2024-08-08, 2024-08-08T12:00:00Z, or milliseconds since 1970".to_owned()
        })
    }
}

/// Whether a venue may have traded then: a time outside this span is garbage.
pub(super) fn is_plausible(at_ms: UnixMillis) -> bool {
    // 2000-01-01 and 2100-01-01.
    (946_684_800_000..4_102_444_800_000).contains(&at_ms)
}

/// The beginning and the end, if they were given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from_ms: Option<UnixMillis>,
    pub(super) until_ms: Option<UnixMillis>,
}

impl Span {
    /// Whether a bar lies inside.
    pub(super) fn holds(&self, bar: &Bar) -> bool {
        self.from_ms.is_none_or(|from_ms| bar.start_ms >= from_ms)
            && self.until_ms.is_none_or(|until_ms| bar.end_ms <= until_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates_clock_times_or_milliseconds() {
        for (text, at_ms) in [
            ("2024-08-08", 1_723_075_200_000),
            ("2024-08-08T12:00:00Z", 1_723_118_400_000),
            ("1723075200000", 1_723_075_200_000),
        ] {
            assert_eq!(text.parse(), Ok(Instant(at_ms)), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2024-13-01",
            "12",
            "99999999999999999999",
            "2024-08-08T12:00",
        ] {
            assert!(text.parse::<Instant>().is_err(), "{text}");
        }
    }
}
