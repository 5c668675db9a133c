//! The oracle of the reader: tungstenite without our reader, and a bound of held bytes.

use std::io::{self, Read, Write};

use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

use super::{Decoded, content};
use crate::connection::reader::INFLATE_BYTES;

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

/// The result of tungstenite without our reader. Messages hold at most `bytes_max`.
#[must_use]
pub fn decode_alone(sent: &[u8], bytes_max: usize) -> Decoded {
    let config = WebSocketConfig::default()
        .max_message_size(Some(bytes_max))
        .max_frame_size(Some(bytes_max));
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

/// The reader's own words for the parser's errors are written down a second time here, so that a
/// wrong one is noticed.
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

/// The most bytes that the reader may hold of a client's compressed messages, if `with_handshake`
/// bytes came at once and messages hold at most `bytes_max`.
#[must_use]
pub fn held_bytes_max(with_handshake: usize, bytes_max: usize) -> usize {
    // Vectors grow to at most twice their content: the bytes that came at once, the compressed
    // message, and the ready one.
    2 * (with_handshake.max(INFLATE_BYTES) + 2 * bytes_max + 64)
}
