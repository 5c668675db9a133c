//! Decimals as venues write them, compared without rounding.

use std::cmp::Ordering;

/// Longest text that is read as a decimal, bytes.
const TEXT_LEN_MAX: usize = 80;
/// Largest exponent, up or down.
const EXPONENT_MAX: i32 = 40;

/// A non-negative decimal, exactly: `1.50`, `1.5` and `15e-1` are one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exact {
    /// Without leading zeros; empty for 0.
    whole: String,
    /// Without trailing zeros.
    fraction: String,
}

impl Exact {
    /// Reads a decimal, with or without an exponent; `None` for anything else, negative numbers
    /// among it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() > TEXT_LEN_MAX {
            return None;
        }
        let (digits, exponent) = match text.split_once(['e', 'E']) {
            Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        if !(-EXPONENT_MAX..=EXPONENT_MAX).contains(&exponent) {
            return None;
        }
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        // The point moves: zeros are added where there are no digits.
        let shift = exponent.unsigned_abs() as usize;
        let zeros = "0".repeat(shift);
        let (whole, fraction) = if exponent >= 0 {
            let padded = format!("{fraction}{zeros}");
            let (passed, rest) = padded.split_at(shift);
            (format!("{whole}{passed}"), rest.to_owned())
        } else {
            let padded = format!("{zeros}{whole}");
            let (rest, passed) = padded.split_at(padded.len() - shift);
            (rest.to_owned(), format!("{passed}{fraction}"))
        };
        Some(Self {
            whole: whole.trim_start_matches('0').to_owned(),
            fraction: fraction.trim_end_matches('0').to_owned(),
        })
    }

    /// Whether it is 0.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.whole.is_empty() && self.fraction.is_empty()
    }
}

impl Ord for Exact {
    fn cmp(&self, other: &Self) -> Ordering {
        // Without leading zeros, the longer whole part is the greater one. Of two fractions, the
        // one that continues after an equal beginning is the greater one.
        (self.whole.len(), &self.whole, &self.fraction).cmp(&(
            other.whole.len(),
            &other.whole,
            &other.fraction,
        ))
    }
}

impl PartialOrd for Exact {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact(text: &str) -> Exact {
        Exact::parse(text).expect("a decimal")
    }

    #[test]
    fn one_value_has_many_spellings() {
        for (left, right) in [
            ("1.50", "1.5"),
            ("15e-1", "1.5"),
            ("0.00012E4", "1.2"),
            ("1e-7", "0.0000001"),
            ("007", "7"),
            ("0.000", "0"),
            ("1482.0", "1482"),
        ] {
            assert_eq!(exact(left), exact(right), "{left}");
        }
        for text in ["", "-1", ".5", "1.2.3", "NaN", "1e99", "0x1", "1e", "é"] {
            assert_eq!(Exact::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_orders_as_numbers_do(left in 0u64..2_000_000, right in 0u64..2_000_000, places in 0usize..6) {
            let text = |value: u64| {
                let digits = format!("{value:07}");
                let (whole, fraction) = digits.split_at(digits.len() - places);
                format!("{whole}.{fraction}")
            };
            prop_assert_eq!(exact(&text(left)).cmp(&exact(&text(right))), left.cmp(&right));
            prop_assert_eq!(exact(&format!("{left}e-{places}")), exact(&text(left)));
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,100}", number in "[0-9.eE+-]{0,30}") {
            let _ = Exact::parse(&text);
            let _ = Exact::parse(&number);
        }
    }
}
