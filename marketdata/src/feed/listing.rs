//! Asks a venue for its list of symbols.
//!
//! Some venues acknowledge a subscription to anything, so only their list distinguishes a misspelt
//! or delisted symbol from one that does not trade. If the list cannot be fetched, nothing changes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::symbols::SymbolBoard;
use crate::backfill::client::{RestClient, RestError};
use crate::exchange::Exchange;
use crate::instrument::InstrumentId;

/// The list of one venue, fetched at the start and from time to time.
pub struct Listing {
    /// What the venue speaks.
    pub exchange: &'static dyn Exchange,
    /// How it is asked.
    pub client: Arc<RestClient>,
    /// The followed symbols, with the venue's names.
    pub symbols: Vec<(InstrumentId, String)>,
    /// Where the answer goes.
    pub board: Arc<SymbolBoard>,
    /// How often the list is fetched.
    pub interval: Duration,
    /// The wait after a failure; doubles up to the interval.
    pub retry: Duration,
}

impl Listing {
    /// Asks until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut retry = self.retry.min(self.interval);
        loop {
            let list = tokio::select! {
                () = stop.cancelled() => return,
                list = self.ask() => list,
            };
            let wait = match list {
                Ok(listed) => {
                    self.board.listed(self.exchange, &self.symbols, &listed);
                    retry = self.retry.min(self.interval);
                    self.interval
                }
                Err(error) => {
                    warn!(
                        exchange = self.exchange.name(),
                        error = %error,
                        "the venue's list of symbols cannot be fetched, so unknown symbols are not reported"
                    );
                    let wait = retry;
                    retry = (retry * 2).min(self.interval);
                    wait
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(wait) => {}
            }
        }
    }

    async fn ask(&self) -> Result<HashSet<String>, RestError> {
        let body = self.client.get(&self.exchange.symbols_page()).await?;
        let listed = self.exchange.parse_symbols_page(&body);
        let listed = listed.map_err(|error| RestError::Unavailable(error.to_string()))?;
        if listed.is_empty() {
            return Err(RestError::Unavailable("an empty list".to_owned()));
        }
        Ok(listed)
    }
}
