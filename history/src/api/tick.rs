//! The newest price: the cache answers, or else the bus and the store, and the cache is filled.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use axum::response::Response;
use market_core::{BarState, Symbol, Timeframe, Topic, UnixMillis};
use metrics::counter;
use serde::Serialize;
use service::wall_clock_ms;

use super::access::Access;
use super::error::ApiError;
use super::format::Bars;
use super::params::{self, Params};
use super::rest::respond_json;
use super::state::Api;
use crate::answer::{NewestBar, NewestFrom};
use crate::cache::{CacheKey, Value};
use crate::message::read_bar;
use crate::range::RangeError;
use crate::store::Instrument;
use crate::{History, Width};

/// Who had the price: `cache`, `bus` or `store`.
const SOURCE: HeaderName = HeaderName::from_static("klinecast-source");
/// What does not answer: `cache`, `store`, or both.
const DEGRADED: HeaderName = HeaderName::from_static("klinecast-degraded");
/// The longest name of a venue that is looked up although nothing of it is stored.
const EXCHANGE_MAX: usize = 32;

/// The newest price.
#[derive(Serialize)]
struct Tick {
    exchange: Box<str>,
    symbol: String,
    price: String,
    event_ms: Option<UnixMillis>,
    is_live: bool,
    bar: Box<serde_json::value::RawValue>,
}

/// `GET /api/v1/tick/{exchange}/{symbol}`.
pub(super) async fn tick(
    State(api): State<Api>,
    Path((exchange, symbol)): Path<(String, String)>,
    access: Access,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    Params::read(&uri, &[])?;
    let symbol = params::symbol(&symbol)?;
    let history = &api.history;
    let instrument = history.instrument(&symbol, Some(&exchange));
    let asked = match &instrument {
        Ok(instrument) => Some(instrument.clone()),
        Err(_) => not_stored(&exchange, &symbol),
    };
    let cached = match &asked {
        Some(asked) => cached(history, asked, &access).await,
        None => None,
    };
    if let Some(newest) = cached {
        fill(history, &newest);
        return respond(history, &newest, &headers);
    }
    let instrument = match (instrument, asked) {
        // Nothing of it is stored yet.
        (Err(_), Some(asked)) if !history.latest.of_instrument(&asked).is_empty() => asked,
        (instrument, _) => instrument?,
    };
    api.read(move |history| {
        let permits = |timeframe| access.permits_bars(&instrument, timeframe);
        let Some(newest) = history.newest_bar(&instrument, permits)? else {
            access.check_bars(&instrument, Timeframe::MINUTE)?;
            return Err(RangeError::Unknown {
                exchange,
                symbol: symbol.to_string(),
            }
            .into());
        };
        fill(history, &newest);
        respond(history, &newest, &headers)
    })
    .await
}

/// The instrument that is meant, if only the cache or the bus may know it.
fn not_stored(exchange: &str, symbol: &Symbol) -> Option<Instrument> {
    let exchange = exchange.to_ascii_lowercase();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_name = exchange.len() <= EXCHANGE_MAX && exchange.bytes().all(is_plain);
    let venue = symbol.venue().map(str::to_ascii_lowercase);
    let is_its = venue.is_none_or(|venue| venue == exchange);
    (is_name && is_its).then(|| Instrument {
        exchange: exchange.into(),
        symbol: symbol.clone(),
    })
}

/// What the cache has, or a newer price of the bus.
async fn cached(history: &History, asked: &Instrument, access: &Access) -> Option<NewestBar> {
    if !history.cache.is_on() {
        return None;
    }
    let found = history.cache.get(&CacheKey::of(asked, Value::Tick)).await;
    let outcome = match &found {
        Ok(Some(_)) => "hit",
        Ok(None) => "miss",
        Err(_) => "failed",
    };
    counter!("history_cache_reads_total", "outcome" => outcome).increment(1);
    let (series, row, state) = read_bar(&found.ok()??).ok()?;
    // Others can write there, too.
    let is_asked = series.instrument.exchange == asked.exchange
        && series.instrument.symbol.pair() == asked.symbol.pair();
    if !is_asked || !access.permits_bars(&series.instrument, series.timeframe) {
        return None;
    }
    let cached = NewestBar {
        series,
        row,
        is_forming: state == BarState::Forming,
        from: NewestFrom::Cache,
    };
    // A cache that answers may still be behind, or be back from an older snapshot.
    let permits = |timeframe| access.permits_bars(asked, timeframe);
    let newer = history.newest_on_bus(asked, permits).filter(|newest| {
        // A bar without trades repeats the price of the last trade, which the cache has.
        let is_repeated = newest.row.is_flat() && newest.row.close == cached.row.close;
        newest.at_ms() > cached.at_ms() && !is_repeated
    });
    Some(newer.unwrap_or(cached))
}

/// Gives the cache what it did not have. What waits for a cache that is away is for new prices.
fn fill(history: &History, newest: &NewestBar) {
    if !history.cache.is_well() {
        return;
    }
    let series = &newest.series;
    match &newest.from {
        NewestFrom::Bus(bytes) => history.cache.fill_tick(series, bytes),
        NewestFrom::Store => {
            let Instrument { exchange, symbol } = &series.instrument;
            let topic = Topic::bars(series.timeframe, symbol);
            let width = Width::from(series.timeframe);
            let bytes = newest.row.encode(&topic, exchange, symbol, width);
            history.cache.fill_tick(series, &bytes);
        }
        NewestFrom::Cache => {}
    }
}

fn respond(
    history: &History,
    newest: &NewestBar,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let instrument = &newest.series.instrument;
    let state = match newest.is_forming {
        true => BarState::Forming,
        false => BarState::Closed,
    };
    let bars = Bars {
        instrument,
        width: newest.series.timeframe.into(),
        rows: vec![(&newest.row, state)],
        next: None,
        token: None,
        is_venue_lacking: false,
    };
    let mut bar = String::new();
    bars.write_objects(&mut bar, ',');
    let tick = Tick {
        exchange: instrument.exchange.clone(),
        symbol: instrument.symbol.to_string(),
        price: newest.row.close.to_string(),
        event_ms: newest.row.event_ms,
        is_live: newest.is_forming
            && history.is_followed(instrument, wall_clock_ms()) == Some(true),
        bar: serde_json::value::RawValue::from_string(bar).map_err(|_| ApiError::internal())?,
    };
    let mut response = respond_json(&tick, headers)?;
    let source = match newest.from {
        NewestFrom::Bus(_) => "bus",
        NewestFrom::Store => "store",
        NewestFrom::Cache => "cache",
    };
    let is_cache_away = history.cache.is_on() && !history.cache.is_well();
    let degraded = match (is_cache_away, !history.store_health.is_well()) {
        (true, true) => Some("cache, store"),
        (true, false) => Some("cache"),
        (false, true) => Some("store"),
        (false, false) => None,
    };
    let headers = response.headers_mut();
    headers.insert(SOURCE, HeaderValue::from_static(source));
    if let Some(degraded) = degraded {
        headers.insert(DEGRADED, HeaderValue::from_static(degraded));
    }
    Ok(response)
}
