//! WebSocket frames as a server writes them: unmasked, so the same bytes for every client.

use bytes::Bytes;

/// A ping without payload.
pub const PING: &[u8] = &[0x89, 0];

/// The first byte of a whole message in one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind(u8);

impl Kind {
    /// Text.
    pub const TEXT: Self = Self(0x81);
    /// Binary.
    pub const BINARY: Self = Self(0x82);
    const CLOSE: Self = Self(0x88);

    /// The same, compressed (RFC 7692).
    #[must_use]
    pub fn compressed(self) -> Self {
        Self(self.0 | 0x40)
    }
}

/// Length of the header before a payload of this many bytes.
#[must_use]
pub fn header_bytes(payload_bytes: usize) -> usize {
    match payload_bytes {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// Appends a header.
pub fn put_header(frame: &mut Vec<u8>, kind: Kind, payload_bytes: usize) {
    frame.push(kind.0);
    match payload_bytes {
        0..=125 => frame.push(payload_bytes as u8),
        126..=0xffff => {
            frame.push(126);
            frame.extend_from_slice(&(payload_bytes as u16).to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
        }
    }
}

/// One frame.
#[must_use]
pub fn data(kind: Kind, payload: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(header_bytes(payload.len()) + payload.len());
    put_header(&mut frame, kind, payload.len());
    frame.extend_from_slice(payload);
    Bytes::from(frame)
}

/// A close frame; the reason is cut to the size of a control frame.
#[must_use]
pub fn close(code: u16, reason: &str) -> Bytes {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    data(Kind::CLOSE, &payload)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Cursor;

    use tokio_tungstenite::tungstenite::protocol::frame::FrameSocket;

    use super::*;

    /// The texts of uncompressed frames.
    pub(crate) fn texts(bytes: &[u8]) -> Vec<String> {
        let mut socket = FrameSocket::new(Cursor::new(bytes.to_vec()));
        let mut texts = Vec::new();
        while let Some(frame) = socket.read(None).expect("valid frames") {
            texts.push(frame.into_text().expect("UTF-8").to_string());
        }
        texts
    }

    #[test]
    fn headers_of_every_length_are_read_back() {
        for len in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            let payload = "x".repeat(len);
            let frame = data(Kind::TEXT, payload.as_bytes());
            assert_eq!(frame.len(), header_bytes(len) + len);
            assert_eq!(texts(&frame), [payload]);
        }
    }

    #[test]
    fn a_close_reason_is_cut_to_a_control_frame() {
        let frame = close(4000, &"ü".repeat(100));
        assert!(frame.len() <= 2 + 125 && frame[1] as usize == frame.len() - 2);
    }
}
