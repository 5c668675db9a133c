//! What was taken is published, from the first bar on that the bus does not have.

use std::sync::Arc;

use market_core::subject;
use tracing::info;

use super::LeaseTask;
use super::beginning::Beginning;
use super::work::{self, Taken, Takeover};
use crate::host_clock::now_ms;
use crate::publish::durable::Item;

/// Instruments that begin in one go. Beats, records and commands have their turn between two.
pub(super) const PORTION: usize = 64;

impl LeaseTask {
    /// The marks of what is taken together continue after those of its last holder, and its bars
    /// after the newest ones of the records. Nobody else can store any more.
    pub(super) fn read_taken(&mut self, taken: Vec<Taken>, is_anew: bool) {
        let takeover = Takeover {
            subject: Arc::clone(self.parts.boundaries.position_subject()),
            marks: None,
            taken,
            known: self.progress.known(),
            is_anew,
        };
        let (bus, followed) = (Arc::clone(&self.parts.bus), Arc::clone(&self.followed));
        self.running.spawn(work::position(bus, followed, takeover));
    }

    /// What was taken can be published.
    pub(super) fn begin(&mut self, takeover: Takeover) {
        self.taken.read();
        // Programs that share the instruments share the position. Who publishes some of them already
        // continues after its own marks, which may be behind those of the others. So may those be of
        // who restarts while others publish their part: to mark an interval again is better than not
        // at all.
        let now = now_ms();
        if let Some(marks) = takeover.marks
            && self.leases.is_empty()
            && !self.tenure.may_share(now)
        {
            self.parts.boundaries.resume(&marks, now);
        }
        self.beginning.push_back(Beginning {
            taken: takeover.taken.into_iter(),
            is_anew: takeover.is_anew,
            ..Beginning::default()
        });
    }

    /// Publishes a portion of what was taken.
    pub(super) fn begin_portion(&mut self) {
        // The bars of this portion may be published before the next one begins.
        self.expect_marks();
        let Some(mut beginning) = self.beginning.pop_front() else {
            return;
        };
        for taken in beginning.taken.by_ref().take(PORTION) {
            let instrument = taken.instrument;
            // It may have been lost meanwhile.
            if !self.tenure.is_held_as(instrument, taken.lease.holding()) {
                if !self.tenure.is_followed(instrument) {
                    self.release_unwanted(instrument, taken.lease);
                }
                continue;
            }
            let (outbox, slot) = self.place(instrument);
            // Its messages may still wait for this task.
            if !outbox.settle(slot, &taken.newest, taken.holder) && !beginning.is_anew {
                beginning.missed.push(taken);
                continue;
            }
            let lease = taken.lease;
            beginning.highest = beginning.highest.max(lease.number());
            beginning.begun += 1;
            // Before anybody hears that it publishes.
            self.parts.epoch.raise(lease.number());
            self.leases.insert(instrument, lease);
            self.refused.remove(&instrument);
            self.hold(instrument);
            self.parts.board.set_held(instrument, true);
        }
        if beginning.taken.len() > 0 {
            self.beginning.push_front(beginning);
        } else {
            self.has_begun(beginning);
        }
    }

    /// Tells the marks which instruments this program takes over, or would.
    pub(super) fn expect_marks(&mut self) {
        let (tenure, now) = (&self.tenure, now_ms());
        let coming = (0..self.parts.instruments.len()).filter(|id| {
            let is_free = tenure.is_free_here(*id, now);
            // A read in between does not say who has it.
            let is_read = tenure.is_joining(*id) && self.coming.contains(id);
            (is_free || is_read) && !self.leases.contains_key(id)
        });
        self.coming = coming.collect();
        self.parts.boundaries.expect(self.coming.clone());
    }

    fn has_begun(&mut self, beginning: Beginning) {
        self.taken.push_missed(beginning.missed);
        if beginning.begun == 0 {
            return;
        }
        metrics::counter!("marketdata_leases_taken_total").increment(beginning.begun);
        info!(
            instruments = beginning.begun,
            epoch = beginning.highest,
            "publishing"
        );
        let payload = self.parts.epoch.get().to_string().into();
        self.parts
            .lane
            .set_checkpoint(Item::new(subject::EPOCH.into(), payload));
    }
}
