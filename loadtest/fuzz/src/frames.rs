//! A client's WebSocket frames: compares our reader with the parser alone.

use std::io::{self, Read, Write};

use arbitrary::{Result, Unstructured};
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Message};
use ws_gateway::fuzz::{Decoded, decode};

use crate::Form;

/// The longest message that is allowed here.
pub(crate) const BYTES_MAX: usize = 1_000;
/// Bytes per read from clients that may compress.
const READ_BYTES: usize = 2_048;
const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;

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
    let plain = decode_alone(sent);
    let decoded = decode(sent, with_handshake, cut, false, BYTES_MAX);
    assert_same(&decoded, &plain);
    let decoded = decode(sent, with_handshake, cut, true, BYTES_MAX);
    // Vectors grow to at most twice their content: the bytes that came at once, the compressed
    // message, and the ready one.
    let held_bytes_max = 2 * (with_handshake.max(READ_BYTES) + 2 * BYTES_MAX + 64);
    assert!(
        decoded.held_bytes_max <= held_bytes_max,
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

/// A client's bytes, and the bytes written in answer.
struct Stream<'a> {
    sent: &'a [u8],
    answers: Vec<u8>,
}

impl Read for Stream<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.sent.read(bytes)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.answers.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The result of tungstenite without our reader.
fn decode_alone(sent: &[u8]) -> Decoded {
    let config = WebSocketConfig::default()
        .max_message_size(Some(BYTES_MAX))
        .max_frame_size(Some(BYTES_MAX));
    let mut context = WebSocketContext::new(Role::Server, Some(config));
    let mut stream = Stream {
        sent,
        answers: Vec::new(),
    };
    let mut messages = Vec::new();
    let end = loop {
        match context.read(&mut stream) {
            Ok(message) => messages.push(content(message)),
            Err(error) => break end(&error),
        }
    };
    Decoded {
        messages,
        answers: stream.answers,
        end,
        held_bytes_max: 0,
    }
}

fn end(error: &Error) -> &'static str {
    match error {
        Error::Io(_)
        | Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => "Ended",
        Error::Capacity(CapacityError::MessageTooLong { .. }) => "TooBig",
        Error::Utf8(_) => "InvalidUtf8",
        _ => "Malformed",
    }
}

fn content(message: Message) -> (u8, Vec<u8>) {
    match message {
        Message::Text(text) => (1, text.as_bytes().to_vec()),
        Message::Binary(bytes) => (2, bytes.to_vec()),
        Message::Close(None) => (8, Vec::new()),
        Message::Close(Some(close)) => {
            let code = u16::from(close.code).to_be_bytes();
            (8, [&code[..], close.reason.as_bytes()].concat())
        }
        Message::Ping(bytes) => (9, bytes.to_vec()),
        Message::Pong(bytes) => (10, bytes.to_vec()),
        Message::Frame(frame) => (15, frame.into_payload().to_vec()),
    }
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
    let edges = [
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
        u64::MAX - BYTES_MAX as u64,
        u64::MAX,
    ];
    match u.arbitrary()? {
        true => u.arbitrary(),
        false => u.choose(&edges).copied(),
    }
}

/// Appends a frame; `is_wide` says that its length takes 64 bits however short it is.
pub(crate) fn put_frame(
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

/// The bits of a frame that is a compressed message by itself, or the first or last of one.
pub(crate) fn compressed_first(is_first: bool, is_last: bool) -> u8 {
    let begins = if is_first { RSV1 | 2 } else { 0 };
    begins | if is_last { FIN } else { 0 }
}
