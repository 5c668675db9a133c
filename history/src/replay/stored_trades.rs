//! The stored trades alone, for those who make bars of them.

use std::sync::Arc;

use market_core::{Trade, UnixMillis};

use super::args::ReplayArgs;
use super::error::ReplayError;
use super::tape::{Event, Source, Tape};
use crate::store::{Instrument, Order, Range, Store, StoreError};

/// The stored trades that the flags of a replay choose, by ascending time.
pub struct StoredTrades<'a> {
    store: &'a dyn Store,
    instruments: Vec<Arc<Instrument>>,
    tape: Tape<'a>,
}

impl<'a> StoredTrades<'a> {
    /// Finds them.
    ///
    /// # Errors
    /// If the store cannot be read, or too many series fit.
    pub fn new(args: &ReplayArgs, store: &'a dyn Store) -> Result<Self, ReplayError> {
        let sources = Source::trades(args, store)?;
        let instruments = sources.iter().filter_map(|source| match source {
            Source::Trades(instrument) => Some(Arc::clone(instrument)),
            Source::Bars(_) => None,
        });
        Ok(Self {
            store,
            instruments: instruments.collect(),
            tape: Tape::new(args, store, sources)?,
        })
    }

    /// Whose trades they are.
    pub fn instruments(&self) -> impl Iterator<Item = &Instrument> {
        self.instruments.iter().map(|instrument| &**instrument)
    }

    /// Whether no trade is missing around a time: of each instrument, the ids of the last trade before
    /// it and of the first one after it adjoin.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn are_whole_around(&self, at_ms: UnixMillis) -> Result<bool, ReplayError> {
        for instrument in &self.instruments {
            if !adjoin(self.store, instrument, at_ms)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn adjoin(
    store: &dyn Store,
    instrument: &Instrument,
    at_ms: UnixMillis,
) -> Result<bool, StoreError> {
    let before = Range {
        order: Order::Descending,
        ..Range::new(UnixMillis::MIN, at_ms, 1)
    };
    let after = Range::new(at_ms, UnixMillis::MAX, 1);
    let before = store.trades(instrument, &before)?.rows.pop();
    let after = store.trades(instrument, &after)?.rows.pop();
    Ok(match (before, after) {
        (Some(before), Some(after)) => before.last_id.checked_add(1) == Some(after.first_id),
        _ => false,
    })
}

impl Iterator for StoredTrades<'_> {
    type Item = Result<(Arc<Instrument>, Trade), ReplayError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.tape.next() {
                Ok(Some(Event::Trade { instrument, trade })) => {
                    return Some(Ok((instrument, trade)));
                }
                // Its sources are trades.
                Ok(Some(Event::Bar { .. })) => {}
                Ok(None) => return None,
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}
