//! A client's WebSocket frames: compares our reader with the parser alone.

use arbitrary::{Result, Unstructured};
use ws_gateway::fuzz::{
    Decoded, FIN, RSV1, decode, decode_alone, edge_lengths, held_bytes_max, put_frame,
};

use crate::Form;

/// The longest message that is allowed here.
pub(crate) const BYTES_MAX: usize = 1_000;

/// Frames in any portions are read as tungstenite alone reads them. With compressed frames, they
/// are read in the same way whatever the portions, and the held bytes have a bound.
pub fn frame_decoder(data: &[u8]) {
    // How it comes, and what comes.
    let Some(([with_handshake, cut], data)) = data.split_first_chunk::<2>() else {
        return;
    };
    let with_handshake = usize::from(*with_handshake) * 3;
    let cut = match usize::from(*cut) {
        few @ 0..200 => few + 1,
        many => (many - 199) * 60,
    };
    let sent = match Form::of(data) {
        None => return,
        Some(Form::Raw(sent)) => sent.to_vec(),
        Some(Form::Made(mut u)) => stream(&mut u).unwrap_or_default(),
    };
    check(&sent, with_handshake, cut);
}

/// See [`frame_decoder`].
pub(crate) fn check(sent: &[u8], with_handshake: usize, cut: usize) {
    let plain = decode_alone(sent, BYTES_MAX);
    let decoded = decode(sent, with_handshake, cut, false, BYTES_MAX);
    assert_same(&decoded, &plain);
    let decoded = decode(sent, with_handshake, cut, true, BYTES_MAX);
    assert!(
        decoded.held_bytes_max <= held_bytes_max(with_handshake, BYTES_MAX),
        "{} bytes held",
        decoded.held_bytes_max
    );
    let is_bounded = |(_, content): &(u8, Vec<u8>)| content.len() <= BYTES_MAX;
    assert!(decoded.messages.iter().all(is_bounded));
    if has_compressed(sent) {
        assert_same(&decoded, &decode(sent, 0, usize::MAX, true, BYTES_MAX));
    } else {
        assert_same(&decoded, &plain);
    }
}

fn assert_same(left: &Decoded, right: &Decoded) {
    assert_eq!(left.messages, right.messages);
    assert_eq!(left.answers, right.answers);
    assert_eq!(left.end, right.end);
}

/// Whether a frame begins a compressed message, as the lengths lead to it.
fn has_compressed(mut sent: &[u8]) -> bool {
    while let [first, second, rest @ ..] = sent {
        if first & RSV1 != 0 && matches!(first & 0x0f, 1 | 2) {
            return true;
        }
        let length_bytes = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some((length, rest)) = rest.split_at_checked(length_bytes) else {
            return false;
        };
        let length = match length_bytes {
            0 => u64::from(second & 0x7f),
            _ => length
                .iter()
                .fold(0, |all, &byte| all << 8 | u64::from(byte)),
        };
        let mask_bytes = if second & 0x80 == 0 { 0 } else { 4 };
        let skip = usize::try_from(length.saturating_add(mask_bytes)).unwrap_or(usize::MAX);
        sent = rest.get(skip..).unwrap_or_default();
    }
    false
}

/// Frames, right and wrong.
fn stream(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut sent = Vec::new();
    for _ in 0..u.int_in_range(1..=12)? {
        if u.is_empty() {
            break;
        }
        let is_odd = u.ratio(1, 4)?;
        let first = match is_odd {
            true => u.arbitrary()?,
            false => *u.choose(&[
                0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a, 0x88, 0xc1, 0x41,
            ])?,
        };
        let payload = payload(u, first)?;
        let announced = match is_odd && u.arbitrary()? {
            true => length(u)?,
            false => payload.len() as u64,
        };
        let mask = match u.ratio(1, 16)? {
            true => None,
            false => Some(u.arbitrary()?),
        };
        put_frame(&mut sent, first, announced, u.ratio(1, 16)?, mask, &payload);
    }
    if u.ratio(1, 4)? {
        sent.truncate(u.int_in_range(0..=sent.len())?);
    }
    Ok(sent)
}

fn payload(u: &mut Unstructured<'_>, first: u8) -> Result<Vec<u8>> {
    if first & 0x0f == 8 && u.arbitrary()? {
        let code = *u.choose(&[
            0u16, 999, 1_000, 1_001, 1_004, 1_005, 1_006, 1_015, 3_000, 4_999, 5_000,
        ])?;
        return Ok([&code.to_be_bytes()[..], u.arbitrary::<&str>()?.as_bytes()].concat());
    }
    Ok(match u.int_in_range(0..=3u8)? {
        0 => vec![u.arbitrary()?; u.int_in_range(0..=BYTES_MAX + 20)?],
        1 => u.arbitrary::<&str>()?.as_bytes().to_vec(),
        2 => {
            // Text that is cut within a character.
            let text = "aß€😀".repeat(u.int_in_range(0..=20)?);
            text.as_bytes()[..u.int_in_range(0..=text.len())?].to_vec()
        }
        _ => u.arbitrary::<&[u8]>()?.to_vec(),
    })
}

fn length(u: &mut Unstructured<'_>) -> Result<u64> {
    let edges = edge_lengths(BYTES_MAX as u64);
    match u.arbitrary()? {
        true => u.arbitrary(),
        false => u.choose(&edges).copied(),
    }
}

/// The bits of a frame that is a compressed message by itself, or the first or last of one.
pub(crate) fn compressed_first(is_first: bool, is_last: bool) -> u8 {
    let begins = if is_first { RSV1 | 2 } else { 0 };
    begins | if is_last { FIN } else { 0 }
}
