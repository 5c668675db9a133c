//! Looks at many watches in turns, so that no turn is long.

use std::collections::BTreeSet;
use std::ops::Bound;

use market_core::Symbol;

use crate::engine::Alert;
use crate::rule::RuleName;

/// A rule at a symbol.
pub(super) type Pair = (Symbol, RuleName);

/// How much one turn may do.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Most watches that it looks at.
    pub looks_max: usize,
    /// Most alerts that it raises: after these, the other watches wait.
    pub alerts_max: usize,
}

impl Turn {
    /// A whole round, whatever it raises.
    pub const WHOLE: Self = Self {
        looks_max: usize::MAX,
        alerts_max: usize::MAX,
    };
}

/// What came of a turn.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Looked {
    /// The alerts.
    pub alerts: Vec<Alert>,
    /// How many watches were looked at.
    pub looks: usize,
    /// How many watches of this round wait for the next turn; 0 if the round is over.
    pub waiting: usize,
}

/// Watches that are looked at in rounds: each once in a round, in their order.
#[derive(Debug, Default)]
pub(super) struct Round {
    pairs: BTreeSet<Pair>,
    /// The one that was looked at last; `None` at the beginning of a round.
    after: Option<Pair>,
    /// How many of this round were looked at.
    done: usize,
}

impl Round {
    pub(super) fn insert(&mut self, symbol: Symbol, rule: RuleName) {
        self.pairs.insert((symbol, rule));
    }

    pub(super) fn forget(&mut self, rule: &RuleName) {
        self.pairs.retain(|(_, name)| name != rule);
    }

    /// Goes on with the round, or begins the next one.
    pub(super) fn go_on(
        &mut self,
        turn: Turn,
        mut look: impl FnMut(&Pair) -> Option<Alert>,
    ) -> Looked {
        let mut looked = Looked::default();
        let from = self.after.as_ref();
        let from = from.map_or(Bound::Unbounded, Bound::Excluded);
        let mut pairs = self.pairs.range((from, Bound::Unbounded)).peekable();
        let mut last = None;
        while looked.looks < turn.looks_max && looked.alerts.len() < turn.alerts_max {
            let Some(pair) = pairs.next() else {
                break;
            };
            looked.alerts.extend(look(pair));
            looked.looks = looked.looks.saturating_add(1);
            last = Some(pair);
        }
        if pairs.peek().is_none() {
            (self.after, self.done) = (None, 0);
            return looked;
        }
        self.done = self.done.saturating_add(looked.looks);
        // Rules may have come and gone since the round began.
        looked.waiting = self.pairs.len().saturating_sub(self.done).max(1);
        if let Some(pair) = last {
            self.after = Some(pair.clone());
        }
        looked
    }
}
