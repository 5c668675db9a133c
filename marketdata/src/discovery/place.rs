//! A venue whose markets patterns mean: it is asked, and its answer is believed or not.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use market_core::Symbol;
use tokio::time::timeout;
use tracing::{info, warn};

use super::choice::{Candidate, Changes, Choice, LeftOut, candidates, keep_known};
use super::due::{Due, State};
use super::pattern::Pattern;
use crate::backfill::client::{RestClient, RestError};
use crate::exchange::{DecodeError, Exchange, Market};

/// Most of the venue's budget that may be in use when it is asked, percent: backfills come first.
const BUDGET_PERCENT: u32 = 50;
/// Longest time of a question: a venue may refuse this address for days.
pub(super) const ASK_MAX: Duration = Duration::from_secs(30);

/// The patterns of one venue, and what they mean now.
pub(super) struct Place {
    pub(super) exchange: &'static dyn Exchange,
    pub(super) client: Arc<RestClient>,
    pub(super) patterns: Vec<Pattern>,
    /// The venue's names of instruments that the configuration names.
    pub(super) named: HashSet<String>,
    pub(super) choice: Choice,
    /// The newest answer that was believed.
    pub(super) candidates: Vec<Candidate>,
    pub(super) has_answered: bool,
    /// How many markets the newest believed answer lists, of all patterns or none.
    pub(super) listed: usize,
    /// How long a market may pause before it counts as delisted.
    pub(super) pause_max: Duration,
    /// When it is asked again.
    pub(super) due: Due,
}

impl Place {
    /// Asks the venue, and chooses. `None` if nothing has changed because of its answer.
    pub(super) async fn look(
        &mut self,
        elsewhere: &HashSet<String>,
        claimed: &BTreeSet<Symbol>,
        max: usize,
    ) -> Option<Changes> {
        let exchange = self.exchange.name();
        let late = || RestError::Unavailable(format!("no answer in {} s", ASK_MAX.as_secs()));
        let asked = timeout(ASK_MAX, self.ask()).await;
        let asked = asked.unwrap_or_else(|_| Err(late()));
        let (markets, mut turnovers) = asked
            .map_err(|error| {
                warn!(exchange, error = %error, "the venue does not say which markets it lists: the last list stays");
            })
            .ok()?;
        if is_cut(markets.len(), self.listed) {
            warn!(
                exchange,
                listed = markets.len(),
                before = self.listed,
                "the venue lists less than half of the markets that it had, and is not believed: restart the program if it is right"
            );
            return None;
        }
        keep_known(&mut turnovers, &self.candidates);
        let mut left_out = LeftOut::default();
        let mut taken = self.named.clone();
        let mut found = Vec::new();
        for pattern in &self.patterns {
            let meant = candidates(
                pattern,
                self.exchange,
                &markets,
                &turnovers,
                &mut taken,
                &mut left_out,
            );
            found.extend(meant);
        }
        let looked = self
            .choice
            .look(&found, elsewhere, claimed, max, &mut left_out)
            .map(|mut changes| {
                let delisted = self
                    .choice
                    .paused_for(&found, self.pause_max, Instant::now());
                changes.delisted.extend(delisted);
                changes
            });
        let changes = looked
            .map_err(|doubted| {
                warn!(
                    exchange,
                    absent = doubted.absent,
                    followed = doubted.followed,
                    "the venue's list lacks most of the instruments that are followed, and is not believed: restart the program if it is right"
                );
            })
            .ok()?;
        self.candidates = found;
        self.has_answered = true;
        self.listed = markets.len();
        left_out.record(exchange);
        metrics::gauge!("marketdata_discovered_instruments", "exchange" => exchange)
            .set(self.choice.followed().count() as f64);
        if changes != Changes::default() {
            info!(
                exchange,
                listed = changes.come.len(),
                ranked_out = changes.leave.len(),
                delisted = changes.delisted.len(),
                left_out = ?left_out,
                "the instruments of the patterns have changed"
            );
        }
        Some(changes)
    }

    /// What is known of the venue's markets. A program that starts while a venue pauses follows none.
    pub(super) fn state(&self) -> State {
        let mut candidates = self.candidates.iter();
        let is_idle = !self.candidates.is_empty()
            && candidates.all(|candidate| !candidate.is_trading)
            && self.choice.followed().next().is_none();
        match (self.has_answered, is_idle) {
            (false, _) => State::Unknown,
            (true, true) => State::Idle,
            (true, false) => State::Usual,
        }
    }

    async fn ask(&self) -> Result<(Vec<Market>, HashMap<String, f64>), RestError> {
        let unreadable = |error: DecodeError| RestError::Unavailable(error.to_string());
        let page = self.exchange.symbols_page();
        let body = self.client.get_within(&page, BUDGET_PERCENT).await?;
        let markets = self.exchange.parse_markets(&body).map_err(unreadable)?;
        if markets.is_empty() {
            return Err(RestError::Unavailable("an empty list".to_owned()));
        }
        if self.patterns.iter().all(|pattern| pattern.top.is_none()) {
            return Ok((markets, HashMap::new()));
        }
        let page = self.exchange.turnovers_page();
        let body = self.client.get_within(&page, BUDGET_PERCENT).await?;
        let turnovers = self.exchange.parse_turnovers(&body).map_err(unreadable)?;
        // Without figures all ranks would change.
        if turnovers.is_empty() {
            return Err(RestError::Unavailable("no turnovers".to_owned()));
        }
        Ok((markets, turnovers))
    }
}

/// Whether an answer with so many markets is a part of a list that had `before`.
fn is_cut(listed: usize, before: usize) -> bool {
    listed < before.div_ceil(2)
}

impl LeftOut {
    fn record(&self, exchange: &'static str) {
        for (reason, count) in [
            ("rank", self.rank),
            ("paused", self.paused),
            ("unwritable", self.unwritable),
            ("claimed", self.claimed),
            ("bound", self.bound),
        ] {
            metrics::gauge!("marketdata_markets_left_out", "exchange" => exchange, "reason" => reason)
                .set(count as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_less_than_half_of_the_markets_is_not_believed() {
        assert!(!is_cut(1, 0) && !is_cut(2, 3) && !is_cut(500, 1_000) && !is_cut(2_000, 1_000));
        assert!(is_cut(1, 3) && is_cut(499, 1_000));
    }
}
