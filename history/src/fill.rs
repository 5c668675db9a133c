//! Stores bars of the venues: of the time before the first stored one, and of holes. They are
//! imported: bars that were made here from trades replace them.

mod background;

use std::time::Duration;

use market_core::wire::archive::ArchiveBar;
use market_core::{Quality, UnixMillis};
use service::wall_clock_ms;
use tokio::time::timeout;
use tracing::debug;

use crate::BarRow;
use crate::filler::{Begun, FillError};
use crate::history::History;
use crate::store::BarSeries;

pub(crate) use background::{Background, Patience};

/// A venue may have no bars of times without trades. After so many pages without any, it has no older ones:
/// of minutes, 33 hours at OKX and four days at Coinbase.
const QUIET_PAGES_MAX: usize = 20;

impl History {
    /// Asks the venue for bars that start in `[from_ms, to_ms)`, the newest first, in at most
    /// `pages_max` questions, and stores them. Returns from when on everything is stored that the
    /// venue has; `to_ms` if nothing was asked.
    ///
    /// # Errors
    /// If the venue cannot be asked, or the store refuses rows. Earlier rows are stored.
    pub async fn fill(
        &self,
        series: &BarSeries,
        from_ms: UnixMillis,
        to_ms: UnixMillis,
        pages_max: usize,
    ) -> Result<UnixMillis, FillError> {
        self.fill_pages(series, from_ms, to_ms, pages_max, QUIET_PAGES_MAX)
            .await
    }

    /// The same. After so many pages without bars, the venue has no older ones.
    async fn fill_pages(
        &self,
        series: &BarSeries,
        from_ms: UnixMillis,
        to_ms: UnixMillis,
        pages_max: usize,
        quiet_pages_max: usize,
    ) -> Result<UnixMillis, FillError> {
        let mut to_ms = to_ms;
        let mut quiet_pages = 0;
        for _ in 0..pages_max {
            if from_ms >= to_ms {
                break;
            }
            let page = self.filler.page(series, from_ms, to_ms).await?;
            let known_ms = wall_clock_ms();
            let bars = page.bars.iter().filter(|bar| {
                (from_ms..to_ms).contains(&bar.start_ms)
                    && series.timeframe.start_of(bar.start_ms) == bar.start_ms
            });
            let rows: Vec<BarRow> = bars.map(|bar| row(bar, known_ms)).collect();
            let is_empty = rows.is_empty();
            debug!(?series, from_ms, to_ms, bars = rows.len(), "filled");
            if !is_empty {
                metrics::counter!("history_filled_bars_total", "exchange" => series.instrument.exchange.to_string())
                    .increment(rows.len() as u64);
                self.append_bars(vec![(series.clone(), rows)], None).await?;
            }
            // A page must make progress, whatever the answer says.
            let complete_ms = page.complete_from_ms.clamp(from_ms, to_ms);
            if complete_ms == to_ms {
                break;
            }
            quiet_pages = if is_empty { quiet_pages + 1 } else { 0 };
            to_ms = match quiet_pages < quiet_pages_max {
                true => complete_ms,
                false => from_ms,
            };
        }
        Ok(to_ms.max(from_ms))
    }

    /// Stores the venue's bars from `from_ms` to the first stored one, as far as `pages_max`
    /// questions reach, if they were not asked for already. For questions that reach further back
    /// than the store: `from_ms` may be any time, so a page without bars ends it.
    ///
    /// # Errors
    /// As for [`History::fill`].
    pub async fn fill_back(
        &self,
        series: &BarSeries,
        from_ms: UnixMillis,
        pages_max: usize,
    ) -> Result<(), FillError> {
        let Some((from_ms, to_ms)) = self.not_asked(series, from_ms) else {
            return Ok(());
        };
        let reached_ms = self
            .fill_pages(series, from_ms, to_ms, pages_max, 1)
            .await?;
        self.filler.note_asked(series, reached_ms);
        Ok(())
    }

    /// The span from `from_ms` to the first stored bar, as far as the venue was not asked for it.
    pub(crate) fn not_asked(
        &self,
        series: &BarSeries,
        from_ms: UnixMillis,
    ) -> Option<(UnixMillis, UnixMillis)> {
        let first_ms = match self.index.get(series) {
            Some(info) => info.first_ms,
            None => wall_clock_ms(),
        };
        let to_ms = self
            .filler
            .asked_since(series)
            .map_or(first_ms, |asked| asked.min(first_ms));
        let from_ms = from_ms.max(0);
        (from_ms < to_ms).then_some((from_ms, to_ms))
    }

    /// Does the same as [`History::fill_back`] in a task of its own, and waits at most `time` for it. A
    /// series has one such task at a time: those who come later wait for it, too.
    pub(crate) async fn fill_on_demand(
        &self,
        series: &BarSeries,
        from_ms: UnixMillis,
        pages_max: usize,
        time: Duration,
    ) {
        if self.filler.lacks(series) || self.not_asked(series, from_ms).is_none() {
            return;
        }
        let fills = self.filler.on_demand();
        if let Begun::New(running) = fills.begin(series) {
            let (history, series) = (self.clone(), series.clone());
            tokio::spawn(async move {
                match history.fill_back(&series, from_ms, pages_max).await {
                    Ok(()) => drop(running),
                    Err(error) => {
                        debug!(%error, "older bars do not come from the venue");
                        running.failed();
                    }
                }
            });
        }
        if let Some(wait) = fills.wait(series)
            && timeout(time, wait.ended()).await.is_err()
        {
            debug!("older bars come too late from the venue");
        }
    }
}

/// A venue's bar as a row. The venue knows all of its trades.
fn row(bar: &ArchiveBar, known_ms: UnixMillis) -> BarRow {
    BarRow {
        start_ms: bar.start_ms,
        open: bar.open,
        high: bar.high,
        low: bar.low,
        close: bar.close,
        volume: bar.volume,
        quote_volume: bar.quote_volume,
        taker_buy_volume: bar.taker_buy_volume,
        taker_buy_quote_volume: bar.taker_buy_quote_volume,
        count: bar.count,
        ids: None,
        event_ms: None,
        received_us: None,
        rev: 0,
        quality: Quality::Complete,
        is_imported: true,
        known_ms,
    }
}

#[cfg(test)]
mod tests;
