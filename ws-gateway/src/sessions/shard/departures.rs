//! Which sessions move to other gateways, and when: all of them in a drain, some in a rebalance.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use market_core::protocol::CloseCode;
use rand::Rng;

use super::Shard;
use crate::sessions::outlet::Outlet;
use crate::sessions::session_id::SessionId;

/// Number of random sessions that are compared for each one to close.
const TRIES: usize = 8;

/// The sessions to close, and when.
#[derive(Debug, Default)]
pub(super) struct Departures {
    by_time: BinaryHeap<Reverse<(Instant, SessionId)>>,
    /// The time until which a drain closes sessions; `None` without a drain.
    drain_until: Option<Instant>,
}

impl Departures {
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.by_time.peek().map(|Reverse((at, _))| *at)
    }
}

impl<O: Outlet> Shard<O> {
    /// Closes every session, each at a random time within `window`.
    pub(crate) fn drain(&mut self, now: Instant, window: Duration) {
        self.departures.drain_until = Some(now + window);
        // A drain replaces pending rebalance closes.
        self.departures.by_time.clear();
        for (index, member) in self.members.iter().enumerate() {
            if let Some(member) = member {
                let id = SessionId {
                    index: u32::try_from(index).expect("fewer than 2^32 sessions"),
                    generation: member.generation,
                };
                let at = now + window.mul_f64(self.rng.random::<f64>());
                self.departures.by_time.push(Reverse((at, id)));
            }
        }
    }

    /// Closes a session with the others if the shard drains: its connection was accepted before the
    /// drain, but its command to join came after it.
    pub(super) fn depart_if_draining(&mut self, id: SessionId, now: Instant) {
        if let Some(until) = self.departures.drain_until {
            let window = until.saturating_duration_since(now);
            let at = now + window.mul_f64(self.rng.random::<f64>());
            self.departures.by_time.push(Reverse((at, id)));
        }
    }

    /// Closes about `count` sessions that have lasted for `age_min`, each at a random time within
    /// `window`; none if the shard drains. Picks the oldest of a few random sessions. A reloaded
    /// balancer does not count older connections, so closing a young one would only bring it back.
    pub(crate) fn shed(&mut self, count: usize, age_min: Duration, now: Instant, window: Duration) {
        if self.departures.drain_until.is_some() || self.members.is_empty() {
            return;
        }
        for _ in 0..count {
            let places = 0..self.members.len();
            let oldest = (0..TRIES)
                .filter_map(|_| {
                    let index = self.rng.random_range(places.clone());
                    let member = self.members[index].as_ref()?;
                    let may_go = !member.is_leaving && now >= member.joined_at + age_min;
                    may_go.then_some((member.joined_at, index))
                })
                .min();
            let Some((_, index)) = oldest else {
                continue;
            };
            let member = self.members[index].as_mut().expect("it was just found");
            member.is_leaving = true;
            self.staying -= 1;
            let id = SessionId {
                index: u32::try_from(index).expect("fewer than 2^32 sessions"),
                generation: member.generation,
            };
            let at = now + window.mul_f64(self.rng.random::<f64>());
            self.departures.by_time.push(Reverse((at, id)));
        }
    }

    /// Closes the sessions that are due.
    pub(super) fn depart(&mut self, now: Instant) {
        while let Some(at) = self.departures.next_at()
            && at <= now
        {
            let Some(Reverse((_, id))) = self.departures.by_time.pop() else {
                return;
            };
            let is_draining = self.departures.drain_until.is_some();
            let code = match is_draining {
                true => CloseCode::DRAIN,
                false => CloseCode::REBALANCE,
            };
            if let Some(member) = self.member(id) {
                member.outlet.close(code);
                self.counts.sheds += u64::from(!is_draining);
            }
        }
    }

    /// The number of sessions now, without those that were chosen to move.
    #[must_use]
    pub(crate) fn staying(&self) -> usize {
        self.staying
    }
}
