//! Whether this is the only writer of a database.
//!
//! The position of a stream moves only when its writer moves it. A position beyond what was written here
//! is another one's: then this writer waits, until the position has not moved for a time.

use std::time::{Duration, Instant};

/// A writer that has not moved a position for so long is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// What this writer knows of the position of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// The highest one that is stored for certain.
    pub(super) stored: Option<u64>,
    /// The highest one that this writer has sent, or has found when it began.
    sent: Option<u64>,
    /// The position that another one has written, and since when it has not moved.
    foreign: Option<(u64, Instant)>,
}

impl Mark {
    /// Whether another one writes, by the position that is stored now.
    pub(super) fn is_foreign(&mut self, found: Option<u64>, now: Instant) -> bool {
        let Some(found) = found else { return false };
        self.stored = Some(found);
        let is_gone = match self.foreign {
            None => self.sent.is_none_or(|sent| found <= sent),
            Some((seen, since)) => found == seen && now.duration_since(since) >= SILENCE,
        };
        if is_gone {
            self.foreign = None;
            self.sent = self.sent.max(Some(found));
        } else if self.foreign.is_none_or(|(seen, _)| seen != found) {
            self.foreign = Some((found, now));
        }
        !is_gone
    }

    /// A position is on its way. Whether it arrives may never be known.
    pub(super) fn send(&mut self, position: u64) {
        self.sent = self.sent.max(Some(position));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_waits_while_another_one_moves_the_position() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut mark = Mark::default();
        assert!(!mark.is_foreign(None, at(0)));
        // What was there at the beginning is an earlier run's.
        assert!(!mark.is_foreign(Some(7), at(0)));
        mark.send(10);
        // Its answer was lost, or it did not arrive.
        assert!(!mark.is_foreign(Some(10), at(1)));
        assert!(!mark.is_foreign(Some(7), at(1)));
        assert!(mark.is_foreign(Some(11), at(2)));
        assert!(mark.is_foreign(Some(11), at(31)));
        assert!(mark.is_foreign(Some(12), at(40)));
        assert!(mark.is_foreign(Some(12), at(69)));
        // The other one is gone.
        assert!(!mark.is_foreign(Some(12), at(70)));
        mark.send(13);
        assert!(!mark.is_foreign(Some(13), at(71)));
    }
}
