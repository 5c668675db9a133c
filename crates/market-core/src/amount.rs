//! Exact sums: volumes, which outgrow what a price or a quantity needs.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An exact, non-negative sum: volume in the base currency or quote volume.
///
/// A daily quote volume can need more digits than `rust_decimal`'s 28 (1e13 units at 18 decimal
/// places), and a sum that rounds depends on the order of its parts. Here the mantissa is an
/// `i128` and addition never rounds; beyond 38 digits it saturates, which no market reaches.
#[derive(Clone, Copy, Default, Debug)]
pub struct Amount {
    mantissa: i128,
    scale: u32,
}

const POWERS: [i128; 39] = {
    let mut powers = [1i128; 39];
    let mut index = 1;
    while index < 39 {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self {
        mantissa: 0,
        scale: 0,
    };

    /// `mantissa / 10^scale`.
    #[must_use]
    pub const fn from_parts(mantissa: i128, scale: u32) -> Self {
        Self { mantissa, scale }
    }

    /// Whether the sum is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    /// Adds `other`; exact.
    #[inline]
    pub fn add(&mut self, other: Self) {
        if self.scale == other.scale {
            self.mantissa = self.mantissa.saturating_add(other.mantissa);
        } else {
            self.add_rescaled(other);
        }
    }

    fn add_rescaled(&mut self, other: Self) {
        let scale = self.scale.max(other.scale);
        let own = self.at_scale(scale);
        self.mantissa = own.saturating_add(other.at_scale(scale));
        self.scale = scale;
    }

    fn at_scale(self, scale: u32) -> i128 {
        let factor = POWERS.get((scale - self.scale) as usize).copied();
        self.mantissa.saturating_mul(factor.unwrap_or(i128::MAX))
    }

    /// Mantissa and scale with no idle zeros: the one spelling of the value.
    fn normalized(self) -> (i128, u32) {
        let (mut mantissa, mut scale) = (self.mantissa, self.scale);
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        (mantissa, scale)
    }
}

impl PartialEq for Amount {
    fn eq(&self, other: &Self) -> bool {
        self.normalized() == other.normalized()
    }
}

impl Eq for Amount {}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mantissa, scale) = self.normalized();
        write_decimal(f, mantissa, scale)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| serde::de::Error::custom("not an exact decimal sum"))
    }
}

fn parse(text: &str) -> Option<Amount> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let scale = u32::try_from(fraction.len()).ok()?;
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() + fraction.len() > 38 || !digits(whole) || !digits(fraction)
    {
        return None;
    }
    let mantissa = format!("{whole}{fraction}").parse().ok()?;
    Some(Amount::from_parts(mantissa, scale))
}

/// Writes `mantissa / 10^scale` in plain digits.
pub(crate) fn write_decimal(f: &mut fmt::Formatter<'_>, mantissa: i128, scale: u32) -> fmt::Result {
    let mut digits = [b'0'; 64];
    let mut start = digits.len();
    let mut rest = mantissa.unsigned_abs();
    let mut place = 0;
    // At least one digit stands before the point.
    while rest > 0 || place <= scale {
        if place == scale && scale > 0 {
            start -= 1;
            digits[start] = b'.';
        }
        start -= 1;
        // A u64 divides far faster than a u128, and nearly every value fits one.
        digits[start] = if let Ok(small) = u64::try_from(rest) {
            rest = u128::from(small / 10);
            b'0' + (small % 10) as u8
        } else {
            let digit = (rest % 10) as u8;
            rest /= 10;
            b'0' + digit
        };
        place += 1;
    }
    if mantissa < 0 {
        f.write_str("-")?;
    }
    f.write_str(std::str::from_utf8(&digits[start..]).expect("digits are ASCII"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_have_one_spelling() {
        assert_eq!(Amount::from_parts(1_500, 3).to_string(), "1.5");
        assert_eq!(Amount::from_parts(7, 3).to_string(), "0.007");
        assert_eq!(Amount::ZERO.to_string(), "0");
        assert_eq!(Amount::from_parts(0, 8).to_string(), "0");
        assert_eq!(Amount::from_parts(1_500, 0).to_string(), "1500");
    }

    #[test]
    fn a_sum_of_38_digits_is_exact() {
        let mut sum = Amount::from_parts(10_000_000_000_000, 0);
        sum.add(Amount::from_parts(1, 24));
        assert_eq!(sum.to_string(), "10000000000000.000000000000000000000001");
    }

    proptest! {
        #[test]
        fn sums_do_not_depend_on_order(mut parts in proptest::collection::vec((0i128..1_000_000_000_000, 0u32..19), 0..20)) {
            let total = |parts: &[(i128, u32)]| {
                let mut sum = Amount::ZERO;
                for &(mantissa, scale) in parts {
                    sum.add(Amount::from_parts(mantissa, scale));
                }
                sum
            };
            let forwards = total(&parts);
            parts.reverse();
            prop_assert_eq!(forwards, total(&parts));
            prop_assert_eq!(forwards.to_string(), total(&parts).to_string());
        }

        #[test]
        fn text_round_trips(mantissa in 0i128..1_000_000_000_000_000_000_000, scale in 0u32..18) {
            let amount = Amount::from_parts(mantissa, scale);
            let parsed = parse(&amount.to_string()).expect("own text");
            prop_assert_eq!(parsed, amount);
        }
    }
}
