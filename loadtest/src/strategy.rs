//! A strategy as users write them: it buys when the fast mean of closed bars crosses above the slow
//! one, and sells when it crosses below. `clients/python/examples/crossing.py` is the same one.

use std::collections::VecDeque;

use rust_decimal::Decimal;

use crate::account::{Account, Side};
use crate::bar::{Bar, State};

/// Means of the last few and of the last many closed bars.
#[derive(Debug)]
pub struct Crossing {
    fast: usize,
    slow: usize,
    closes: VecDeque<Decimal>,
    was_above: Option<bool>,
}

impl Crossing {
    /// Means of so many bars.
    ///
    /// # Panics
    /// If the fast mean does not have fewer bars than the slow one.
    #[must_use]
    pub fn new(fast: usize, slow: usize) -> Self {
        assert!(
            0 < fast && fast < slow,
            "{fast} bars are not fewer than {slow}"
        );
        Self {
            fast,
            slow,
            closes: VecDeque::with_capacity(slow),
            was_above: None,
        }
    }

    /// What to do after a bar that closed at this price.
    pub fn decide(&mut self, close: Decimal) -> Option<Side> {
        if self.closes.len() == self.slow {
            self.closes.pop_front();
        }
        self.closes.push_back(close);
        if self.closes.len() < self.slow {
            return None;
        }
        // Sums are compared, not quotients: exact, so every program decides alike.
        let fast: Decimal = self.closes.iter().rev().take(self.fast).sum();
        let slow: Decimal = self.closes.iter().sum();
        let is_above = fast * Decimal::from(self.slow) > slow * Decimal::from(self.fast);
        let before = self.was_above.replace(is_above)?;
        (before != is_above).then_some(if is_above { Side::Buy } else { Side::Sell })
    }
}

/// A strategy on a stream of bars, wherever they come from.
#[derive(Debug)]
pub struct Run {
    strategy: Crossing,
    newest_ms: Option<i64>,
    /// What it traded.
    pub account: Account,
    /// Bars that were corrected after they had been decided on. A replay has the corrected ones, and
    /// may decide otherwise there.
    pub revised: u64,
}

impl Run {
    /// Nothing was decided yet.
    #[must_use]
    pub fn new(strategy: Crossing) -> Self {
        Self {
            strategy,
            newest_ms: None,
            account: Account::default(),
            revised: 0,
        }
    }

    /// Whether the bar is closed and newer than all that were decided on.
    #[must_use]
    pub fn is_new(&self, bar: &Bar) -> bool {
        bar.state == State::Closed && self.newest_ms.is_none_or(|newest| bar.start_ms > newest)
    }

    /// Decides on a bar; `None` also for one that is forming, or was decided on before.
    ///
    /// # Panics
    /// If a price of the bar is no number.
    pub fn take(&mut self, bar: &Bar) -> Option<Side> {
        if !self.is_new(bar) {
            self.revised += u64::from(bar.state == State::Closed && bar.rev > 0);
            return None;
        }
        self.newest_ms = Some(bar.start_ms);
        let [open, close] = [&bar.open, &bar.close].map(|text| text.parse().expect("a price"));
        let decision = self.strategy.decide(close);
        self.account.take(bar, open, close, decision);
        decision
    }
}
