//! One session of a shard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::beginnings::Beginnings;
use crate::sessions::set_id::SetId;

/// One session of a shard: a version, a set of topics, and where they began. None grows while its
/// client does not read.
#[derive(Debug)]
pub(super) struct Session<O> {
    pub(super) outlet: Arc<O>,
    pub(super) generation: u32,
    pub(super) set: SetId,
    /// Its index in the set's members.
    pub(super) set_index: u32,
    /// All versions of its set up to this one have been sent.
    pub(super) seen: u64,
    /// Where its subscriptions began.
    pub(super) begun: Beginnings,
    /// Shortest time between frames, if the client asked for one.
    pub(super) min_frame_interval: Option<Duration>,
    /// When the next frame may be sent, if there is a `max_rate`.
    pub(super) next_at: Instant,
    /// Whether it waits among the delayed sessions.
    pub(super) is_delayed: bool,
    pub(super) has_asked: bool,
    /// Whether it was chosen to move to another gateway.
    pub(super) is_leaving: bool,
    pub(super) joined_at: Instant,
}
