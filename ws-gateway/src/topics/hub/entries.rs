//! Publications with a place in their topic that are no bars: entries of logs, and values; and how
//! many bytes are held of bars and of entries.

use std::time::Instant;

use bytes::Bytes;
use market_core::channel::Class;

use super::{Core, Hub, release};
use crate::topics::publication::Placed;
use crate::topics::slot_id::SlotId;
use crate::topics::state::{Depth, Offered};

impl Hub {
    /// Takes a publication that has a place in its topic and is no bar.
    pub(crate) fn offer_placed(
        &self,
        id: SlotId,
        placed: Placed<'_>,
        payload: Bytes,
        received_at: Instant,
    ) -> Offered {
        let mut core = self.core();
        let core = &mut *core;
        if core.endings.has(id) {
            return Offered::Stale;
        }
        let version = core.version + 1;
        let (keep, json_bytes) = (core.log_hold.keep(self.depth), payload.len());
        let offered = {
            let mut state = core.slots[id.index()].slot.state();
            let early = &mut core.early_entries;
            match placed.class {
                Class::Log => state.offer_entry(placed.position, payload, version, keep, early),
                Class::Book => state.offer_book(placed.position, payload, version, keep),
                Class::Latest | Class::Series => {
                    state.offer_value(placed.position, payload, version)
                }
            }
        };
        if matches!(offered, Offered::New { .. }) {
            self.note(core, id, placed.exchange, true, received_at);
            if placed.class == Class::Log {
                core.log_hold.push(id, 0, version, json_bytes, received_at);
                core.make_room_for_entries(self.depth);
                core.let_go(received_at, self.depth);
            }
        }
        offered
    }

    /// Bytes of the closed bars within their hold time, and the number of bars released early since
    /// the last call.
    pub(crate) fn take_held(&self) -> (usize, u64) {
        let mut core = self.core();
        (core.hold.bytes(), std::mem::take(&mut core.early))
    }

    /// Bytes of the entries of logs within their hold time, and the number of entries released early
    /// since the last call.
    pub(crate) fn take_held_entries(&self) -> (usize, u64) {
        let mut core = self.core();
        let early = std::mem::take(&mut core.early_entries);
        (core.log_hold.bytes(), early)
    }
}

impl Core {
    /// Releases the oldest entries if all of them have too many bytes.
    fn make_room_for_entries(&mut self, depth: Depth) {
        while let Some(held) = self.log_hold.pop_beyond() {
            let is_gone = release(&self.slots, held, self.log_hold.keep(depth));
            self.early_entries += u64::from(is_gone);
        }
    }
}
