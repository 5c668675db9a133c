//! Exact sums for volumes, which exceed the range of a price or a quantity.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An exact, non-negative sum: volume in the base currency or quote volume.
///
/// A daily quote volume can need more digits than `rust_decimal`'s 28 (1e13 units at 18 decimal
/// places), and a sum that rounds depends on the order of its parts. Here the mantissa is an
/// `i128` and addition never rounds up to 38 digits. Beyond them it gives up decimal places, and
/// says so: see [`Amount::is_exact`].
#[derive(Clone, Copy, Default, Debug)]
pub struct Amount {
    mantissa: i128,
    scale: u32,
    is_rounded: bool,
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
        is_rounded: false,
    };

    /// `mantissa / 10^scale`.
    #[must_use]
    pub const fn from_parts(mantissa: i128, scale: u32) -> Self {
        Self {
            mantissa,
            scale,
            is_rounded: false,
        }
    }

    /// The same, of a sum that gave up decimal places.
    #[must_use]
    pub const fn from_rounded_parts(mantissa: i128, scale: u32) -> Self {
        Self {
            mantissa,
            scale,
            is_rounded: true,
        }
    }

    /// Reads plain decimal digits such as `0.02`; `None` for anything else, and beyond 38 digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let scale = u32::try_from(fraction.len()).ok()?;
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty()
            || whole.len() + fraction.len() > 64
            || !digits(whole)
            || !digits(fraction)
        {
            return None;
        }
        let mantissa = format!("{whole}{fraction}").parse().ok()?;
        Some(Self::from_parts(mantissa, scale))
    }

    /// Mantissa and scale without trailing zeros: the sum is `mantissa / 10^scale`.
    #[must_use]
    pub fn parts(self) -> (i128, u32) {
        self.normalized()
    }

    /// The product of two decimals, each given as mantissa and scale.
    #[must_use]
    #[inline]
    pub(crate) fn product(a: (i128, u32), b: (i128, u32)) -> Self {
        match a.0.checked_mul(b.0) {
            Some(mantissa) => Self::from_parts(mantissa, a.1 + b.1),
            None => Self::wide_product(a, b),
        }
    }

    #[cold]
    fn wide_product(a: (i128, u32), b: (i128, u32)) -> Self {
        let mut factors = [Self::from_parts(a.0, a.1), Self::from_parts(b.0, b.1)];
        for factor in &mut factors {
            (factor.mantissa, factor.scale) = factor.normalized();
        }
        loop {
            let [a, b] = factors;
            if let Some(mantissa) = a.mantissa.checked_mul(b.mantissa) {
                return Self {
                    mantissa,
                    scale: a.scale + b.scale,
                    is_rounded: a.is_rounded || b.is_rounded,
                };
            }
            let longer = usize::from(b.mantissa > a.mantissa);
            factors[longer].drop_place();
        }
    }

    /// Whether no decimal place was given up.
    #[must_use]
    pub const fn is_exact(self) -> bool {
        !self.is_rounded
    }

    /// Gives up the last decimal place. Without one, saturates at the highest value.
    fn drop_place(&mut self) {
        if self.scale > 0 {
            self.is_rounded |= self.mantissa % 10 != 0;
            self.mantissa /= 10;
            self.scale -= 1;
        } else {
            self.is_rounded = true;
            self.mantissa /= 2;
        }
    }

    /// Whether the mantissa is below zero, which only [`Amount::from_parts`] can make.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.mantissa < 0
    }

    /// Whether the sum is zero.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    /// Adds `other`; exact up to 38 digits.
    #[inline]
    pub fn add(&mut self, other: Self) {
        if self.scale == other.scale
            && !other.is_rounded
            && let Some(mantissa) = self.mantissa.checked_add(other.mantissa)
        {
            self.mantissa = mantissa;
        } else {
            self.add_rescaled(other);
        }
    }

    fn add_rescaled(&mut self, other: Self) {
        let (mut a, mut b) = (*self, other);
        let mut scale = a.scale.max(b.scale);
        if a.sum_at(b, scale).is_none() {
            (a.mantissa, a.scale) = a.normalized();
            (b.mantissa, b.scale) = b.normalized();
            scale = a.scale.max(b.scale);
        }
        *self = loop {
            if let Some(mantissa) = a.sum_at(b, scale) {
                break Self {
                    mantissa,
                    scale,
                    is_rounded: a.is_rounded || b.is_rounded,
                };
            }
            if scale == 0 {
                break Self {
                    mantissa: i128::MAX,
                    scale,
                    is_rounded: true,
                };
            }
            // Together they have too many digits: give up the last decimal place.
            scale -= 1;
            for part in [&mut a, &mut b] {
                if part.scale > scale {
                    part.drop_place();
                }
            }
        };
    }

    fn sum_at(self, other: Self, scale: u32) -> Option<i128> {
        self.at_scale(scale)?.checked_add(other.at_scale(scale)?)
    }

    fn at_scale(self, scale: u32) -> Option<i128> {
        let factor = POWERS.get((scale - self.scale) as usize);
        match factor {
            Some(factor) => self.mantissa.checked_mul(*factor),
            None => (self.mantissa == 0).then_some(0),
        }
    }

    /// Mantissa and scale without trailing zeros: the one spelling of the value.
    pub(crate) fn normalized(self) -> (i128, u32) {
        without_idle_zeros(self.mantissa, self.scale)
    }
}

/// Drops trailing zeros after the point.
pub(crate) fn without_idle_zeros(mut mantissa: i128, mut scale: u32) -> (i128, u32) {
    // A u64 divides far faster than an i128, and nearly every value fits one.
    if let Ok(mut small) = u64::try_from(mantissa) {
        while scale > 0 && small.is_multiple_of(10) {
            small /= 10;
            scale -= 1;
        }
        return (i128::from(small), scale);
    }
    while scale > 0 && mantissa % 10 == 0 {
        mantissa /= 10;
        scale -= 1;
    }
    (mantissa, scale)
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
        // A stored sum must remember that it is not exact.
        if self.is_rounded {
            serializer.collect_str(&format_args!("~{self}"))
        } else {
            serializer.collect_str(self)
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let (digits, is_rounded) = match text.strip_prefix('~') {
            Some(digits) => (digits, true),
            None => (&*text, false),
        };
        let amount = Self::parse(digits).map(|amount| Amount {
            is_rounded,
            ..amount
        });
        amount.ok_or_else(|| serde::de::Error::custom("not an exact decimal sum"))
    }
}

/// Writes `mantissa / 10^scale` in plain digits.
pub(crate) fn write_decimal(out: &mut impl fmt::Write, mantissa: i128, scale: u32) -> fmt::Result {
    let mut buffer = itoa::Buffer::new();
    let size = mantissa.unsigned_abs();
    // A u64 divides far faster than a u128, and nearly every value fits one.
    let digits = match u64::try_from(size) {
        Ok(small) => buffer.format(small),
        Err(_) => buffer.format(size),
    };
    if mantissa < 0 {
        out.write_char('-')?;
    }
    let places = scale as usize;
    if places == 0 {
        return out.write_str(digits);
    }
    match digits.len().checked_sub(places) {
        Some(whole @ 1..) => {
            out.write_str(&digits[..whole])?;
            out.write_char('.')?;
            out.write_str(&digits[whole..])
        }
        // At least one digit stands before the point.
        _ => {
            out.write_str("0.")?;
            for _ in digits.len()..places {
                out.write_char('0')?;
            }
            out.write_str(digits)
        }
    }
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
    fn a_sum_beyond_38_digits_keeps_its_size_and_says_that_it_is_rounded() {
        let mut sum = Amount::from_parts(120_000_000_000_000_000, 0);
        sum.add(Amount::from_parts(1, 24));
        assert!(!sum.is_exact());
        assert!(sum.to_string().starts_with("120000000000000000"));
        let stored = serde_json::to_string(&sum).expect("text");
        let restored: Amount = serde_json::from_str(&stored).expect("own text");
        assert_eq!((restored, restored.is_exact()), (sum, false));
        // It stays so, whatever is added.
        let mut other = Amount::from_parts(5, 0);
        other.add(sum);
        assert!(!other.is_exact());
        // Idle zeros are no digits.
        let mut padded = Amount::from_parts(120_000_000_000_000_000_000_000_000_000_000_000, 18);
        padded.add(Amount::from_parts(1_000_000, 24));
        assert_eq!(
            (padded.to_string().as_str(), padded.is_exact()),
            ("120000000000000000.000000000000000001", true)
        );
        let mut most = Amount::from_parts(i128::MAX, 0);
        most.add(Amount::from_parts(i128::MAX, 0));
        assert!(!most.is_exact());
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
            let parsed = Amount::parse(&amount.to_string()).expect("own text");
            prop_assert_eq!(parsed, amount);
        }
    }
}
