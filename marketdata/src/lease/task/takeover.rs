//! What was taken is published, from the first bar on that the bus does not have.

use std::sync::Arc;

use bus::Lease;
use market_core::subject;
use tracing::info;

use super::LeaseTask;
use super::beginning::Beginning;
use super::work::{self, Taken, Takeover};
use crate::host_clock::now_ms;
use crate::instrument::InstrumentId;
use crate::publish::durable::Item;

/// Instruments that begin in one go. Beats, records and commands have their turn between two.
const PORTION: usize = 64;

impl LeaseTask {
    /// The marks of what is taken together continue after those of its last holder, and its bars
    /// after the newest ones of the records. Nobody else can store any more.
    pub(super) fn read_taken(&mut self, taken: Vec<(InstrumentId, Lease)>, is_anew: bool) {
        let taken = taken.into_iter().map(|(instrument, lease)| Taken {
            instrument,
            lease,
            newest: Vec::new(),
        });
        let takeover = Takeover {
            subject: Arc::clone(self.parts.boundaries.position_subject()),
            marks: None,
            taken: taken.collect(),
            known: self.progress.known(),
            is_anew,
        };
        let (bus, followed) = (Arc::clone(&self.parts.bus), Arc::clone(&self.followed));
        self.running.spawn(work::position(bus, followed, takeover));
    }

    /// What was taken can be published.
    pub(super) fn begin(&mut self, takeover: Takeover) {
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
        let Some(mut beginning) = self.beginning.pop_front() else {
            return;
        };
        for taken in beginning.taken.by_ref().take(PORTION) {
            let Taken {
                instrument, lease, ..
            } = taken;
            // It may have been lost meanwhile.
            if !self.tenure.is_held_as(instrument, lease.holding()) {
                if !self.tenure.is_followed(instrument) {
                    self.release_unwanted(instrument, lease);
                }
                continue;
            }
            let (outbox, slot) = self.place(instrument);
            // Its messages may still wait for this task.
            if !outbox.settle(slot, &taken.newest) && !beginning.is_anew {
                beginning.missed.push((instrument, lease));
                continue;
            }
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

    fn has_begun(&mut self, beginning: Beginning) {
        if !beginning.missed.is_empty() {
            self.read_taken(beginning.missed, true);
        }
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
