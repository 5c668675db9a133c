//! The format `RowBinary`: the values of a row one after another, without names.

use market_core::Amount;

/// Decimal places of every decimal column.
const SCALE: u32 = 18;
/// `Decimal(38, 18)` holds 38 digits.
const MANTISSA_MAX: i128 = 10i128.pow(38) - 1;

/// Appends a text: its length in groups of seven bits, and its bytes.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends how many bytes or values follow.
pub(super) fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// Appends what may be missing.
pub(super) fn put_some<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        Some(value) => {
            out.push(0);
            put(out, value);
        }
        None => out.push(1),
    }
}

/// Appends a decimal of `mantissa / 10^scale`. False if the column cannot hold it exactly; then the
/// nearest value towards zero is there.
pub(super) fn put_decimal(out: &mut Vec<u8>, (mantissa, scale): (i128, u32)) -> bool {
    let (value, is_exact) = match SCALE.checked_sub(scale) {
        Some(more) => match 10i128
            .checked_pow(more)
            .and_then(|by| mantissa.checked_mul(by))
        {
            Some(value) if value.unsigned_abs() <= MANTISSA_MAX.unsigned_abs() => (value, true),
            _ => (MANTISSA_MAX, false),
        },
        None => {
            let by = 10i128.checked_pow(scale - SCALE);
            (by.map_or(0, |by| mantissa / by).min(MANTISSA_MAX), false)
        }
    };
    out.extend(value.to_le_bytes());
    is_exact
}

/// Reads values. Each is `None` behind the end.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.take().map(i64::from_le_bytes)
    }

    /// A decimal without its trailing zeros.
    pub(super) fn decimal(&mut self) -> Option<(i128, u32)> {
        let value = self.take().map(i128::from_le_bytes)?;
        Some(Amount::from_parts(value, SCALE).parts())
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        let (bytes, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(bytes)
    }

    /// How many bytes or values follow.
    pub(super) fn length(&mut self) -> Option<usize> {
        let mut length = 0usize;
        for shift in (0..35).step_by(7) {
            let byte = self.u8()?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(length);
            }
        }
        None
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// What may be missing.
    pub(super) fn some<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.u8()? {
            0 => read(self).map(Some),
            _ => Some(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_said_to_be_not() {
        for (parts, is_exact) in [
            ((15, 1), true),
            ((1, 18), true),
            ((0, 0), true),
            ((99_999_999_999_999_999_999, 0), true),
            ((100_000_000_000_000_000_000, 0), false),
            ((1, 19), false),
            ((i128::MAX, 0), false),
            ((i128::MAX, 56), false),
        ] {
            let mut bytes = Vec::new();
            assert_eq!(put_decimal(&mut bytes, parts), is_exact, "{parts:?}");
            let read = Reader::new(&bytes).decimal().expect("16 bytes");
            assert_eq!(read == parts, is_exact, "{parts:?}");
        }
    }

    #[test]
    fn texts_of_any_length_are_read_back_and_torn_ones_are_not() {
        for length in [0, 1, 127, 128, 300, 20_000] {
            let text = "x".repeat(length);
            let mut bytes = Vec::new();
            put_text(&mut bytes, &text);
            assert_eq!(Reader::new(&bytes).text(), Some(text.as_str()));
            bytes.pop();
            assert_eq!(Reader::new(&bytes).text(), None);
        }
        assert_eq!(Reader::new(&[0xff; 12]).bytes(), None);
    }
}
