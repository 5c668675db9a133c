//! The reads of the past that a shard's sessions wait for.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};
use std::time::{Duration, Instant};

use market_core::Topic;

use super::read::{Read, Step};
use crate::sessions::past::ReadId;
use crate::sessions::session_id::SessionId;

/// The reads of a shard's sessions.
#[derive(Debug, Default)]
pub(super) struct Reads {
    reads: HashMap<ReadId, Read>,
    by_session: HashMap<SessionId, OfSession>,
    newest: u64,
    rests: BinaryHeap<Reverse<(Instant, ReadId)>>,
    /// When sessions go live with the topics whose past is complete.
    joins: BinaryHeap<Reverse<(Instant, SessionId)>>,
    /// The entry in `joins` that counts for each session.
    joins_at: HashMap<SessionId, Instant>,
    /// How many reads have been looked at.
    #[cfg(test)]
    looks: std::cell::Cell<u64>,
}

/// The reads of one session, in the order in which they were asked for. The end of one costs no more
/// where there are many: a session may read a thousand topics.
#[derive(Debug, Default)]
struct OfSession {
    all: BTreeSet<ReadId>,
    /// Those that wait for their turn. Replays wait for none.
    queued: BTreeSet<ReadId>,
    /// Those that have begun and are not complete, but for replays.
    under_way: BTreeSet<ReadId>,
    /// Replays that are not complete.
    replays: BTreeSet<ReadId>,
    /// Those that are complete.
    complete: BTreeSet<ReadId>,
}

impl OfSession {
    /// Takes a read out of everything but `all`.
    fn unplace(&mut self, id: ReadId) {
        for reads in [
            &mut self.queued,
            &mut self.under_way,
            &mut self.replays,
            &mut self.complete,
        ] {
            reads.remove(&id);
        }
    }

    /// A read is under way.
    fn begun(&mut self, id: ReadId, is_replay: bool) {
        self.unplace(id);
        match is_replay {
            true => self.replays.insert(id),
            false => self.under_way.insert(id),
        };
    }
}

impl Reads {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.reads.len()
    }

    /// The topics that are read.
    pub(super) fn topics(&self) -> HashSet<&Topic> {
        self.reads.values().map(|read| &read.topic).collect()
    }

    /// The reads of a session.
    pub(super) fn of(&self, session: SessionId) -> impl Iterator<Item = (ReadId, &Read)> {
        let reads = self.by_session.get(&session);
        let ids = reads.into_iter().flat_map(|reads| &reads.all);
        ids.filter_map(move |id| Some((*id, self.looked_at(*id)?)))
    }

    /// The reads of a session that may have a page for its socket.
    pub(super) fn under_way(&self, session: SessionId) -> Vec<ReadId> {
        let reads = self.by_session.get(&session);
        let ids = reads.into_iter().flat_map(|reads| {
            let begun = reads.under_way.iter().chain(&reads.replays);
            begun.copied()
        });
        ids.filter(|id| self.looked_at(*id).is_some()).collect()
    }

    /// The replays of a session that are not complete.
    pub(super) fn replays(&self, session: SessionId) -> Vec<ReadId> {
        let reads = self.by_session.get(&session);
        let ids = reads.into_iter().flat_map(|reads| &reads.replays);
        ids.copied().collect()
    }

    fn looked_at(&self, id: ReadId) -> Option<&Read> {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        self.reads.get(&id)
    }

    /// How many reads have been looked at since the last call.
    #[cfg(test)]
    pub(super) fn take_looks(&self) -> u64 {
        self.looks.take()
    }

    /// Adds a read. A replay waits for no turn.
    pub(super) fn add(&mut self, read: Read) -> ReadId {
        self.newest += 1;
        let id = ReadId(self.newest);
        let of_session = self.by_session.entry(read.session).or_default();
        of_session.all.insert(id);
        of_session.queued.insert(id);
        self.reads.insert(id, read);
        id
    }

    /// A read that has not ended.
    pub(super) fn get(&self, id: ReadId) -> Option<&Read> {
        self.reads.get(&id)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, id: ReadId) -> Option<&mut Read> {
        self.reads.get_mut(&id)
    }

    /// A read ends.
    pub(super) fn remove(&mut self, id: ReadId) -> Option<Read> {
        let read = self.reads.remove(&id)?;
        if let Some(reads) = self.by_session.get_mut(&read.session) {
            reads.all.remove(&id);
            reads.unplace(id);
            if reads.all.is_empty() {
                self.by_session.remove(&read.session);
            }
        }
        Some(read)
    }

    /// All reads of a session end.
    pub(super) fn remove_all(&mut self, session: SessionId) {
        self.joins_at.remove(&session);
        let reads = self.by_session.remove(&session).unwrap_or_default();
        for id in reads.all {
            self.reads.remove(&id);
        }
    }

    /// The next read of a session that waits for its turn, if fewer than `room` are under way beside
    /// its replays, which last long. It begins now.
    pub(super) fn begin_next(&mut self, session: SessionId, room: usize) -> Option<ReadId> {
        let reads = self.by_session.get(&session)?;
        if reads.under_way.len() >= room {
            return None;
        }
        let id = *reads.queued.first()?;
        self.begun(id);
        Some(id)
    }

    /// A read begins, or goes on although it was complete.
    pub(super) fn begun(&mut self, id: ReadId) {
        let read = self.reads.get(&id);
        if let Some(read) = read
            && let Some(reads) = self.by_session.get_mut(&read.session)
        {
            reads.begun(id, read.replay.is_some());
        }
    }

    /// Whether a read of a session waits for its turn.
    pub(super) fn has_queued(&self, session: SessionId) -> bool {
        let reads = self.by_session.get(&session);
        reads.is_some_and(|reads| !reads.queued.is_empty())
    }

    /// Whether a session waits for other reads than those that are complete. Nothing waits for a
    /// replay.
    pub(super) fn has_incomplete(&self, session: SessionId) -> bool {
        let reads = self.by_session.get(&session);
        reads.is_some_and(|reads| !reads.queued.is_empty() || !reads.under_way.is_empty())
    }

    /// The reads of a session that are complete, in order: it goes live with them now.
    pub(super) fn take_complete(&mut self, session: SessionId) -> Vec<ReadId> {
        self.joins_at.remove(&session);
        let reads = self.by_session.get_mut(&session);
        let complete = reads.map(|reads| std::mem::take(&mut reads.complete));
        let complete = complete.unwrap_or_default();
        for id in &complete {
            // A bar may have closed meanwhile, and then it goes on.
            self.begun(*id);
        }
        complete.into_iter().collect()
    }

    /// Whether a session has no other read.
    pub(super) fn is_alone(&self, id: ReadId) -> bool {
        let session = self.reads.get(&id).map(|read| read.session);
        let reads = session.and_then(|session| self.by_session.get(&session));
        reads.is_some_and(|reads| reads.all.len() == 1)
    }

    /// A read is complete: its session goes live with it at this time or earlier.
    pub(super) fn join(&mut self, id: ReadId, at: Instant) {
        if let Some(read) = self.reads.get_mut(&id) {
            read.step = Step::Joining;
            let reads = self.by_session.entry(read.session).or_default();
            reads.unplace(id);
            reads.complete.insert(id);
            if let Entry::Vacant(vacant) = self.joins_at.entry(read.session) {
                vacant.insert(at);
                self.joins.push(Reverse((at, read.session)));
            }
        }
    }

    /// The sessions that go live now.
    pub(super) fn due_joins(&mut self, now: Instant) -> Vec<SessionId> {
        let mut due = Vec::new();
        while let Some(Reverse((at, session))) = self.joins.peek().copied()
            && at <= now
        {
            self.joins.pop();
            if self.joins_at.get(&session) == Some(&at) {
                self.joins_at.remove(&session);
                due.push(session);
            }
        }
        due
    }

    /// The reads of a session that have waited for their turn for so long, in order.
    pub(super) fn queued_for(
        &self,
        session: SessionId,
        wait: Duration,
        now: Instant,
    ) -> Vec<ReadId> {
        let is_long = |id: &ReadId| {
            let read = self.reads.get(id);
            read.is_some_and(|read| now.saturating_duration_since(read.begun_at) >= wait)
        };
        let queued = self.by_session.get(&session).map(|reads| &reads.queued);
        // Those that were asked for first have waited longest.
        queued
            .into_iter()
            .flatten()
            .copied()
            .take_while(is_long)
            .collect()
    }

    /// A read goes on at this time.
    pub(super) fn rest(&mut self, id: ReadId, until: Instant) {
        self.rests.push(Reverse((until, id)));
    }

    /// When the next read goes on, or session goes live.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let rests = self.rests.peek().map(|Reverse((at, _))| *at);
        let joins = self.joins.peek().map(|Reverse((at, _))| *at);
        rests.into_iter().chain(joins).min()
    }

    /// The reads that have rested.
    pub(super) fn rested(&mut self, now: Instant) -> Vec<ReadId> {
        let mut rested = Vec::new();
        while let Some(Reverse((at, id))) = self.rests.peek().copied()
            && at <= now
        {
            self.rests.pop();
            let is_resting = |read: &Read| matches!(read.step, Step::Resting);
            if self.reads.get(&id).is_some_and(is_resting) {
                rested.push(id);
            }
        }
        rested
    }
}
