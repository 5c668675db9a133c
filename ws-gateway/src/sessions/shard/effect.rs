//! The effects that a shard returns to its task.

use std::sync::Arc;

use market_core::protocol::{Ack, CloseCode, Live, Reply};
use market_core::wire::HistoryQuery;

use crate::sessions::past::ReadId;
use crate::sessions::session_id::SessionId;
use client_frames::encode::batch::Prepared;

/// The id of a request, which its answer repeats.
pub(super) type Echo = Option<Box<str>>;

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
    /// A session gets the state of topics for which there is room now.
    Gained {
        /// Which session.
        to: SessionId,
        /// What it gets.
        start: Arc<Prepared>,
    },
    /// History is asked; its answer goes to [`super::Shard::history`].
    ReadHistory(ReadId, Box<HistoryQuery>),
    /// The past of a topic is complete.
    Live {
        /// Which session.
        to: SessionId,
        /// What it gets.
        seam: Box<Seam>,
    },
    /// A session is pinged.
    Ping(SessionId),
    /// A session is closed.
    Close(SessionId, CloseCode),
}

/// What a session gets at the end of a topic's past, in this order.
#[derive(Debug)]
pub(crate) struct Seam {
    /// The closed bars that the gateway holds beside the past.
    pub past: Prepared,
    /// The end of the past.
    pub live: Live,
    /// The forming bar.
    pub start: Prepared,
    /// What the session lacks of its other topics.
    pub others: Prepared,
}
