//! Exact decimals as an integer mantissa and a number of decimals, written the way each venue does.

/// Appends `mantissa` × 10^-`scale`, without trailing zeros beyond `decimals_min` decimals.
///
/// Binance pads to eight decimals (`decimals_min` 8), Coinbase and OKX trim (`decimals_min` 0).
pub(crate) fn write_decimal(out: &mut String, mantissa: i128, scale: u8, decimals_min: u8) {
    if mantissa < 0 {
        out.push('-');
    }
    let divisor = 10u128.pow(u32::from(scale));
    let magnitude = mantissa.unsigned_abs();
    write_unsigned(out, magnitude / divisor);
    let mut fraction = magnitude % divisor;
    let mut decimals = scale;
    while decimals > decimals_min && fraction.is_multiple_of(10) {
        fraction /= 10;
        decimals -= 1;
    }
    let pad = decimals_min.saturating_sub(decimals);
    if decimals + pad == 0 {
        return;
    }
    out.push('.');
    let mut digits = [b'0'; 40];
    let width = usize::from(decimals);
    for digit in digits[..width].iter_mut().rev() {
        *digit = b'0' + (fraction % 10) as u8;
        fraction /= 10;
    }
    out.push_str(
        std::str::from_utf8(&digits[..width + usize::from(pad)]).expect("digits are ASCII"),
    );
}

/// [`write_decimal`] into a new string.
pub(crate) fn decimal(mantissa: i128, scale: u8, decimals_min: u8) -> String {
    let mut out = String::with_capacity(24);
    write_decimal(&mut out, mantissa, scale, decimals_min);
    out
}

/// Appends an unsigned number in decimal digits.
pub(crate) fn write_unsigned(out: &mut String, mut number: u128) {
    let mut digits = [0u8; 40];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.push_str(std::str::from_utf8(&digits[at..]).expect("digits are ASCII"));
}

/// Appends an integer.
pub(crate) fn write_int(out: &mut String, number: i64) {
    if number < 0 {
        out.push('-');
    }
    write_unsigned(out, u128::from(number.unsigned_abs()));
}

/// Reads `12.340` as mantissa 12340 and 3 decimals; `None` unless it is a plain decimal number.
pub(crate) fn parse_decimal(text: &str) -> Option<(i128, u8)> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let len = whole.len() + fraction.len();
    if len == 0 || len > 36 || fraction.len() > 18 {
        return None;
    }
    let mut mantissa: i128 = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        if !byte.is_ascii_digit() {
            return None;
        }
        mantissa = mantissa * 10 + i128::from(byte - b'0');
    }
    Some((
        if negative { -mantissa } else { mantissa },
        fraction.len() as u8,
    ))
}

/// Reads a decimal at exactly `scale` decimals; `None` if it has more, or does not fit.
pub(crate) fn parse_at(text: &str, scale: u8) -> Option<i64> {
    let (mut mantissa, mut decimals) = parse_decimal(text)?;
    while decimals > scale {
        if mantissa % 10 != 0 {
            return None;
        }
        mantissa /= 10;
        decimals -= 1;
    }
    let factor = 10i128.pow(u32::from(scale - decimals));
    i64::try_from(mantissa.checked_mul(factor)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn writes_as_the_venues_do() {
        assert_eq!(decimal(6_183_763, 2, 8), "61837.63000000");
        assert_eq!(decimal(6_183_763_000_000, 8, 8), "61837.63000000");
        assert_eq!(decimal(6_183_760_000_000, 8, 0), "61837.6");
        assert_eq!(decimal(300_000_000, 8, 0), "3");
        assert_eq!(decimal(-5, 3, 0), "-0.005");
        assert_eq!(decimal(123_456_789_012, 12, 8), "0.123456789012");
        assert_eq!(decimal(0, 16, 8), "0.00000000");
    }

    #[test]
    fn refuses_what_is_no_decimal() {
        for text in ["", ".", "-", "1e5", "1.2.3", " 1", "0x1", "١"] {
            assert_eq!(parse_decimal(text), None, "{text:?}");
        }
        assert_eq!(parse_at("0.123456789", 8), None);
        assert_eq!(parse_at("0.1234567800", 8), Some(12_345_678));
        assert_eq!(parse_at("99999999999999999999", 8), None);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(mantissa in any::<i64>(), scale in 0u8..12, pad in 0u8..12) {
            let text = decimal(i128::from(mantissa), scale, pad);
            prop_assert_eq!(parse_at(&text, scale), Some(mantissa));
        }
    }
}
