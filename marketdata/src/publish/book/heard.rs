//! The newest messages of others, in the order in which they were heard. The bus tells of a message
//! whether or not its stream stores it.

use std::collections::VecDeque;

use market_core::UnixMillis;

use super::RecordHead;

/// Most messages that are remembered.
const HEARD_MAX: usize = 8;

#[derive(Clone, Copy, Debug)]
struct One {
    at_ms: UnixMillis,
    head: RecordHead,
    /// A newer bar was known when it was heard. A bar without trades is not published, and a late trade
    /// makes a first publication of it.
    is_late: bool,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// Oldest first.
    messages: VecDeque<One>,
}

impl One {
    /// Whether it came before the first publication of this bar. Those that are not late ascend.
    fn is_before(&self, start_ms: UnixMillis) -> bool {
        self.head.rev == 0 && !self.is_late && self.head.start_ms < start_ms
    }
}

impl Heard {
    pub(super) fn push(&mut self, at_ms: UnixMillis, head: &RecordHead, is_late: bool) {
        if self.messages.len() >= HEARD_MAX {
            self.messages.pop_front();
        }
        self.messages.push_back(One {
            at_ms,
            head: *head,
            is_late,
        });
    }

    pub(super) fn clear(&mut self) {
        self.messages.clear();
    }

    /// The bar of the newest message.
    pub(super) fn newest_ms(&self) -> Option<UnixMillis> {
        self.messages.back().map(|one| one.head.start_ms)
    }

    /// This one is stored.
    pub(super) fn remove(&mut self, head: &RecordHead) {
        self.messages.retain(|one| one.head != *head);
    }

    pub(super) fn retain(&mut self, is_kept: impl Fn(UnixMillis) -> bool) {
        self.messages.retain(|one| is_kept(one.head.start_ms));
    }

    /// Takes out what came after the newest message of the record, oldest first. If that one is known
    /// and not here, it was read, and all that is still here came after it.
    pub(super) fn take_after(
        &mut self,
        newest: Option<&RecordHead>,
        is_known: bool,
    ) -> Vec<RecordHead> {
        let mut messages = self.messages.iter();
        let same = messages.rposition(|one| Some(&one.head) == newest);
        let first = newest.filter(|newest| newest.rev == 0 && !is_known);
        let stored = same.or_else(|| {
            let mut messages = self.messages.iter();
            first.and_then(|first| messages.rposition(|one| one.is_before(first.start_ms)))
        });
        self.take_from(stored)
    }

    /// Takes out what came after the last one that is stored, oldest first. All of `stored` came since
    /// a position that was asked for at `after_ms`. What was stored before it may be heard a little
    /// later.
    pub(super) fn take_since(
        &mut self,
        stored: &[RecordHead],
        after_ms: UnixMillis,
    ) -> Vec<RecordHead> {
        let last = self.last_stored(stored, after_ms);
        self.take_from(last)
    }

    /// The same, but what came after the last one that is stored stays: it may be stored by now.
    pub(super) fn catch_up(&mut self, stored: &[RecordHead], after_ms: UnixMillis) {
        let last = self.last_stored(stored, after_ms);
        self.messages.drain(..last.map_or(0, |last| last + 1));
    }

    fn last_stored(&self, stored: &[RecordHead], after_ms: UnixMillis) -> Option<usize> {
        let firsts = stored.iter().filter(|head| head.rev == 0);
        let newest_ms = firsts.map(|head| head.start_ms).max();
        let mut messages = self.messages.iter();
        messages.rposition(|one| {
            one.at_ms < after_ms
                || stored.contains(&one.head)
                || newest_ms.is_some_and(|newest_ms| one.is_before(newest_ms))
        })
    }

    fn take_from(&mut self, stored: Option<usize>) -> Vec<RecordHead> {
        let taken = self.messages.split_off(stored.map_or(0, |last| last + 1));
        self.messages.clear();
        taken.into_iter().map(|one| one.head).collect()
    }
}
