//! The units in which the widths of bars are written.

use std::fmt;

pub(crate) const SECOND_MS: i64 = 1_000;
pub(crate) const DAY_MS: i64 = 86_400_000;
/// 1970-01-05, the first Monday of Unix time: weeks start on Mondays.
pub(crate) const FIRST_MONDAY_MS: i64 = 4 * DAY_MS;

/// The unit of a width: the letter after its number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Unit {
    /// `s`.
    Second,
    /// `m`.
    Minute,
    /// `h`.
    Hour,
    /// `d`: a day of UTC.
    Day,
    /// `w`: from Monday.
    Week,
    /// `M`: a calendar month.
    Month,
}

impl Unit {
    /// All units, shortest first.
    pub const ALL: [Self; 6] = [
        Self::Second,
        Self::Minute,
        Self::Hour,
        Self::Day,
        Self::Week,
        Self::Month,
    ];

    /// The letter after the number.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Second => 's',
            Self::Minute => 'm',
            Self::Hour => 'h',
            Self::Day => 'd',
            Self::Week => 'w',
            Self::Month => 'M',
        }
    }

    /// Its length in milliseconds; `None` for months, whose lengths differ.
    #[must_use]
    pub const fn fixed_ms(self) -> Option<i64> {
        match self {
            Self::Second => Some(SECOND_MS),
            Self::Minute => Some(60 * SECOND_MS),
            Self::Hour => Some(3_600 * SECOND_MS),
            Self::Day => Some(DAY_MS),
            Self::Week => Some(7 * DAY_MS),
            Self::Month => None,
        }
    }

    /// The instant from which intervals of this unit are counted.
    #[must_use]
    pub(crate) const fn origin_ms(self) -> i64 {
        match self {
            Self::Week => FIRST_MONDAY_MS,
            _ => 0,
        }
    }

    /// Splits a number with a unit: 7 minutes of `7m`. `None` if the text is not a number without
    /// sign and leading zero, and a letter.
    #[must_use]
    pub(crate) fn split(text: &str) -> Option<(u32, Self)> {
        let letter = text.chars().next_back()?;
        let unit = Self::ALL.into_iter().find(|unit| unit.letter() == letter)?;
        let digits = text.strip_suffix(letter)?;
        let is_number = matches!(digits.as_bytes(), [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit));
        let count = digits.parse().ok()?;
        is_number.then_some((count, unit))
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.letter())
    }
}
