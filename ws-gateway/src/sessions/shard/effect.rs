//! The effects that a shard returns to its task.

use std::sync::Arc;

use market_core::protocol::{Ack, CloseCode, Reply};

use crate::encode::batch::Prepared;
use crate::sessions::session_id::SessionId;

/// An effect that a shard returns to its task.
#[derive(Debug)]
pub(crate) enum Effect {
    /// A session gets a reply.
    Reply(SessionId, Reply),
    /// A session gets the answer to its subscription, and its snapshot.
    Subscribed {
        /// Which session.
        to: SessionId,
        /// The answer.
        ack: Ack,
        /// What follows the answer.
        start: Arc<Prepared>,
        /// Whether many sessions share it.
        is_shared: bool,
    },
    /// A session is pinged.
    Ping(SessionId),
    /// A session is closed.
    Close(SessionId, CloseCode),
}
