//! Which symbols any rule watches, without a look at each rule.

use std::collections::HashMap;

use market_core::Symbol;

use crate::rule::Rule;

/// How many rules name each symbol, and how many are for all symbols.
#[derive(Default, Debug)]
pub struct Wanted {
    named: HashMap<String, usize>,
    all: usize,
}

impl Wanted {
    /// Counts a rule.
    pub fn add(&mut self, rule: &Rule) {
        for symbol in &rule.symbols {
            match symbol.as_str() {
                "*" => self.all = self.all.saturating_add(1),
                name => {
                    let count = self.named.entry(name.to_owned()).or_default();
                    *count = count.saturating_add(1);
                }
            }
        }
    }

    /// No longer counts a rule that was added.
    pub fn remove(&mut self, rule: &Rule) {
        for symbol in &rule.symbols {
            match symbol.as_str() {
                "*" => self.all = self.all.saturating_sub(1),
                name => {
                    if let Some(count) = self.named.get_mut(name) {
                        *count = count.saturating_sub(1);
                        if *count == 0 {
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
        self.all > 0 || self.named.contains_key(symbol.as_str())
    }
}
