//! Bounds and times of the sessions of a shard.

use std::sync::Arc;
use std::time::Duration;

use crate::access::AuthRules;
use crate::sessions::flush_schedule::Pace;
use crate::sessions::replay_places::ReplayPlaces;
use client_frames::encode::deflate::Compression;

/// Bounds and times of the sessions.
#[derive(Clone, Debug)]
pub(crate) struct ShardConfig {
    /// Most subscriptions of a session; a wildcard counts as one.
    pub subscriptions_max: usize,
    /// Of them, with wildcards.
    pub wildcards_max: usize,
    /// Most topics of a session, with its wildcards expanded.
    pub topics_max: usize,
    /// Most bytes of the names of a session's subscriptions.
    pub name_bytes_max: usize,
    /// Most bytes of closed bars for a session that resumes, and of those after a late one that were
    /// here before a session began.
    pub resume_bytes_max: usize,
    /// Most bytes of the entries of logs that a session gets at once. Older ones are skipped.
    pub log_bytes_max: usize,
    /// Most bars of the past for one topic of a request.
    pub history_bars_max: usize,
    /// Most topics whose past is read at once for a session.
    pub history_reads_per_session: usize,
    /// Places for topics that sessions replay, shared with the other shards.
    pub replay_places: Arc<ReplayPlaces>,
    /// Longest time without a bar of the past before a topic goes live without the rest.
    pub history_wait: Duration,
    /// Topics that `list` names.
    pub list_max: usize,
    /// Most payload of a frame, bytes.
    pub frame_bytes_max: usize,
    /// Which messages are compressed for clients that accept compressed frames.
    pub compression: Compression,
    /// Between pings, on average.
    pub ping_interval: Duration,
    /// Longest time without a message from the client.
    pub idle_timeout: Duration,
    /// Time within which the first request must come, or the token where one is required.
    pub first_message_timeout: Duration,
    /// When changes are sent.
    pub pace: Pace,
    /// The rules for sessions where tokens are checked.
    pub auth: Option<AuthRules>,
}
