//! The frame path without a socket, for property tests and fuzzers.

mod client_frame;
mod parser_alone;

use std::cell::{Cell, RefCell};
use std::io;
use std::time::Instant;

use bytes::Bytes;
use tokio_tungstenite::tungstenite::Message;

pub use client_frame::{FIN, RSV1, edge_lengths, put_frame};
pub use parser_alone::{decode_alone, held_bytes_max};

use super::{NoMessage, Reader, Wire};
use crate::connection::frame_rate_limit::FrameRateLimit;
use crate::sessions::outlet::Sent;

/// What was made of a client's bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// Opcode and content of each message and control frame, in order.
    pub messages: Vec<(u8, Vec<u8>)>,
    /// The control frames that were sent in answer.
    pub answers: Vec<u8>,
    /// Why there was no further one: `Ended`, or what was wrong.
    pub end: &'static str,
    /// The most bytes that were held of compressed messages, and of what came with them.
    pub held_bytes_max: usize,
}

/// A client that sends some bytes, a few at a time, and then nothing more.
struct Script<'a> {
    rest: Cell<&'a [u8]>,
    cut: usize,
    answers: RefCell<Vec<u8>>,
}

impl Wire for Script<'_> {
    fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let rest = self.rest.get();
        let count = self.cut.min(rest.len()).min(bytes.len());
        let (now, later) = rest.split_at(count);
        bytes[..count].copy_from_slice(now);
        self.rest.set(later);
        Ok(count)
    }

    fn send_control(&self, frame: Bytes) -> Sent {
        self.answers.borrow_mut().extend_from_slice(&frame);
        Sent::Written
    }
}

/// Decodes what a client sends: `with_handshake` bytes of it come with its handshake, the rest
/// `cut` bytes at a time. Messages hold at most `bytes_max`.
#[must_use]
pub fn decode(
    sent: &[u8],
    with_handshake: usize,
    cut: usize,
    may_compress: bool,
    bytes_max: usize,
) -> Decoded {
    let (leftover, rest) = sent.split_at(with_handshake.min(sent.len()));
    let script = Script {
        rest: Cell::new(rest),
        cut: cut.max(1),
        answers: RefCell::default(),
    };
    let frame_rate = FrameRateLimit::new(0, 0, Instant::now());
    let mut reader = Reader::new(leftover.to_vec(), bytes_max, may_compress, frame_rate);
    let mut messages = Vec::new();
    let mut held_bytes_max = reader.held_bytes();
    let end = loop {
        let read = reader.read(&script);
        held_bytes_max = held_bytes_max.max(reader.held_bytes());
        match read {
            Ok(message) => messages.push(content(message)),
            Err(NoMessage::Turn) => {}
            Err(NoMessage::Yet) => break "Yet",
            Err(NoMessage::TooMany) => break "TooMany",
            Err(NoMessage::Ended) => break "Ended",
            Err(NoMessage::TooBig) => break "TooBig",
            Err(NoMessage::InvalidUtf8) => break "InvalidUtf8",
            Err(NoMessage::Malformed) => break "Malformed",
        }
    };
    Decoded {
        messages,
        answers: script.answers.into_inner(),
        end,
        held_bytes_max,
    }
}

/// A message as its opcode and content.
fn content(message: Message) -> (u8, Vec<u8>) {
    let opcode = match &message {
        Message::Text(_) => 1,
        Message::Binary(_) => 2,
        Message::Close(_) => 8,
        Message::Ping(_) => 9,
        Message::Pong(_) => 10,
        Message::Frame(_) => 15,
    };
    let content = match message {
        Message::Close(Some(close)) => {
            let code = u16::from(close.code).to_be_bytes();
            [&code[..], close.reason.as_bytes()].concat()
        }
        message => message.into_data().to_vec(),
    };
    (opcode, content)
}
