//! A session of a shard, and its topic set.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;

use super::{Shard, Timer};
use crate::sessions::outlet::Outlet;
use crate::sessions::session_id::SessionId;
use crate::sessions::set_id::SetId;

#[derive(Debug)]
pub(super) struct Member<O> {
    pub(super) outlet: Arc<O>,
    pub(super) generation: u32,
    pub(super) set: SetId,
    /// Its index in the set's members.
    pub(super) place: u32,
    /// All versions of its set up to this one have been sent.
    pub(super) seen: u64,
    /// Shortest time between frames, if the client asked for one.
    pub(super) gap: Option<Duration>,
    /// When the next frame may be sent, if there is a `max_rate`.
    pub(super) next_at: Instant,
    /// Whether it is in `delayed`.
    pub(super) is_delayed: bool,
    pub(super) has_asked: bool,
    /// Whether it was chosen to move to another gateway.
    pub(super) is_leaving: bool,
    pub(super) joined_at: Instant,
}

impl<O: Outlet> Shard<O> {
    /// A session begins. It has no subscriptions.
    pub(crate) fn join(&mut self, outlet: Arc<O>, now: Instant) -> SessionId {
        self.generation = self.generation.wrapping_add(1);
        let index = self.free.pop().unwrap_or_else(|| {
            self.members.push(None);
            u32::try_from(self.members.len() - 1).expect("fewer than 2^32 sessions")
        });
        let id = SessionId {
            index,
            generation: self.generation,
        };
        self.members[index as usize] = Some(Member {
            outlet,
            generation: self.generation,
            set: SetId::EMPTY,
            place: 0,
            seen: 0,
            gap: None,
            next_at: now,
            is_delayed: false,
            has_asked: false,
            is_leaving: false,
            joined_at: now,
        });
        self.staying += 1;
        self.enter(index, SetId::EMPTY);
        // The first ping comes at a random time in the interval, so that sessions that began
        // together are not pinged together.
        let first = self.config.ping_interval.mul_f64(self.rng.random::<f64>());
        let first = first.min(self.config.first_message_timeout);
        self.wheel.arm(now + first, Timer::Check(id));
        self.depart_if_draining(id, now);
        id
    }

    /// A session ends.
    pub(crate) fn leave(&mut self, id: SessionId) {
        let Some(member) = self.member(id) else {
            return;
        };
        self.staying -= usize::from(!member.is_leaving);
        self.exit(id.index);
        self.members[id.index as usize] = None;
        self.standings.remove(id);
        self.free.push(id.index);
    }

    /// A session whose socket was full has written all its bytes.
    pub(crate) fn writable(&mut self, id: SessionId) {
        if self.member(id).is_some() {
            self.due_members.push(id);
        }
    }

    pub(super) fn member(&self, id: SessionId) -> Option<&Member<O>> {
        self.members
            .get(id.index as usize)?
            .as_ref()
            .filter(|member| member.generation == id.generation)
    }

    pub(super) fn live_mut(&mut self, index: u32) -> &mut Member<O> {
        self.members[index as usize]
            .as_mut()
            .expect("members of a set are live")
    }

    pub(super) fn enter(&mut self, index: u32, set: SetId) {
        let members = &mut self.sets.get_mut(set).members;
        members.push(index);
        let place = u32::try_from(members.len() - 1).expect("fewer than 2^32 sessions");
        let member = self.live_mut(index);
        member.set = set;
        member.place = place;
    }

    pub(super) fn exit(&mut self, index: u32) {
        let member = self.live_mut(index);
        let (set_id, place) = (member.set, member.place);
        let members = &mut self.sets.get_mut(set_id).members;
        members.swap_remove(place as usize);
        if let Some(&moved) = members.get(place as usize) {
            self.live_mut(moved).place = place;
        }
        let set = self.sets.get_mut(set_id);
        if set.members.len() <= 1 {
            set.snapshot = None;
        }
        if let Some(set) = self.sets.remove(set_id) {
            for entry in &set.entries {
                self.views[entry.slot.index()].sets.remove(&set_id);
            }
        }
    }

    pub(super) fn move_to(&mut self, index: u32, set: SetId) {
        if self.live_mut(index).set != set {
            // Entered first, because an empty set is removed.
            let (from, place) = {
                let member = self.live_mut(index);
                (member.set, member.place)
            };
            self.enter(index, set);
            let place_new = self.live_mut(index).place;
            {
                let member = self.live_mut(index);
                member.set = from;
                member.place = place;
            }
            self.exit(index);
            let member = self.live_mut(index);
            member.set = set;
            member.place = place_new;
        }
    }
}
