//! The symbols that have bars, by the names that clients of Binance give them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::Request;
use market_core::binance::symbol_name;
use market_core::{Symbol, Timeframe, UnixMillis};
use tokio::task::spawn_blocking;

use super::day_tickers::DayTickers;
use super::failure::{self, Failure};
use super::quotes::Quotes;
use super::weight::Weights;
use crate::History;
use crate::api::access::Access;
use crate::api::refusal::Refusal;
use crate::api::state::Api;
use crate::store::Instrument;

/// For how long a listing is used. A new symbol is known after this time.
const LISTING_TIME: Duration = Duration::from_millis(500);

/// What clients ask before they have a key to send.
const OPEN_PATHS: [&str; 2] = ["/api/v3/ping", "/api/v3/time"];

/// Symbols by name.
pub(super) type Listing = Arc<BTreeMap<String, Listed>>;

/// A symbol and its name here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Listed {
    /// As clients name it: `BTCUSDT`.
    pub name: String,
    /// Whose bars.
    pub instrument: Instrument,
}

/// History, its listing, and what clients have used. Clones share all of it.
#[derive(Clone)]
pub(super) struct Market {
    pub(super) history: History,
    pub(super) api: Api,
    pub(super) weights: Arc<Weights>,
    /// Held while tickers are made: who asks for the same list meanwhile waits for them.
    pub(super) day_tickers: Arc<tokio::sync::Mutex<DayTickers>>,
    /// Held while quotes are read, likewise.
    pub(super) quotes: Arc<tokio::sync::Mutex<Quotes>>,
    /// What the client of the request may read.
    pub(super) access: Access,
    listing: Arc<Mutex<Option<(Instant, Listing)>>>,
}

impl Market {
    /// The symbols of a history.
    pub(super) fn new(api: Api) -> Self {
        Self {
            history: api.history.clone(),
            weights: Arc::new(Weights::new(&api.history.api)),
            api,
            day_tickers: Arc::default(),
            quotes: Arc::default(),
            access: Access::All,
            listing: Arc::default(),
        }
    }

    /// The same for the client of a request.
    ///
    /// # Errors
    /// If its token is missing or not accepted.
    pub(super) fn of_client(&self, path: &str, request: &Request) -> Result<Self, Refusal> {
        let auth = self.history.auth.as_deref();
        let access = match OPEN_PATHS.contains(&path) {
            true => Access::All,
            false => Access::of_binance_request(
                auth,
                request.headers(),
                request.uri(),
                self.api.client(request),
            )?,
        };
        Ok(Self {
            access,
            ..self.clone()
        })
    }

    /// Refuses a symbol of which the client may read no bars.
    ///
    /// # Errors
    /// 403, with what its token permits.
    pub(super) fn check_listed(&self, listed: &Listed) -> Result<(), Failure> {
        if self.lists(listed) {
            return Ok(());
        }
        let checked = self
            .access
            .check_bars(&listed.instrument, Timeframe::MINUTE);
        checked.map_err(|error| failure::forbidden(&error))
    }

    /// Whether the client may read bars of a symbol.
    pub(super) fn lists(&self, listed: &Listed) -> bool {
        let stored = self.history.stored_bars(&listed.instrument);
        let mut timeframes = stored.iter().map(|stored| stored.timeframe);
        timeframes.any(|timeframe| self.access.permits_bars(&listed.instrument, timeframe))
    }

    /// Answers on a thread that may block, once there is a place for it.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        answer: impl FnOnce(&History) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let place = self.history.reads.begin().await;
        let place = place.map_err(|_| failure::busy())?;
        let history = self.history.clone();
        let task = spawn_blocking(move || {
            let _place = place;
            answer(&history)
        });
        task.await
            .unwrap_or_else(|error| Err(failure::internal(&error)))
    }

    /// The symbols that have bars.
    pub(super) fn listing(&self) -> Listing {
        let now = Instant::now();
        let mut held = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made_at, listing)) = &*held
            && now.saturating_duration_since(*made_at) < LISTING_TIME
        {
            return Arc::clone(listing);
        }
        let listing = Arc::new(list(&self.history));
        *held = Some((now, Arc::clone(&listing)));
        listing
    }
}

/// A symbol is unique in a deployment: if its venue was changed, the one with the newest bars
/// counts.
fn list(history: &History) -> BTreeMap<String, Listed> {
    let mut newest: BTreeMap<Symbol, (UnixMillis, Instrument)> = BTreeMap::new();
    let stored = history.index.all().into_iter();
    let stored = stored.map(|info| (info.last_end_ms, info.series.instrument));
    let live = history.latest.known().into_iter();
    let live = live.map(|series| (UnixMillis::MAX, series.instrument));
    for (end_ms, instrument) in stored.chain(live) {
        let is_newer = newest
            .get(&instrument.symbol)
            .is_none_or(|(held_ms, held)| {
                (*held_ms, &held.exchange) < (end_ms, &instrument.exchange)
            });
        if is_newer {
            newest.insert(instrument.symbol.clone(), (end_ms, instrument));
        }
    }
    let listed = newest.into_iter().filter_map(|(symbol, (_, instrument))| {
        let name = symbol_name(&symbol)?;
        Some((name.clone(), Listed { name, instrument }))
    });
    listed.collect()
}
