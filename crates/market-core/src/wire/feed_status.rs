//! The status of a feed.

use serde::{Deserialize, Serialize};

use super::json::JsonMessage;
use crate::value::clock::UnixMillis;

/// The state of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeedState {
    /// Every symbol that the venue takes is carried, at least one, and frames are fresh.
    Live,
    /// Connected, but nothing came for long; or another publisher of the exchange fell silent.
    Stale,
    /// Some symbols are carried by no connection.
    Reconnecting,
}

/// The feed status as published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "the fields of the message, documented with the protocol"
)]
pub struct FeedStatusMessage {
    pub topic: String,
    pub exchange: String,
    pub mode: String,
    pub state: FeedState,
    pub age_ms: i64,
    pub connections: usize,
    pub symbols: usize,
    pub subscribed: usize,
    pub silent: usize,
    pub refused: Vec<String>,
    pub refused_count: usize,
    pub unknown: Vec<String>,
    pub unknown_count: usize,
    pub at_ms: UnixMillis,
    pub publisher: String,
    pub rivals: usize,
    pub lost_publishers: usize,
    /// Programs that would take over symbols of the publisher. Older publishers do not say it.
    #[serde(default)]
    pub standbys: usize,
}

impl JsonMessage<'_> for FeedStatusMessage {}
