//! The topics of a set that changed recently. For a session that keeps up, only these are checked,
//! not all topics of the set.

use crate::topics::slot_id::SlotId;

/// The changes of a set since a version. It never has more entries than the set has topics.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// Every topic that changed above this version is in `slots`.
    since: u64,
    slots: Vec<SlotId>,
    /// So many changes that checking all topics costs no more.
    is_full: bool,
}

impl Recent {
    /// Nothing has changed since a version.
    #[must_use]
    pub(crate) fn new(since: u64) -> Self {
        Self {
            since,
            ..Self::default()
        }
    }

    /// A topic has changed, or a set of `topics` topics has gained it.
    pub(crate) fn note(&mut self, slot: SlotId, topics: usize) {
        if self.slots.len() < topics {
            self.slots.push(slot);
        } else {
            self.is_full = true;
        }
    }

    /// All sessions that keep up have got everything up to a version.
    pub(crate) fn begin_anew(&mut self, since: u64) {
        self.since = since;
        self.slots.clear();
        self.is_full = false;
    }

    /// The topics that changed above a version, each once and in order; `None` if this is unknown,
    /// so that all must be checked.
    #[must_use]
    pub(crate) fn above(&self, seen: u64) -> Option<Vec<SlotId>> {
        if self.is_full || seen < self.since {
            return None;
        }
        let mut slots = self.slots.clone();
        slots.sort_unstable();
        slots.dedup();
        Some(slots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPICS: usize = 3;

    #[test]
    fn what_changed_is_known_once_each_to_whoever_keeps_up() {
        let mut recent = Recent::new(10);
        for slot in [7, 2, 7] {
            recent.note(SlotId(slot), TOPICS);
        }
        let changed = Some(vec![SlotId(2), SlotId(7)]);
        assert_eq!(
            (recent.above(10), recent.above(12)),
            (changed.clone(), changed)
        );
        assert_eq!(recent.above(9), None, "who is behind lacks more");
        recent.begin_anew(20);
        assert_eq!(
            (recent.above(20), recent.above(19)),
            (Some(Vec::new()), None)
        );
    }

    #[test]
    fn no_more_changes_are_held_than_the_set_has_topics() {
        let mut recent = Recent::new(0);
        for _ in 0..=TOPICS {
            assert!(recent.above(0).is_some());
            recent.note(SlotId(1), TOPICS);
        }
        assert_eq!(recent.above(0), None);
        assert_eq!(recent.slots.len(), TOPICS);
        recent.begin_anew(1);
        assert_eq!(recent.above(1), Some(Vec::new()));
    }
}
