//! An account that trades on paper. A decision on a closed bar is carried out at the next open.

use std::fmt;

use rust_decimal::{Decimal, RoundingStrategy};

use crate::bar::Bar;

/// Decimal places of quantities and cash.
const PLACES: u32 = 8;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Go into the market.
    Buy,
    /// Go out of it.
    Sell,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        })
    }
}

/// A purchase or a sale.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields of the report")]
pub struct Fill {
    pub start_ms: i64,
    pub side: Side,
    pub price: Decimal,
    pub quantity: Decimal,
    pub cash: Decimal,
}

/// All of the cash is in or out of the market.
#[derive(Debug)]
pub struct Account {
    /// What it began with.
    pub start_cash: Decimal,
    /// What each trade costs of its value.
    fee: Decimal,
    cash: Decimal,
    quantity: Decimal,
    order: Option<Side>,
    /// What was traded.
    pub fills: Vec<Fill>,
    /// The end of each bar, and what the account was worth then.
    pub equity: Vec<(i64, Decimal)>,
}

impl Default for Account {
    /// 10,000 in cash, and a fee of 0.1 percent.
    fn default() -> Self {
        let start_cash = Decimal::from(10_000);
        Self {
            start_cash,
            fee: Decimal::new(1, 3),
            cash: start_cash,
            quantity: Decimal::ZERO,
            order: None,
            fills: Vec::new(),
            equity: Vec::new(),
        }
    }
}

impl Account {
    /// Carries out the decision of the bar before, values the account, and notes a decision.
    pub fn take(&mut self, bar: &Bar, open: Decimal, close: Decimal, decision: Option<Side>) {
        let down = |value: Decimal| value.round_dp_with_strategy(PLACES, RoundingStrategy::ToZero);
        match self.order.take() {
            Some(side @ Side::Buy) if self.quantity.is_zero() => {
                let cost = open * (Decimal::ONE + self.fee);
                self.quantity = down(self.cash / cost);
                self.cash = down(self.cash - self.quantity * cost);
                self.note(bar, side, open, self.quantity);
            }
            Some(side @ Side::Sell) if !self.quantity.is_zero() => {
                let sold = std::mem::take(&mut self.quantity);
                self.cash += down(sold * open * (Decimal::ONE - self.fee));
                self.note(bar, side, open, sold);
            }
            _ => {}
        }
        let worth = (self.cash + self.quantity * close).round_dp(PLACES);
        self.equity.push((bar.end_ms, worth));
        self.order = decision;
    }

    fn note(&mut self, bar: &Bar, side: Side, price: Decimal, quantity: Decimal) {
        self.fills.push(Fill {
            start_ms: bar.start_ms,
            side,
            price,
            quantity,
            cash: self.cash,
        });
    }

    /// What it is worth at the end of the last bar.
    #[must_use]
    pub fn worth(&self) -> Decimal {
        self.equity
            .last()
            .map_or(self.start_cash, |(_, worth)| *worth)
    }

    /// The largest fall of the worth below an earlier one.
    #[must_use]
    pub fn drawdown_percent(&self) -> Decimal {
        let (mut highest, mut fall) = (self.start_cash, Decimal::ZERO);
        for &(_, worth) in &self.equity {
            highest = highest.max(worth);
            fall = fall.max((highest - worth) / highest);
        }
        (fall * Decimal::ONE_HUNDRED).round_dp(2)
    }
}
