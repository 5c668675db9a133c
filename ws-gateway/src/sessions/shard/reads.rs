//! The reads of the past that a shard's sessions wait for.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::time::{Duration, Instant};

use market_core::Topic;

use super::read::{Read, Step};
use crate::sessions::past::ReadId;
use crate::sessions::session_id::SessionId;

/// The reads of a shard's sessions.
#[derive(Debug, Default)]
pub(super) struct Reads {
    reads: HashMap<ReadId, Read>,
    /// In the order in which they were asked for.
    by_session: HashMap<SessionId, Vec<ReadId>>,
    newest: u64,
    rests: BinaryHeap<Reverse<(Instant, ReadId)>>,
    /// When sessions go live with the topics whose past is complete.
    joins: BinaryHeap<Reverse<(Instant, SessionId)>>,
    /// The entry in `joins` that counts for each session.
    joins_at: HashMap<SessionId, Instant>,
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
        let ids = self.by_session.get(&session);
        ids.into_iter()
            .flatten()
            .filter_map(|id| Some((*id, self.reads.get(id)?)))
    }

    /// Adds a read.
    pub(super) fn add(&mut self, read: Read) {
        self.newest += 1;
        let id = ReadId(self.newest);
        self.by_session.entry(read.session).or_default().push(id);
        self.reads.insert(id, read);
    }

    /// A read that has not ended.
    pub(super) fn get_mut(&mut self, id: ReadId) -> Option<&mut Read> {
        self.reads.get_mut(&id)
    }

    /// A read ends.
    pub(super) fn remove(&mut self, id: ReadId) -> Option<Read> {
        let read = self.reads.remove(&id)?;
        if let Some(ids) = self.by_session.get_mut(&read.session) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_session.remove(&read.session);
            }
        }
        Some(read)
    }

    /// All reads of a session end.
    pub(super) fn remove_all(&mut self, session: SessionId) {
        self.joins_at.remove(&session);
        for id in self.by_session.remove(&session).unwrap_or_default() {
            self.reads.remove(&id);
        }
    }

    /// The reads of a session that wait for their turn, in order, and how many are under way beside
    /// its replays, which last long.
    pub(super) fn queued(&self, session: SessionId) -> (Vec<ReadId>, usize) {
        let (mut queued, mut under_way) = (Vec::new(), 0);
        for (id, read) in self.of(session) {
            match read.step {
                Step::Queued => queued.push(id),
                Step::Joining => {}
                _ => under_way += usize::from(read.replay.is_none()),
            }
        }
        (queued, under_way)
    }

    /// Whether a session waits for other reads than those that are complete. Nothing waits for a
    /// replay.
    pub(super) fn has_incomplete(&self, session: SessionId) -> bool {
        self.of(session)
            .any(|(_, read)| !matches!(read.step, Step::Joining) && read.replay.is_none())
    }

    /// The reads of a session that are complete, in order: it goes live with them now.
    pub(super) fn take_complete(&mut self, session: SessionId) -> Vec<ReadId> {
        self.joins_at.remove(&session);
        let complete = self
            .of(session)
            .filter(|(_, read)| matches!(read.step, Step::Joining));
        complete.map(|(id, _)| id).collect()
    }

    /// Whether a session has no other read.
    pub(super) fn is_alone(&self, id: ReadId) -> bool {
        let session = self.reads.get(&id).map(|read| read.session);
        let ids = session.and_then(|session| self.by_session.get(&session));
        ids.is_some_and(|ids| ids.len() == 1)
    }

    /// A read is complete: its session goes live with it at this time or earlier.
    pub(super) fn join(&mut self, id: ReadId, at: Instant) {
        if let Some(read) = self.reads.get_mut(&id) {
            read.step = Step::Joining;
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
        let is_long = |read: &Read| {
            let waited = now.saturating_duration_since(read.begun_at);
            matches!(read.step, Step::Queued) && waited >= wait
        };
        let queued = self.of(session).filter(|(_, read)| is_long(read));
        queued.map(|(id, _)| id).collect()
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
