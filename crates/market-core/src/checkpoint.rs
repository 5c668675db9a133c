//! A pipeline's state as bytes, and back.
//!
//! A checkpoint has the state that a restart cannot get from the venue: open bars, ids, gaps, and
//! the closed bars to which trades may still come. See docs/decisions/0012-feed-checkpoints.md.

use serde::{Deserialize, Serialize};

use crate::aggregate::Aggregator;
use crate::clock::UnixMillis;
use crate::doubt::{Content, EARLY_MAX};
use crate::gap::Gaps;
use crate::pipeline::{EVENT_MAX_MS, Pipeline, PipelineConfig};
use crate::sequence::Sequence;

/// Raised whenever older checkpoints can no longer be read with the same meaning.
const VERSION: u32 = 2;
/// The first version, whose lost gaps named ids that were no longer tracked.
const VERSION_OLDEST: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Checkpoint {
    version: u32,
    sequence: Sequence,
    aggregator: Aggregator,
    gaps: Gaps,
    head_event_ms: UnixMillis,
    /// At least `head_event_ms`; older checkpoints have none.
    #[serde(default)]
    newest_event_ms: UnixMillis,
    /// The venue's clock when the checkpoint was taken.
    #[serde(default)]
    taken_ms: Option<UnixMillis>,
    /// The next id before the symbol was joined anew, and the time of the newest trade before that.
    #[serde(default)]
    outdated: Option<(u64, UnixMillis)>,
    /// When ids began anew.
    #[serde(default)]
    began_ms: UnixMillis,
    /// Trades that may come again with different ids.
    #[serde(default)]
    early: Vec<Content>,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The bytes are not a checkpoint, or one of another version.
    #[error("not a checkpoint of this version: {0}")]
    Unreadable(String),
    /// It was made with other timeframes.
    #[error("made with other timeframes")]
    OtherTimeframes,
}

impl Pipeline {
    /// The state from which a restart continues exactly. `None` while it is too large, as in the
    /// middle of a long outage's backfill. An older checkpoint is equally good, because later
    /// trades are fetched again: take one when [`Pipeline::counts`] or the gaps have changed.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Vec<u8>> {
        let mut wanted = self.gaps.wanted_times();
        // After the restart, trades after the newest one are unknown.
        wanted.add_from(self.head_event_ms);
        let checkpoint = Checkpoint {
            version: VERSION,
            sequence: self.sequence.clone(),
            aggregator: self.aggregator.for_checkpoint(&wanted)?,
            gaps: self.gaps.clone(),
            head_event_ms: self.head_event_ms,
            newest_event_ms: self.newest_event_ms,
            taken_ms: (self.now_ms != UnixMillis::MAX).then_some(self.now_ms),
            outdated: self.doubts.outdated,
            began_ms: self.doubts.began_ms,
            early: self.doubts.early.clone(),
        };
        Some(serde_json::to_vec(&checkpoint).expect("a checkpoint has no keys but text"))
    }

    /// Continues from a checkpoint; the feed is down.
    ///
    /// # Errors
    /// `Unreadable`, or `OtherTimeframes` when the configuration has changed.
    pub fn restore(config: &PipelineConfig, checkpoint: &[u8]) -> Result<Self, RestoreError> {
        let unreadable = |what: String| RestoreError::Unreadable(what);
        let mut checkpoint: Checkpoint =
            serde_json::from_slice(checkpoint).map_err(|error| unreadable(error.to_string()))?;
        if !(VERSION_OLDEST..=VERSION).contains(&checkpoint.version) {
            return Err(unreadable(format!("version {}", checkpoint.version)));
        }
        let timeframes = config.timeframes.as_slice().iter().copied();
        if !checkpoint.aggregator.timeframes().eq(timeframes) {
            return Err(RestoreError::OtherTimeframes);
        }
        let is_time = |at: UnixMillis| (0..=EVENT_MAX_MS).contains(&at);
        let is_sound = checkpoint.sequence.is_sound()
            && checkpoint.aggregator.is_sound(&config.timeframes, is_time)
            && checkpoint.gaps.is_sound(is_time)
            && is_time(checkpoint.head_event_ms)
            && is_time(checkpoint.newest_event_ms)
            && is_time(checkpoint.began_ms)
            && checkpoint.early.len() <= EARLY_MAX
            && checkpoint.taken_ms.is_none_or(is_time);
        if !is_sound {
            return Err(unreadable("its numbers contradict each other".to_owned()));
        }
        if checkpoint.version == VERSION_OLDEST {
            checkpoint.gaps.forget_lost();
        }
        let mut pipeline = Self::new(config);
        pipeline.sequence = checkpoint.sequence;
        pipeline.aggregator = checkpoint.aggregator;
        pipeline.gaps = checkpoint.gaps;
        pipeline.gaps.forget_requests();
        pipeline.head_event_ms = checkpoint.head_event_ms;
        pipeline.newest_event_ms = checkpoint.newest_event_ms.max(checkpoint.head_event_ms);
        pipeline.doubts.outdated = checkpoint.outdated;
        pipeline.doubts.began_ms = checkpoint.began_ms;
        pipeline.doubts.early = checkpoint.early;
        pipeline.restored_ms = checkpoint.taken_ms;
        if pipeline.sequence.next_id().is_some() {
            // Trades after the checkpoint are unknown, so no bar may close as if they were known.
            pipeline.gaps.open_tail(
                checkpoint.head_event_ms,
                checkpoint.taken_ms.unwrap_or(checkpoint.head_event_ms),
                true,
                config.late_horizon_ms,
            );
        }
        Ok(pipeline)
    }
}
