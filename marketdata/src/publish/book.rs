//! What is published of one topic, by whichever program, and the newest bars that this program has
//! made itself. A bar is published if nobody has published it, or as a revision if it is better than
//! what was published.

mod heard;
mod record;
mod settle;

use std::collections::{BTreeMap, VecDeque};

use market_core::{Bar, UnixMillis};

use self::heard::Heard;
pub(crate) use self::record::{Content, Newest, RecordHead};

/// Most published bars that are remembered whole; 1 KiB for a few kilobytes of a topic.
const RECENT_MAX: usize = 128;
/// Most older bars whose revision is remembered.
const REVISED_MAX: usize = 1_024;
/// For how long a bar of ours that is published is kept after it was made.
const OWN_AGE_MS: i64 = 30_000;
/// Most bars of ours that are kept because nobody has published them.
const OWN_MAX: usize = 1_024;

/// A bar that this program has made.
#[derive(Clone, Copy, Debug)]
struct Own {
    bar: Bar,
    /// The end of the newest bar at that time. A revision may be of a bar that is much older.
    made_ms: UnixMillis,
}

/// A published bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Published {
    start_ms: UnixMillis,
    content: Content,
    epoch: u64,
    /// By this program, from the pipeline that may revise it.
    is_ours: bool,
    /// It was heard of a program whose lease had been taken by then: the bus may have refused it.
    is_doubtful: bool,
    /// Higher than those of all that were heard or read before it; 0 if it was taken back.
    order: u64,
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

impl Published {
    /// By another program.
    fn of(head: &RecordHead) -> Self {
        Self {
            start_ms: head.start_ms,
            content: head.content(),
            epoch: head.epoch,
            is_ours: false,
            is_doubtful: false,
            order: 0,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Ascending by start.
    recent: VecDeque<Published>,
    /// From this start on, what is not in `recent` is not published. Older bars count as published.
    known_from_ms: Option<UnixMillis>,
    heard: Heard,
    /// The highest order of a published bar.
    order: u64,
    /// The bar of the newest message of the record, when it was taken over.
    settled_ms: Option<UnixMillis>,
    /// The revisions of older bars that were revised.
    revised: BTreeMap<UnixMillis, u32>,
    /// What was heard and not stored.
    unstored: BTreeMap<UnixMillis, Content>,
    /// Ascending by start.
    own: VecDeque<Own>,
    /// The highest epoch of a published bar.
    epoch: u64,
    /// Whether a bar was ever heard in doubt, since everything was read.
    has_doubt: bool,
}

impl Book {
    /// Keeps a bar that we have made. True if one that nobody has published had to make room.
    pub(crate) fn keep(&mut self, bar: &Bar) -> bool {
        let newest_ms = self.own.back().map(|own| own.bar.end_ms);
        let made_ms = newest_ms.map_or(bar.end_ms, |newest_ms| newest_ms.max(bar.end_ms));
        let own = Own { bar: *bar, made_ms };
        let at = self
            .own
            .partition_point(|own| own.bar.start_ms < bar.start_ms);
        match self.own.get_mut(at) {
            Some(kept) if kept.bar.start_ms == bar.start_ms => *kept = own,
            _ => self.own.insert(at, own),
        }
        let oldest_ms = made_ms.saturating_sub(OWN_AGE_MS);
        while let Some(front) = self.own.front()
            && front.made_ms < oldest_ms
            && self.is_published(front.bar.start_ms)
            && !self.is_heard_last(front.bar.start_ms)
        {
            self.own.pop_front();
        }
        if self.own.len() <= OWN_MAX {
            return false;
        }
        let dropped = self.own.pop_front();
        dropped.is_some_and(|dropped| !self.is_published(dropped.bar.start_ms))
    }

    /// Whether the newest message that was heard is of this bar: it may not be stored yet.
    fn is_heard_last(&self, start_ms: UnixMillis) -> bool {
        self.heard.newest_ms() == Some(start_ms)
    }

    /// The bars that we have made and still keep, oldest first.
    pub(crate) fn own(&self) -> impl Iterator<Item = &Bar> {
        self.own.iter().map(|own| &own.bar)
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
                Some(rev) if is_new || self.is_unstored(bar.start_ms, &content) => {
                    Judgement::Publish(rev.saturating_add(1))
                }
                None if self.unstored.contains_key(&bar.start_ms) => Judgement::Publish(0),
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

    /// Messages of the record were missed, and the book is seeded again. What it knew before is
    /// forgotten, so that it has no hole: bars in a hole would count as not published.
    pub(crate) fn begin_anew(&mut self) {
        for published in std::mem::take(&mut self.recent) {
            self.remember_revision(&published);
        }
        self.known_from_ms = None;
        self.heard.clear();
        self.unstored.clear();
        self.has_doubt = false;
    }

    /// Whether a bar counts as published that the bus may have refused.
    fn is_in_doubt(&self, holder: u64) -> bool {
        let mut recent = self.recent.iter();
        self.has_doubt && recent.any(|known| known.is_doubtful && known.epoch < holder)
    }

    /// The last bar that was followed came although the lease of its publisher had been taken.
    pub(crate) fn doubt(&mut self, head: &RecordHead) {
        if let Some(known) = self.same(head) {
            known.is_doubtful = true;
            self.has_doubt = true;
        }
    }

    /// The record has this bar.
    fn confirm(&mut self, head: &RecordHead) {
        if let Some(known) = self.same(head) {
            known.is_doubtful = false;
        }
    }

    /// This publication of another program, if it is remembered.
    fn same(&mut self, head: &RecordHead) -> Option<&mut Published> {
        let index = self.index(head.start_ms).ok()?;
        let known = &mut self.recent[index];
        let is_same = (known.epoch, known.content.rev) == (head.epoch, head.rev);
        (is_same && !known.is_ours).then_some(known)
    }

    /// Whether a revision of an older bar that no record has is to be published as `content`.
    fn is_unstored(&self, start_ms: UnixMillis, content: &Content) -> bool {
        let unstored = self.unstored.get(&start_ms);
        unstored.is_some_and(|unstored| !unstored.is_better_than(content))
    }

    /// This program publishes a bar under this epoch.
    pub(crate) fn publish(&mut self, start_ms: UnixMillis, content: Content, epoch: u64) {
        self.unstored.remove(&start_ms);
        self.note(Published {
            start_ms,
            content,
            epoch,
            is_ours: true,
            is_doubtful: false,
            order: 0,
        });
    }

    /// A bar of the record was heard at `now`. A publisher whose lease was taken may still send bars
    /// that the bus refuses; they carry a lower epoch than the bars of its successor.
    pub(crate) fn follow(&mut self, head: &RecordHead, now: UnixMillis) {
        if head.epoch < self.epoch || self.is_outdated(head) {
            return;
        }
        let is_late = self
            .newest_ms()
            .is_some_and(|newest_ms| newest_ms > head.start_ms);
        self.note(Published::of(head));
        self.heard.push(now, head, is_late);
    }

    /// A bar that is kept on the bus was read, in any order.
    pub(crate) fn seed(&mut self, head: &RecordHead) {
        self.heard.remove(head);
        // A late revision of an old bar says nothing of the bars after it.
        if head.rev == 0 && self.recent.len() < RECENT_MAX && self.is_forgotten(head.start_ms) {
            self.known_from_ms = Some(head.start_ms);
        }
        self.fill(head);
    }

    /// All bars that the bus keeps of the topic were read after a loss. What was heard meanwhile
    /// follows them.
    pub(crate) fn seed_anew(&mut self, heads: &[RecordHead]) {
        let read_ms = heads.iter().map(|head| head.start_ms).max();
        let is_newer = |start_ms| read_ms.is_none_or(|read_ms| start_ms > read_ms);
        let mut newer = self.recent.clone();
        newer.retain(|published| is_newer(published.start_ms));
        let mut heard = self.heard.clone();
        heard.retain(is_newer);
        self.begin_anew();
        heads.iter().for_each(|head| self.seed(head));
        newer.into_iter().for_each(|published| self.note(published));
        self.heard = heard;
    }

    /// This is the newest message of the record, and not all before it was read. First publications
    /// are stored in their order, so the bars before it are published.
    pub(crate) fn continue_after(&mut self, newest: &RecordHead) {
        self.fill(newest);
        self.known_from_ms = self.known_from_ms.max(Some(newest.start_ms));
    }

    /// These were read after a loss: all that the bus has taken of the topic since `after_ms`.
    pub(crate) fn catch_up(&mut self, heads: &[RecordHead], after_ms: UnixMillis) {
        self.heard.catch_up(heads, after_ms);
        heads.iter().for_each(|head| self.fill(head));
    }

    /// A bar that is kept on the bus was read, and all bars before it are known.
    pub(crate) fn fill(&mut self, head: &RecordHead) {
        self.confirm(head);
        let order = self.order;
        if let Some(known) = self.same(head) {
            known.order = order.saturating_add(1);
            self.order = known.order;
        }
        if self.is_outdated(head) {
            return;
        }
        self.note(Published::of(head));
    }

    /// Whether the same or a later revision of the bar is known.
    fn is_outdated(&self, head: &RecordHead) -> bool {
        self.index(head.start_ms).is_ok_and(|index| {
            let known = &self.recent[index];
            (head.epoch, head.rev) <= (known.epoch, known.content.rev)
        })
    }

    fn note(&mut self, mut published: Published) {
        self.order = self.order.saturating_add(1);
        published.order = self.order;
        self.epoch = self.epoch.max(published.epoch);
        self.has_doubt |= published.is_doubtful;
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

    /// A bar that this program was to publish under this revision and epoch was not. Under a newer
    /// epoch it may be published by now.
    pub(crate) fn refused(&mut self, start_ms: UnixMillis, rev: u32, epoch: u64) {
        let Ok(index) = self.index(start_ms) else {
            return;
        };
        let published = &self.recent[index];
        if published.is_ours && (published.epoch, published.content.rev) == (epoch, rev) {
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
                published.is_doubtful = false;
                published.order = 0;
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
