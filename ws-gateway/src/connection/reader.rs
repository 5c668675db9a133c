//! The reading side of a connection: makes messages from a socket's bytes. It never waits.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;

use std::io;
use std::time::Instant;

use bytes::Bytes;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::connection::frame_rate_limit::FrameRateLimit;
use crate::connection::inflate_reader::{InflateReader, Refused};
use crate::sessions::outlet::Sent;

/// Bytes read at a time, and the parser's buffer between messages.
const READ_BUFFER_BYTES: usize = 512;
/// Bytes per read from clients that may compress: on the stack.
const INFLATE_BYTES: usize = 2_048;

/// A connection, as its reader sees it: neither call waits.
pub(crate) trait Wire {
    /// Reads some bytes; 0 at the connection's end.
    ///
    /// # Errors
    /// As a socket's read; `WouldBlock` if there are none.
    fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize>;
    /// Sends a control frame, after the rest of the frame in progress.
    fn send_control(&self, frame: Bytes) -> Sent;
}

/// Why there is no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoMessage {
    /// None has come yet.
    Yet,
    /// No message is complete, more bytes have come, and it is the turn of others.
    Turn,
    /// More frames come than the message rate allows for.
    TooMany,
    /// The connection is broken or at its end.
    Ended,
    /// It is longer than allowed.
    TooBig,
    /// Its text is not UTF-8.
    InvalidUtf8,
    /// It violates the protocol.
    Malformed,
}

/// The bytes of a connection that are not a message yet.
#[derive(Debug)]
pub(crate) struct Reader {
    context: WebSocketContext,
    frame_rate: FrameRateLimit,
    /// Only for clients that may compress.
    inflate: Option<Box<InflateReader>>,
}

impl Reader {
    /// Begins with the bytes that came with the handshake. Messages and frames have at most
    /// `bytes_max`, and `frame_rate` limits their number.
    #[must_use]
    pub(crate) fn new(
        leftover: Vec<u8>,
        bytes_max: usize,
        may_compress: bool,
        mut frame_rate: FrameRateLimit,
    ) -> Self {
        frame_rate.take(&leftover, Instant::now());
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(bytes_max))
            .max_frame_size(Some(bytes_max));
        let (leftover, inflate) = if may_compress {
            let mut inflate = Box::new(InflateReader::new(bytes_max));
            inflate.feed(&leftover);
            (Vec::new(), Some(inflate))
        } else {
            (leftover, None)
        };
        Self {
            context: WebSocketContext::from_partially_read(leftover, Role::Server, Some(config)),
            frame_rate,
            inflate,
        }
    }

    /// The next message of a connection, or why there is none. It answers pings and closes.
    ///
    /// # Errors
    /// See [`NoMessage`].
    pub(crate) fn read(&mut self, wire: &impl Wire) -> Result<Message, NoMessage> {
        let mut port = Port {
            wire,
            frame_rate: &mut self.frame_rate,
            inflate: self.inflate.as_deref_mut(),
        };
        match self.context.read(&mut port).map_err(|error| reason(&error)) {
            Err(NoMessage::Yet) if self.frame_rate.is_over() => Err(NoMessage::TooMany),
            Err(NoMessage::Yet) if self.frame_rate.ends_turn() => Err(NoMessage::Turn),
            read => read,
        }
    }

    /// Bytes that it holds of compressed messages, and of the data that came with them.
    #[cfg(any(test, feature = "fuzzing"))]
    fn held_bytes(&self) -> usize {
        self.inflate.as_deref().map_or(0, InflateReader::held_bytes)
    }
}

fn reason(error: &WsError) -> NoMessage {
    match error {
        WsError::Io(error) if error.kind() == io::ErrorKind::WouldBlock => NoMessage::Yet,
        WsError::Io(error) => match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(Refused::TooBig) => NoMessage::TooBig,
            Some(Refused::Malformed) => NoMessage::Malformed,
            None => NoMessage::Ended,
        },
        WsError::Capacity(CapacityError::MessageTooLong { .. }) => NoMessage::TooBig,
        WsError::Utf8(_) => NoMessage::InvalidUtf8,
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake)
        | WsError::ConnectionClosed
        | WsError::AlreadyClosed => NoMessage::Ended,
        _ => NoMessage::Malformed,
    }
}

/// The parser's reader and writer. It writes whole control frames, which go through the write
/// buffer.
struct Port<'a, W> {
    wire: &'a W,
    frame_rate: &'a mut FrameRateLimit,
    inflate: Option<&'a mut InflateReader>,
}

impl<W: Wire> Port<'_, W> {
    /// Returns `WouldBlock` once the read budget is spent: the parser stops for nothing else.
    fn try_read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if !self.frame_rate.may_read() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.wire.try_read(bytes)?;
        self.frame_rate.take(&bytes[..count], Instant::now());
        Ok(count)
    }
}

impl<W: Wire> io::Read for Port<'_, W> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(inflate) = &mut self.inflate else {
                return self.try_read(bytes);
            };
            let count = inflate.take(bytes).map_err(io::Error::other)?;
            if count > 0 {
                return Ok(count);
            }
            let mut buffer = [0; INFLATE_BYTES];
            let count = self.try_read(&mut buffer)?;
            if count == 0 {
                return Ok(0);
            }
            if let Some(inflate) = &mut self.inflate {
                inflate.feed(&buffer[..count]);
            }
        }
    }
}

impl<W: Wire> io::Write for Port<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.wire.send_control(Bytes::copy_from_slice(bytes)) {
            Sent::Closed => Err(io::ErrorKind::BrokenPipe.into()),
            _ => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
