//! A connection, as its session sees it.

use std::net::IpAddr;
use std::time::Instant;

use bytes::Bytes;
use market_core::protocol::CloseCode;

use crate::sessions::session_id::SessionId;
use client_frames::encode::encoding::Encoding;

/// The result of passing frames to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sent {
    /// All written.
    Written,
    /// Accepted, but some bytes are still to be written.
    Pending,
    /// Refused: earlier frames are still to be written.
    Refused,
    /// The connection is closing or broken.
    Closed,
}

/// A connection, as its shard sees it.
pub(crate) trait Outlet {
    /// Sends updates, unless earlier frames wait.
    fn send(&self, frames: &[Bytes]) -> Sent;
    /// Sends answers, after the waiting bytes.
    fn reply(&self, frames: &[Bytes]) -> Sent;
    /// Sends a ping.
    fn ping(&self);
    /// Closes the connection.
    fn close(&self, code: CloseCode);
    /// The time of the client's last message.
    fn heard_at(&self) -> Instant;
    /// The client's address, if it is known.
    fn client_ip(&self) -> Option<IpAddr> {
        None
    }
    /// Its number in the log.
    fn number(&self) -> u64 {
        0
    }
    /// How its frames look.
    fn encoding(&self) -> Encoding {
        Encoding::default()
    }
}

/// A connection whose requests the shard's task answers.
pub(crate) trait Requester: Outlet + Send + Sync + 'static {
    /// Records the session that it has become.
    fn joined(&self, id: SessionId);
    /// Its session, once it has one.
    fn session(&self) -> Option<SessionId>;
    /// Its request is answered: it may read the next one.
    fn answered(&self);
}
