//! Quotients and differences of exact decimals, as texts.

/// A decimal number: the mantissa, and how many of its digits stand behind the point.
pub type Parts = (i128, u32);

/// `a - b`; `None` if it has too many digits.
pub fn difference((a, a_scale): Parts, (b, b_scale): Parts) -> Option<Parts> {
    let scale = a_scale.max(b_scale);
    let a = widened(a, scale - a_scale)?;
    let b = widened(b, scale - b_scale)?;
    Some((a.checked_sub(b)?, scale))
}

/// `a / b` with so many digits behind the point, the rest cut off; `None` if `b` is 0 or the number
/// has too many digits.
pub fn quotient((a, a_scale): Parts, (b, b_scale): Parts, digits: u32) -> Option<Parts> {
    let scale = a_scale.max(b_scale);
    let a = widened(a, scale - a_scale)?;
    let b = widened(b, scale - b_scale)?;
    let mut result = a.checked_div(b)?;
    let mut rest = a.checked_rem(b)?;
    for _ in 0..digits {
        rest = rest.checked_mul(10)?;
        result = result.checked_mul(10)?.checked_add(rest.checked_div(b)?)?;
        rest = rest.checked_rem(b)?;
    }
    Some((result, digits))
}

/// With all digits behind the point, also if they are zeros.
pub fn text((mantissa, scale): Parts) -> String {
    let digits = mantissa.unsigned_abs().to_string();
    let scale = scale as usize;
    let sign = if mantissa < 0 { "-" } else { "" };
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

/// The smallest number with so many digits behind the point: `0.01`.
pub fn step(scale: u32) -> String {
    text((1, scale))
}

fn widened(mantissa: i128, digits: u32) -> Option<i128> {
    mantissa.checked_mul(10i128.checked_pow(digits)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_and_differences_are_exact_or_none() {
        let check = |parts: Option<Parts>, expected: &str| {
            assert_eq!(parts.map(text).as_deref(), Some(expected));
        };
        check(quotient((1, 0), (3, 0), 8), "0.33333333");
        check(quotient((-1, 0), (8, 0), 3), "-0.125");
        check(quotient((12_367_526, 4), (2, 2), 8), "61837.63000000");
        check(difference((15, 1), (1_625, 3)), "-0.125");
        check(difference((5, 0), (5, 0)), "0");
        assert_eq!(quotient((1, 0), (0, 0), 8), None);
        assert_eq!(quotient((i128::MAX, 0), (1, 30), 8), None);
        assert_eq!(difference((i128::MIN, 0), (1, 0)), None);
        assert_eq!((step(0), step(2)), ("1".to_owned(), "0.01".to_owned()));
    }
}
