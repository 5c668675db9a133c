//! The state of each symbol at its venue. Connections, the venue's list of symbols and REST report
//! it, and the feed's status reads it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use market_core::{Symbol, UnixMillis};
use tokio::sync::watch;

use super::subscriptions::{Refusal, Subscription};
use crate::exchange::Exchange;
use crate::instrument::InstrumentId;

/// A symbol without a socket for so long has no feed here.
const UNFED_AFTER: Duration = Duration::from_secs(5);
/// A symbol that had no feed must have a socket for so long before it has one again.
const FED_AFTER: Duration = Duration::from_secs(10);

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
    /// The number of its assignment to this program; 0 while it is not ours.
    assignment: u64,
    /// Its lease is ours: this program publishes it.
    is_held: bool,
    sockets: u32,
    /// When it was assigned, got its first socket or lost its last one.
    socket_changed: Option<Instant>,
    /// No feed carries it here, and has not for a while.
    is_unfed: bool,
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
    /// Counts the changes of assignments.
    assignments: watch::Sender<u64>,
    /// Counts the changes of what this program publishes.
    holders: watch::Sender<u64>,
}

/// The symbols of a connection's share that are ours, each with the number of its assignment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    symbols: Vec<(InstrumentId, String)>,
    assignments: Vec<u64>,
}

impl Share {
    /// The symbols, with the venue's names.
    #[must_use]
    pub fn symbols(&self) -> &[(InstrumentId, String)] {
        &self.symbols
    }
}

impl SymbolBoard {
    /// A board of symbols that are not ours.
    #[must_use]
    pub fn new(instruments: usize) -> Self {
        Self {
            entries: Mutex::new(vec![Entry::default(); instruments]),
            assignments: watch::Sender::new(0),
            holders: watch::Sender::new(0),
        }
    }

    /// A board of symbols that are all ours, and that have not been asked for.
    #[cfg(test)]
    pub(crate) fn with_all(instruments: usize) -> Self {
        let board = Self::new(instruments);
        let numbered: Vec<(InstrumentId, u64)> = (0..instruments).map(|id| (id, 1)).collect();
        board.assign(&numbered);
        board
    }

    /// The symbols are ours from now on, each under its number, which is never used again.
    pub fn assign(&self, numbered: &[(InstrumentId, u64)]) {
        let mut entries = self.entries();
        for &(instrument, assignment) in numbered {
            let entry = &mut entries[instrument];
            entry.assignment = assignment;
            entry.socket_changed = Some(Instant::now());
            entry.is_unfed = false;
            entry.is_silent = false;
            entry.refusal = None;
        }
        drop(entries);
        self.assignments.send_modify(|changes| *changes += 1);
    }

    /// The symbols are not ours any more.
    pub fn release(&self, instruments: &[InstrumentId]) {
        let mut entries = self.entries();
        for &instrument in instruments {
            entries[instrument].assignment = 0;
            entries[instrument].is_held = false;
        }
        drop(entries);
        self.assignments.send_modify(|changes| *changes += 1);
    }

    /// Whether the symbol is ours.
    #[must_use]
    pub fn is_ours(&self, instrument: InstrumentId) -> bool {
        self.entries()[instrument].assignment > 0
    }

    /// This program publishes the symbol from now on, or another one does.
    pub fn set_held(&self, instrument: InstrumentId, is_held: bool) {
        self.entries()[instrument].is_held = is_held;
        self.holders.send_modify(|changes| *changes += 1);
    }

    /// Whether this program publishes the symbol.
    #[must_use]
    pub fn is_held(&self, instrument: InstrumentId) -> bool {
        self.entries()[instrument].is_held
    }

    /// Moves the clock: which of our symbols have no feed here. Another program publishes them better.
    pub(crate) fn look_at_feeds(&self, now: Instant) -> HashSet<InstrumentId> {
        let mut unfed = HashSet::new();
        let mut has_changed = false;
        for (instrument, entry) in self.entries().iter_mut().enumerate() {
            let Some(since) = entry.socket_changed.filter(|_| entry.assignment > 0) else {
                continue;
            };
            let passed = now.saturating_duration_since(since);
            let is_unfed = match entry.sockets {
                0 => entry.is_unfed || passed >= UNFED_AFTER,
                _ => entry.is_unfed && passed < FED_AFTER,
            };
            has_changed |= is_unfed != entry.is_unfed;
            entry.is_unfed = is_unfed;
            if is_unfed {
                unfed.insert(instrument);
            }
        }
        if has_changed {
            self.holders.send_modify(|changes| *changes += 1);
        }
        unfed
    }

    /// Whether no feed carries the symbol here, and has not for a while.
    #[must_use]
    pub fn is_unfed(&self, instrument: InstrumentId) -> bool {
        self.entries()[instrument].is_unfed
    }

    /// Tells when this program publishes other symbols than before, or has a feed of others.
    #[must_use]
    pub fn holder_changes(&self) -> watch::Receiver<u64> {
        self.holders.subscribe()
    }

    /// Tells when assignments have changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.assignments.subscribe()
    }

    /// Which of these symbols are ours.
    #[must_use]
    pub fn share(&self, symbols: &[(InstrumentId, String)]) -> Share {
        let entries = self.entries();
        let assignment = |symbol: &&(InstrumentId, String)| entries[symbol.0].assignment;
        let ours = symbols.iter().filter(|symbol| assignment(symbol) > 0);
        Share {
            symbols: ours.clone().cloned().collect(),
            assignments: ours.map(|symbol| assignment(&symbol)).collect(),
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
            if entry.sockets == 0 {
                entry.socket_changed = Some(Instant::now());
            }
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
            if entry.sockets == 0 {
                entry.socket_changed = Some(Instant::now());
            }
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

    /// The symbols that a new connection asks for, and the symbols that it leaves for later.
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
    /// Whether this program publishes any of the symbols.
    #[must_use]
    pub fn is_any_held(&self) -> bool {
        let entries = self.board.entries();
        self.symbols.iter().any(|(id, _)| entries[*id].is_held)
    }

    /// Where the symbols stand that are ours.
    #[must_use]
    pub fn summary(&self) -> SymbolSummary {
        let entries = self.board.entries();
        let mut summary = SymbolSummary::default();
        for (instrument, symbol) in &self.symbols {
            let entry = entries[*instrument];
            if entry.assignment == 0 {
                continue;
            }
            let part = summary.part_mut(entry.state());
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

    /// How many symbols there are.
    #[must_use]
    pub fn total(&self) -> usize {
        self.parts.iter().map(|part| part.count).sum()
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
mod tests;
