//! What a venue's session is given at its start, and what it wants done.

use super::target::Target;

/// A session's actions, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send this text.
    Reply(String),
    /// Send a WebSocket ping.
    Ping,
    /// Start delivering; a repeated target has no effect.
    Subscribe(Target),
    /// Stop delivering.
    Unsubscribe(Target),
    /// From now on, use this encoding for frames.
    Variant(u8),
    /// Close with this code and reason.
    Close(u16, String),
}

/// A client's request when it connected.
#[derive(Clone, Debug)]
pub(crate) struct Handshake {
    /// Id of the connection.
    pub(crate) connection: u64,
    /// Path of the request.
    pub(crate) path: String,
    /// Its query.
    pub(crate) query: Vec<(String, String)>,
    /// When, milliseconds since the epoch.
    pub(crate) now_ms: i64,
}
