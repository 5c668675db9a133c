//! The timeframes of bars, aligned to UTC.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::value::clock::UnixMillis;
use crate::value::unit::{DAY_MS, FIRST_MONDAY_MS, Unit};

/// The timeframe of a bar: `Ns`, `Nm` or `Nh` where N divides a minute, an hour or a day, or `1d`,
/// `1w` (from Monday) or `1M` (the calendar month); aligned to UTC.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Timeframe {
    count: u8,
    unit: Unit,
}

/// Why a text is not a timeframe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseTimeframeError {
    /// Not of the form.
    #[error(
        "'{0}' is not a timeframe: write Ns or Nm with an N that divides 60, Nh with an N that divides 24 (1s, 5m, 4h), or 1d, 1w or 1M"
    )]
    Malformed(String),
    /// An empty list.
    #[error("at least one timeframe is needed, such as 1s,1m,1h,1d")]
    Empty,
    /// A list that names one timeframe twice.
    #[error("timeframe {0} is listed twice")]
    Repeated(Timeframe),
}

impl Timeframe {
    /// One second.
    pub const SECOND: Self = Self {
        count: 1,
        unit: Unit::Second,
    };
    /// One minute.
    pub const MINUTE: Self = Self {
        count: 1,
        unit: Unit::Minute,
    };
    /// One hour.
    pub const HOUR: Self = Self {
        count: 1,
        unit: Unit::Hour,
    };
    /// One UTC day.
    pub const DAY: Self = Self {
        count: 1,
        unit: Unit::Day,
    };

    /// The fixed width in milliseconds; `None` for the calendar month.
    fn width_ms(self) -> Option<i64> {
        let unit_ms = self.unit.fixed_ms()?;
        Some(unit_ms * i64::from(self.count))
    }

    /// Its number and its unit.
    #[must_use]
    pub const fn parts(self) -> (u8, Unit) {
        (self.count, self.unit)
    }

    /// The start of the bar that holds `at`; a time on a boundary opens the new bar.
    #[must_use]
    #[inline]
    pub fn start_of(self, at: UnixMillis) -> UnixMillis {
        match self.width_ms() {
            Some(width) if self.unit == Unit::Week => {
                (at - FIRST_MONDAY_MS).div_euclid(width) * width + FIRST_MONDAY_MS
            }
            Some(width) => at - at.rem_euclid(width),
            None => {
                let (year, month) = year_month(at.div_euclid(DAY_MS));
                days_before_month(year, month) * DAY_MS
            }
        }
    }

    /// The end (exclusive) of the bar that starts at `start`. No time is later than the last one.
    #[must_use]
    #[inline]
    pub fn end_of(self, start: UnixMillis) -> UnixMillis {
        match self.width_ms() {
            Some(width) => start.saturating_add(width),
            None => {
                let (year, month) = year_month(start.div_euclid(DAY_MS));
                let (year, month) = if month == 12 {
                    (year + 1, 1)
                } else {
                    (year, month + 1)
                };
                days_before_month(year, month).saturating_mul(DAY_MS)
            }
        }
    }

    /// Whether every bar of `self` is a whole number of bars of `lower`.
    #[must_use]
    pub fn is_made_of(self, lower: Self) -> bool {
        match (self.width_ms(), lower.width_ms()) {
            (Some(own), Some(low)) => {
                own > low
                    && own % low == 0
                    && (self.unit != Unit::Week || low <= DAY_MS || lower.unit == Unit::Week)
            }
            (None, Some(low)) => low <= DAY_MS,
            (_, None) => false,
        }
    }

    /// Width for sorting, a month counting as 28 days; milliseconds.
    fn rank_ms(self) -> i64 {
        self.width_ms().unwrap_or(28 * DAY_MS)
    }
}

/// The civil year and month of a day number since 1970-01-01.
/// Source: Howard Hinnant, chrono-compatible low-level date algorithms.
#[must_use]
pub fn year_month(day: i64) -> (i64, i64) {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let day_of_era = day.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month)
}

/// Days from 1970-01-01 to the first of a civil month. Source: as for `year_month`.
#[must_use]
pub fn days_before_month(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

impl PartialOrd for Timeframe {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timeframe {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.rank_ms(), self.unit, self.count).cmp(&(other.rank_ms(), other.unit, other.count))
    }
}

impl FromStr for Timeframe {
    type Err = ParseTimeframeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || ParseTimeframeError::Malformed(text.chars().take(16).collect());
        let (count, unit) = Unit::split(text).ok_or_else(malformed)?;
        let count = u8::try_from(count).map_err(|_| malformed())?;
        let divides = match unit {
            Unit::Second | Unit::Minute => count < 60 && 60 % count == 0,
            Unit::Hour => count < 24 && 24 % count == 0,
            Unit::Day | Unit::Week | Unit::Month => count == 1,
        };
        if divides {
            Ok(Self { count, unit })
        } else {
            Err(malformed())
        }
    }
}

impl fmt::Display for Timeframe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.count, self.unit)
    }
}

impl Serialize for Timeframe {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timeframe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::value::text::deserialize(deserializer)
    }
}

/// A deployment's timeframes, narrowest first, none twice, never empty. Written `1s,1m,1h,1d`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TimeframeSet(Vec<Timeframe>);

impl TimeframeSet {
    /// Sorts and checks a list.
    ///
    /// # Errors
    /// `Empty`, or `Repeated` with the timeframe that stands twice.
    pub fn new(mut timeframes: Vec<Timeframe>) -> Result<Self, ParseTimeframeError> {
        timeframes.sort();
        if timeframes.is_empty() {
            return Err(ParseTimeframeError::Empty);
        }
        if let Some(pair) = timeframes.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(ParseTimeframeError::Repeated(pair[0]));
        }
        Ok(Self(timeframes))
    }

    /// The timeframes, narrowest first.
    #[must_use]
    pub fn as_slice(&self) -> &[Timeframe] {
        &self.0
    }

    /// The index of the widest narrower timeframe of which `self[index]` is a whole multiple;
    /// `None` if it must be built from trades.
    #[must_use]
    pub fn source_of(&self, index: usize) -> Option<usize> {
        (0..index)
            .rev()
            .find(|&lower| self.0[index].is_made_of(self.0[lower]))
    }
}

impl Default for TimeframeSet {
    fn default() -> Self {
        Self(vec![
            Timeframe::SECOND,
            Timeframe::MINUTE,
            Timeframe::HOUR,
            Timeframe::DAY,
        ])
    }
}

impl FromStr for TimeframeSet {
    type Err = ParseTimeframeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        Self::new(parts.map(str::parse).collect::<Result<_, _>>()?)
    }
}

impl fmt::Display for TimeframeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, timeframe) in self.0.iter().enumerate() {
            write!(f, "{}{timeframe}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn timeframe(text: &str) -> Timeframe {
        text.parse().expect("valid timeframe")
    }

    #[track_caller]
    fn check(text: &str, at: i64, start: i64, end: i64) {
        let timeframe = timeframe(text);
        assert_eq!(
            (timeframe.start_of(at), timeframe.end_of(start)),
            (start, end)
        );
    }

    #[test]
    fn bars_align_to_utc() {
        check(
            "1s",
            1_723_161_255_342,
            1_723_161_255_000,
            1_723_161_256_000,
        );
        check(
            "1m",
            1_723_161_255_342,
            1_723_161_240_000,
            1_723_161_300_000,
        );
        check(
            "1h",
            1_723_161_600_000,
            1_723_161_600_000,
            1_723_165_200_000,
        );
        check(
            "1d",
            1_723_161_599_999,
            1_723_075_200_000,
            1_723_161_600_000,
        );
        // 2024-08-09 is a Friday; its week starts on Monday 2024-08-05.
        check(
            "1w",
            1_723_161_600_000,
            1_722_816_000_000,
            1_723_420_800_000,
        );
        // February of a leap year.
        check(
            "1M",
            1_709_208_000_000,
            1_706_745_600_000,
            1_709_251_200_000,
        );
        check(
            "1M",
            1_734_000_000_000,
            1_733_011_200_000,
            1_735_689_600_000,
        );
    }

    #[test]
    fn what_is_no_timeframe_is_refused() {
        for text in [
            "", "s", "0s", "7m", "60s", "25h", "2d", "1D", "1y", "-1s", "01s", "1.5h", "999s", "é",
        ] {
            assert!(text.parse::<Timeframe>().is_err(), "{text}");
        }
    }

    #[test]
    fn each_timeframe_builds_on_the_widest_that_divides_it() {
        let set: TimeframeSet = "1M,1w,1d,1h,5m,3m,1m,1s".parse().expect("valid");
        assert_eq!(set.to_string(), "1s,1m,3m,5m,1h,1d,1w,1M");
        let sources: Vec<_> = (0..8).map(|index| set.source_of(index)).collect();
        assert_eq!(
            sources,
            [
                None,
                Some(0),
                Some(1),
                Some(1),
                Some(3),
                Some(4),
                Some(5),
                Some(5)
            ]
        );
        assert!("1s,1s".parse::<TimeframeSet>().is_err() && "".parse::<TimeframeSet>().is_err());
    }

    #[test]
    fn the_last_bar_of_all_ends_at_the_last_time() {
        for text in ["1s", "1d", "1w", "1M"] {
            let ends = [i64::MAX, i64::MAX - 1].map(|start| timeframe(text).end_of(start));
            assert_eq!(ends, [i64::MAX; 2], "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_instant_lies_in_its_bar(at in -1_000_000_000_000i64..4_000_000_000_000, index in 0usize..10) {
            let timeframe = timeframe(["1s", "15s", "1m", "5m", "1h", "4h", "12h", "1d", "1w", "1M"][index]);
            let start = timeframe.start_of(at);
            prop_assert!(start <= at && at < timeframe.end_of(start));
            prop_assert_eq!(timeframe.start_of(start), start);
            prop_assert_eq!(timeframe.start_of(timeframe.end_of(start)), timeframe.end_of(start));
        }

        #[test]
        fn text_round_trips(index in 0usize..10) {
            let text = ["1s", "15s", "1m", "5m", "1h", "4h", "12h", "1d", "1w", "1M"][index];
            prop_assert_eq!(timeframe(text).to_string(), text);
        }
    }
}
