//! The messages of a page as rows, and the fate of messages that cannot be stored.

use std::collections::BTreeMap;

use bus::Message;
use market_core::{BarState, Trade, subject};

use crate::BarRow;
use crate::block::BLOCK_ROWS_MAX;
use crate::message::{ReadError, read_bar, read_trade};
use crate::store::{BarSeries, Instrument, Range, Store, StoreError, Watermark};
use crate::stream::Content;

use super::refused::Refusals;

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
    /// Reads messages. Messages of other content are counted.
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
                Content::Trades => {
                    read_trade(&message.payload).and_then(|(instrument, trade)| {
                        // Others may publish elsewhere under the same root, and permissions are
                        // given by subject.
                        let subject = subject::trades(&instrument.exchange, &instrument.symbol);
                        if *message.subject != *subject {
                            return Err(ReadError::Field(
                                "its subject is not that of its venue and symbol",
                            ));
                        }
                        trades.entry(instrument).or_default().push(trade);
                        Ok(())
                    })
                }
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

    /// Whether the store has all of it. No row is no evidence of the contrary, and a damaged file
    /// neither.
    pub(super) fn is_in(&self, store: &dyn Store) -> Result<bool, StoreError> {
        for (series, rows) in &self.bars {
            for row in rows {
                let stored = match store.bar_revisions(series, row.start_ms) {
                    Err(StoreError::Damaged { .. }) => continue,
                    stored => stored?,
                };
                if !stored.iter().any(|stored| stored.says_the_same(row)) {
                    return Ok(false);
                }
            }
        }
        for (instrument, trades) in &self.trades {
            for trade in trades {
                let at = trade.event_ms;
                let range = Range::new(at, at.saturating_add(1), BLOCK_ROWS_MAX);
                let stored = match store.trades(instrument, &range) {
                    Err(StoreError::Damaged { .. }) => continue,
                    stored => stored?.rows,
                };
                if !stored
                    .iter()
                    .any(|stored| stored.first_id == trade.first_id)
                {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Stores it and how far the stream has come. Rows that no store can hold are left out: each is
    /// looked at by itself, and the others are stored at once.
    pub(super) fn append(
        &mut self,
        store: &dyn Store,
        watermark: &Watermark,
    ) -> Result<(), StoreError> {
        let mut stored = self.put(store, watermark);
        if let Err(StoreError::Rows(_)) = stored {
            self.leave_out(store);
            stored = self.put(store, watermark);
        }
        if let Err(StoreError::Rows(error)) = &stored {
            // Each row alone can be stored, and together they cannot: the stream must go on.
            self.why_skipped = Some(error.to_string());
            self.refused = self.refused.saturating_add(self.rows() as u64);
            (self.bars, self.trades) = Default::default();
            stored = self.put(store, watermark);
        }
        if let Err(StoreError::RowRefused { .. }) = &stored {
            self.set_aside(store)?;
            stored = self.put(store, watermark);
        }
        match stored {
            // A store without a file has no place for a position. It is read again.
            Err(StoreError::Empty) => Ok(()),
            stored => stored,
        }
    }

    /// Leaves out the rows that the server refuses.
    fn set_aside(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        let mut refusals = Refusals::default();
        let bars = std::mem::take(&mut self.bars);
        self.bars = refusals.leave_out(bars, &|bars| store.append_bars(bars, None))?;
        let trades = std::mem::take(&mut self.trades);
        self.trades = refusals.leave_out(trades, &|rows| store.append_trades(rows, None))?;
        self.refused = self.refused.saturating_add(refusals.count);
        self.why_skipped = refusals.why.or(self.why_skipped.take());
        Ok(())
    }

    fn put(&self, store: &dyn Store, watermark: &Watermark) -> Result<(), StoreError> {
        match self.trades.is_empty() {
            true => store.append_bars(&self.bars, Some(watermark)),
            false => store.append_trades(&self.trades, Some(watermark)),
        }
    }

    /// Leaves out the rows that cannot be stored.
    fn leave_out(&mut self, store: &dyn Store) {
        let mut keep = |checked: Result<(), StoreError>| match checked {
            Err(StoreError::Rows(error)) => {
                self.refused = self.refused.saturating_add(1);
                self.why_skipped = Some(error.to_string());
                false
            }
            _ => true,
        };
        for (series, rows) in &mut self.bars {
            rows.retain(|row| keep(store.check_bar(series, row)));
        }
        for (_, trades) in &mut self.trades {
            trades.retain(|trade| keep(store.check_trade(trade)));
        }
    }
}

#[cfg(test)]
mod tests {
    use market_core::wire::{Stamp, encode_row};
    use market_core::{Price, Symbol, Timeframe, Topic, UnixMillis};
    use testkit::directory::Directory;

    use super::*;
    use crate::store::{BarStore, SqliteOptions, SqliteStore};

    fn message(start_ms: UnixMillis) -> Message {
        let price = Price::from_parts(100, 0).expect("above zero");
        let row = BarRow::flat(start_ms, price, 0);
        let symbol: Symbol = "BTC-USD".parse().expect("a symbol");
        let topic = Topic::bars(Timeframe::MINUTE, &symbol);
        let stamp = Stamp {
            seq: 1,
            epoch: 1,
            published_us: 0,
        };
        let width = Timeframe::MINUTE.into();
        let json = encode_row(
            &topic,
            "binance",
            &symbol,
            width,
            &row,
            BarState::Closed,
            stamp,
        );
        Message::new("journal.closed.1m.BTC-USD", json)
    }

    #[test]
    fn a_trade_counts_only_on_the_subject_of_its_venue_and_symbol() {
        let json = r#"{"topic":"trade:BTC-USD","seq":1,"epoch":1,"exchange":"binance","symbol":"BTC-USD","first_id":"1","last_id":"1","price":"1","quantity":"1","aggressor_side":"buy","event_ms":1,"received_us":1,"published_us":1}"#;
        let subjects = [
            "market.binance.BTC-USD.trade",
            "market.okx.BTC-USD.trade",
            "market.binance.ETH-USD.trade",
            "market.binance.BTC-USD.ticker",
            "market.x",
        ];
        let messages = subjects.map(|subject| Message::new(subject, json.into()));
        let batch = Batch::read(Content::Trades, &messages);
        assert_eq!((batch.rows(), batch.unreadable), (1, 4));
    }

    #[test]
    fn rows_that_cannot_be_stored_are_left_out_and_the_others_are_stored_at_once() {
        let directory = Directory::new();
        let store = SqliteStore::open(directory.path(), SqliteOptions::default()).expect("new");
        // No store has a year 10000.
        let far_ms = 253_402_300_800_000;
        let starts = (0..40).map(|at| if at % 10 == 9 { far_ms } else { at * 60_000 });
        let messages: Vec<Message> = starts.map(message).collect();
        let mut batch = Batch::read(Content::Bars, &messages);
        assert_eq!((batch.rows(), batch.unreadable), (40, 0));
        let watermark = Watermark {
            stream: "journal.7".into(),
            position: 40,
        };
        batch.append(&store, &watermark).expect("stored");
        assert_eq!((batch.rows(), batch.refused), (36, 4));
        let (series, rows) = &batch.bars[0];
        let range = Range::new(0, i64::MAX, 100);
        assert_eq!(store.bars(series, &range).expect("a page").rows, *rows);
        // One transaction has one chunk of rows.
        let mut chunks = 0;
        store.verify(|report| chunks += report.chunks);
        assert_eq!(chunks, 1);
        assert!(batch.is_in(&store).expect("read"));
        let other = Batch::read(Content::Bars, &[message(9 * 60_000)]);
        assert!(!other.is_in(&store).expect("read"));
    }
}
