//! Stores bars of the venues: of the time before the first stored one, and of holes. They are
//! imported: bars that were made here from trades replace them.

mod background;

use market_core::wire::archive::ArchiveBar;
use market_core::{Quality, UnixMillis};
use tracing::debug;

use crate::BarRow;
use crate::filler::FillError;
use crate::history::History;
use crate::host_clock::now_ms;
use crate::store::BarSeries;

pub(crate) use background::Background;

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
        let mut to_ms = to_ms;
        for _ in 0..pages_max {
            if from_ms >= to_ms {
                break;
            }
            let page = self.filler.page(series, from_ms, to_ms).await?;
            let known_ms = now_ms();
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
            // Nothing is older than a page without bars.
            to_ms = if is_empty { from_ms } else { complete_ms };
        }
        Ok(to_ms.max(from_ms))
    }

    /// Stores the venue's bars from `from_ms` to the first stored one, as far as `pages_max`
    /// questions reach, if they were not asked for already. For questions that reach further back
    /// than the store.
    ///
    /// # Errors
    /// As for [`History::fill`].
    pub async fn fill_back(
        &self,
        series: &BarSeries,
        from_ms: UnixMillis,
        pages_max: usize,
    ) -> Result<(), FillError> {
        let first_ms = match self.index.get(series) {
            Some(info) => info.first_ms,
            None => now_ms(),
        };
        let to_ms = self
            .filler
            .asked_since(series)
            .map_or(first_ms, |asked| asked.min(first_ms));
        let from_ms = from_ms.max(0);
        if from_ms >= to_ms {
            return Ok(());
        }
        let reached_ms = self.fill(series, from_ms, to_ms, pages_max).await?;
        self.filler.note_asked(series, reached_ms);
        Ok(())
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
