//! Other publishers on the same bus, and what this program does when they fall silent.
//!
//! Readers accept a forming bar only if its epoch is not below the newest that they have seen. So
//! of two publishers of one symbol, the one that started later wins. When it dies, the messages of
//! the other are refused, unless it takes a new epoch. Each publisher says twice a second
//! who it is. When a rival with a higher epoch falls silent, the living publisher with the highest
//! epoch takes a new one, above all that it has heard. With leases (see [`crate::lease`]) two
//! programs do not publish one symbol, except for a moment after one of them stood still. This is
//! for publishers of builds without leases: both publish while both live, and each of them logs at
//! `error` that there should be only one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use market_core::UnixMillis;
use market_core::clock::EPOCH_AHEAD_MAX_MS;
use serde::{Deserialize, Serialize};

/// Most other publishers in memory.
const OTHERS_MAX: usize = 64;
/// For how long two programs may announce one symbol while it changes hands. The one hears of the other
/// before it announces what it has given up.
const HANDOVER_MS: i64 = 1_000;
/// For how long a publisher that fell silent without a goodbye is reported.
const TOLD_MS: i64 = 600_000;

/// A publisher's message about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Announcement {
    /// A random name, drawn at the start of the program.
    pub(crate) instance: String,
    /// The epoch of its messages.
    pub(crate) epoch: u64,
    /// It drains: no more messages come from it.
    pub(crate) leaves: bool,
    /// The symbols that it publishes, by exchange.
    pub(crate) symbols: BTreeMap<String, BTreeSet<String>>,
    /// The symbols that it would publish if their holder were gone. Builds without leases have none.
    #[serde(default)]
    pub(crate) follows: BTreeMap<String, BTreeSet<String>>,
}

impl Announcement {
    fn common(&self, other: &Self) -> usize {
        let of = |(exchange, ours): (&String, &BTreeSet<String>)| {
            let theirs = other.symbols.get(exchange);
            theirs.map_or(0, |theirs| ours.intersection(theirs).count())
        };
        self.symbols.iter().map(of).sum()
    }

    /// Whether the program publishes the symbol, or would.
    pub(crate) fn has(&self, exchange: &str, symbol: &str) -> bool {
        let mut all = [&self.symbols, &self.follows].into_iter();
        all.any(|symbols| symbols.get(exchange).is_some_and(|of| of.contains(symbol)))
    }
}

/// Whether an epoch is plausible: at most a day ahead, because readers ignore every publisher with
/// a lower one.
pub(crate) fn is_plausible(epoch: u64, now: UnixMillis) -> bool {
    epoch <= now.unsigned_abs().saturating_add(EPOCH_AHEAD_MAX_MS)
}

/// An epoch above `seen` that equals the time, if the time permits.
pub(crate) fn epoch_above(seen: Option<u64>, now: UnixMillis) -> u64 {
    let above = seen.map_or(0, |seen| seen.saturating_add(1));
    now.unsigned_abs().max(above)
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Another publisher has symbols of ours.
    Appeared {
        instance: String,
        epoch: u64,
        common: usize,
    },
    /// Another publisher has no symbols of ours any more, or is gone.
    Gone { instance: String, has_left: bool },
    /// Its epoch is not plausible, and is ignored.
    Implausible { instance: String, epoch: u64 },
    /// We publish under this epoch from now on.
    Take { epoch: u64 },
}

/// What to report about an exchange's feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OthersOfFeed {
    /// Living publishers of symbols of ours.
    pub(crate) rivals: usize,
    /// Publishers that fell silent without a goodbye, and some of whose symbols nobody publishes
    /// now.
    pub(crate) lost: usize,
    /// Living programs that would take over symbols of ours.
    pub(crate) standbys: usize,
}

#[derive(Debug)]
struct Other {
    said: Announcement,
    /// When it was heard last. This is moved on while we do not hear ourselves.
    heard_ms: i64,
    common: usize,
    /// Since when it has symbols of ours.
    common_since_ms: Option<UnixMillis>,
    /// It was told that it appeared.
    is_told: bool,
    is_alive: bool,
    is_plausible: bool,
}

impl Other {
    /// Tells that it has symbols of ours for longer than these change hands, or has none any more.
    fn tell(&mut self, has_left: bool, now: UnixMillis, out: &mut Vec<Event>) {
        let instance = self.said.instance.clone();
        if !self.is_alive || self.common == 0 {
            self.common_since_ms = None;
            if std::mem::take(&mut self.is_told) {
                out.push(Event::Gone { instance, has_left });
            }
            return;
        }
        let since_ms = *self.common_since_ms.get_or_insert(now);
        if !self.is_told && now.saturating_sub(since_ms) >= HANDOVER_MS {
            self.is_told = true;
            out.push(Event::Appeared {
                instance,
                epoch: self.said.epoch,
                common: self.common,
            });
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Rivals {
    me: Announcement,
    others: HashMap<String, Other>,
    silence_ms: i64,
    /// When we heard ourselves last. While we do not, the silence of others means nothing.
    heard_me_ms: UnixMillis,
    /// How often what is known has changed.
    changes: u64,
}

impl Rivals {
    /// Knows no publisher yet. A publisher that says nothing for `silence_ms` is gone.
    pub(crate) fn new(me: Announcement, silence_ms: i64, now: UnixMillis) -> Self {
        Self {
            me,
            others: HashMap::new(),
            silence_ms,
            heard_me_ms: now,
            changes: 0,
        }
    }

    /// Our message about ourselves.
    pub(crate) fn me(&self) -> &Announcement {
        &self.me
    }

    /// How often what is known of other publishers has changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// The newest announcements of the living programs.
    pub(crate) fn living(&self) -> impl Iterator<Item = &Announcement> {
        let living = self.others.values().filter(|other| other.is_alive);
        living.map(|other| &other.said)
    }

    /// We publish these symbols under this epoch from now on, and follow those.
    pub(crate) fn publish(
        &mut self,
        (symbols, follows): (
            BTreeMap<String, BTreeSet<String>>,
            BTreeMap<String, BTreeSet<String>>,
        ),
        epoch: u64,
        now: UnixMillis,
        out: &mut Vec<Event>,
    ) {
        self.changes += 1;
        self.me.symbols = symbols;
        self.me.follows = follows;
        self.me.epoch = self.me.epoch.max(epoch);
        for other in self.others.values_mut() {
            other.common = self.me.common(&other.said);
            other.tell(true, now, out);
        }
        self.take_over(now, out);
    }

    /// A publisher announced itself. It may be this program.
    pub(crate) fn heard(&mut self, said: Announcement, now: UnixMillis, out: &mut Vec<Event>) {
        if said.instance == self.me.instance {
            self.heard_me_ms = now;
            return;
        }
        let is_plausible = is_plausible(said.epoch, now);
        if !self.others.contains_key(&said.instance) && !self.has_room() {
            metrics::counter!("marketdata_publishers_ignored_total").increment(1);
            return;
        }
        let before = self.others.get(&said.instance);
        if !is_plausible && before.is_none_or(|before| before.is_plausible) {
            out.push(Event::Implausible {
                instance: said.instance.clone(),
                epoch: said.epoch,
            });
        }
        let common = self.me.common(&said);
        let is_alive = !said.leaves;
        let is_as_before = |before: &Other| before.is_alive == is_alive && before.said == said;
        self.changes += u64::from(!before.is_some_and(is_as_before));
        let mut other = Other {
            heard_ms: now,
            common,
            common_since_ms: before.and_then(|before| before.common_since_ms),
            is_told: before.is_some_and(|before| before.is_told),
            is_alive,
            is_plausible,
            said,
        };
        let told = out.len();
        other.tell(true, now, out);
        self.changes += (out.len() - told) as u64;
        self.others.insert(other.said.instance.clone(), other);
        self.take_over(now, out);
    }

    /// Moves the clock. Call it a few times a second.
    pub(crate) fn tick(&mut self, now: UnixMillis, out: &mut Vec<Event>) {
        if now - self.heard_me_ms >= self.silence_ms {
            // We stood still, or the bus is away, so the others may live. Their silence counts from
            // now on.
            for other in self.others.values_mut().filter(|other| other.is_alive) {
                other.heard_ms = now;
            }
            return;
        }
        let told = out.len();
        for other in self.others.values_mut() {
            if other.is_alive && now - other.heard_ms >= self.silence_ms {
                other.is_alive = false;
                self.changes += 1;
            }
            other.tell(other.is_alive, now, out);
        }
        self.changes += (out.len() - told) as u64;
        let before = self.others.len();
        self.others
            .retain(|_, other| other.is_alive || now - other.heard_ms < TOLD_MS);
        self.changes += (before - self.others.len()) as u64;
        self.take_over(now, out);
    }

    /// Takes an epoch above that of every rival that is gone. If a living rival has a higher epoch
    /// than we, that rival does it.
    fn take_over(&mut self, now: UnixMillis, out: &mut Vec<Event>) {
        let my_rank = (self.me.epoch, self.me.instance.as_str());
        let rivals = || {
            self.others
                .values()
                .filter(|other| other.common > 0 && other.is_plausible)
        };
        let is_outranked = rivals().any(|other| {
            other.is_alive && (other.said.epoch, other.said.instance.as_str()) > my_rank
        });
        let highest = rivals().map(|other| other.said.epoch).max();
        if !is_outranked && highest.is_some_and(|highest| highest >= self.me.epoch) {
            self.me.epoch = epoch_above(highest, now);
            out.push(Event::Take {
                epoch: self.me.epoch,
            });
        }
    }

    fn has_room(&mut self) -> bool {
        if self.others.len() >= OTHERS_MAX {
            let silent = self.others.iter().find(|(_, other)| !other.is_alive);
            let Some(silent) = silent.map(|(instance, _)| instance.clone()) else {
                return false;
            };
            self.others.remove(&silent);
        }
        true
    }

    /// How many living publishers have symbols of ours, for longer than these change hands.
    pub(crate) fn count(&self) -> usize {
        self.others.values().filter(|other| other.is_told).count()
    }

    /// Whether a living program would take over this symbol.
    pub(crate) fn is_followed(&self, exchange: &str, symbol: &str) -> bool {
        let follows = |other: &Other| {
            let symbols = other.said.follows.get(exchange);
            let follows = symbols.is_some_and(|symbols| symbols.contains(symbol));
            other.is_alive && follows
        };
        self.others.values().any(follows)
    }

    /// What to report about an exchange's feed.
    pub(crate) fn of_feed(&self, exchange: &str) -> OthersOfFeed {
        let symbols = |said: &Announcement| said.symbols.get(exchange).cloned().unwrap_or_default();
        let mine = symbols(&self.me);
        let mut carried = mine.clone();
        let mut of_feed = OthersOfFeed::default();
        for other in self.others.values().filter(|other| other.is_alive) {
            let theirs = symbols(&other.said);
            of_feed.rivals += usize::from(!mine.is_disjoint(&theirs));
            let followed = other.said.follows.get(exchange);
            let follows = followed.is_some_and(|followed| !mine.is_disjoint(followed));
            of_feed.standbys += usize::from(follows);
            carried.extend(theirs);
        }
        let is_lost = |other: &&Other| {
            !other.is_alive && !other.said.leaves && !symbols(&other.said).is_subset(&carried)
        };
        of_feed.lost = self.others.values().filter(is_lost).count();
        of_feed
    }
}

#[cfg(test)]
mod tests;
