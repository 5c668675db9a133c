//! One session of a shard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sessions::set_id::SetId;
use crate::topics::state::Progress;

/// One session of a shard: a version and a set of topics. Neither grows while its client does not
/// read.
#[derive(Debug)]
pub(super) struct Session<O> {
    pub(super) outlet: Arc<O>,
    pub(super) generation: u32,
    pub(super) set: SetId,
    /// Its index in the set's members.
    pub(super) set_index: u32,
    /// What has been sent of its set.
    pub(super) progress: Progress,
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
