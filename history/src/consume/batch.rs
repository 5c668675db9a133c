//! The messages of a page as rows, and what becomes of those that cannot be stored.

use std::collections::BTreeMap;

use bus::Message;
use market_core::{BarState, Trade};

use crate::BarRow;
use crate::message::{ReadError, read_bar, read_trade};
use crate::store::{BarSeries, Instrument, Store, StoreError, Watermark};
use crate::stream::Content;

/// Rows of one page.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Closed bars.
    pub(super) bars: Vec<(BarSeries, Vec<BarRow>)>,
    trades: Vec<(Instrument, Vec<Trade>)>,
    /// Messages that are no rows.
    pub(super) unreadable: u64,
    /// Rows that no store can hold.
    pub(super) refused: u64,
    /// Of one of them.
    pub(super) why_skipped: Option<String>,
}

impl Batch {
    /// Reads messages. Those that are not of this content are counted.
    pub(super) fn read(content: Content, messages: &[Message]) -> Self {
        let mut batch = Self::default();
        let mut bars: BTreeMap<BarSeries, Vec<BarRow>> = BTreeMap::new();
        let mut trades: BTreeMap<Instrument, Vec<Trade>> = BTreeMap::new();
        for message in messages {
            let result = match content {
                Content::Bars => read_bar(&message.payload).and_then(|(series, row, state)| {
                    if state == BarState::Forming {
                        return Err(ReadError::Field("it is not closed"));
                    }
                    bars.entry(series).or_default().push(row);
                    Ok(())
                }),
                Content::Trades => read_trade(&message.payload).map(|(instrument, trade)| {
                    trades.entry(instrument).or_default().push(trade);
                }),
            };
            if let Err(error) = result {
                batch.unreadable += 1;
                batch.why_skipped = Some(format!("{}: {error}", message.subject));
            }
        }
        batch.bars = bars.into_iter().collect();
        batch.trades = trades.into_iter().collect();
        batch
    }

    /// How many rows it has.
    pub(super) fn rows(&self) -> usize {
        let bars = self.bars.iter().map(|(_, rows)| rows.len());
        let trades = self.trades.iter().map(|(_, rows)| rows.len());
        bars.chain(trades).sum()
    }

    /// Stores it and how far the stream has come. Rows that no store can hold are left out.
    pub(super) fn append(
        &mut self,
        store: &dyn Store,
        watermark: &Watermark,
    ) -> Result<(), StoreError> {
        let mut refused = Vec::new();
        let result = match self.trades.is_empty() {
            true => append(
                &mut self.bars,
                watermark,
                |rows, mark| store.append_bars(rows, mark),
                &mut refused,
            ),
            false => append(
                &mut self.trades,
                watermark,
                |rows, mark| store.append_trades(rows, mark),
                &mut refused,
            ),
        };
        self.refused = u64::try_from(refused.len()).unwrap_or(u64::MAX);
        self.why_skipped = refused.pop().or(self.why_skipped.take());
        match result {
            // A store without a file has no place for a position. It is read again.
            Err(StoreError::Empty) => Ok(()),
            result => result,
        }
    }
}

/// Appends a batch; where the store refuses rows of it, each of them by itself.
fn append<K: Clone, R: Copy>(
    batch: &mut Vec<(K, Vec<R>)>,
    watermark: &Watermark,
    mut call: impl FnMut(&[(K, Vec<R>)], Option<&Watermark>) -> Result<(), StoreError>,
    refused: &mut Vec<String>,
) -> Result<(), StoreError> {
    match call(batch, Some(watermark)) {
        Err(StoreError::Rows(_)) => {}
        result => return result,
    }
    let mut kept = Vec::new();
    for (key, rows) in batch.drain(..) {
        let mut kept_rows = Vec::new();
        for row in rows {
            match call(&[(key.clone(), vec![row])], None) {
                Ok(()) => kept_rows.push(row),
                Err(StoreError::Rows(error)) => refused.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        kept.push((key, kept_rows));
    }
    *batch = kept;
    call(&[], Some(watermark))
}
