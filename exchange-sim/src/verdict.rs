//! The effect of the active faults on one trade, one request or the connections.

use crate::fault_spec::FaultKind;
use crate::instrument::Venue;

/// The effect on one trade, or on one change of a book, on its way to the WebSocket clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TradeVerdict {
    /// It is not sent.
    pub(crate) dropped: bool,
    /// It is sent twice.
    pub(crate) duplicated: bool,
    /// Its frame is truncated.
    pub(crate) malformed: bool,
    /// It is sent this many milliseconds later.
    pub(crate) delay_ms: u64,
}

impl TradeVerdict {
    /// How often the trade is sent, if it is.
    pub(crate) fn copies(self) -> u32 {
        if self.duplicated { 2 } else { 1 }
    }
}

/// The effect on one REST request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestVerdict {
    /// It is answered after this many milliseconds.
    Slow(u64),
    /// It fails with this status and, if given, `Retry-After` in seconds.
    Status(u16, Option<u64>),
}

/// A fault on connections, when it is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionFault {
    /// `Disconnect`, `ServerShutdown` or `Notice`; a cut begins with a `Disconnect`.
    pub(crate) kind: FaultKind,
    /// Only at this venue.
    pub(crate) venue: Option<Venue>,
    /// Only this connection.
    pub(crate) connection: Option<u64>,
    /// Close code; none: drop the TCP connection.
    pub(crate) code: Option<u16>,
    /// Milliseconds from the announcement to the close.
    pub(crate) delay_ms: u64,
}
