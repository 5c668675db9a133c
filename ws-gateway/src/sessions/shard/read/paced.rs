//! A read whose bars wait for the clock of a replay.

use std::time::Instant;

use super::phase::Phase;
use super::{Next, Read};
use crate::sessions::shard::replay::Replay;

impl Read {
    /// The same at the pace of a clock. No number of bars ends it: the clock bounds its cost.
    pub(in crate::sessions::shard) fn played(self, replay: Option<Replay>) -> Self {
        match replay {
            None => self,
            Some(replay) => Self {
                bars_left: usize::MAX,
                replay: Some(Box::new(replay)),
                ..self
            },
        }
    }

    /// Whether the bars of its pages wait for a clock. Revisions at its end do not.
    pub(in crate::sessions::shard) fn plays_pages(&self) -> bool {
        self.replay.is_some()
            && matches!(self.phase, Phase::Bars { .. })
            && self.next != Next::Finish
    }

    /// It has not waited for history until now.
    pub(in crate::sessions::shard) fn progressed(&mut self, now: Instant) {
        self.progress_at = now;
    }
}
