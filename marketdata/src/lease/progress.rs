//! Up to where this program knows the record, so that it need not read all of it after a loss.
//!
//! Live messages do not say where the stream keeps them. Therefore the newest position of the stream
//! is asked for now and then, and believed a second later: what was stored before it has been heard
//! by then, unless a loss was told.

use bus::Position;
use market_core::UnixMillis;

/// Ticks after which a position is believed.
const BELIEVED_AFTER: u32 = 20;

/// A position, and when it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) position: Position,
    /// What was heard before is stored before the position.
    pub(crate) asked_ms: UnixMillis,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    known: Option<Known>,
    /// It is not believed yet, for so many ticks.
    sample: Option<(Known, u32)>,
    is_asked: bool,
    /// Losses so far: an answer to a question from before a loss says nothing.
    losses: u64,
}

impl Progress {
    /// Everything up to there is known.
    pub(crate) fn known(&self) -> Option<Known> {
        self.known
    }

    /// How many losses there were.
    pub(crate) fn losses(&self) -> u64 {
        self.losses
    }

    /// Messages were lost on their way.
    pub(crate) fn missed(&mut self) {
        self.losses += 1;
        self.sample = None;
        self.is_asked = false;
    }

    /// The stream was created again: its positions are others.
    pub(crate) fn forget(&mut self) {
        self.missed();
        self.known = None;
    }

    /// Moves the clock; `is_drained` says that everything that was heard is noted, and that nothing
    /// is being read. True if the newest position of the stream is to be asked for.
    pub(crate) fn tick(&mut self, is_drained: bool) -> bool {
        if let Some((sample, ticks)) = &mut self.sample {
            *ticks += 1;
            if *ticks < BELIEVED_AFTER || !is_drained {
                return false;
            }
            self.known = Some(*sample);
            self.sample = None;
        }
        !std::mem::replace(&mut self.is_asked, true)
    }

    /// The answer to a question that was asked after so many losses.
    pub(crate) fn answered(&mut self, losses: u64, answer: Option<Known>) {
        if losses == self.losses {
            self.is_asked = false;
            self.sample = answer.map(|sample| (sample, 0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(sequence: u64) -> Known {
        Known {
            position: Position {
                stream_created_ns: 1,
                sequence,
                stored_ns: 0,
            },
            asked_ms: 5,
        }
    }

    fn pass(progress: &mut Progress, ticks: u32, is_drained: bool) -> usize {
        let asked = (0..ticks).filter(|_| progress.tick(is_drained));
        asked.count()
    }

    #[test]
    fn a_position_is_believed_only_after_what_was_stored_before_it_was_heard() {
        let mut progress = Progress::default();
        assert_eq!(pass(&mut progress, 100, true), 1, "one question at a time");
        progress.answered(0, Some(known(7)));
        assert_eq!(pass(&mut progress, BELIEVED_AFTER - 1, true), 0);
        assert_eq!(progress.known(), None, "too early");
        pass(&mut progress, BELIEVED_AFTER, false);
        assert_eq!(progress.known(), None, "messages wait");
        assert_eq!(pass(&mut progress, 1, true), 1, "and the next question");
        assert_eq!(progress.known(), Some(known(7)));
        progress.answered(0, None);
        assert_eq!(pass(&mut progress, 1, true), 1, "it is asked again");
    }

    #[test]
    fn a_position_from_before_a_loss_is_not_believed_and_the_one_before_stays() {
        let mut progress = Progress::default();
        progress.tick(true);
        progress.answered(0, Some(known(7)));
        pass(&mut progress, BELIEVED_AFTER, true);
        progress.answered(0, Some(known(9)));
        progress.missed();
        assert_eq!(pass(&mut progress, BELIEVED_AFTER, true), 1);
        // A late answer to a question from before the loss.
        progress.missed();
        progress.tick(true);
        progress.answered(1, Some(known(10)));
        pass(&mut progress, BELIEVED_AFTER, true);
        assert_eq!(progress.known(), Some(known(7)));
    }
}
