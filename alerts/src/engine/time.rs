//! What time alone can fire: silences and spreads, and the bounds of the rules that it needs.

use std::sync::Arc;

use market_core::{Symbol, UnixMillis};

use super::round::Pair;
use super::{Alert, Engine, Looked, SymbolFacts, Turn, numbered};
use crate::quote::SymbolQuote;
use crate::rule::{Condition, Rule};
use crate::wanted::Wanted;
use crate::watch::{Firing, Watch};

impl Engine {
    /// Goes on with a look at all silences. All bars with trades have been offered until `known_ms`.
    pub fn tick(&mut self, known_ms: UnixMillis, turn: Turn) -> Looked {
        let mut stale = std::mem::take(&mut self.stale);
        let looked = stale.go_on(turn, |pair| {
            self.look_at(pair, |watch, rule, facts, _| {
                watch.silence(rule, facts.traded_ms, known_ms)
            })
        });
        self.stale = stale;
        looked
    }

    /// Takes the newest quote of a symbol; `None` if there is none any more. False if no rule looks at
    /// its quotes, or there are too many symbols.
    pub fn offer_quote(&mut self, symbol: &Symbol, quote: Option<SymbolQuote>) -> bool {
        if !self.symbols.contains_key(symbol) {
            let is_wanted = self.wanted_quotes.has(symbol);
            let Some(quote) = quote.as_ref().filter(|_| is_wanted) else {
                return false;
            };
            if self.symbols.len() >= self.symbols_max {
                return false;
            }
            let from_ms = Some(quote.received_ms);
            self.follow(symbol, SymbolFacts::new(quote.exchange.clone()), from_ms);
            self.dirty_symbols.insert(symbol.clone());
        }
        if let Some(followed) = self.symbols.get_mut(symbol) {
            followed.quote = quote;
        }
        true
    }

    /// Goes on with a look of the rules on spreads at the newest quotes. A quote that was received before
    /// `oldest_ms` says nothing any more.
    pub fn tick_quotes(&mut self, now_ms: UnixMillis, oldest_ms: UnixMillis, turn: Turn) -> Looked {
        let mut spread = std::mem::take(&mut self.spread);
        let looked = spread.go_on(turn, |pair| {
            self.look_at(pair, |watch, rule, _, quote| {
                let quote = quote.filter(|quote| quote.received_ms >= oldest_ms);
                watch.spread(rule, quote, now_ms)
            })
        });
        self.spread = spread;
        looked
    }

    fn look_at(
        &mut self,
        (symbol, name): &Pair,
        look: impl Fn(&mut Watch, &Rule, &SymbolFacts, Option<&SymbolQuote>) -> Option<Firing>,
    ) -> Option<Alert> {
        let followed = self.symbols.get_mut(symbol)?;
        let watch = followed.watches.get_mut(name)?;
        let active = self.rules.get(name)?;
        let before = *watch;
        let quote = followed.quote.as_ref();
        let fired = look(watch, &active.rule, &followed.facts, quote);
        let place = (&*followed.facts.exchange, symbol);
        let alert = numbered(watch, active, place, fired).pop();
        if *watch != before {
            self.dirty_watches.insert((name.clone(), symbol.clone()));
        }
        alert
    }

    /// The rules that look at quotes.
    #[must_use]
    pub const fn wanted_quotes(&self) -> &Wanted {
        &self.wanted_quotes
    }

    /// The most seconds that all rules of one symbol together look back.
    #[must_use]
    pub fn seconds_max(&self) -> u64 {
        self.wanted.seconds_max()
    }

    /// As [`Engine::seconds_max`], with another rule, in the place of the one of its name.
    pub fn seconds_max_with(&mut self, rule: &Rule) -> u64 {
        let known = self.rules.get(&rule.name);
        let known = known.map(|active| Arc::clone(&active.rule));
        if let Some(known) = &known {
            self.wanted.remove(known);
        }
        self.wanted.add(rule);
        let seconds = self.wanted.seconds_max();
        self.wanted.remove(rule);
        if let Some(known) = &known {
            self.wanted.add(known);
        }
        seconds
    }

    /// Whether there is room for the symbols that a rule on silences names. Their silence counts
    /// from the beginning of the rule, so they are followed before their first bar.
    #[must_use]
    pub fn has_room(&self, rule: &Rule) -> bool {
        let room = self.symbols_max.saturating_sub(self.symbols.len());
        self.named(rule).take(room.saturating_add(1)).count() <= room
    }

    fn named(&self, rule: &Rule) -> impl Iterator<Item = Symbol> {
        let is_silence = matches!(rule.when, Condition::Stale { .. });
        let names = rule.symbols.iter().filter(move |_| is_silence);
        names
            .filter_map(|name| name.parse::<Symbol>().ok())
            .filter(|symbol| !self.symbols.contains_key(symbol))
    }

    /// Follows the symbols that a rule on silences names, as far as there is room.
    pub(super) fn follow_named(&mut self, rule: &Rule) {
        let room = self.symbols_max.saturating_sub(self.symbols.len());
        let symbols: Vec<Symbol> = self.named(rule).take(room).collect();
        for symbol in symbols {
            let exchange = symbol.venue().unwrap_or_default().to_lowercase();
            self.follow(&symbol, SymbolFacts::new(exchange.into()), None);
            self.dirty_symbols.insert(symbol);
        }
    }
}
