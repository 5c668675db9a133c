//! The active faults: which of them affects what, and when.
//!
//! Pure apart from its mutex: time is an argument, and the decision is the return value.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;

use crate::fault_spec::{FaultKind, FaultSpec};
use crate::instrument::{Venue, symbol_key};
use crate::market::Rng;
use crate::verdict::{ConnectionFault, RestVerdict, TradeVerdict};

/// An active fault, and its effects so far.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Fault {
    /// Its id, for DELETE.
    pub(crate) id: u64,
    /// What was asked for.
    #[serde(flatten)]
    pub(crate) spec: FaultSpec,
    /// When it begins, or began last, milliseconds since the epoch.
    pub(crate) starts_ms: i64,
    /// Strikes left in this round; absent: not counted.
    pub(crate) remaining: Option<u64>,
    /// Trades, requests or events that it has struck.
    pub(crate) hits: u64,
    /// Whether it can no longer strike.
    pub(crate) done: bool,
    #[serde(skip)]
    symbol_key: Option<String>,
    #[serde(skip)]
    fired: bool,
}

impl Fault {
    fn round(&mut self) {
        self.remaining = self.spec.count.or(match self.spec.for_ms {
            Some(_) => None,
            None => self.spec.kind.count_default(),
        });
        self.fired = false;
    }

    /// Moves to the round that `now_ms` is in, and says whether the fault is on.
    fn is_on(&mut self, now_ms: i64) -> bool {
        if let Some(every_ms) = self.spec.every_ms.filter(|every_ms| *every_ms > 0) {
            let rounds = (now_ms - self.starts_ms).div_euclid(every_ms as i64);
            if rounds > 0 {
                self.starts_ms += rounds * every_ms as i64;
                self.round();
            }
        }
        if now_ms < self.starts_ms || self.done {
            return false;
        }
        let for_ms = self
            .spec
            .for_ms
            .or((self.spec.kind == FaultKind::Cut).then_some(5_000));
        let over = for_ms.is_some_and(|for_ms| now_ms >= self.starts_ms + for_ms as i64)
            || self.remaining == Some(0)
            || (self.spec.kind.is_one_shot() && self.fired);
        if over && self.spec.every_ms.is_none() {
            self.done = true;
        }
        !over
    }

    fn strike(&mut self) {
        self.hits += 1;
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.saturating_sub(1);
        }
    }

    fn concerns(&self, venue: Venue, symbol: Option<&str>) -> bool {
        self.spec.venue.is_none_or(|only| only == venue)
            && self
                .symbol_key
                .as_deref()
                .is_none_or(|only| symbol == Some(only))
    }

    fn delay_ms(&self) -> u64 {
        self.spec
            .delay_ms
            .unwrap_or(self.spec.kind.delay_default_ms())
    }
}

/// All faults that are set.
#[derive(Debug)]
pub(crate) struct Faults {
    set: Mutex<FaultSet>,
    /// Number of faults that may still strike: if it is zero, the hot path needs no lock.
    live: AtomicUsize,
}

#[derive(Debug)]
struct FaultSet {
    faults: Vec<Fault>,
    next_id: u64,
    rng: Rng,
}

/// Most faults kept, including finished ones; the oldest finished ones are dropped first.
const FAULTS_MAX: usize = 1_000;

impl Faults {
    /// No faults; `seed` decides the delays of a reorder.
    pub(crate) fn new(seed: u64) -> Faults {
        let set = FaultSet {
            faults: Vec::new(),
            next_id: 1,
            rng: Rng(seed),
        };
        Faults {
            set: Mutex::new(set),
            live: AtomicUsize::new(0),
        }
    }

    /// Sets a fault and returns its id; `None` if too many are set.
    pub(crate) fn add(&self, spec: FaultSpec, now_ms: i64) -> Option<u64> {
        let mut set = self.lock();
        if set.faults.len() >= FAULTS_MAX {
            let done = set.faults.iter().position(|fault| fault.done)?;
            set.faults.remove(done);
        }
        let id = set.next_id;
        set.next_id += 1;
        let mut fault = Fault {
            id,
            starts_ms: now_ms + spec.at_ms as i64,
            symbol_key: spec.symbol.as_deref().map(symbol_key),
            spec,
            remaining: None,
            hits: 0,
            done: false,
            fired: false,
        };
        fault.round();
        set.faults.push(fault);
        self.live.store(live(&set.faults), Ordering::Release);
        Some(id)
    }

    /// Removes one fault, or all; returns how many were removed.
    pub(crate) fn remove(&self, id: Option<u64>) -> usize {
        let mut set = self.lock();
        let before = set.faults.len();
        set.faults
            .retain(|fault| id.is_some_and(|id| fault.id != id));
        self.live.store(live(&set.faults), Ordering::Release);
        before - set.faults.len()
    }

    /// All faults, including finished ones.
    pub(crate) fn list(&self) -> Vec<Fault> {
        self.lock().faults.clone()
    }

    /// Decides about one change of a book, and counts the strike.
    pub(crate) fn book(&self, venue: Venue, symbol_key: &str, now_ms: i64) -> TradeVerdict {
        let mut verdict = TradeVerdict::default();
        if self.is_idle() {
            return verdict;
        }
        for fault in &mut self.lock().faults {
            if verdict.dropped || !fault.concerns(venue, Some(symbol_key)) || !fault.is_on(now_ms) {
                continue;
            }
            match fault.spec.kind {
                FaultKind::BookGap => verdict.dropped = true,
                FaultKind::BookDuplicate => verdict.duplicated = true,
                FaultKind::BookLate => verdict.delay_ms += fault.delay_ms(),
                FaultKind::BookMalformed => verdict.malformed = true,
                _ => continue,
            }
            fault.strike();
        }
        verdict
    }

    /// Decides about one trade, and counts the strike.
    pub(crate) fn trade(&self, venue: Venue, symbol_key: &str, now_ms: i64) -> TradeVerdict {
        let mut verdict = TradeVerdict::default();
        if self.is_idle() {
            return verdict;
        }
        let mut set = self.lock();
        let FaultSet { faults, rng, .. } = &mut *set;
        for fault in faults.iter_mut() {
            if !fault.concerns(venue, Some(symbol_key)) || !fault.is_on(now_ms) {
                continue;
            }
            match fault.spec.kind {
                FaultKind::Gap | FaultKind::Silence | FaultKind::Delist => verdict.dropped = true,
                FaultKind::Duplicate => verdict.duplicated = true,
                FaultKind::Malformed => verdict.malformed = true,
                FaultKind::Late => verdict.delay_ms += fault.delay_ms(),
                FaultKind::Reorder => verdict.delay_ms += rng.next() % (fault.delay_ms() + 1),
                _ => continue,
            }
            fault.strike();
            // One trade is struck by only one dropping fault, so that two gaps of five lose ten
            // trades.
            if verdict.dropped {
                break;
            }
        }
        verdict
    }

    /// Whether connections and requests to a venue end without an answer.
    pub(crate) fn refuses(&self, venue: Venue, now_ms: i64) -> bool {
        self.first(now_ms, |fault| {
            matches!(fault.spec.kind, FaultKind::Refuse | FaultKind::Cut)
                && fault.concerns(venue, None)
        })
        .map(|mut fault| fault.strike())
        .is_some()
    }

    /// Milliseconds that a frame of this connection waits.
    pub(crate) fn frame_delay_ms(&self, venue: Venue, connection: u64, now_ms: i64) -> u64 {
        self.first(now_ms, |fault| {
            fault.spec.kind == FaultKind::Slow
                && fault.concerns(venue, None)
                && fault.spec.connection.is_none_or(|only| only == connection)
        })
        .map_or(0, |mut fault| {
            fault.strike();
            fault.delay_ms()
        })
    }

    /// Which symbols are delisted: each a venue, or all, and a symbol's key, or all.
    pub(crate) fn delisted(&self, now_ms: i64) -> Vec<(Option<Venue>, Option<String>)> {
        if self.is_idle() {
            return Vec::new();
        }
        let mut set = self.lock();
        set.faults
            .iter_mut()
            .filter(|fault| fault.spec.kind == FaultKind::Delist)
            .filter_map(|fault| {
                fault
                    .is_on(now_ms)
                    .then(|| (fault.spec.venue, fault.symbol_key.clone()))
            })
            .collect()
    }

    /// Whether heartbeats of a silent symbol give a false last trade id.
    pub(crate) fn heartbeat_lies(&self, venue: Venue, symbol_key: &str, now_ms: i64) -> bool {
        self.first(now_ms, |fault| {
            fault.spec.kind == FaultKind::Silence
                && fault.spec.lie
                && fault.concerns(venue, Some(symbol_key))
        })
        .is_some()
    }

    /// Decides about one REST request.
    pub(crate) fn rest(&self, venue: Venue, path: &str, now_ms: i64) -> Option<RestVerdict> {
        self.first(now_ms, |fault| {
            matches!(
                fault.spec.kind,
                FaultKind::Rest429
                    | FaultKind::Rest418
                    | FaultKind::Rest403
                    | FaultKind::Rest451
                    | FaultKind::Rest500
                    | FaultKind::RestSlow
            ) && fault.concerns(venue, None)
                && fault
                    .spec
                    .path
                    .as_deref()
                    .is_none_or(|part| path.contains(part))
        })
        .map(|mut fault| {
            fault.strike();
            let retry_after = fault.spec.retry_after.or(Some(1));
            match fault.spec.kind {
                FaultKind::Rest429 => RestVerdict::Status(429, retry_after),
                FaultKind::Rest418 => RestVerdict::Status(418, retry_after),
                FaultKind::Rest403 => RestVerdict::Status(403, None),
                FaultKind::Rest451 => RestVerdict::Status(451, None),
                FaultKind::Rest500 => RestVerdict::Status(500, None),
                _ => RestVerdict::Slow(fault.delay_ms()),
            }
        })
    }

    /// Faults on connections whose moment has come; each is returned once a round.
    pub(crate) fn due(&self, now_ms: i64) -> Vec<ConnectionFault> {
        if self.is_idle() {
            return Vec::new();
        }
        let mut set = self.lock();
        let mut due = Vec::new();
        for fault in &mut set.faults {
            let strikes = fault.spec.kind.is_one_shot() || fault.spec.kind == FaultKind::Cut;
            if !strikes || !fault.is_on(now_ms) || fault.fired {
                continue;
            }
            fault.fired = true;
            fault.strike();
            due.push(ConnectionFault {
                kind: if fault.spec.kind == FaultKind::Cut {
                    FaultKind::Disconnect
                } else {
                    fault.spec.kind
                },
                venue: fault.spec.venue,
                connection: fault.spec.connection,
                code: fault.spec.code,
                delay_ms: fault.delay_ms(),
            });
        }
        // Faults that are over stop costing the lock.
        for fault in &mut set.faults {
            fault.is_on(now_ms);
        }
        self.live.store(live(&set.faults), Ordering::Release);
        due
    }

    fn is_idle(&self) -> bool {
        self.live.load(Ordering::Acquire) == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, FaultSet> {
        self.set.lock().expect("no holder of the faults panics")
    }

    fn first(&self, now_ms: i64, wanted: impl Fn(&Fault) -> bool) -> Option<Struck<'_>> {
        if self.is_idle() {
            return None;
        }
        let mut set = self.lock();
        let index = set
            .faults
            .iter_mut()
            .position(|fault| wanted(fault) && fault.is_on(now_ms))?;
        Some(Struck { set, index })
    }
}

/// The fault that was found, under the lock.
struct Struck<'a> {
    set: std::sync::MutexGuard<'a, FaultSet>,
    index: usize,
}

impl Struck<'_> {
    fn strike(&mut self) {
        self.set.faults[self.index].strike();
    }
}

impl std::ops::Deref for Struck<'_> {
    type Target = Fault;

    fn deref(&self) -> &Fault {
        &self.set.faults[self.index]
    }
}

fn live(faults: &[Fault]) -> usize {
    faults.iter().filter(|fault| !fault.done).count()
}

#[cfg(test)]
mod tests;
