//! The state of each symbol at its venue. Connections, the venue's list of symbols and REST report
//! it, and the feed's status reads it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

use market_core::{Symbol, UnixMillis};

use super::subscriptions::{Refusal, Subscription};
use crate::exchange::Exchange;
use crate::instrument::InstrumentId;

/// Where a symbol stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolState {
    /// No connection carries it yet.
    Waiting,
    /// A connection carries it.
    Subscribed,
    /// A connection carries it, but it has not traded for suspiciously long.
    Silent,
    /// The venue refused the subscription, or did not answer it; it is asked for again.
    Refused,
    /// The venue's list of symbols does not have it.
    Unknown,
}

impl SymbolState {
    /// Every state, in the order of the documentation.
    pub const ALL: [Self; 5] = [
        Self::Waiting,
        Self::Subscribed,
        Self::Silent,
        Self::Refused,
        Self::Unknown,
    ];

    /// Its name in metrics and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Subscribed => "subscribed",
            Self::Silent => "silent",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// One symbol's entry. A connection and its successor may both carry it.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    sockets: u32,
    is_silent: bool,
    is_unlisted: bool,
    refusal: Option<Refusal>,
}

impl Entry {
    fn state(self) -> SymbolState {
        match self {
            Self {
                is_unlisted: true, ..
            } => SymbolState::Unknown,
            Self {
                sockets: 0,
                refusal: Some(_),
                ..
            } => SymbolState::Refused,
            Self { sockets: 0, .. } => SymbolState::Waiting,
            Self {
                is_silent: true, ..
            } => SymbolState::Silent,
            _ => SymbolState::Subscribed,
        }
    }
}

/// Every symbol of the program. See the module.
#[derive(Debug)]
pub struct SymbolBoard {
    entries: Mutex<Vec<Entry>>,
}

impl SymbolBoard {
    /// A board of symbols that have not been asked for.
    #[must_use]
    pub fn new(instruments: usize) -> Self {
        Self {
            entries: Mutex::new(vec![Entry::default(); instruments]),
        }
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries
            .lock()
            .expect("no code panics while it holds the board")
    }

    /// A connection carries these symbols from now on.
    pub fn up(&self, instruments: &[InstrumentId]) {
        let mut entries = self.entries();
        for &instrument in instruments {
            let entry = &mut entries[instrument];
            entry.sockets = entry.sockets.saturating_add(1);
            entry.is_silent = false;
            entry.refusal = None;
        }
    }

    /// A connection no longer carries these symbols.
    pub fn down(&self, instruments: &[InstrumentId]) {
        let mut entries = self.entries();
        for &instrument in instruments {
            let entry = &mut entries[instrument];
            entry.sockets = entry.sockets.saturating_sub(1);
        }
    }

    /// The venue refused to carry the symbol.
    pub fn refused(&self, instrument: InstrumentId, refusal: Refusal) {
        self.entries()[instrument].refusal = Some(refusal);
    }

    /// The symbol has been silent for suspiciously long, or has traded again.
    pub fn set_silent(&self, instrument: InstrumentId, is_silent: bool) {
        self.entries()[instrument].is_silent = is_silent;
    }

    /// The venue says that it has no such symbol.
    pub fn is_gone(&self, instrument: InstrumentId) {
        self.entries()[instrument].is_unlisted = true;
    }

    /// The venue's list has come: `listed` are the venue's names of its symbols.
    pub fn listed(
        &self,
        exchange: &dyn Exchange,
        symbols: &[(InstrumentId, String)],
        listed: &HashSet<String>,
    ) {
        let mut entries = self.entries();
        for (instrument, native) in symbols {
            entries[*instrument].is_unlisted =
                exchange.is_listable(native) && !listed.contains(native);
        }
    }

    /// Where the symbol stands.
    #[must_use]
    pub fn state(&self, instrument: InstrumentId) -> SymbolState {
        self.entries()[instrument].state()
    }

    /// The symbols that a new connection asks for, and those that it leaves for later.
    #[must_use]
    pub fn subscriptions(&self, symbols: &[(InstrumentId, String)]) -> Vec<Subscription> {
        let entries = self.entries();
        let subscription = |(instrument, native): &(InstrumentId, String)| Subscription {
            instrument: *instrument,
            native: native.clone(),
            refusal: entries[*instrument].refusal,
        };
        symbols.iter().map(subscription).collect()
    }

    /// For how long all of these symbols wait after refusals, so that a connection would carry
    /// none.
    #[must_use]
    pub fn all_refused_for_ms(
        &self,
        symbols: &[(InstrumentId, String)],
        now: UnixMillis,
    ) -> Option<i64> {
        let entries = self.entries();
        let mut wait_ms = i64::MAX;
        for (instrument, _) in symbols {
            let entry = &entries[*instrument];
            let refusal = entry.refusal.filter(|_| entry.sockets == 0)?;
            wait_ms = wait_ms.min(refusal.retry_at_ms.saturating_sub(now));
        }
        (wait_ms > 0 && !symbols.is_empty()).then_some(wait_ms)
    }
}

/// The symbols of one venue, and their board.
#[derive(Clone, Debug)]
pub struct VenueSymbols {
    /// Where they stand.
    pub board: Arc<SymbolBoard>,
    /// Which, with their names.
    pub symbols: Vec<(InstrumentId, Symbol)>,
    /// Most names of a summary for each state.
    pub names_max: usize,
}

impl VenueSymbols {
    /// Where the symbols stand.
    #[must_use]
    pub fn summary(&self) -> SymbolSummary {
        let entries = self.board.entries();
        let mut summary = SymbolSummary::default();
        for (instrument, symbol) in &self.symbols {
            let part = summary.part_mut(entries[*instrument].state());
            part.count += 1;
            if part.names.len() < self.names_max {
                part.names.push(symbol.to_string());
            }
        }
        summary
    }
}

/// How many symbols of a venue have each state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SymbolSummary {
    parts: [SymbolPart; SymbolState::ALL.len()],
}

/// The symbols of one state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SymbolPart {
    /// How many.
    pub count: usize,
    /// The first of them.
    pub names: Vec<String>,
}

impl SymbolSummary {
    /// The symbols of one state.
    #[must_use]
    pub fn part(&self, state: SymbolState) -> &SymbolPart {
        &self.parts[state as usize]
    }

    fn part_mut(&mut self, state: SymbolState) -> &mut SymbolPart {
        &mut self.parts[state as usize]
    }

    /// How many symbols some connection carries.
    #[must_use]
    pub fn carried(&self) -> usize {
        self.part(SymbolState::Subscribed).count + self.part(SymbolState::Silent).count
    }

    /// Sets the gauges of the venue.
    pub fn record(&self, exchange: &'static str) {
        for state in SymbolState::ALL {
            metrics::gauge!("marketdata_symbols", "exchange" => exchange, "state" => state.name())
                .set(self.part(state).count as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::registry;

    fn venue(board: &Arc<SymbolBoard>, count: usize, names_max: usize) -> VenueSymbols {
        let symbol = |index| (index, format!("C{index}-USD").parse().expect("a symbol"));
        VenueSymbols {
            board: Arc::clone(board),
            symbols: (0..count).map(symbol).collect(),
            names_max,
        }
    }

    fn refusal(retry_at_ms: i64) -> Refusal {
        Refusal {
            times: 1,
            retry_at_ms,
        }
    }

    #[test]
    fn each_symbol_is_told_by_name_in_its_state_and_long_lists_are_cut() {
        let board = Arc::new(SymbolBoard::new(6));
        board.up(&[0, 1, 2]);
        board.set_silent(1, true);
        board.refused(3, refusal(9));
        board.refused(4, refusal(9));
        board.is_gone(2);
        let summary = venue(&board, 6, 1).summary();
        let told: Vec<(&str, usize, &[String])> = SymbolState::ALL
            .iter()
            .map(|&state| {
                let part = summary.part(state);
                (state.name(), part.count, part.names.as_slice())
            })
            .collect();
        let name = |index: usize| vec![format!("C{index}-USD")];
        assert_eq!(
            told,
            [
                ("waiting", 1, &name(5)[..]),
                ("subscribed", 1, &name(0)[..]),
                ("silent", 1, &name(1)[..]),
                ("refused", 2, &name(3)[..]),
                ("unknown", 1, &name(2)[..]),
            ]
        );
        assert_eq!(summary.carried(), 2);
    }

    #[test]
    fn a_symbol_is_carried_while_one_of_two_connections_carries_it() {
        let board = SymbolBoard::new(1);
        board.refused(0, refusal(9));
        board.up(&[0]);
        board.up(&[0]);
        board.down(&[0]);
        assert_eq!(board.state(0), SymbolState::Subscribed);
        board.down(&[0]);
        assert_eq!(board.state(0), SymbolState::Waiting);
    }

    #[test]
    fn the_venues_list_tells_what_is_unknown_and_takes_it_back() {
        let okx = registry::find("okx").expect("registered");
        let symbols = [(0, "BTC-USDT".to_owned()), (1, "BTC-USD-SWAP".to_owned())];
        let board = SymbolBoard::new(2);
        board.listed(okx, &symbols, &HashSet::new());
        assert_eq!(board.state(0), SymbolState::Unknown);
        assert_eq!(board.state(1), SymbolState::Waiting, "not of that list");
        let listed = HashSet::from(["BTC-USDT".to_owned()]);
        board.listed(okx, &symbols, &listed);
        assert_eq!(board.state(0), SymbolState::Waiting);
    }

    #[test]
    fn a_connection_waits_only_while_all_of_its_symbols_are_refused() {
        let symbols = [(0, "A".to_owned()), (1, "B".to_owned())];
        let board = SymbolBoard::new(2);
        board.refused(0, refusal(5_000));
        assert_eq!(board.all_refused_for_ms(&symbols, 1_000), None);
        board.refused(1, refusal(3_000));
        assert_eq!(board.all_refused_for_ms(&symbols, 1_000), Some(2_000));
        assert_eq!(board.all_refused_for_ms(&symbols, 3_000), None);
    }
}
