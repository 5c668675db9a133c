//! A session gives up some of its subscriptions.

use std::collections::HashSet;
use std::sync::Arc;

use super::Shard;
use super::beginnings::Beginnings;
use super::effect::Effect;
use super::snapshots::{self, Joined, StartBounds};
use super::subscriptions::Overflow;
use crate::sessions::outlet::Outlet;
use crate::sessions::session_id::SessionId;
use crate::sessions::topic_set::Spec;
use crate::topics::slot_id::SlotId;

impl<O: Outlet> Shard<O> {
    /// Reduces a session to these of its subscriptions.
    ///
    /// There may be room now for topics that were left out. The session has nothing of them, so it
    /// gets their newest state, and not what has changed.
    pub(super) fn narrow(&mut self, id: SessionId, spec: &Spec) {
        let session = self.members.live(id.index);
        let (old_set, seen) = (session.set, session.seen);
        let old_newest = self.subscriptions.sets.get(old_set).newest;
        let set = self
            .subscriptions
            .intern(
                spec,
                Overflow::Cut,
                old_set,
                self.config.topics_max,
                &mut self.counts,
            )
            .expect("what is too much is cut");
        let old = &self.subscriptions.sets.get(old_set).entries;
        let is_gained = |slot: &SlotId| old.binary_search_by_key(slot, |held| held.slot).is_err();
        let entries = self.subscriptions.sets.get(set).entries.iter();
        let gained: HashSet<SlotId> = entries.map(|entry| entry.slot).filter(is_gained).collect();
        if !gained.is_empty() {
            let joined = Joined {
                from: old_set,
                to: set,
                seen,
                begun: &self.members.live(id.index).begun,
                requested: &gained,
                since: None,
            };
            let bounds = StartBounds {
                frame_bytes_max: self.config.frame_bytes_max,
                resume_bytes_max: self.config.resume_bytes_max,
                log_bytes_max: self.config.log_bytes_max,
                budget: &self.hub.budget,
            };
            let (start, _) = snapshots::joined(&self.subscriptions, joined, bounds);
            let start = Arc::new(start);
            self.effects.push(Effect::Gained { to: id, start });
        }
        self.subscriptions.move_to(&mut self.members, id.index, set);
        let newest = self.subscriptions.sets.get(set).newest;
        let session = self.members.live_mut(id.index);
        session.begun.keep(spec);
        if !gained.is_empty() {
            // What is gained may be a part of a subscription, so all count as new.
            session.begun = Beginnings::all_at(self.subscriptions.version);
        }
        if seen >= old_newest || !gained.is_empty() {
            session.seen = newest;
        } else {
            self.delivery.add(id);
        }
    }
}
