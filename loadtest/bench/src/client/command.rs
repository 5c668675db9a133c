//! What a load client is told, and what it answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use mio::Token;
use serde::{Deserialize, Serialize};

use crate::histogram::Sparse;
use crate::workload::Workload;

/// The wake-up of the thread for a command.
pub(super) const WAKE: Token = Token(usize::MAX);

/// How to ask a server for topics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Dialect {
    /// `/ws?topics=a,b`.
    Query,
    /// The NATS protocol in binary frames.
    Nats,
}

/// The task of a load client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// The server.
    pub(crate) server: SocketAddr,
    /// The protocol to the server.
    pub(crate) dialect: Dialect,
    /// Who subscribes to what.
    pub(crate) workload: Workload,
    /// Number of the first client.
    pub(crate) first: u32,
    /// Clients, from the first.
    pub(crate) count: u32,
    /// Source addresses: 127.0.0.2 and those after it.
    pub(crate) sources: u8,
}

/// A command to a load client.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Forget what was counted.
    Window,
    /// Reconnect all within this many seconds, and reset the counts.
    Storm(f64),
    /// Answer with the counts.
    Status,
    /// Answer with the counts and histograms.
    Report,
}

/// The results of a load client since the last window began.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Connections that are open now.
    pub(crate) open: u32,
    /// Bars.
    pub(crate) updates: u64,
    /// Frames with bars.
    pub(crate) frames: u64,
    /// Reads that brought bars: about as many as the server's writes, if the client keeps up.
    pub(crate) reads: u64,
    /// Bytes, of everything.
    pub(crate) bytes: u64,
    /// Connections that the server ended, by close code; 1006 without one.
    pub(crate) closed: BTreeMap<u16, u64>,
    /// Attempts to connect that failed; each is tried again, up to a limit.
    pub(crate) failed: u64,
    /// From publication to the client, without the first frame of a connection.
    pub(crate) latency: Sparse,
    /// From connecting to the answer of the handshake (NATS: of the subscriptions).
    pub(crate) handshake: Sparse,
    /// From connecting to the first bar.
    pub(crate) first_data: Sparse,
}
