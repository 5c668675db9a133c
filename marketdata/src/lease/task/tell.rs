//! What the task tells about its leases: metrics, readiness and log lines.

use tracing::{error, info, warn};

use super::LeaseTask;
use crate::host_clock::now_ms;
use crate::instrument::InstrumentId;

/// For how long instruments may have no publisher before the program says that it is not ready, in
/// silences.
const UNSETTLED_SILENCES_MAX: i64 = 6;
/// Why no bar is stored, and what to do.
const UNFENCED: &str = "the bus refuses closed bars although their lease is this program's: use nats-server 2.12 or later, and start marketdata again";

impl LeaseTask {
    /// The bus refused a bar under a lease that is ours: it does not know the fence.
    pub(super) fn unfenced(&mut self, instrument: InstrumentId) {
        self.owed.insert(instrument);
        // Only what is stored from now on says that the bus knows the fence.
        self.has_stored_fenced();
        if !std::mem::replace(&mut self.is_unfenced, true) {
            let of = &self.parts.instruments[instrument];
            error!(
                exchange = of.exchange,
                symbol = of.symbol.as_str(),
                "{UNFENCED}"
            );
        }
    }

    fn has_stored_fenced(&self) -> bool {
        let stored = self.parts.outboxes.iter();
        stored.filter(|outbox| outbox.take_stored()).count() > 0
    }

    /// Sets the gauges and the readiness, and logs doubts.
    pub(super) fn tell(&mut self) {
        if self.is_unfenced && self.has_stored_fenced() {
            self.is_unfenced = false;
            info!("the bus stores closed bars under their leases again");
            // What it refused goes out again.
            for instrument in std::mem::take(&mut self.owed) {
                self.hold(instrument);
            }
        }
        let all = 0..self.parts.instruments.len();
        let held = all.clone().filter(|&id| self.tenure.is_holding(id)).count();
        let standby = all.clone().filter(|&id| self.tenure.is_standby(id)).count();
        let followed = all.filter(|&id| self.tenure.is_followed(id)).count();
        metrics::gauge!("marketdata_instruments_held").set(held as f64);
        metrics::gauge!("marketdata_instruments_standby").set(standby as f64);
        let now = now_ms();
        let is_valid = self.parts.validity.holds();
        if self.was_valid && !is_valid && held > 0 {
            metrics::counter!("marketdata_lease_doubts_total").increment(1);
            warn!(
                instruments = held,
                "this program was not heard on the bus for too long: it publishes nothing until the bus says that its leases are still its own"
            );
        }
        self.was_valid = is_valid;
        let is_settled = held + standby == followed && (held == 0 || is_valid);
        self.unsettled_since_ms = match self.unsettled_since_ms {
            _ if is_settled => None,
            None => Some(now),
            since => since,
        };
        let silence_ms = i64::try_from(self.parts.silence.as_millis()).unwrap_or(i64::MAX);
        let for_ms = self.unsettled_since_ms.map_or(0, |since| now - since);
        if self.is_unfenced {
            self.parts.ready.unmet(UNFENCED);
        } else if is_settled {
            match (standby, followed) {
                (0, _) => self.parts.ready.met(),
                (_, followed) => self.parts.ready.met_but(format!(
                    "standby: another marketdata publishes {standby} of {followed} instruments"
                )),
            }
        } else if for_ms >= silence_ms.saturating_mul(UNSETTLED_SILENCES_MAX) {
            self.parts.ready.unmet(format!(
                "{} of {followed} instruments have no publisher for {} s: the bus does not answer for their leases",
                followed - standby - if is_valid { held } else { 0 },
                for_ms / 1_000,
            ));
        }
    }
}
