//! A pipeline's state as bytes, and back.
//!
//! A checkpoint has the state that a restart cannot get from the venue: open bars, ids, gaps, and
//! the closed bars to which trades may still come. See docs/decisions/0012-feed-checkpoints.md.

use serde::{Deserialize, Serialize};

use crate::series::aggregate::Aggregator;
use crate::series::doubt::{Content, EARLY_MAX};
use crate::series::gap::Gaps;
use crate::series::pipeline::{EVENT_MAX_MS, Pipeline, PipelineConfig};
use crate::series::sequence::Sequence;
use crate::value::clock::UnixMillis;

/// The newest version: a timeframe may have been added while bars were open. It is written only in
/// that case, because older builds would call the bars of that timeframe complete.
const VERSION_CHANGED: u32 = 3;
/// The version that older builds can read, too.
const VERSION: u32 = 2;
/// The first version, whose lost gaps named ids that were no longer tracked.
const VERSION_OLDEST: u32 = 1;

/// The most characters of another symbol's name in a message.
const NAME_SHOWN_MAX: usize = 100;

/// A pipeline's state at one moment. It is copied quickly, and may be encoded on another thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    version: u32,
    /// The owner's name; older checkpoints have none.
    #[serde(default)]
    of: String,
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
    /// The next id before the symbol was joined again, and the time of the newest trade before that.
    #[serde(default)]
    outdated: Option<(u64, UnixMillis)>,
    /// When ids started again.
    #[serde(default)]
    began_ms: UnixMillis,
    /// Trades that may come again with different ids.
    #[serde(default)]
    early: Vec<Content>,
}

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The bytes are incomplete, or their numbers contradict each other.
    #[error("the state is damaged ({0}): find out which program wrote it")]
    Damaged(String),
    /// Another version of the program made it.
    #[error(
        "the state has version {0}, and this program reads {VERSION_OLDEST} to {VERSION_CHANGED}: start the program that wrote it to continue from it"
    )]
    OtherVersion(u64),
    /// It belongs to another symbol or venue.
    #[error("the state belongs to {0}: find out what copied it here")]
    OfAnother(String),
}

/// The version alone, of a checkpoint that cannot be read otherwise.
#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

impl Checkpoint {
    /// Encodes it with the name of its owner.
    #[must_use]
    pub fn encode(mut self, of: &str) -> Vec<u8> {
        of.clone_into(&mut self.of);
        serde_json::to_vec(&self).expect("a checkpoint has no keys but text")
    }

    fn read(bytes: &[u8], of: &str) -> Result<Self, RestoreError> {
        let versions = u64::from(VERSION_OLDEST)..=u64::from(VERSION_CHANGED);
        let version = |bytes| serde_json::from_slice::<Versioned>(bytes).ok();
        match serde_json::from_slice::<Self>(bytes) {
            Ok(read) if !versions.contains(&read.version.into()) => {
                Err(RestoreError::OtherVersion(read.version.into()))
            }
            Ok(read) if !read.of.is_empty() && read.of != of => {
                let name = read.of.chars().filter(|c| !c.is_control());
                Err(RestoreError::OfAnother(name.take(NAME_SHOWN_MAX).collect()))
            }
            Ok(read) => Ok(read),
            Err(error) => Err(match version(bytes) {
                Some(Versioned { version }) if !versions.contains(&version) => {
                    RestoreError::OtherVersion(version)
                }
                _ => RestoreError::Damaged(error.to_string()),
            }),
        }
    }
}

impl Pipeline {
    /// The state from which a restart continues exactly. `None` while it is too large, as in the
    /// middle of a long outage's backfill. An older checkpoint is equally good, because later
    /// trades are fetched again: take one when [`Pipeline::counts`] or the gaps have changed.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let mut wanted = self.gaps.wanted_times();
        // After the restart, trades after the newest one are unknown.
        wanted.add_from(self.head_event_ms);
        Some(Checkpoint {
            version: if self.aggregator.is_as_new() {
                VERSION
            } else {
                VERSION_CHANGED
            },
            of: String::new(),
            sequence: self.sequence.clone(),
            aggregator: self.aggregator.for_checkpoint(&wanted)?,
            gaps: self.gaps.clone(),
            head_event_ms: self.head_event_ms,
            newest_event_ms: self.newest_event_ms,
            taken_ms: (self.now_ms != UnixMillis::MAX).then_some(self.now_ms),
            outdated: self.doubts.outdated,
            began_ms: self.doubts.began_ms,
            early: self.doubts.early.clone(),
        })
    }

    /// Continues from the checkpoint of the owner `of`; the feed is down. The timeframes may be
    /// others than before: those that stay continue exactly, and in a new timeframe the bar that is
    /// open is `partial`.
    ///
    /// # Errors
    /// The checkpoint is damaged, of another version, or belongs to another owner.
    pub fn restore(
        config: &PipelineConfig,
        of: &str,
        checkpoint: &[u8],
    ) -> Result<Self, RestoreError> {
        let damaged = |what: &str| RestoreError::Damaged(what.to_owned());
        let mut checkpoint = Checkpoint::read(checkpoint, of)?;
        let is_time = |at: UnixMillis| (0..=EVENT_MAX_MS).contains(&at);
        let is_sound = checkpoint.sequence.is_sound()
            && checkpoint.aggregator.is_sound(is_time)
            && checkpoint.gaps.is_sound(is_time)
            // Without any id, trades of these bars would count again.
            && (checkpoint.sequence.next_id().is_some()
                || checkpoint.outdated.is_some()
                || checkpoint.aggregator.kept_bars() == 0)
            && is_time(checkpoint.head_event_ms)
            && is_time(checkpoint.newest_event_ms)
            && is_time(checkpoint.began_ms)
            && checkpoint.early.len() <= EARLY_MAX
            && checkpoint.taken_ms.is_none_or(is_time);
        if !is_sound {
            return Err(damaged("its numbers contradict each other"));
        }
        if checkpoint.version == VERSION_OLDEST {
            checkpoint.gaps.forget_lost();
        }
        checkpoint.aggregator.change_timeframes(&config.timeframes);
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
