//! The header of a client's frame (RFC 6455, 5.2), taken byte by byte as it comes.

/// The bit of the second byte that says that a mask follows the length.
pub(super) const MASKED: u8 = 0x80;
const MASK_BYTES: u8 = 4;

/// The part of a header to which the next byte belongs. A few bytes, because each idle connection
/// has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum HeaderPart {
    #[default]
    Opcode,
    ShortLength,
    /// One of so many bytes.
    LongLength {
        left: u8,
        is_masked: bool,
    },
    /// One of so many bytes.
    Mask {
        left: u8,
    },
}

impl HeaderPart {
    /// Takes the next byte. True if it is the header's last one. Then `length` is the length of the
    /// payload, which the client chose: add nothing to it without a check.
    pub(super) fn take(&mut self, byte: u8, length: &mut u64) -> bool {
        let (left, is_masked) = match *self {
            Self::Opcode => {
                *self = Self::ShortLength;
                return false;
            }
            Self::ShortLength => {
                let (short, left) = match byte & !MASKED {
                    126 => (0, 2),
                    127 => (0, 8),
                    short => (short, 0),
                };
                *length = u64::from(short);
                (left, byte & MASKED != 0)
            }
            Self::LongLength { left, is_masked } => {
                *length = *length << 8 | u64::from(byte);
                (left - 1, is_masked)
            }
            Self::Mask { left } => {
                *self = match left {
                    1 => Self::Opcode,
                    left => Self::Mask { left: left - 1 },
                };
                return left == 1;
            }
        };
        *self = match (left, is_masked) {
            (0, false) => Self::Opcode,
            (0, true) => Self::Mask { left: MASK_BYTES },
            (left, is_masked) => Self::LongLength { left, is_masked },
        };
        *self == Self::Opcode
    }
}
