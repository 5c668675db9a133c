//! Which symbols each venue lists, by the venue's spelling and by any other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::instrument::{Instrument, Venue, symbol_key};

/// All instruments, in a fixed order; an instrument's index is its place.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    instruments: Vec<Instrument>,
    /// Of each instrument, whether a fault has taken it off the list.
    delisted: Vec<AtomicBool>,
    by_symbol: HashMap<(Venue, String), usize>,
    by_key: HashMap<(Venue, String), usize>,
}

impl Listing {
    /// Lists instruments; a symbol that a venue already has is left out.
    pub(crate) fn new(instruments: Vec<Instrument>) -> Listing {
        let mut listing = Listing::default();
        for instrument in instruments {
            let symbol = (instrument.venue, instrument.symbol.clone());
            if listing.by_symbol.contains_key(&symbol) {
                continue;
            }
            let index = listing.instruments.len();
            listing.by_symbol.insert(symbol, index);
            listing
                .by_key
                .insert((instrument.venue, instrument.key()), index);
            listing.instruments.push(instrument);
            listing.delisted.push(AtomicBool::new(false));
        }
        listing
    }

    /// Index of a symbol in the venue's exact spelling, unless it is delisted.
    pub(crate) fn find(&self, venue: Venue, symbol: &str) -> Option<usize> {
        self.find_even_delisted(venue, symbol)
            .filter(|index| !self.is_delisted(*index))
    }

    /// Index of a symbol in the venue's exact spelling.
    pub(crate) fn find_even_delisted(&self, venue: Venue, symbol: &str) -> Option<usize> {
        self.by_symbol.get(&(venue, symbol.to_owned())).copied()
    }

    /// Index of a symbol in any spelling: `BTC-USDT`, `btcusdt`; also of a delisted one.
    pub(crate) fn find_any(&self, venue: Venue, symbol: &str) -> Option<usize> {
        self.find_even_delisted(venue, symbol)
            .or_else(|| self.by_key.get(&(venue, symbol_key(symbol))).copied())
    }

    /// Whether an instrument is delisted.
    pub(crate) fn is_delisted(&self, index: usize) -> bool {
        self.delisted[index].load(Ordering::Acquire)
    }

    /// Takes an instrument off the list, or puts it back; returns whether this is a change.
    pub(crate) fn set_delisted(&self, index: usize, delisted: bool) -> bool {
        self.delisted[index].swap(delisted, Ordering::AcqRel) != delisted
    }

    /// The instruments of a venue with their indexes, without those that are delisted.
    pub(crate) fn of(&self, venue: Venue) -> impl Iterator<Item = (usize, &Instrument)> {
        self.instruments
            .iter()
            .enumerate()
            .filter(move |(index, instrument)| {
                instrument.venue == venue && !self.is_delisted(*index)
            })
    }

    /// All instruments.
    pub(crate) fn all(&self) -> &[Instrument] {
        &self.instruments
    }
}
