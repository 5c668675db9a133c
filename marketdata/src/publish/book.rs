//! What is published of one topic, by whichever program, and the newest bars that this program has
//! made itself. A bar is published if nobody has published it, or as a revision if it is better than
//! what was published.

use std::collections::{BTreeMap, VecDeque};

use market_core::clock::EPOCH_AHEAD_MAX_MS;
use market_core::{Bar, Quality, UnixMillis};
use serde::Deserialize;

/// Most published bars that are remembered whole; 1 KiB for a few kilobytes of a topic.
const RECENT_MAX: usize = 128;
/// Most older bars whose revision is remembered.
const REVISED_MAX: usize = 1_024;
/// For how long a bar of ours that is published is kept.
const OWN_AGE_MS: i64 = 30_000;
/// Most messages of others that are remembered in the order in which they were heard.
const HEARD_MAX: usize = 8;
/// Most bars of ours that are kept because nobody has published them.
const OWN_MAX: usize = 1_024;

/// A published bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Published {
    start_ms: UnixMillis,
    content: Content,
    epoch: u64,
    /// By this program, from the pipeline that may revise it.
    is_ours: bool,
}

/// What of a bar decides which of two is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) rev: u32,
    pub(crate) count: u64,
    pub(crate) is_whole: bool,
}

/// A published bar as another program reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct RecordHead {
    pub(crate) epoch: u64,
    pub(crate) start_ms: UnixMillis,
    pub(crate) rev: u32,
    pub(crate) count: u64,
    pub(crate) quality: Quality,
}

/// What to do with a bar of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Publish it under this revision.
    Publish(u32),
    /// It is published under this revision with the same content. The journal may lack it.
    Published(u32),
    /// What is published is at least as good.
    Leave,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Ascending by start.
    recent: VecDeque<Published>,
    /// From this start on, what is not in `recent` is not published. Older bars count as published.
    known_from_ms: Option<UnixMillis>,
    /// The newest messages of others, oldest first. The bus tells of a message whether or not its
    /// stream stores it.
    heard: VecDeque<RecordHead>,
    /// The bar of the newest message of the record, when it was taken over.
    settled_ms: Option<UnixMillis>,
    /// The revisions of older bars that were revised.
    revised: BTreeMap<UnixMillis, u32>,
    /// Ascending by start.
    own: VecDeque<Bar>,
    /// The highest epoch of a published bar.
    epoch: u64,
}

impl Content {
    pub(crate) fn of(bar: &Bar) -> Self {
        Self {
            rev: bar.rev,
            count: bar.fold.map_or(0, |fold| fold.count),
            is_whole: is_whole(bar.quality),
        }
    }

    /// Whether it says more than `other`. Trades are facts: of two bars that are both whole or both
    /// not, the one with more trades knows more.
    fn is_better_than(&self, other: &Self) -> bool {
        (self.is_whole, self.count) > (other.is_whole, other.count)
    }

    fn is_as(&self, other: &Self) -> bool {
        (self.is_whole, self.count) == (other.is_whole, other.count)
    }
}

impl RecordHead {
    /// Reads a bar of the record; `None` if it is none, or if its numbers cannot be true at `now`: a
    /// bar of the far future, or of an epoch above all others, would hide every true one.
    pub(crate) fn read(payload: &[u8], now: UnixMillis) -> Option<Self> {
        let read: Self = serde_json::from_slice(payload).ok()?;
        let latest_ms = now.saturating_add_unsigned(EPOCH_AHEAD_MAX_MS);
        let is_time = (0..=latest_ms).contains(&read.start_ms);
        let is_epoch = i64::try_from(read.epoch).is_ok_and(|epoch| epoch <= latest_ms);
        (is_time && is_epoch).then_some(read)
    }

    fn content(&self) -> Content {
        Content {
            rev: self.rev,
            count: self.count,
            is_whole: is_whole(self.quality),
        }
    }
}

fn is_whole(quality: Quality) -> bool {
    match quality {
        Quality::Complete | Quality::Filled | Quality::Backfilled => true,
        Quality::Gap | Quality::Partial => false,
    }
}

impl Book {
    /// Keeps a bar that we have made. True if one that nobody has published had to make room.
    pub(crate) fn keep(&mut self, bar: &Bar) -> bool {
        let at = self.own.partition_point(|own| own.start_ms < bar.start_ms);
        let is_kept = self
            .own
            .get(at)
            .is_some_and(|own| own.start_ms == bar.start_ms);
        if is_kept {
            self.own[at] = *bar;
        } else if at == 0 && !self.own.is_empty() {
            // An old bar that was revised: what is published of it is not known to be worse.
            return false;
        } else {
            self.own.insert(at, *bar);
        }
        let newest_end_ms = self.own.back().map_or(bar.end_ms, |own| own.end_ms);
        let oldest_ms = newest_end_ms.saturating_sub(OWN_AGE_MS);
        while let Some(front) = self.own.front()
            && front.end_ms < oldest_ms
            && self.is_published(front.start_ms)
            && !self.is_heard_last(front.start_ms)
        {
            self.own.pop_front();
        }
        if self.own.len() <= OWN_MAX {
            return false;
        }
        let dropped = self.own.pop_front();
        dropped.is_some_and(|dropped| !self.is_published(dropped.start_ms))
    }

    /// Whether the newest message that was heard is of this bar: it may not be stored yet.
    fn is_heard_last(&self, start_ms: UnixMillis) -> bool {
        self.heard
            .back()
            .is_some_and(|heard| heard.start_ms == start_ms)
    }

    /// The bars that we have made and still keep, oldest first.
    pub(crate) fn own(&self) -> impl Iterator<Item = &Bar> {
        self.own.iter()
    }

    /// The start of the newest published bar.
    pub(crate) fn newest_ms(&self) -> Option<UnixMillis> {
        self.recent.back().map(|published| published.start_ms)
    }

    /// Whether the newest message that is known of the record is of this bar.
    pub(crate) fn is_newest(&self, start_ms: UnixMillis) -> bool {
        self.settled_ms.or(self.newest_ms()) == Some(start_ms)
    }

    fn index(&self, start_ms: UnixMillis) -> Result<usize, usize> {
        self.recent
            .binary_search_by_key(&start_ms, |published| published.start_ms)
    }

    /// Whether it is older than what is known without a hole.
    fn is_forgotten(&self, start_ms: UnixMillis) -> bool {
        self.known_from_ms
            .is_none_or(|known_from_ms| start_ms < known_from_ms)
    }

    fn is_published(&self, start_ms: UnixMillis) -> bool {
        self.index(start_ms).is_ok()
            || (self.known_from_ms.is_some() && self.is_forgotten(start_ms))
    }

    /// What to do with a bar that the pipeline has just given out. `is_new` is false for a bar that
    /// it gave out before, while another program published.
    pub(crate) fn judge(&self, bar: &Bar, is_new: bool) -> Judgement {
        let content = Content::of(bar);
        let Ok(index) = self.index(bar.start_ms) else {
            return match self.revised.get(&bar.start_ms) {
                _ if !self.is_forgotten(bar.start_ms) => Judgement::Publish(0),
                Some(rev) if is_new => Judgement::Publish(rev.saturating_add(1)),
                None if is_new || self.known_from_ms.is_none() => Judgement::Publish(bar.rev),
                _ => Judgement::Leave,
            };
        };
        let published = &self.recent[index];
        let next_rev = published.content.rev.saturating_add(1);
        if published.is_ours && is_new {
            // Its own pipeline knows best, also that trades turned out to be missing.
            Judgement::Publish(next_rev)
        } else if content.is_better_than(&published.content) {
            Judgement::Publish(next_rev)
        } else if content.is_as(&published.content) {
            Judgement::Published(published.content.rev)
        } else {
            Judgement::Leave
        }
    }

    /// Messages of the record were missed, and the book is seeded anew. What it knew before is
    /// forgotten, so that it has no hole: bars in a hole would count as not published.
    pub(crate) fn begin_anew(&mut self) {
        for published in std::mem::take(&mut self.recent) {
            self.remember_revision(&published);
        }
        self.known_from_ms = None;
        self.heard.clear();
    }

    /// Takes over after the newest message of the record, which was read when nobody else could
    /// store any more. What was heard after it is in no record, and counts as not published. False
    /// if something before it was missed.
    pub(crate) fn settle(&mut self, newest: Option<&RecordHead>) -> bool {
        let stored = self.heard.iter().rposition(|heard| Some(heard) == newest);
        let lost = self.heard.split_off(stored.map_or(0, |stored| stored + 1));
        self.heard.clear();
        for head in lost.iter().rev() {
            if let Ok(index) = self.index(head.start_ms)
                && !self.recent[index].is_ours
                && self.recent[index].content.rev == head.rev
            {
                self.take_back(index);
            }
        }
        self.settled_ms = newest.map(|newest| newest.start_ms);
        let Some(newest) = newest else {
            return true;
        };
        // First publications are stored in their order.
        while newest.rev == 0
            && let Some(last) = self.recent.back()
            && last.start_ms > newest.start_ms
            && !last.is_ours
        {
            self.recent.pop_back();
        }
        self.is_outdated(newest)
            || (self.known_from_ms.is_some() && self.is_forgotten(newest.start_ms))
    }

    /// This program publishes a bar under this epoch.
    pub(crate) fn publish(&mut self, start_ms: UnixMillis, content: Content, epoch: u64) {
        self.note(Published {
            start_ms,
            content,
            epoch,
            is_ours: true,
        });
    }

    /// A bar of the record was read. A publisher whose lease was taken may still send bars that the
    /// bus refuses; they carry a lower epoch than the bars of its successor.
    pub(crate) fn follow(&mut self, head: &RecordHead) {
        if head.epoch < self.epoch || self.is_outdated(head) {
            return;
        }
        self.note(Published {
            start_ms: head.start_ms,
            content: head.content(),
            epoch: head.epoch,
            is_ours: false,
        });
        if self.heard.len() >= HEARD_MAX {
            self.heard.pop_front();
        }
        self.heard.push_back(*head);
    }

    /// A bar that is kept on the bus was read, in any order.
    pub(crate) fn seed(&mut self, head: &RecordHead) {
        self.heard.retain(|heard| heard != head);
        // A late revision of an old bar says nothing of the bars after it.
        if head.rev == 0 && self.recent.len() < RECENT_MAX && self.is_forgotten(head.start_ms) {
            self.known_from_ms = Some(head.start_ms);
        }
        if self.is_outdated(head) {
            return;
        }
        self.note(Published {
            start_ms: head.start_ms,
            content: head.content(),
            epoch: head.epoch,
            is_ours: false,
        });
    }

    /// Whether the same or a later revision of the bar is known.
    fn is_outdated(&self, head: &RecordHead) -> bool {
        self.index(head.start_ms).is_ok_and(|index| {
            let known = &self.recent[index];
            (head.epoch, head.rev) <= (known.epoch, known.content.rev)
        })
    }

    fn note(&mut self, published: Published) {
        self.epoch = self.epoch.max(published.epoch);
        if published.content.rev == 0 {
            self.known_from_ms.get_or_insert(published.start_ms);
        }
        match self.index(published.start_ms) {
            Ok(index) => self.recent[index] = published,
            Err(0) if self.recent.len() >= RECENT_MAX => self.remember_revision(&published),
            Err(index) => self.recent.insert(index, published),
        }
        if self.recent.len() > RECENT_MAX
            && let Some(oldest) = self.recent.pop_front()
        {
            let known_from_ms = self.known_from_ms.unwrap_or(oldest.start_ms);
            self.known_from_ms = Some(known_from_ms.max(oldest.start_ms.saturating_add(1)));
            self.remember_revision(&oldest);
        }
    }

    fn remember_revision(&mut self, published: &Published) {
        if published.content.rev > 0 {
            self.revised
                .insert(published.start_ms, published.content.rev);
        }
        if self.revised.len() > REVISED_MAX {
            self.revised.pop_first();
        }
    }

    /// A bar that this program was to publish under this revision was not.
    pub(crate) fn refused(&mut self, start_ms: UnixMillis, rev: u32) {
        let Ok(index) = self.index(start_ms) else {
            return;
        };
        let published = &self.recent[index];
        if published.is_ours && published.content.rev == rev {
            self.take_back(index);
        }
    }

    /// This publication does not count.
    fn take_back(&mut self, index: usize) {
        let published = &mut self.recent[index];
        match published.content.rev.checked_sub(1) {
            // What was published before it is not known any more: anything is better.
            Some(before) => {
                published.is_ours = false;
                published.content = Content {
                    rev: before,
                    count: 0,
                    is_whole: false,
                };
            }
            None => {
                self.recent.remove(index);
            }
        }
    }
}

#[cfg(test)]
mod tests;
