//! Chooses instruments among a venue's markets: pure.
//!
//! A market comes in when it trades and ranks among the first `top`. It leaves when it is far outside
//! ([`margin`]), so one at the edge does not come and go. Programs that look at different moments must
//! agree in the end: between these two ranks, a market is followed if any program follows it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use market_core::Symbol;

use super::pattern::Pattern;
use crate::exchange::{Exchange, Market};
use crate::instrument::InstrumentSpec;

/// How many answers of a venue in a row must lack a market before it counts as delisted.
pub(super) const ABSENT_MIN: u32 = 2;
/// From so many markets on, a list without more than half of what is followed is not believed.
const DOUBTED_FROM: usize = 4;

/// A market, the name under which it is followed, and its rank.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) spec: InstrumentSpec,
    pub(super) native: String,
    pub(super) is_trading: bool,
    pub(super) turnover: f64,
    /// By turnover, from 0, among the markets of its pattern; all first if there is no limit.
    pub(super) rank: usize,
    pub(super) top: Option<usize>,
}

/// Why markets that match are not followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// They rank too low.
    pub(super) rank: usize,
    /// They do not trade.
    pub(super) paused: usize,
    /// Their names cannot be symbols.
    pub(super) unwritable: usize,
    /// Another instrument has their symbol.
    pub(super) claimed: usize,
    /// There are more than `--instruments-max`.
    pub(super) bound: usize,
}

/// How far below `top` a market must fall before it is left: a tenth, and at least one.
pub(super) fn margin(top: usize) -> usize {
    (top / 10).max(1)
}

/// A turnover that an answer lacks is the last known one: else a short answer would change all ranks.
pub(super) fn keep_known(turnovers: &mut HashMap<String, f64>, last: &[Candidate]) {
    for candidate in last {
        turnovers
            .entry(candidate.native.clone())
            .or_insert(candidate.turnover);
    }
}

/// The markets that a pattern means, best first. `taken` are the venue's names of markets that another
/// pattern or instrument means; the markets of this pattern come to it.
pub(super) fn candidates(
    pattern: &Pattern,
    exchange: &dyn Exchange,
    markets: &[Market],
    turnovers: &HashMap<String, f64>,
    taken: &mut HashSet<String>,
    left_out: &mut LeftOut,
) -> Vec<Candidate> {
    let mut meant = Vec::new();
    for market in markets {
        let pair = format!("{}-{}", market.base, market.quote);
        if !pattern.matches(&pair) || !taken.insert(market.native.clone()) {
            continue;
        }
        let is_native = exchange.native_name(&market.base, &market.quote) == market.native;
        let symbol: Option<Symbol> = pattern.symbol_of(&pair).parse().ok();
        let symbol = symbol.filter(|_| is_native);
        let Some(symbol) = symbol else {
            left_out.unwritable += 1;
            continue;
        };
        meant.push(Candidate {
            spec: InstrumentSpec {
                exchange: pattern.exchange.clone(),
                symbol,
            },
            native: market.native.clone(),
            is_trading: market.is_trading,
            turnover: turnovers.get(&market.native).copied().unwrap_or(0.0),
            rank: 0,
            top: pattern.top,
        });
    }
    // Equal turnovers by name, so that all programs have one order. A market that does not trade has no rank.
    meant.sort_by(|a, b| {
        let order = b.is_trading.cmp(&a.is_trading);
        let order = order.then(b.turnover.total_cmp(&a.turnover));
        order.then_with(|| a.spec.symbol.cmp(&b.spec.symbol))
    });
    for (rank, candidate) in meant.iter_mut().enumerate() {
        candidate.rank = if pattern.top.is_some() { rank } else { 0 };
    }
    meant
}

/// What is followed of one venue's patterns.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// What is followed, and how many answers in a row lacked it.
    followed: BTreeMap<String, Followed>,
}

#[derive(Clone, Debug)]
struct Followed {
    spec: InstrumentSpec,
    absent: u32,
    /// Since when it pauses while others trade.
    paused_since: Option<Instant>,
}

/// What a look at the venue has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// They are followed from now on.
    pub(super) come: Vec<InstrumentSpec>,
    /// They are listed, and followed no more.
    pub(super) leave: Vec<InstrumentSpec>,
    /// The venue does not list them any more.
    pub(super) delisted: Vec<InstrumentSpec>,
}

/// The list lacks too much of what is followed to be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Doubted {
    pub(super) absent: usize,
    pub(super) followed: usize,
}

impl Choice {
    /// What is followed.
    pub(super) fn followed(&self) -> impl Iterator<Item = &InstrumentSpec> {
        self.followed.values().map(|followed| &followed.spec)
    }

    /// The venue has answered with these markets; `elsewhere` are the symbols that other programs
    /// publish, and `claimed` those that other instruments have. At most `max` are followed.
    ///
    /// # Errors
    /// `Doubted`: nothing has changed.
    pub(super) fn look(
        &mut self,
        candidates: &[Candidate],
        elsewhere: &HashSet<String>,
        claimed: &BTreeSet<Symbol>,
        max: usize,
        left_out: &mut LeftOut,
    ) -> Result<Changes, Doubted> {
        let listed: HashSet<String> = candidates.iter().map(|of| of.spec.to_string()).collect();
        let is_absent = |name: &&String| !listed.contains(*name);
        let absent = self.followed.keys().filter(is_absent).count();
        let followed = self.followed.len();
        if absent >= DOUBTED_FROM && absent > followed / 2 {
            return Err(Doubted { absent, followed });
        }
        let mut changes = Changes::default();
        let gone: Vec<String> = self.followed.keys().filter(is_absent).cloned().collect();
        for name in gone {
            let followed = self.followed.get_mut(&name).expect("it is there");
            followed.absent += 1;
            if followed.absent >= ABSENT_MIN {
                changes.delisted.push(followed.spec.clone());
                self.followed.remove(&name);
            }
        }
        let mut taken: BTreeSet<Symbol> = claimed.clone();
        let mut wanted = 0;
        for candidate in candidates {
            let name = candidate.spec.to_string();
            let is_followed = self.followed.contains_key(&name);
            let is_wanted = candidate.is_wanted(is_followed, elsewhere.contains(&name));
            let why_not = if !is_wanted && candidate.is_trading {
                Some(&mut left_out.rank)
            } else if !is_wanted {
                Some(&mut left_out.paused)
            } else if !taken.insert(candidate.spec.symbol.clone()) {
                Some(&mut left_out.claimed)
            } else if wanted >= max {
                Some(&mut left_out.bound)
            } else {
                None
            };
            if let Some(count) = why_not {
                *count += 1;
                if self.followed.remove(&name).is_some() {
                    changes.leave.push(candidate.spec.clone());
                }
                continue;
            }
            wanted += 1;
            let followed = self.followed.entry(name).or_insert_with(|| {
                changes.come.push(candidate.spec.clone());
                Followed {
                    spec: candidate.spec.clone(),
                    absent: 0,
                    paused_since: None,
                }
            });
            followed.absent = 0;
        }
        Ok(changes)
    }

    /// Gives up the markets that have paused for longer than `pause_max`, and returns them. Binance lists
    /// a delisted market for ever as one that pauses. While nothing trades, the venue pauses, and no time
    /// counts.
    pub(super) fn paused_for(
        &mut self,
        candidates: &[Candidate],
        pause_max: Duration,
        now: Instant,
    ) -> Vec<InstrumentSpec> {
        let has_trades = candidates.iter().any(|candidate| candidate.is_trading);
        let mut gone = Vec::new();
        for candidate in candidates {
            let name = candidate.spec.to_string();
            let Some(followed) = self.followed.get_mut(&name) else {
                continue;
            };
            if candidate.is_trading || !has_trades {
                followed.paused_since = None;
                continue;
            }
            let since = *followed.paused_since.get_or_insert(now);
            if now.saturating_duration_since(since) > pause_max {
                gone.push(candidate.spec.clone());
                self.followed.remove(&name);
            }
        }
        gone
    }
}

impl Candidate {
    fn is_wanted(&self, is_followed: bool, is_elsewhere: bool) -> bool {
        let is_first = self.top.is_none_or(|top| self.rank < top);
        let is_near = self
            .top
            .is_none_or(|top| self.rank < top.saturating_add(margin(top)));
        // A market that pauses keeps its place.
        if !self.is_trading {
            return is_followed;
        }
        is_first || (is_near && (is_followed || is_elsewhere))
    }
}

#[cfg(test)]
mod tests;
