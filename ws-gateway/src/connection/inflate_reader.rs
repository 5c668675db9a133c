//! The input of a client that may compress: compressed messages are replaced by their content, so
//! that the protocol parser sees a connection without the extension. The parser handles everything
//! else, including all errors.
//!
//! One compressed message is decompressed at a time, and the next one only after the parser has
//! taken it completely: a few bytes can contain many messages of the maximum length.
//!
//! An idle connection needs a few bytes here: no window, no buffer.

use crate::connection::frame_header::{HeaderPart, MASKED};
use client_frames::encode::deflate::{InflateError, inflate};

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_RSV3: u8 = 0x30;
const CONTROL: u8 = 0x08;
const OPCODE: u8 = 0x0f;
/// Two bytes, a length of eight, and a mask of four.
const HEADER_BYTES_MAX: usize = 14;
/// The top bit of a length must be 0 (RFC 6455, 5.2).
const PAYLOAD_BYTES_MAX: u64 = u64::MAX >> 1;

/// Why a message is not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// The message, or one of its frames, is longer than allowed.
    #[error("the message is too big")]
    TooBig,
    /// It violates the protocol.
    #[error("the message is malformed")]
    Malformed,
}

impl From<InflateError> for Refused {
    fn from(error: InflateError) -> Self {
        match error {
            InflateError::TooBig => Self::TooBig,
            InflateError::Malformed => Self::Malformed,
        }
    }
}

/// The state between two reads.
#[derive(Debug)]
pub(crate) struct InflateReader {
    header: [u8; HEADER_BYTES_MAX],
    header_len: u8,
    /// The frame whose payload is being received.
    frame: Frame,
    /// The compressed message that has begun.
    message: Option<Message>,
    /// Bytes of the client that wait until the parser has read the ready ones.
    raw: Vec<u8>,
    /// The bytes that the parser has not read yet, from `taken` on.
    ready: Vec<u8>,
    taken: usize,
    /// Why no more bytes are accepted.
    refused: Option<Refused>,
    bytes_max: usize,
}

#[derive(Clone, Copy, Debug)]
enum Frame {
    /// None: its header comes. `length` is the known part of the payload's length.
    Header { part: HeaderPart, length: u64 },
    /// It goes to the parser unchanged.
    Passed { rest: u64 },
    /// It is a part of the compressed message.
    Kept {
        rest: u64,
        mask: [u8; 4],
        at: u8,
        is_last: bool,
    },
}

impl Frame {
    /// Before the first byte of a header.
    const NONE: Self = Self::Header {
        part: HeaderPart::Opcode,
        length: 0,
    };
}

#[derive(Debug)]
struct Message {
    opcode: u8,
    deflated: Vec<u8>,
}

impl InflateReader {
    /// Accepts messages of at most `bytes_max`, compressed and decompressed.
    #[must_use]
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            header: [0; HEADER_BYTES_MAX],
            header_len: 0,
            frame: Frame::NONE,
            message: None,
            raw: Vec::new(),
            ready: Vec::new(),
            taken: 0,
            refused: None,
            bytes_max,
        }
    }

    /// Moves bytes for the parser to `out`, and returns their number; 0 if it needs more of the
    /// client's bytes.
    ///
    /// # Errors
    /// See [`Refused`]: the connection must be closed. Everything before the error is moved first.
    pub(crate) fn take(&mut self, out: &mut [u8]) -> Result<usize, Refused> {
        if self.ready.is_empty() && !self.raw.is_empty() {
            let mut raw = std::mem::take(&mut self.raw);
            raw.drain(..self.parse_some(&raw));
            if !raw.is_empty() {
                self.raw = raw;
            }
        }
        let rest = &self.ready[self.taken..];
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        self.taken += count;
        if self.taken == self.ready.len() {
            self.ready = Vec::new();
            self.taken = 0;
        }
        match self.refused {
            Some(refused) if count == 0 => Err(refused),
            _ => Ok(count),
        }
    }

    /// Takes bytes of the client.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let parsed = if self.ready.is_empty() && self.raw.is_empty() {
            self.parse_some(bytes)
        } else {
            0
        };
        self.raw.extend_from_slice(&bytes[parsed..]);
    }

    /// Bytes of messages that it holds, ready or not.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn held_bytes(&self) -> usize {
        let deflated = self.message.as_ref().map_or(0, |it| it.deflated.capacity());
        self.raw.capacity() + self.ready.capacity() + deflated
    }

    /// Parses bytes up to the end of a compressed message, and returns their number. After a
    /// refusal, the rest of the connection is not used.
    fn parse_some(&mut self, bytes: &[u8]) -> usize {
        if self.refused.is_some() {
            return bytes.len();
        }
        match self.parse(bytes) {
            Ok(rest) => bytes.len() - rest.len(),
            Err(refused) => {
                self.refused = Some(refused);
                bytes.len()
            }
        }
    }

    /// Parses bytes up to the end of a compressed message, and returns the remaining ones.
    fn parse<'a>(&mut self, mut bytes: &'a [u8]) -> Result<&'a [u8], Refused> {
        loop {
            match &mut self.frame {
                Frame::Header { part, length } => {
                    let Some((&byte, rest)) = bytes.split_first() else {
                        return Ok(bytes);
                    };
                    bytes = rest;
                    self.header[usize::from(self.header_len)] = byte;
                    self.header_len += 1;
                    if part.take(byte, length) {
                        let payload_bytes = *length;
                        self.begin(payload_bytes)?;
                    }
                }
                Frame::Passed { rest } => {
                    let count = portion(*rest, bytes);
                    *rest -= count as u64;
                    let is_whole = *rest == 0;
                    self.ready.extend_from_slice(&bytes[..count]);
                    bytes = &bytes[count..];
                    if is_whole {
                        self.frame = Frame::NONE;
                    } else if bytes.is_empty() {
                        return Ok(bytes);
                    }
                }
                Frame::Kept {
                    rest,
                    mask,
                    at,
                    is_last,
                } => {
                    let count = portion(*rest, bytes);
                    *rest -= count as u64;
                    let (is_whole, is_last) = (*rest == 0, *is_last);
                    let message = self.message.as_mut().expect("a part of it comes");
                    message.deflated.extend(bytes[..count].iter().map(|byte| {
                        let byte = byte ^ mask[usize::from(*at)];
                        *at = (*at + 1) % 4;
                        byte
                    }));
                    bytes = &bytes[count..];
                    if is_whole {
                        self.frame = Frame::NONE;
                        if is_last {
                            self.end_message()?;
                            return Ok(bytes);
                        }
                    } else if bytes.is_empty() {
                        return Ok(bytes);
                    }
                }
            }
        }
    }

    /// Begins the frame whose header is complete.
    fn begin(&mut self, payload_bytes: u64) -> Result<(), Refused> {
        let header = &self.header[..usize::from(self.header_len)];
        let (first, opcode) = (header[0], header[0] & OPCODE);
        self.header_len = 0;
        let begins = first & RSV1 != 0 && matches!(opcode, 1 | 2);
        let is_part = self.message.is_some() && opcode & CONTROL == 0;
        if !begins && !is_part {
            self.ready.extend_from_slice(header);
            self.frame = Frame::Passed {
                rest: payload_bytes,
            };
            return Ok(());
        }
        let reserved = if is_part { RSV1 | RSV2_RSV3 } else { RSV2_RSV3 };
        let is_wrong = header[1] & MASKED == 0
            || first & reserved != 0
            || (is_part && opcode != 0)
            || payload_bytes > PAYLOAD_BYTES_MAX;
        if is_wrong {
            return Err(Refused::Malformed);
        }
        let mask = header[header.len() - 4..].try_into().expect("four bytes");
        let message = self.message.get_or_insert_with(|| Message {
            opcode,
            deflated: Vec::new(),
        });
        // The client chose this length: add nothing to it without a check.
        let room = self.bytes_max.saturating_sub(message.deflated.len());
        if payload_bytes > room as u64 {
            return Err(Refused::TooBig);
        }
        self.frame = Frame::Kept {
            rest: payload_bytes,
            mask,
            at: 0,
            is_last: first & FIN != 0,
        };
        Ok(())
    }

    /// Passes the message's content to the parser, as one frame.
    fn end_message(&mut self) -> Result<(), Refused> {
        let Message { opcode, deflated } = self.message.take().expect("it has come");
        let payload = inflate(&deflated, self.bytes_max)?;
        self.ready.push(FIN | opcode);
        match payload.len() {
            len @ 0..=125 => self.ready.push(MASKED | len as u8),
            len @ 126..=0xffff => {
                self.ready.push(MASKED | 126);
                self.ready.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                self.ready.push(MASKED | 127);
                self.ready.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        // A mask of zeros does not change the payload.
        self.ready.extend_from_slice(&[0; 4]);
        self.ready.extend_from_slice(&payload);
        Ok(())
    }
}

fn portion(rest: u64, bytes: &[u8]) -> usize {
    usize::try_from(rest).map_or(bytes.len(), |rest| rest.min(bytes.len()))
}

#[cfg(test)]
mod tests;
