//! Exact prices and quantities.

use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::value::amount::{Amount, without_idle_zeros, write_decimal};

/// A price in units of the quote currency; exact, above zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Price(Decimal);

/// A quantity in units of the base currency; exact, above zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quantity(Decimal);

/// Why a text is no price or quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseDecimalError {
    /// Not plain decimal digits with at most one point.
    #[error("not a plain decimal number")]
    Malformed,
    /// Zero, which is neither a price nor a quantity of a trade.
    #[error("a trade cannot have a price or quantity of zero")]
    Zero,
    /// More digits than can be kept exactly.
    #[error("the number has too many significant digits to be exact")]
    TooManyDigits,
}

/// Most significant digits of a mantissa that always fit an `i64`.
const DIGITS_MAX: u32 = 18;
/// Most significant digits that `rust_decimal` always keeps.
const WIDE_DIGITS_MAX: u32 = 28;
/// Most decimal places of a price or quantity.
const SCALE_MAX: u32 = Decimal::MAX_SCALE;

/// Parses plain decimal digits and drops zeros without value, so that `1.50` and `1.5` are one
/// value with one spelling.
fn parse_positive(text: &[u8]) -> Result<Decimal, ParseDecimalError> {
    let mut mantissa: u64 = 0;
    let mut digits = 0u32;
    // Zeros after the point are only spelled out once a later digit needs them.
    let mut pending_zeros = 0u32;
    let mut scale = 0u32;
    let mut seen_point = false;
    let mut seen_digit = false;
    for &byte in text {
        match byte {
            b'0' if seen_point => {
                seen_digit = true;
                pending_zeros += 1;
            }
            b'0'..=b'9' => {
                seen_digit = true;
                let steps = pending_zeros + 1;
                if mantissa > 0 || byte != b'0' {
                    if mantissa > 0 {
                        digits += steps;
                    } else {
                        digits = 1;
                    }
                    if digits > DIGITS_MAX {
                        return parse_wide(text);
                    }
                    mantissa = mantissa * 10u64.pow(if mantissa > 0 { steps } else { 0 })
                        + u64::from(byte - b'0');
                }
                if seen_point {
                    scale += steps;
                }
                pending_zeros = 0;
            }
            b'.' if !seen_point => seen_point = true,
            _ => return Err(ParseDecimalError::Malformed),
        }
    }
    if !seen_digit {
        return Err(ParseDecimalError::Malformed);
    }
    if mantissa == 0 {
        return Err(ParseDecimalError::Zero);
    }
    if scale > SCALE_MAX {
        return Err(ParseDecimalError::TooManyDigits);
    }
    let mantissa = i64::try_from(mantissa).expect("18 digits fit an i64");
    Ok(Decimal::new(mantissa, scale))
}

/// The same for values beyond an `i64`; no known venue needs it.
#[cold]
fn parse_wide(text: &[u8]) -> Result<Decimal, ParseDecimalError> {
    let point = text.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, [].as_slice()),
    };
    let idle = fraction.iter().rev().take_while(|&&byte| byte == b'0');
    let fraction = &fraction[..fraction.len() - idle.count()];
    let mut mantissa: i128 = 0;
    let mut digits = 0;
    for &byte in whole.iter().chain(fraction) {
        if !byte.is_ascii_digit() {
            return Err(ParseDecimalError::Malformed);
        }
        digits += u32::from(mantissa > 0 || byte != b'0');
        if digits > WIDE_DIGITS_MAX {
            return Err(ParseDecimalError::TooManyDigits);
        }
        mantissa = mantissa * 10 + i128::from(byte - b'0');
    }
    let scale = u32::try_from(fraction.len()).unwrap_or(u32::MAX);
    Decimal::try_from_i128_with_scale(mantissa, scale).map_err(|_| ParseDecimalError::TooManyDigits)
}

macro_rules! exact_decimal {
    ($name:ident) => {
        impl $name {
            /// Parses plain decimal digits such as `61837.63000000`.
            ///
            /// # Errors
            /// `Malformed` for anything else (signs and exponents too), `Zero`, or
            /// `TooManyDigits` beyond 28 significant digits or decimal places.
            pub fn parse(text: &str) -> Result<Self, ParseDecimalError> {
                parse_positive(text.as_bytes()).map(Self)
            }

            /// `mantissa / 10^scale`. `None` if it is not above zero, or has too many digits to be
            /// exact.
            #[must_use]
            pub fn from_parts(mantissa: i128, scale: u32) -> Option<Self> {
                if mantissa <= 0 {
                    return None;
                }
                let (mantissa, scale) = without_idle_zeros(mantissa, scale);
                let value = Decimal::try_from_i128_with_scale(mantissa, scale);
                value.ok().map(Self)
            }

            /// Mantissa and scale: the value is `mantissa / 10^scale`.
            #[must_use]
            pub const fn parts(self) -> (i128, u32) {
                (self.0.mantissa(), self.0.scale())
            }

            /// The value as an exact sum to build on.
            #[must_use]
            pub fn amount(self) -> Amount {
                Amount::from_parts(self.0.mantissa(), self.0.scale())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_decimal(f, self.0.mantissa(), self.0.scale())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

exact_decimal!(Price);
exact_decimal!(Quantity);

impl Price {
    /// What `quantity` costs at this price, in the quote currency; exact up to 38 digits.
    #[must_use]
    #[inline]
    pub fn times(self, quantity: Quantity) -> Amount {
        Amount::product(
            (self.0.mantissa(), self.0.scale()),
            (quantity.0.mantissa(), quantity.0.scale()),
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, ParseDecimalError>) {
        let parsed = Price::parse(text).map(|price| price.to_string());
        assert_eq!(
            parsed.as_deref().map_err(|error| *error),
            expected,
            "{text}"
        );
    }

    #[test]
    fn prices_keep_their_value_and_lose_idle_zeros() {
        check("61837.63000000", Ok("61837.63"));
        check("0.00000000012", Ok("0.00000000012"));
        check("100", Ok("100"));
        check("100.00", Ok("100"));
        check("00100.10", Ok("100.1"));
        check(".5", Ok("0.5"));
        check("5.", Ok("5"));
        check("1.0000001", Ok("1.0000001"));
        check("1000000000000.123456", Ok("1000000000000.123456"));
        check("1000000000000.1234567000", Ok("1000000000000.1234567"));
        check(
            "1234567890.123456789012345678",
            Ok("1234567890.123456789012345678"),
        );
    }

    #[test]
    fn what_is_no_price_is_refused() {
        for text in [
            "", ".", "-1", "+1", "1e5", "1,5", "1.2.3", " 1", "NaN", "0x1",
        ] {
            check(text, Err(ParseDecimalError::Malformed));
        }
        check("0", Err(ParseDecimalError::Zero));
        check("0.000", Err(ParseDecimalError::Zero));
        check(
            "12345678901234567890123456789",
            Err(ParseDecimalError::TooManyDigits),
        );
        check(
            "0.00000000000000000000000000001",
            Err(ParseDecimalError::TooManyDigits),
        );
        for text in ["1234567890123456789x", "1234567890123456789.1.1"] {
            check(text, Err(ParseDecimalError::Malformed));
        }
    }

    #[test]
    fn product_of_the_longest_numbers_keeps_its_size_and_says_that_it_is_rounded() {
        let price = Price::parse("1234567890.123456789012345678").expect("price");
        let quantity = Quantity::parse("1000000000.000000000000000001").expect("quantity");
        let product = price.times(quantity);
        assert!(!product.is_exact());
        assert!(product.to_string().starts_with("123456789012345678"));
    }

    proptest! {
        #[test]
        fn price_agrees_with_rust_decimal(whole in 0u64..1_000_000_000, fraction in "[0-9]{0,9}") {
            let text = format!("{whole}.{fraction}");
            let expected: Decimal = format!("{text}0").parse().expect("decimal");
            match Price::parse(&text) {
                Ok(price) => {
                    prop_assert_eq!(price.0, expected);
                    prop_assert_eq!(price.to_string(), expected.normalize().to_string());
                }
                Err(ParseDecimalError::Zero) => prop_assert!(expected.is_zero()),
                Err(error) => prop_assert!(false, "{text}: {error}"),
            }
        }

        #[test]
        fn parts_give_the_value_back(mantissa in 1i128..1_000_000_000_000_000_000, scale in 0u32..28) {
            let price = Price::from_parts(mantissa, scale).expect("above zero");
            let (mantissa, scale) = price.parts();
            prop_assert_eq!(Price::from_parts(mantissa, scale), Some(price));
            prop_assert_eq!(Price::parse(&price.to_string()), Ok(price));
            prop_assert_eq!(Price::from_parts(-mantissa, scale), None);
            prop_assert_eq!(Price::from_parts(i128::MAX, scale), None);
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,40}") {
            let _ = Price::parse(&text);
        }

        #[test]
        fn product_is_exact(a in 1i64..1_000_000_000_000, b in 1i64..1_000_000_000_000, s in 0u32..9, t in 0u32..9) {
            let price = Price(Decimal::new(a, s));
            let quantity = Quantity(Decimal::new(b, t));
            let expected = (Decimal::new(a, s) * Decimal::new(b, t)).normalize();
            prop_assert_eq!(price.times(quantity).to_string(), expected.to_string());
        }
    }
}
