//! Exact comparisons of prices and sums by a factor: no figure is rounded.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use market_core::{Amount, Price};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Places behind the point of a figure of a rule.
const PLACES: usize = 4;
/// One, in units of the last place.
const ONE: u64 = 10_000;
/// The highest whole part of a figure.
const WHOLE_MAX: u64 = 1_000_000;
/// A hundred percent, in units of the last place of a percentage.
const WHOLE: u64 = 100 * ONE;
/// All of it, in units of the last place of basis points.
const ALL_POINTS: u64 = 10_000 * ONE;
/// Most places of a decimal that is compared.
const SCALE_MAX: u32 = 28;

/// A figure of a rule, such as the percentage of a move: up to four places behind the point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Figure(u64);

/// Why a text is no figure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "write a plain number from 0 to 1000000 with up to 4 places behind the point, as a text, such as \"2.5\""
)]
pub struct ParseFigureError;

impl Figure {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// A hundred.
    pub const HUNDRED: Self = Self(WHOLE);

    /// A figure of this many ten-thousandths.
    #[must_use]
    pub const fn of_units(units: u64) -> Self {
        Self(units)
    }

    /// Half of it.
    #[must_use]
    pub const fn half(self) -> Self {
        Self(self.0 / 2)
    }
}

impl FromStr for Figure {
    type Err = ParseFigureError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || whole.len() > 7 || fraction.len() > PLACES {
            return Err(ParseFigureError);
        }
        let whole: u64 = whole.parse().map_err(|_| ParseFigureError)?;
        let units: u64 = format!("{fraction:0<PLACES$}")
            .parse()
            .map_err(|_| ParseFigureError)?;
        match whole.saturating_mul(ONE).saturating_add(units) {
            units if units <= WHOLE_MAX * ONE => Ok(Self(units)),
            _ => Err(ParseFigureError),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, units) = (self.0 / ONE, self.0 % ONE);
        let fraction = format!("{units:04}");
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            fraction => write!(f, "{whole}.{fraction}"),
        }
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How far `price` is above `reference`, compared with a percentage.
#[must_use]
pub fn compare_rise(price: Price, reference: Price, percent: Figure) -> Ordering {
    let factor = WHOLE.saturating_add(percent.0);
    scaled(price.parts(), WHOLE, reference.parts(), factor)
}

/// How far `price` is below `reference`, compared with a percentage. Nothing is a hundred percent
/// below.
#[must_use]
pub fn compare_fall(price: Price, reference: Price, percent: Figure) -> Ordering {
    match WHOLE.checked_sub(percent.0) {
        Some(factor) => scaled(reference.parts(), factor, price.parts(), WHOLE),
        None => Ordering::Less,
    }
}

/// How far an ask is above a bid, compared with basis points: hundredths of a percent of the bid.
#[must_use]
pub fn compare_spread(ask: Price, bid: Price, points: Figure) -> Ordering {
    let factor = ALL_POINTS.saturating_add(points.0);
    scaled(ask.parts(), ALL_POINTS, bid.parts(), factor)
}

/// How many times as much a second `sum` of `sum_s` seconds is as `base` of `base_s` seconds, compared
/// with `times`. Sums with more places than a quantity has count as too small.
#[must_use]
pub fn compare_times(
    (sum, sum_s): (Amount, u32),
    (base, base_s): (Amount, u32),
    times: Figure,
) -> Ordering {
    let (sum, base) = (sum.parts(), base.parts());
    if sum.1 > SCALE_MAX || base.1 > SCALE_MAX {
        return Ordering::Less;
    }
    let left = u64::from(base_s).saturating_mul(ONE);
    let right = u64::from(sum_s).saturating_mul(times.0);
    scaled(sum, left, base, right)
}

/// Compares two decimals, each with its factor. Negative ones count as 0.
fn scaled(a: (i128, u32), a_factor: u64, b: (i128, u32), b_factor: u64) -> Ordering {
    let places = a.1.max(b.1);
    let product = |(mantissa, scale): (i128, u32), factor: u64| {
        let mantissa = u128::try_from(mantissa).unwrap_or(0);
        let power = 10_u128.saturating_pow((places - scale).min(SCALE_MAX));
        // With 28 places and a factor of a day of seconds, it has up to 285 bits.
        times(wide(mantissa, power), factor)
    };
    product(a, a_factor).cmp(&product(b, b_factor))
}

/// The product of a number of 256 bits and a factor, from its highest part to its lowest.
fn times((high, low): (u128, u128), factor: u64) -> (u128, u128, u128) {
    let (carry, lowest) = wide(low, factor.into());
    let (highest, middle) = wide(high, factor.into());
    let (middle, is_over) = middle.overflowing_add(carry);
    (highest + u128::from(is_over), middle, lowest)
}

/// The product of two numbers: its higher and its lower half.
fn wide(a: u128, b: u128) -> (u128, u128) {
    const HALF: u32 = 64;
    let low = |number: u128| number & u128::from(u64::MAX);
    let (a_high, a_low, b_high, b_low) = (a >> HALF, low(a), b >> HALF, low(b));
    let lowest = a_low * b_low;
    let (one, other) = (a_high * b_low, a_low * b_high);
    let middle = (lowest >> HALF) + low(one) + low(other);
    let high = a_high * b_high + (one >> HALF) + (other >> HALF) + (middle >> HALF);
    (high, (middle << HALF) | low(lowest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn price(text: &str) -> Price {
        Price::parse(text).expect("a price")
    }

    fn figure(text: &str) -> Figure {
        text.parse().expect("a figure")
    }

    #[test]
    fn five_percent_is_met_at_the_last_place_and_not_below_it() {
        let (low, five) = (price("61837.63"), figure("5"));
        assert_eq!(
            compare_rise(price("64929.5115"), low, five),
            Ordering::Equal
        );
        assert_eq!(
            compare_rise(price("64929.51149999"), low, five),
            Ordering::Less
        );
        let high = price("100");
        assert_eq!(compare_fall(price("95"), high, five), Ordering::Equal);
        assert_eq!(
            compare_fall(price("95.0000000000000001"), high, five),
            Ordering::Less
        );
        assert_eq!(
            compare_fall(price("94.9999999999999999"), high, five),
            Ordering::Greater
        );
        let nothing = price("0.0000000000000000000000000001");
        assert_eq!(compare_fall(nothing, high, figure("100.5")), Ordering::Less);
    }

    #[test]
    fn numbers_with_the_most_digits_are_compared_exactly() {
        let big = price("9999999999999999999999999999");
        let small = price("0.0000000000000000000000000001");
        assert_eq!(
            compare_rise(big, small, figure("1000000")),
            Ordering::Greater
        );
        assert_eq!(compare_rise(small, big, Figure::ZERO), Ordering::Less);
        assert_eq!(compare_rise(big, big, Figure::ZERO), Ordering::Equal);
        assert_eq!(compare_rise(big, big, Figure::of_units(1)), Ordering::Less);
    }

    #[test]
    fn a_figure_is_a_plain_number_and_is_written_as_it_was_meant() {
        for (text, written) in [
            ("5", "5"),
            ("0.25", "0.25"),
            ("2.5000", "2.5"),
            ("1000000", "1000000"),
        ] {
            assert_eq!(figure(text).to_string(), written);
        }
        for text in [
            "",
            ".5",
            "5.",
            "-1",
            "+1",
            "1e3",
            "1.00001",
            "1000000.1",
            "99999999",
            "٣",
        ] {
            assert_eq!(text.parse::<Figure>(), Err(ParseFigureError), "{text}");
        }
    }

    #[test]
    fn volumes_are_compared_by_second() {
        let amount = |text| Amount::parse(text).expect("an amount");
        let (base, times) = ((amount("60"), 60), figure("3"));
        assert_eq!(
            compare_times((amount("30"), 10), base, times),
            Ordering::Equal
        );
        let less = (amount("29.99999999"), 10);
        assert_eq!(compare_times(less, base, times), Ordering::Less);
    }

    #[test]
    fn volumes_with_the_most_places_and_the_longest_times_are_compared_exactly() {
        let (day, million) = (86_400, figure("1000000"));
        let base = (Amount::from_parts(1, 0), day);
        let exact = 10_i128.pow(34);
        for (sum, expected) in [
            (exact - 1, Ordering::Less),
            (exact / 2 + 1, Ordering::Less),
            (exact + 1, Ordering::Greater),
        ] {
            let sum = Amount::from_parts(sum, SCALE_MAX);
            assert_eq!(
                compare_times((sum, day), base, million),
                expected,
                "{sum:?}"
            );
        }
        let sum = (Amount::from_parts(1_000_000, 0), day);
        assert_eq!(compare_times(sum, base, million), Ordering::Equal);
    }

    #[test]
    fn a_spread_is_compared_in_basis_points_of_the_bid() {
        let (bid, ten) = (price("20000"), figure("10"));
        assert_eq!(compare_spread(price("20020"), bid, ten), Ordering::Equal);
        let less = price("20019.9999999999");
        assert_eq!(compare_spread(less, bid, ten), Ordering::Less);
        assert_eq!(compare_spread(bid, bid, Figure::ZERO), Ordering::Equal);
        assert_eq!(
            compare_spread(bid, price("20001"), Figure::ZERO),
            Ordering::Less
        );
    }

    proptest! {
        #[test]
        fn wide_products_are_products(a in any::<u64>(), b in any::<u64>(), c in any::<u64>()) {
            prop_assert_eq!(wide(a.into(), b.into()), (0, u128::from(a) * u128::from(b)));
            // (a × b) × c by its parts.
            let ab = u128::from(a) * u128::from(b);
            let (high, low) = wide(ab, c.into());
            let (top, bottom) = (ab >> 64, ab & u128::from(u64::MAX));
            let carried = top * u128::from(c) + ((bottom * u128::from(c)) >> 64);
            prop_assert_eq!(high, carried >> 64);
            prop_assert_eq!(low, ab.wrapping_mul(c.into()));
            // Three factors, in any order.
            let product = |one: u64, other: u64, last: u64| times(wide(one.into(), other.into()), last);
            prop_assert_eq!(product(a, b, c), product(b, c, a));
            prop_assert_eq!(product(a, b, c), product(c, a, b));
        }

        #[test]
        fn small_numbers_compare_as_integers_do(a in 1_i64..1_000_000, b in 1_i64..1_000_000, units in 0_u64..2_000_000) {
            let at = |cents: i64| Price::from_parts(i128::from(cents), 2).expect("a price");
            let percent = Figure::of_units(units);
            let (a_wide, b_wide, units) = (i128::from(a), i128::from(b), i128::from(units));
            let rise = (a_wide * 1_000_000).cmp(&(b_wide * (1_000_000 + units)));
            prop_assert_eq!(compare_rise(at(a), at(b), percent), rise);
            let fall = match units <= 1_000_000 {
                true => (b_wide * (1_000_000 - units)).cmp(&(a_wide * 1_000_000)),
                false => Ordering::Less,
            };
            prop_assert_eq!(compare_fall(at(a), at(b), percent), fall);
        }
    }
}
