//! The output of a player: bars at once or when they are final, and the rest at the end.

use market_core::{Bar, UnixMillis};

use super::{Player, TICK_MS};
use crate::replay::ReplayError;
use crate::replay::summary::Summary;

impl Player<'_> {
    /// Gives out the forming bars that have changed, if it is time.
    pub(super) fn write_forming(&mut self, venue_now: UnixMillis) -> Result<(), ReplayError> {
        let Some(interval_ms) = self.forming_interval_ms else {
            return Ok(());
        };
        if venue_now.saturating_sub(self.formed_ms) < interval_ms {
            return Ok(());
        }
        self.formed_ms = venue_now;
        let mut bars = Vec::new();
        for lane in 0..self.lanes.len() {
            self.lanes[lane].pipeline.forming(&mut bars);
            for bar in bars.drain(..) {
                self.write(lane, bar)?;
            }
        }
        Ok(())
    }

    /// Prints the bars that nothing can revise any more.
    pub(super) fn write_final(&mut self, venue_now: UnixMillis) -> Result<(), ReplayError> {
        if self.final_bars.is_none() {
            return Ok(());
        }
        let window_ms = self.config.reorder_window_ms + self.config.late_horizon_ms;
        let gaps = self.lanes.iter().flat_map(|lane| lane.pipeline.gaps());
        let gap_ms = gaps.map(|gap| gap.from_ms).min();
        let until_ms = (venue_now - window_ms).min(gap_ms.unwrap_or(UnixMillis::MAX));
        while let Some((lane, bar)) = self
            .final_bars
            .as_mut()
            .and_then(|bars| bars.take(until_ms))
        {
            self.print(lane, &bar)?;
        }
        Ok(())
    }

    /// Prints a bar now, or keeps it until it is final.
    pub(super) fn write(&mut self, lane: usize, bar: Bar) -> Result<(), ReplayError> {
        if !self.span.holds(&bar) {
            return Ok(());
        }
        match &mut self.final_bars {
            Some(bars) => {
                bars.put(lane, bar);
                Ok(())
            }
            None => self.print(lane, &bar),
        }
    }

    fn print(&mut self, lane: usize, bar: &Bar) -> Result<(), ReplayError> {
        let lane = &mut self.lanes[lane];
        lane.seq += 1;
        let published_us = self.now_ms.unwrap_or(bar.end_ms).saturating_mul(1_000);
        let exchange = self.exchange.name();
        if self
            .sink
            .bar(exchange, &lane.symbol, bar, lane.seq, published_us)?
        {
            self.summary.bars += 1;
        }
        Ok(())
    }

    /// Ends the replay: bars that ended within the capture close, the others are printed as
    /// forming.
    ///
    /// # Errors
    /// `Write`, or `NothingPlayed` if there was no trade to make a bar of.
    pub(in crate::replay) fn finish(mut self) -> Result<Summary, ReplayError> {
        let Some(now) = self.now_ms.filter(|_| self.summary.trades > 0) else {
            return Err(ReplayError::NothingPlayed {
                exchange: self.exchange.name().to_owned(),
                others: self.others.into_iter().collect(),
                summary: Box::new(self.summary),
            });
        };
        // If the clock is behind the trades, bars that have ended by then must still close.
        let venue_now = self
            .clock
            .venue_now(now)
            .max(self.newest_ms.unwrap_or(UnixMillis::MIN))
            .max(self.span.until_ms.unwrap_or(UnixMillis::MIN));
        let held_until_ms =
            venue_now + self.config.gap_hold_ms + self.config.gap_grace_ms + TICK_MS;
        let has_gaps = self
            .lanes
            .iter()
            .any(|lane| lane.pipeline.gaps().next().is_some());
        if has_gaps {
            // Three ticks: one to ask for what is missing, one to wait, one to give it up. For bars
            // no time passes: the capture knows nothing of what was traded after its end.
            self.tick(venue_now, venue_now + self.config.gap_grace_ms + 1)?;
            self.tick(venue_now, held_until_ms)?;
            for lane in &mut self.lanes {
                for (due_ms, _) in &mut lane.unanswered {
                    *due_ms = venue_now;
                }
            }
            self.tick(venue_now, held_until_ms)?;
        }
        // A bar closes once the clock has passed its end by more than the window.
        let closed_at_ms = venue_now + self.config.reorder_window_ms + 1;
        self.tick(closed_at_ms, held_until_ms.max(closed_at_ms))?;
        let mut bars = Vec::new();
        for lane in 0..self.lanes.len() {
            self.lanes[lane].pipeline.forming(&mut bars);
            for bar in bars.drain(..) {
                self.write(lane, bar)?;
            }
        }
        while let Some((lane, bar)) = self
            .final_bars
            .as_mut()
            .and_then(|bars| bars.take(UnixMillis::MAX))
        {
            self.print(lane, &bar)?;
        }
        self.sink.flush()?;
        self.list_missing()?;
        Ok(self.summary)
    }

    fn list_missing(&mut self) -> Result<(), ReplayError> {
        for lane in &self.lanes {
            for span in lane.held.missing() {
                self.summary.missing_spans += 1;
                self.summary.missing_ids = self.summary.missing_ids.saturating_add(span.count());
                if let Some(file) = &mut self.gaps_file {
                    file.write(self.exchange.name(), &lane.symbol, &span)
                        .map_err(ReplayError::GapsFile)?;
                }
            }
        }
        if let Some(file) = &mut self.gaps_file {
            file.flush().map_err(ReplayError::GapsFile)?;
        }
        Ok(())
    }
}
