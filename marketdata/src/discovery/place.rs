//! A venue whose markets patterns mean: it is asked, and its answer is believed or not.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use market_core::Symbol;
use tokio::time::timeout;
use tracing::{info, warn};

use super::choice::{Candidate, Changes, Choice, LeftOut, candidates, keep_known};
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
            .look(&found, elsewhere, claimed, max, &mut left_out);
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
