//! The reading side of a connection: bytes of the socket to messages. It never waits.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;

use std::io;
use std::time::Instant;

use bytes::Bytes;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::connection::inflow::{Inflow, Refused};
use crate::connection::intake::Intake;
use crate::sessions::outlet::Sent;

/// Bytes read at a time, and the parser's buffer between messages.
const READ_BUFFER_BYTES: usize = 512;
/// Bytes read at a time from those who may compress: on the stack.
const INFLOW_BYTES: usize = 2_048;

/// A connection as its reader sees it: neither call waits.
pub(crate) trait Wire {
    /// Reads some bytes; none at the connection's end.
    ///
    /// # Errors
    /// As a socket's read; `WouldBlock` if none have come.
    fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize>;
    /// Sends a control frame, behind what is unsent of the frame in progress.
    fn send_control(&self, frame: Bytes) -> Sent;
}

/// Why there is no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoMessage {
    /// None has come yet.
    Yet,
    /// None is whole yet, more has come, and it is the turn of others.
    Turn,
    /// More frames come than the message rate allows for.
    TooMany,
    /// The connection is broken or at its end.
    Ended,
    /// It is longer than allowed.
    TooBig,
    /// Its text is not UTF-8.
    InvalidUtf8,
    /// It is against the protocol.
    Malformed,
}

/// What has been read of a connection and is no message yet.
#[derive(Debug)]
pub(crate) struct Reader {
    context: WebSocketContext,
    intake: Intake,
    /// Only for those who may compress.
    inflow: Option<Box<Inflow>>,
}

impl Reader {
    /// Begins with the bytes that came with the handshake. Messages and frames hold at most
    /// `bytes_max`, and `intake` says how many there may be.
    #[must_use]
    pub(crate) fn new(
        leftover: Vec<u8>,
        bytes_max: usize,
        may_compress: bool,
        mut intake: Intake,
    ) -> Self {
        intake.take(&leftover, Instant::now());
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(bytes_max))
            .max_frame_size(Some(bytes_max));
        let (leftover, inflow) = if may_compress {
            let mut inflow = Box::new(Inflow::new(bytes_max));
            inflow.feed(&leftover);
            (Vec::new(), Some(inflow))
        } else {
            (leftover, None)
        };
        Self {
            context: WebSocketContext::from_partially_read(leftover, Role::Server, Some(config)),
            intake,
            inflow,
        }
    }

    /// The next message of a connection, or why there is none. Pings and closes are answered
    /// on the way.
    ///
    /// # Errors
    /// See [`NoMessage`].
    pub(crate) fn read(&mut self, wire: &impl Wire) -> Result<Message, NoMessage> {
        let mut port = Port {
            wire,
            intake: &mut self.intake,
            inflow: self.inflow.as_deref_mut(),
        };
        match self.context.read(&mut port).map_err(|error| reason(&error)) {
            Err(NoMessage::Yet) if self.intake.is_over() => Err(NoMessage::TooMany),
            Err(NoMessage::Yet) if self.intake.ends_turn() => Err(NoMessage::Turn),
            read => read,
        }
    }

    /// Bytes that it holds of compressed messages, and of what came with them.
    #[cfg(any(test, feature = "fuzzing"))]
    fn held_bytes(&self) -> usize {
        self.inflow.as_deref().map_or(0, Inflow::held_bytes)
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

/// What the protocol parser reads from and writes to. What it writes are whole control frames,
/// which pass the gate.
struct Port<'a, W> {
    wire: &'a W,
    intake: &'a mut Intake,
    inflow: Option<&'a mut Inflow>,
}

impl<W: Wire> Port<'_, W> {
    /// Reads from the socket. Nothing but an empty one stops the parser while no message is
    /// whole, so this does.
    fn try_read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if !self.intake.may_read() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.wire.try_read(bytes)?;
        self.intake.take(&bytes[..count], Instant::now());
        Ok(count)
    }
}

impl<W: Wire> io::Read for Port<'_, W> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(inflow) = &mut self.inflow else {
                return self.try_read(bytes);
            };
            let count = inflow.take(bytes).map_err(io::Error::other)?;
            if count > 0 {
                return Ok(count);
            }
            let mut buffer = [0; INFLOW_BYTES];
            let count = self.try_read(&mut buffer)?;
            if count == 0 {
                return Ok(0);
            }
            if let Some(inflow) = &mut self.inflow {
                inflow.feed(&buffer[..count]);
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
