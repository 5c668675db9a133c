//! Which symbols any rule watches, and how many bars the rules of a symbol look at, without a look at
//! each rule.

use std::collections::HashMap;

use market_core::Symbol;

use crate::rule::Rule;

/// Some rules.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Load {
    rules: usize,
    /// The sum of the times that they look back; each rule counts for a second at least.
    seconds: u64,
}

impl Load {
    fn add(&mut self, rule: &Rule) {
        self.rules = self.rules.saturating_add(1);
        self.seconds = self.seconds.saturating_add(seconds(rule));
    }

    fn remove(&mut self, rule: &Rule) {
        self.rules = self.rules.saturating_sub(1);
        self.seconds = self.seconds.saturating_sub(seconds(rule));
    }
}

fn seconds(rule: &Rule) -> u64 {
    u64::from(rule.when.horizon_s()).max(1)
}

/// The rules that name each symbol, and those for all symbols.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Wanted {
    named: HashMap<String, Load>,
    all: Load,
}

impl Wanted {
    /// Counts a rule.
    pub fn add(&mut self, rule: &Rule) {
        for symbol in &rule.symbols {
            match symbol.as_str() {
                "*" => self.all.add(rule),
                name => self.named.entry(name.to_owned()).or_default().add(rule),
            }
        }
    }

    /// No longer counts a rule that was added.
    pub fn remove(&mut self, rule: &Rule) {
        for symbol in &rule.symbols {
            match symbol.as_str() {
                "*" => self.all.remove(rule),
                name => {
                    if let Some(load) = self.named.get_mut(name) {
                        load.remove(rule);
                        if load.rules == 0 {
                            self.named.remove(name);
                        }
                    }
                }
            }
        }
    }

    /// Whether any rule watches a symbol.
    #[must_use]
    pub fn has(&self, symbol: &Symbol) -> bool {
        self.all.rules > 0 || self.named.contains_key(symbol.as_str())
    }

    /// Whether there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.rules == 0 && self.named.is_empty()
    }

    /// The most seconds that all rules of one symbol together look back.
    #[must_use]
    pub fn seconds_max(&self) -> u64 {
        let named = self.named.values().map(|load| load.seconds).max();
        self.all.seconds.saturating_add(named.unwrap_or(0))
    }
}
