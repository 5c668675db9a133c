//! Widths of bars that are asked for: any number of seconds to months.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::value::clock::UnixMillis;
use crate::value::timeframe::{ParseTimeframeError, Timeframe, days_before_month, year_month};
use crate::value::unit::{DAY_MS, Unit};

/// The most units in a width.
const COUNT_MAX: u32 = 1_000;

/// A width such as `7m`, `3d` or `2w`. Bars are aligned to UTC: up to days, the start of a bar is a
/// multiple of its width since 1970-01-01; weeks start on Mondays; months start on the first, and
/// several months are counted from January 1970.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Width {
    count: u32,
    unit: Unit,
}

/// The text is no width.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a width: write a number from 1 to 1000 and s, m, h, d, w or M (months), such as 7m, 4h, 3d, 1w or 1M"
)]
pub struct ParseWidthError(String);

impl Width {
    /// The width in milliseconds; `None` for months.
    fn fixed_ms(self) -> Option<i64> {
        Some(self.unit.fixed_ms()? * i64::from(self.count))
    }

    /// The start of the bar that holds `at`.
    #[must_use]
    pub fn start_of(self, at: UnixMillis) -> UnixMillis {
        match self.fixed_ms() {
            Some(width) => {
                let since = at.saturating_sub(self.unit.origin_ms());
                at.saturating_sub(since.rem_euclid(width))
            }
            None => month_start(self.first_month(at)),
        }
    }

    /// The end (exclusive) of the bar that starts at `start`.
    #[must_use]
    pub fn end_of(self, start: UnixMillis) -> UnixMillis {
        match self.fixed_ms() {
            Some(width) => start.saturating_add(width),
            None => month_start(self.first_month(start) + i64::from(self.count)),
        }
    }

    /// How many whole bars lie in `[from, to)`, which begins and ends with a bar.
    #[must_use]
    pub fn bars_between(self, from: UnixMillis, to: UnixMillis) -> u64 {
        let bars = match self.fixed_ms() {
            Some(width) => to.saturating_sub(from) / width,
            None => (self.first_month(to) - self.first_month(from)) / i64::from(self.count),
        };
        u64::try_from(bars).unwrap_or(0)
    }

    /// The first month of the bar that holds `at`, counted from January 1970.
    fn first_month(self, at: UnixMillis) -> i64 {
        let month = month_of(at);
        month - month.rem_euclid(i64::from(self.count))
    }

    /// Whether every bar of this width is a whole number of bars of `lower`; one is enough.
    #[must_use]
    pub fn is_made_of(self, lower: Timeframe) -> bool {
        let lower = Self::from(lower);
        match (self.fixed_ms(), lower.fixed_ms()) {
            (Some(own), Some(low)) => {
                own % low == 0 && (self.unit.origin_ms() - lower.unit.origin_ms()) % low == 0
            }
            (None, Some(low)) => DAY_MS % low == 0,
            (None, None) => self.count.is_multiple_of(lower.count),
            (Some(_), None) => false,
        }
    }

    /// The widest of the stored timeframes from which bars of this width are made.
    #[must_use]
    pub fn source(self, stored: &[Timeframe]) -> Option<Timeframe> {
        let sources = stored.iter().filter(|lower| self.is_made_of(**lower));
        sources.max().copied()
    }
}

/// The month that holds `at`, counted from January 1970.
#[must_use]
pub fn month_of(at: UnixMillis) -> i64 {
    let (year, month) = year_month(at.div_euclid(DAY_MS));
    (year - 1970) * 12 + month - 1
}

/// The first instant of a month that is counted from January 1970.
#[must_use]
pub fn month_start(month: i64) -> UnixMillis {
    let days = days_before_month(1970 + month.div_euclid(12), month.rem_euclid(12) + 1);
    days.saturating_mul(DAY_MS)
}

impl From<Timeframe> for Width {
    fn from(timeframe: Timeframe) -> Self {
        let (count, unit) = timeframe.parts();
        Self {
            count: count.into(),
            unit,
        }
    }
}

impl FromStr for Width {
    type Err = ParseWidthError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || ParseWidthError(text.chars().take(16).collect());
        Unit::split(text)
            .filter(|(count, _)| *count <= COUNT_MAX)
            .map(|(count, unit)| Self { count, unit })
            .ok_or_else(malformed)
    }
}

impl TryFrom<Width> for Timeframe {
    type Error = ParseTimeframeError;

    fn try_from(width: Width) -> Result<Self, Self::Error> {
        width.to_string().parse()
    }
}

impl Serialize for Width {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Width {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::value::text::deserialize(deserializer)
    }
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.count, self.unit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn width(text: &str) -> Width {
        text.parse().expect("a width")
    }

    #[test]
    fn widths_are_aligned_to_utc() {
        // 2024-08-09T12:34:15Z, a Friday.
        let at = 1_723_206_855_000;
        let span = |text: &str| {
            let start = width(text).start_of(at);
            (start, width(text).end_of(start))
        };
        assert_eq!(span("1d"), (1_723_161_600_000, 1_723_248_000_000));
        assert_eq!(span("1w"), (1_722_816_000_000, 1_723_420_800_000));
        assert_eq!(span("1M"), (1_722_470_400_000, 1_725_148_800_000));
        // July to September.
        assert_eq!(span("3M"), (1_719_792_000_000, 1_727_740_800_000));
        assert_eq!(span("12M"), (1_704_067_200_000, 1_735_689_600_000));
        assert_eq!(span("7m").0 % 420_000, 0);
    }

    #[test]
    fn bars_between_two_starts_are_counted_without_looking_at_each() {
        // 2024-01-01 and 2025-03-01.
        let (january, march) = (1_704_067_200_000, 1_740_787_200_000);
        for (text, bars) in [("1M", 14), ("7M", 2), ("1d", 425), ("1s", 36_720_000)] {
            let width = width(text);
            let (from, to) = (width.start_of(january), width.start_of(march));
            assert_eq!(width.bars_between(from, to), bars, "{text}");
            assert_eq!(width.bars_between(to, from), 0, "{text}");
            assert_eq!(width.bars_between(from, from), 0, "{text}");
        }
        let (least, most) = (UnixMillis::MIN, UnixMillis::MAX);
        assert!(width("1s").bars_between(least, most) > 1_000_000_000);
        assert!(width("1M").bars_between(least, most) > 1_000);
    }

    #[test]
    fn what_is_no_width_is_refused_with_the_form_to_write() {
        for text in [
            "", "m", "0m", "1001s", "01m", "-1m", "+1m", "1.5h", "1y", "é", "7 m",
        ] {
            let error = text.parse::<Width>().expect_err(text);
            assert!(error.to_string().contains("7m"), "{error}");
        }
    }

    #[test]
    fn a_width_is_made_of_the_widest_stored_bars_that_fit() {
        let stored: Vec<Timeframe> = ["1s", "1m", "1h", "1d", "1w", "1M"]
            .map(|text| text.parse().expect("a timeframe"))
            .into();
        let source = |text: &str| {
            let source = width(text).source(&stored);
            source.map(|timeframe| timeframe.to_string())
        };
        for (text, expected) in [
            ("7m", "1m"),
            ("15m", "1m"),
            ("90s", "1s"),
            ("4h", "1h"),
            ("36h", "1h"),
            ("3d", "1d"),
            // Weeks start on Mondays, and multiples of seven days on Thursdays.
            ("7d", "1d"),
            ("2w", "1w"),
            ("3M", "1M"),
            ("1m", "1m"),
        ] {
            assert_eq!(source(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(width("7m").source(&stored[2..]), None);
    }

    #[test]
    fn a_timeframe_is_the_width_of_its_text() {
        for text in ["1s", "15m", "4h", "1d", "1w", "1M"] {
            let timeframe: Timeframe = text.parse().expect("a timeframe");
            assert_eq!(Width::from(timeframe), width(text));
            assert_eq!(Timeframe::try_from(width(text)), Ok(timeframe));
        }
        assert!(Timeframe::try_from(width("7m")).is_err());
    }

    #[test]
    fn times_beyond_the_calendar_saturate() {
        for text in ["1s", "7m", "3d", "1000w", "1M", "1000M"] {
            for at in [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX] {
                let start = width(text).start_of(at);
                assert!(
                    start <= at && width(text).end_of(start) >= at,
                    "{text} {at}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn every_instant_lies_in_its_bar(at in -1_000_000_000_000i64..4_000_000_000_000, count in 1u32..=1_000, unit in 0usize..6) {
            let width = width(&format!("{count}{}", ["s", "m", "h", "d", "w", "M"][unit]));
            let start = width.start_of(at);
            prop_assert!(start <= at && at < width.end_of(start));
            prop_assert_eq!(width.start_of(start), start);
            prop_assert_eq!(width.start_of(width.end_of(start)), width.end_of(start));
            prop_assert_eq!(width.to_string().parse(), Ok(width));
        }
    }
}
