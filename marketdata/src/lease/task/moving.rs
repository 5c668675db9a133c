//! Instruments move to the program that is to publish them, one by one.

use tracing::info;

use super::LeaseTask;
use crate::host_clock::now_ms;
use crate::instrument::InstrumentId;

impl LeaseTask {
    /// Gives one instrument up to a program that is to publish it, and follows it again afterwards.
    pub(super) fn move_surplus(&mut self) {
        if self.moving.is_some() {
            return;
        }
        let now = now_ms();
        let Some(instrument) = self.tenure.surplus(now) else {
            return;
        };
        let of = &self.parts.instruments[instrument];
        info!(
            exchange = of.exchange,
            symbol = of.symbol.as_str(),
            "handing an instrument over: programs share them"
        );
        metrics::counter!("marketdata_instruments_moved_total").increment(1);
        self.tenure.moved(instrument, now);
        self.moving = Some(instrument);
        self.give_up(vec![instrument], None);
    }

    /// Instruments are given up: one that moves is a standby's from now on.
    pub(super) fn follow_moved(&mut self, released: &[InstrumentId]) {
        let Some(moved) = self.moving.filter(|moved| released.contains(moved)) else {
            return;
        };
        self.moving = None;
        self.tenure.join(moved);
        if self.records.is_some() {
            self.read(vec![moved]);
        }
    }
}
