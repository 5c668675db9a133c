//! Which session is in which set.

use super::members::Members;
use super::subscriptions::Subscriptions;
use crate::sessions::outlet::Outlet;
use crate::sessions::set_id::SetId;

impl Subscriptions {
    /// Puts a session that is in no set into one.
    pub(super) fn enter<O: Outlet>(&mut self, members: &mut Members<O>, index: u32, set: SetId) {
        let in_set = &mut self.sets.get_mut(set).members;
        in_set.push(index);
        let set_index = u32::try_from(in_set.len() - 1).expect("fewer than 2^32 sessions");
        let session = members.live_mut(index);
        session.set = set;
        session.set_index = set_index;
    }

    /// Takes a session out of its set, which is removed if it is the last.
    pub(super) fn exit<O: Outlet>(&mut self, members: &mut Members<O>, index: u32) {
        let session = members.live(index);
        let (set, set_index) = (session.set, session.set_index);
        self.take_out(members, set, set_index);
    }

    fn take_out<O: Outlet>(&mut self, members: &mut Members<O>, id: SetId, set_index: u32) {
        let set = self.sets.get_mut(id);
        set.members.swap_remove(set_index as usize);
        if let Some(&moved) = set.members.get(set_index as usize) {
            members.live_mut(moved).set_index = set_index;
        }
        if set.members.len() <= 1 {
            set.snapshot = None;
        }
        if let Some(set) = self.sets.remove(id) {
            for entry in &set.entries {
                self.views[entry.slot.index()].sets.remove(&id);
            }
        }
    }

    /// Puts a session into another set.
    pub(super) fn move_to<O: Outlet>(&mut self, members: &mut Members<O>, index: u32, set: SetId) {
        let session = members.live(index);
        let (from, set_index) = (session.set, session.set_index);
        if from != set {
            // Entered first: a set without members is removed.
            self.enter(members, index, set);
            self.take_out(members, from, set_index);
        }
    }
}
