//! A minimal implementation of WebSocket frames for a load client and a bare sender.

/// Opcode of a close frame.
pub(crate) const CLOSE: u8 = 8;
/// Opcode of a ping.
pub(crate) const PING: u8 = 9;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const PONG: u8 = 10;

/// A frame from a server: the position of its payload in the parsed bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    /// Opcode: 0 to 2 are data.
    pub(crate) opcode: u8,
    /// Where the payload begins, bytes.
    pub(crate) payload_start: usize,
    /// Where the frame ends, bytes.
    pub(crate) end: usize,
}

impl Frame {
    /// Whether it carries data.
    pub(crate) fn is_data(self) -> bool {
        self.opcode <= BINARY
    }
}

/// The frame at `start`, if it is complete.
pub(crate) fn parse(bytes: &[u8], start: usize) -> Option<Frame> {
    let header = bytes.get(start..)?;
    let (opcode, length) = (header.first()? & 0x0f, header.get(1)? & 0x7f);
    let is_masked = header[1] & 0x80 != 0;
    let (length_bytes, payload_bytes) = match length {
        126 => {
            let length = header.get(2..4)?;
            (2, u64::from(u16::from_be_bytes([length[0], length[1]])))
        }
        127 => {
            let length: [u8; 8] = header.get(2..10)?.try_into().expect("eight bytes");
            (8, u64::from_be_bytes(length))
        }
        length => (0, u64::from(length)),
    };
    let payload_start = start + 2 + length_bytes + if is_masked { 4 } else { 0 };
    let end = payload_start.checked_add(usize::try_from(payload_bytes).ok()?)?;
    (end <= bytes.len()).then_some(Frame {
        opcode,
        payload_start,
        end,
    })
}

fn put(out: &mut Vec<u8>, opcode: u8, mask: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    match payload.len() {
        length @ 0..=125 => out.push(mask | length as u8),
        length @ 126..=0xffff => {
            out.push(mask | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(mask | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    if mask != 0 {
        // A mask of zeros does not change the payload.
        out.extend_from_slice(&[0; 4]);
    }
    out.extend_from_slice(payload);
}

/// Appends a text frame as a server sends it.
pub(crate) fn put_server_text(out: &mut Vec<u8>, payload: &[u8]) {
    put(out, TEXT, 0, payload);
}

/// Appends a binary frame as a client sends it.
pub(crate) fn put_client_binary(out: &mut Vec<u8>, payload: &[u8]) {
    put(out, BINARY, 0x80, payload);
}

/// Appends a pong as a client sends it.
pub(crate) fn put_client_pong(out: &mut Vec<u8>, payload: &[u8]) {
    put(out, PONG, 0x80, payload);
}

/// A text frame as a client sends it.
pub(crate) fn client_text(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    put(&mut frame, TEXT, 0x80, payload);
    frame
}

/// A ping as a client sends it.
pub(crate) fn client_ping() -> Vec<u8> {
    let mut frame = Vec::new();
    put(&mut frame, PING, 0x80, b"");
    frame
}

/// An empty fragment of a text message from a client: the first one, or a continuation.
pub(crate) fn client_fragment(is_first: bool) -> Vec<u8> {
    vec![u8::from(is_first) * TEXT, 0x80, 0, 0, 0, 0]
}

/// A client's request to open `path`.
pub(crate) fn handshake_request(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// Where an HTTP head ends, bytes.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_are_found_whole_wherever_the_bytes_are_cut(
            lengths in prop::collection::vec(prop_oneof![0usize..200, 65_500usize..65_600], 1..8),
            cut in any::<prop::sample::Index>(),
            is_client in any::<bool>(),
        ) {
            let mut bytes = Vec::new();
            let mut ends = Vec::new();
            for (index, length) in lengths.iter().enumerate() {
                let payload = vec![index as u8; *length];
                match is_client {
                    true => put_client_binary(&mut bytes, &payload),
                    false => put_server_text(&mut bytes, &payload),
                }
                ends.push(bytes.len());
            }
            let cut = cut.index(bytes.len() + 1);
            let mut at = 0;
            let mut found = Vec::new();
            while let Some(frame) = parse(&bytes[..cut], at) {
                let payload = &bytes[frame.payload_start..frame.end];
                prop_assert!(frame.is_data());
                prop_assert_eq!(payload.len(), lengths[found.len()]);
                prop_assert!(payload.iter().all(|byte| usize::from(*byte) == found.len()));
                at = frame.end;
                found.push(at);
            }
            let whole: Vec<usize> = ends.into_iter().filter(|end| *end <= cut).collect();
            prop_assert_eq!(found, whole);
        }

        #[test]
        fn any_bytes_are_parsed_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes, 0);
        }
    }

    #[test]
    fn frames_are_those_of_the_library() {
        use tokio_tungstenite::tungstenite::protocol::frame::FrameSocket;
        for length in [0, 125, 126, 65_535, 65_536] {
            let mut bytes = Vec::new();
            put_server_text(&mut bytes, &vec![b'x'; length]);
            let mut socket = FrameSocket::new(std::io::Cursor::new(bytes));
            let frame = socket.read(None).expect("valid").expect("one frame");
            assert_eq!(frame.payload().len(), length);
        }
    }

    #[test]
    fn a_clients_frames_are_masked_and_whole() {
        for frame in [
            client_text(b"{}"),
            client_ping(),
            client_fragment(true),
            client_fragment(false),
        ] {
            assert_eq!(frame[1] & 0x80, 0x80);
            assert_eq!(parse(&frame, 0).map(|parsed| parsed.end), Some(frame.len()));
        }
        assert_eq!(client_fragment(true)[0], TEXT);
        assert_eq!(client_fragment(false)[0], 0);
    }
}
