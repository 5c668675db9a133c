//! All rules at all symbols: takes bars and the time, and says which rules fire.
//!
//! Pure code: what it did since the last call of [`Engine::take_changes`] is what a store must keep, so that
//! an engine made of the stored state goes on as this one would.

mod round;
mod time;

use std::collections::{BTreeMap, BTreeSet};

use market_core::{Symbol, UnixMillis};
use serde::{Deserialize, Serialize};

use self::round::Round;
pub use self::round::{Looked, Turn};
use crate::alert::numbered;
pub use crate::alert::{ActiveRule, Alert};
use crate::bar::{SymbolBar, WatchedBar};
use crate::quote::SymbolQuote;
use crate::rule::RuleName;
use crate::series::{Series, Taken};
use crate::wanted::Wanted;
use crate::watch::{Newest, Watch};

/// What is known of a symbol beside its bars.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SymbolFacts {
    /// The venue of its newest bar.
    pub exchange: Box<str>,
    /// Start of its newest bar with trades.
    pub traded_ms: Option<UnixMillis>,
    /// Whether bars before the newest one are missing.
    pub is_after_hole: bool,
}

impl SymbolFacts {
    fn new(exchange: Box<str>) -> Self {
        Self {
            exchange,
            traded_ms: None,
            is_after_hole: false,
        }
    }
}

/// What a store must change.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Changes {
    /// Bars by symbol and start; `None` where the bar is needed no longer.
    pub bars: Vec<(Symbol, UnixMillis, Option<WatchedBar>)>,
    /// The facts of symbols; `None` where the symbol is watched no longer, and nothing of it is kept.
    pub symbols: Vec<(Symbol, Option<SymbolFacts>)>,
    /// What rules remember of symbols.
    pub watches: Vec<(RuleName, Symbol, Watch)>,
}

/// What became of a bar.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Rules looked at it. These fired.
    Watched(Vec<Alert>),
    /// No rule watches the symbol.
    Unwatched,
    /// It was known, or is older than what any rule looks at.
    Old(Taken),
    /// There are too many symbols already.
    Full,
}

#[derive(Debug)]
struct Followed {
    facts: SymbolFacts,
    series: Series,
    /// The newest quote, where a rule looks at quotes.
    quote: Option<SymbolQuote>,
    watches: BTreeMap<RuleName, Watch>,
    horizon_ms: i64,
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    rules: BTreeMap<RuleName, ActiveRule>,
    wanted: Wanted,
    /// Of rules that look at quotes.
    wanted_quotes: Wanted,
    symbols: BTreeMap<Symbol, Followed>,
    /// The watches of rules that look at silences.
    stale: Round,
    /// The watches of rules that look at quotes.
    spread: Round,
    symbols_max: usize,
    dirty_bars: BTreeSet<(Symbol, UnixMillis)>,
    dirty_symbols: BTreeSet<Symbol>,
    dirty_watches: BTreeSet<(RuleName, Symbol)>,
}

impl Engine {
    /// Without rules and symbols.
    #[must_use]
    pub fn new(symbols_max: usize) -> Self {
        Self {
            rules: BTreeMap::new(),
            wanted: Wanted::default(),
            wanted_quotes: Wanted::default(),
            symbols: BTreeMap::new(),
            stale: Round::default(),
            spread: Round::default(),
            symbols_max,
            dirty_bars: BTreeSet::new(),
            dirty_symbols: BTreeSet::new(),
            dirty_watches: BTreeSet::new(),
        }
    }

    /// An engine of what a store has kept. Rules come first: what no rule watches is left out, and
    /// becomes a change.
    #[must_use]
    pub fn restored(symbols_max: usize, rules: Vec<ActiveRule>, stored: Changes) -> Self {
        let mut engine = Self::new(symbols_max);
        for rule in rules {
            engine.insert(rule);
        }
        for (symbol, facts) in stored.symbols {
            if let Some(facts) = facts {
                engine.follow(&symbol, facts, None);
            }
        }
        for (symbol, _, bar) in stored.bars {
            if let (Some(followed), Some(bar)) = (engine.symbols.get_mut(&symbol), bar) {
                followed.series.offer(bar, i64::MAX);
            }
        }
        for (rule, symbol, watch) in stored.watches {
            let followed = engine.symbols.get_mut(&symbol);
            if let Some(place) = followed.and_then(|followed| followed.watches.get_mut(&rule)) {
                *place = watch;
            }
        }
        engine.drop_unwatched();
        let rules: Vec<ActiveRule> = engine.rules.values().cloned().collect();
        for active in rules {
            engine.follow_named(&active.rule);
        }
        engine
    }

    /// The rules, by name.
    pub fn rules(&self) -> impl Iterator<Item = &ActiveRule> {
        self.rules.values()
    }

    /// The rule of this name.
    #[must_use]
    pub fn rule(&self, name: &RuleName) -> Option<&ActiveRule> {
        self.rules.get(name)
    }

    /// How many symbols and bars it has.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let bars = self.symbols.values().map(|followed| followed.series.len());
        (self.symbols.len(), bars.sum())
    }

    /// Adds a rule, or puts it in the place of the one of its name: then it begins anew.
    pub fn put(&mut self, active: ActiveRule) {
        let rule = active.rule.clone();
        let name = rule.name.clone();
        self.forget(&name);
        for (symbol, followed) in &mut self.symbols {
            if rule.watches(symbol) {
                let watch = Watch::new(&rule, active.made_ms());
                followed.watches.insert(name.clone(), watch);
                self.dirty_watches.insert((name.clone(), symbol.clone()));
                if rule.when.is_of_silence() {
                    self.stale.insert(symbol.clone(), name.clone());
                }
                if rule.when.is_of_quotes() {
                    self.spread.insert(symbol.clone(), name.clone());
                }
            }
        }
        self.insert(active);
        self.follow_named(&rule);
        self.set_horizons();
        self.drop_unwatched();
    }

    fn insert(&mut self, rule: ActiveRule) {
        self.wanted.add(&rule.rule);
        if rule.rule.when.is_of_quotes() {
            self.wanted_quotes.add(&rule.rule);
        }
        self.rules.insert(rule.rule.name.clone(), rule);
    }

    /// False if there is no rule of this name.
    fn forget(&mut self, name: &RuleName) -> bool {
        let Some(known) = self.rules.remove(name) else {
            return false;
        };
        self.wanted.remove(&known.rule);
        if known.rule.when.is_of_quotes() {
            self.wanted_quotes.remove(&known.rule);
        }
        self.stale.forget(name);
        self.spread.forget(name);
        for followed in self.symbols.values_mut() {
            followed.watches.remove(name);
        }
        true
    }

    /// Gives a rule another epoch: it goes on as it is, and its next alerts have this one.
    pub fn lift(&mut self, name: &RuleName, epoch: u64) {
        if let Some(active) = self.rules.get_mut(name) {
            active.epoch = epoch;
        }
    }

    /// Removes a rule. False if there is none of this name.
    pub fn remove(&mut self, name: &RuleName) -> bool {
        let is_there = self.forget(name);
        self.set_horizons();
        self.drop_unwatched();
        is_there
    }

    /// Takes a bar of the stream.
    pub fn offer(&mut self, offered: SymbolBar) -> Outcome {
        let SymbolBar {
            exchange,
            symbol,
            bar,
        } = offered;
        if !self.symbols.contains_key(&symbol) {
            if !self.wanted.has(&symbol) {
                return Outcome::Unwatched;
            }
            if self.symbols.len() >= self.symbols_max {
                return Outcome::Full;
            }
            let facts = SymbolFacts::new(exchange.clone());
            self.follow(&symbol, facts, Some(bar.start_ms));
        }
        let Some(followed) = self.symbols.get_mut(&symbol) else {
            return Outcome::Unwatched;
        };
        let (taken, gone) = followed.series.offer(bar, followed.horizon_ms);
        let changed = gone.into_iter().chain([bar.start_ms]);
        match taken {
            Taken::Known | Taken::TooOld => return Outcome::Old(taken),
            Taken::Newest { missing } => {
                followed.facts.is_after_hole = missing;
                followed.facts.exchange = exchange;
            }
            Taken::Within { .. } => {}
        }
        let changed = changed.map(|start_ms| (symbol.clone(), start_ms));
        self.dirty_bars.extend(changed);
        self.dirty_symbols.insert(symbol.clone());
        Outcome::Watched(self.look(&symbol, &bar))
    }

    /// All rules of a symbol look at its newest bar, after `arrived` came.
    fn look(&mut self, symbol: &Symbol, arrived: &WatchedBar) -> Vec<Alert> {
        let Some(followed) = self.symbols.get_mut(symbol) else {
            return Vec::new();
        };
        let Followed {
            facts,
            series,
            watches,
            ..
        } = followed;
        let Some(bar) = series.newest() else {
            return Vec::new();
        };
        let newest = Newest {
            series,
            bar,
            is_after_hole: facts.is_after_hole,
        };
        let is_later = facts
            .traded_ms
            .is_none_or(|traded| arrived.start_ms > traded);
        let ends_silence = arrived.is_traded && is_later;
        let mut alerts = Vec::new();
        for (name, watch) in watches {
            let Some(active) = self.rules.get(name) else {
                continue;
            };
            let before = *watch;
            let mut fired = watch.look(&active.rule, newest);
            if ends_silence {
                // A silence that nobody noticed while this program was down.
                fired.extend(watch.silence(&active.rule, facts.traded_ms, arrived.start_ms));
                watch.traded(&active.rule, arrived.start_ms);
            }
            alerts.extend(numbered(watch, active, (&*facts.exchange, symbol), fired));
            if *watch != before {
                self.dirty_watches.insert((name.clone(), symbol.clone()));
            }
        }
        if ends_silence {
            facts.traded_ms = Some(arrived.start_ms);
        }
        alerts
    }

    /// What has changed since the last call.
    pub fn take_changes(&mut self) -> Changes {
        let bars = std::mem::take(&mut self.dirty_bars).into_iter();
        let symbols = std::mem::take(&mut self.dirty_symbols).into_iter();
        let watches = std::mem::take(&mut self.dirty_watches).into_iter();
        let of = |symbol: &Symbol| self.symbols.get(symbol);
        Changes {
            bars: bars
                .map(|(symbol, start_ms)| {
                    let bar = of(&symbol).and_then(|followed| followed.series.at(start_ms));
                    let bar = bar.copied();
                    (symbol, start_ms, bar)
                })
                .collect(),
            symbols: symbols
                .map(|symbol| {
                    let facts = of(&symbol).map(|followed| followed.facts.clone());
                    (symbol, facts)
                })
                .collect(),
            watches: watches
                .filter_map(|(rule, symbol)| {
                    let watch = *of(&symbol)?.watches.get(&rule)?;
                    Some((rule, symbol, watch))
                })
                .collect(),
        }
    }

    /// Follows a symbol from `from_ms` on, when its first bar or quote came, or from when each rule was
    /// made.
    fn follow(&mut self, symbol: &Symbol, facts: SymbolFacts, from_ms: Option<UnixMillis>) {
        let mut watches = BTreeMap::new();
        for active in self.rules.values() {
            let rule = &active.rule;
            if !rule.watches(symbol) {
                continue;
            }
            let watch = Watch::new(rule, from_ms.unwrap_or(active.made_ms()));
            watches.insert(rule.name.clone(), watch);
            if rule.when.is_of_silence() {
                self.stale.insert(symbol.clone(), rule.name.clone());
                self.dirty_watches
                    .insert((rule.name.clone(), symbol.clone()));
            }
            if rule.when.is_of_quotes() {
                self.spread.insert(symbol.clone(), rule.name.clone());
            }
        }
        let followed = Followed {
            facts,
            series: Series::default(),
            quote: None,
            horizon_ms: horizon_ms(&self.rules, &watches),
            watches,
        };
        self.symbols.insert(symbol.clone(), followed);
    }

    fn set_horizons(&mut self) {
        for (symbol, followed) in &mut self.symbols {
            followed.horizon_ms = horizon_ms(&self.rules, &followed.watches);
            let gone = followed.series.trim(followed.horizon_ms).into_iter();
            let gone = gone.map(|start_ms| (symbol.clone(), start_ms));
            self.dirty_bars.extend(gone);
        }
    }

    fn drop_unwatched(&mut self) {
        let dirty = &mut self.dirty_symbols;
        self.symbols.retain(|symbol, followed| {
            let is_watched = !followed.watches.is_empty();
            if !is_watched {
                dirty.insert(symbol.clone());
            }
            is_watched
        });
    }
}

/// How far back the rules of a symbol look.
fn horizon_ms(rules: &BTreeMap<RuleName, ActiveRule>, watches: &BTreeMap<RuleName, Watch>) -> i64 {
    let rules = watches.keys().filter_map(|name| rules.get(name));
    let seconds = rules.map(|active| active.rule.when.horizon_s()).max();
    i64::from(seconds.unwrap_or(0)).saturating_mul(1_000)
}
