//! Frames as clients send them, right or wrong.

/// The bit of a message's last frame.
pub const FIN: u8 = 0x80;
/// The bit of a compressed message's first frame.
pub const RSV1: u8 = 0x40;

/// The lengths at which a reader's arithmetic may go wrong, if messages have at most `bytes_max`.
#[must_use]
pub fn edge_lengths(bytes_max: u64) -> [u64; 13] {
    [
        0,
        125,
        126,
        127,
        0xffff,
        0x1_0000,
        u64::from(u32::MAX),
        1 << 62,
        (1 << 63) - 1,
        1 << 63,
        u64::MAX - bytes_max,
        u64::MAX - 1,
        u64::MAX,
    ]
}

/// Appends a frame that announces a payload of `announced` bytes; `is_wide` says that its length
/// takes 64 bits however short it is.
pub fn put_frame(
    out: &mut Vec<u8>,
    first: u8,
    announced: u64,
    is_wide: bool,
    mask: Option<[u8; 4]>,
    payload: &[u8],
) {
    out.push(first);
    let mask_bit = if mask.is_some() { 0x80 } else { 0 };
    match announced {
        0..126 if !is_wide => out.push(mask_bit | announced as u8),
        126..0x1_0000 if !is_wide => {
            out.push(mask_bit | 126);
            out.extend_from_slice(&(announced as u16).to_be_bytes());
        }
        _ => {
            out.push(mask_bit | 127);
            out.extend_from_slice(&announced.to_be_bytes());
        }
    }
    out.extend_from_slice(mask.as_ref().map_or(&[][..], |mask| mask));
    let mask = mask.unwrap_or_default();
    let masked = payload.iter().zip(mask.iter().cycle());
    out.extend(masked.map(|(byte, mask)| byte ^ mask));
}
