//! What was heard is compared with the record when a topic is taken over.

use market_core::UnixMillis;

use super::{Book, RecordHead};

impl Book {
    /// Takes over after the newest message of the record, which was read when nobody else could
    /// store any more. What was heard after it is in no record, and counts as not published. False
    /// if something before it was missed, or may be in no record: the last holder's epoch was
    /// `holder`.
    pub(crate) fn settle(&mut self, newest: Option<&RecordHead>, holder: u64) -> bool {
        let is_known = newest.is_some_and(|newest| self.knows(newest));
        let lost = self.heard.take_after(newest, is_known);
        self.take_back_all(&lost);
        self.settled_ms = newest.map(|newest| newest.start_ms);
        let Some(newest) = newest else {
            return !self.is_in_doubt(holder);
        };
        self.end_at(newest);
        self.confirm(newest);
        self.knows(newest) && !self.is_in_doubt(holder)
    }

    /// The same after everything was read that the record has since `after_ms`, in its order.
    pub(crate) fn settle_since(
        &mut self,
        stored: &[RecordHead],
        after_ms: UnixMillis,
        holder: u64,
    ) -> bool {
        let lost = self.heard.take_since(stored, after_ms);
        self.take_back_all(&lost);
        if let Some(newest) = stored.last() {
            self.end_at(newest);
        }
        for head in stored {
            self.fill(head);
        }
        self.settled_ms = stored.last().map(|newest| newest.start_ms);
        !self.is_in_doubt(holder)
    }

    /// What was heard after the newest message is not stored, also what is not remembered as heard. A
    /// newer bar may be stored before a late one.
    fn end_at(&mut self, newest: &RecordHead) {
        let Some(order) = self.same(newest).map(|known| known.order) else {
            return;
        };
        self.recent
            .retain(|known| known.is_ours || known.content.rev > 0 || known.order <= order);
    }

    /// Whether it was heard or read, or is older than what is known.
    fn knows(&self, head: &RecordHead) -> bool {
        let is_forgotten = self.known_from_ms.is_some() && self.is_forgotten(head.start_ms);
        is_forgotten || self.is_outdated(head)
    }

    /// These were heard, and no record has them.
    fn take_back_all(&mut self, lost: &[RecordHead]) {
        self.unstored.clear();
        for head in lost.iter().rev() {
            match self.index(head.start_ms) {
                Ok(index) => {
                    let known = &self.recent[index];
                    if known.is_ours || known.content.rev != head.rev {
                        continue;
                    }
                    self.take_back(index);
                    if head.rev == 0 {
                        self.unstored.insert(head.start_ms, head.content());
                    }
                }
                Err(_) => {
                    if let Some(before) = head.rev.checked_sub(1) {
                        self.revised.insert(head.start_ms, before);
                    }
                    self.unstored.insert(head.start_ms, head.content());
                }
            }
        }
    }
}
