//! The reads of the past that a shard's sessions wait for.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
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
}

impl Reads {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.reads.len()
    }

    /// Whether a topic is read.
    pub(super) fn is_any_of(&self, topic: &Topic) -> bool {
        self.reads.values().any(|read| read.topic == *topic)
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
        for id in self.by_session.remove(&session).unwrap_or_default() {
            self.reads.remove(&id);
        }
    }

    /// The reads of a session that wait for their turn, in order, and how many others there are.
    pub(super) fn queued(&self, session: SessionId) -> (Vec<ReadId>, usize) {
        let (queued, others): (Vec<_>, Vec<_>) = self
            .of(session)
            .partition(|(_, read)| matches!(read.step, Step::Queued));
        let queued = queued.into_iter().map(|(id, _)| id).collect();
        (queued, others.len())
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

    /// When the next read goes on.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.rests.peek().map(|Reverse((at, _))| *at)
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
