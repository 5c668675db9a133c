//! `/udf/`: TradingView's UDF, the protocol of its `Datafeeds.UDFCompatibleDatafeed`.
//!
//! Source: the library's documentation, "UDF". Times are unix seconds. Numbers are JSON numbers: the
//! digits of our decimals, so no float comes between.

pub(super) mod quotes;

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use market_core::{Price, Symbol, Timeframe, UnixMillis};
use serde_json::json;
use service::wall_clock_ms;

use super::access::Access;
use super::body::Answer;
use super::error::ApiError;
use super::params::Params;
use super::rest::LIMIT_MAX;
use super::state::Api;
use crate::answer::FILL_TIME;
use crate::range::{BarQuery, RangeError, StoredBars};
use crate::store::Instrument;
use crate::{BarRow, History, Width};

/// What the menu of a chart offers. Any other number of minutes works, too.
const RESOLUTIONS: [&str; 14] = [
    "1S", "5S", "15S", "30S", "1", "3", "5", "15", "30", "60", "240", "1D", "1W", "1M",
];
/// The most symbols of one search.
const SEARCH_MAX: usize = 100;
/// The most symbols with a fitting name of which a search finds those that a token permits.
const SEARCHED_MAX: usize = 1_000;
/// Pages that are read for one answer: a page may be short.
const PAGES_MAX: usize = 4;
/// Bars whose decimal places tell how a price is shown.
const SCALE_BARS: usize = 50;
/// The most decimal places of a chart.
const SCALE_MAX: u32 = 12;

/// An error as the library reads it.
pub(super) struct UdfError(pub(super) ApiError);

impl<E: Into<ApiError>> From<E> for UdfError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for UdfError {
    fn into_response(self) -> Response {
        let body = json!({"s": "error", "errmsg": self.0.message}).to_string();
        let mut response = self.0.into_response();
        *response.body_mut() = body.into();
        response
    }
}

fn respond(value: &serde_json::Value, headers: &HeaderMap) -> Response {
    Answer::json(value.to_string().into_bytes()).respond(headers)
}

/// `GET /udf/config`.
pub(super) async fn config(State(api): State<Api>, headers: HeaderMap) -> Response {
    let exchanges = api.history.index.exchanges();
    let exchanges = exchanges.iter().map(|exchange| {
        let name = exchange.to_ascii_uppercase();
        json!({"value": name, "name": name, "desc": name})
    });
    let all = json!({"value": "", "name": "All exchanges", "desc": ""});
    let exchanges: Vec<_> = std::iter::once(all).chain(exchanges).collect();
    let config = json!({
        "supported_resolutions": RESOLUTIONS,
        "supports_group_request": false,
        "supports_search": true,
        "supports_marks": false,
        "supports_timescale_marks": false,
        "supports_time": true,
        "exchanges": exchanges,
        "symbols_types": [{"name": "Crypto", "value": "crypto"}],
    });
    respond(&config, &headers)
}

/// `GET /udf/time`: plain text.
pub(super) async fn time() -> impl IntoResponse {
    let seconds = wall_clock_ms().div_euclid(1_000);
    ([(CONTENT_TYPE, "text/plain")], seconds.to_string())
}

/// `GET /udf/marks`: there are none.
pub(super) async fn marks() -> impl IntoResponse {
    axum::Json(json!([]))
}

/// A part of the protocol that is not offered.
pub(super) async fn unknown() -> UdfError {
    ApiError::not_found("unknown_route", "/udf/config says what there is").into()
}

/// The name of an instrument in the library: `COINBASE:BTC-USD`.
fn ticker(instrument: &Instrument) -> String {
    let exchange = instrument.exchange.to_ascii_uppercase();
    format!("{exchange}:{}", instrument.symbol.pair())
}

/// The instrument of a ticker, or of a symbol as others write it: `BINANCE:BTCUSDT`.
fn instrument(history: &History, text: &str) -> Result<Instrument, ApiError> {
    if let Ok(symbol) = text.parse::<Symbol>() {
        return Ok(history.instrument(&symbol, None)?);
    }
    let upper = text.to_ascii_uppercase();
    let (exchange, joined) = match upper.split_once(':') {
        Some((exchange, joined)) => (Some(exchange), joined),
        None => (None, upper.as_str()),
    };
    let is_it = |instrument: &Instrument| {
        let pair = instrument.symbol.pair();
        let plain = pair.bytes().filter(|byte| *byte != b'-');
        exchange.is_none_or(|exchange| exchange.eq_ignore_ascii_case(&instrument.exchange))
            && (pair == joined || plain.eq(joined.bytes()))
    };
    let mut found = history.index.instruments(is_it, 2);
    match (found.pop(), found.pop()) {
        (Some(instrument), None) => Ok(instrument),
        (None, _) => Err(RangeError::Unknown {
            exchange: exchange.unwrap_or("any venue").chars().take(32).collect(),
            symbol: text.chars().take(64).collect(),
        }
        .into()),
        (Some(_), Some(_)) => Err(ApiError::bad(
            "ambiguous_symbol",
            "several venues have it: write the exchange in front, such as COINBASE:BTC-USD",
        )),
    }
}

/// `GET /udf/symbols?symbol=COINBASE:BTC-USD`.
pub(super) async fn symbols(
    State(api): State<Api>,
    access: Access,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, UdfError> {
    let params = Params::read_any(&uri)?;
    let text = params.text("symbol").unwrap_or_default().to_owned();
    let answer = api.read(move |history| {
        let instrument = instrument(history, &text)?;
        if !access.permits_any_bars(&instrument, &menu_widths()) {
            access.check_bars(&instrument, Timeframe::MINUTE)?;
        }
        let stored = history.stored_bars(&instrument);
        let scale = price_scale(history, &instrument, &stored)?;
        let ticker = ticker(&instrument);
        let exchange = instrument.exchange.to_ascii_uppercase();
        let has = |width: &str| {
            let width: Option<Width> = width.parse().ok();
            width.is_some_and(|width| {
                let mut stored = stored.iter();
                stored.any(|stored| width.is_made_of(stored.timeframe))
                    && access.permits_bars(&instrument, width)
            })
        };
        let info = json!({
            "name": instrument.symbol.pair(),
            "ticker": ticker,
            "full_name": ticker,
            "description": format!("{} / {}", instrument.symbol.base(), instrument.symbol.quote()),
            "type": "crypto",
            "session": "24x7",
            "timezone": "Etc/UTC",
            "exchange": exchange,
            "listed_exchange": exchange,
            "format": "price",
            "minmov": 1,
            "pricescale": 10u64.pow(scale),
            "volume_precision": 8,
            "has_seconds": has("1s"),
            "seconds_multipliers": ["1"],
            "has_intraday": has("1m"),
            "intraday_multipliers": ["1", "60"],
            "has_daily": has("1d"),
            "has_weekly_and_monthly": has("1w"),
            "supported_resolutions": RESOLUTIONS
                .iter()
                .filter(|name| resolution(name).is_ok_and(|width| has(&width.to_string())))
                .collect::<Vec<_>>(),
            "data_status": "streaming",
            "currency_code": instrument.symbol.quote(),
        });
        Ok(respond(&info, &headers))
    });
    Ok(answer.await?)
}

/// How many decimal places the newest prices have.
fn price_scale(
    history: &History,
    instrument: &Instrument,
    stored: &[StoredBars],
) -> Result<u32, ApiError> {
    let Some(narrowest) = stored.iter().map(|stored| stored.timeframe).min() else {
        return Ok(2);
    };
    let query = BarQuery::newest(instrument.clone(), Width::from(narrowest), SCALE_BARS);
    let answer = history.bars(&query, true)?;
    let bars = answer.page.bars.iter().chain(&answer.forming);
    let scales = bars.flat_map(|bar| [bar.open, bar.high, bar.low, bar.close].map(places));
    Ok(scales.max().unwrap_or(2).min(SCALE_MAX))
}

fn places(price: Price) -> u32 {
    price.parts().1
}

/// `GET /udf/search?query=btc&type=&exchange=&limit=30`.
pub(super) async fn search(
    State(api): State<Api>,
    access: Access,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, UdfError> {
    let params = Params::read_any(&uri)?;
    let wanted = params.text("query").unwrap_or_default();
    let wanted: String = wanted.chars().filter(char::is_ascii_alphanumeric).collect();
    let wanted = wanted.to_ascii_uppercase();
    let exchange = params.text("exchange").map(str::to_ascii_lowercase);
    let limit = params.text("limit").and_then(|limit| limit.parse().ok());
    let limit = limit.unwrap_or(30).min(SEARCH_MAX);
    let answer = api.read(move |history| {
        let is_it = |instrument: &Instrument| {
            let mut name = instrument.exchange.to_ascii_uppercase();
            name.extend(instrument.symbol.pair().chars().filter(|char| *char != '-'));
            exchange
                .as_ref()
                .is_none_or(|exchange| **exchange == *instrument.exchange)
                && name.contains(&wanted)
        };
        let looked_at = match &access {
            Access::All => limit,
            Access::Permitted(_) => SEARCHED_MAX,
        };
        let found = history.index.instruments(is_it, looked_at);
        let widths = menu_widths();
        let permitted = found
            .iter()
            .filter(|instrument| access.permits_any_bars(instrument, &widths));
        let found = permitted.take(limit).map(|instrument| {
            let ticker = ticker(instrument);
            json!({
                "symbol": instrument.symbol.pair(),
                "full_name": ticker,
                "ticker": ticker,
                "description": format!("{} / {}", instrument.symbol.base(), instrument.symbol.quote()),
                "exchange": instrument.exchange.to_ascii_uppercase(),
                "type": "crypto",
            })
        });
        Ok(respond(&found.collect(), &headers))
    });
    Ok(answer.await?)
}

/// The widths of the menu.
fn menu_widths() -> Vec<Width> {
    let widths = RESOLUTIONS.iter().map(|name| resolution(name));
    widths.filter_map(Result::ok).collect()
}

/// The width of a resolution: `1S`, `5` (minutes), `1D`, `W`, `1M`.
fn resolution(text: &str) -> Result<Width, ApiError> {
    let unit = text.chars().last().filter(char::is_ascii_uppercase);
    let (count, unit) = match unit {
        Some(unit) => (&text[..text.len() - 1], unit),
        None => (text, 'm'),
    };
    let count = match count {
        "" if !text.is_empty() => "1",
        count => count,
    };
    let unit = match unit {
        'S' => 's',
        'D' => 'd',
        'W' => 'w',
        'm' | 'M' => unit,
        _ => '?',
    };
    // 240 minutes are four hours: the same bars have one name.
    let hours = count
        .parse()
        .ok()
        .filter(|count: &u32| unit == 'm' && count.is_multiple_of(60));
    let width = match hours {
        Some(minutes) if minutes > 0 => format!("{}h", minutes / 60),
        _ => format!("{count}{unit}"),
    };
    width.parse().map_err(|_| {
        let message = "resolution: write 1S, 5 (minutes), 60, 1D, 1W or 1M";
        ApiError::bad("bad_width", message)
    })
}

/// A time in seconds, as milliseconds.
fn seconds(params: &Params, name: &str) -> Result<Option<UnixMillis>, ApiError> {
    let Some(text) = params.text(name) else {
        return Ok(None);
    };
    let seconds: Option<i64> = text.parse().ok();
    seconds
        .and_then(|seconds| seconds.checked_mul(1_000))
        .map(Some)
        .ok_or_else(|| ApiError::bad("bad_time", format!("{name}: write unix seconds")))
}

/// `GET /udf/history?symbol=&resolution=&from=&to=&countback=`.
pub(super) async fn history(
    State(api): State<Api>,
    access: Access,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, UdfError> {
    let params = Params::read_any(&uri)?;
    let text = params.text("symbol").unwrap_or_default().to_owned();
    let width = resolution(params.text("resolution").unwrap_or("1D"))?;
    let (from_ms, to_ms) = (seconds(&params, "from")?, seconds(&params, "to")?);
    let countback: Option<usize> = params
        .text("countback")
        .and_then(|count| count.parse().ok());
    let countback = countback.filter(|count| *count > 0);
    let limit = countback.unwrap_or(LIMIT_MAX).min(LIMIT_MAX);
    let instrument = instrument(&api.history, &text)?;
    access.check_bars(&instrument, width)?;
    let mut query = BarQuery {
        // The number of bars outranks the start.
        from_ms: from_ms.filter(|_| countback.is_none()),
        to_ms,
        ..BarQuery::newest(instrument, width, limit)
    };
    api.history.reach_back(&query, FILL_TIME).await;
    let answer = api.read(move |history| {
        let mut bars: Vec<BarRow> = Vec::new();
        for _ in 0..PAGES_MAX {
            query.limit = limit - bars.len();
            let answer = history.bars(&query, query.cursor.is_none())?;
            bars.extend(answer.forming.into_iter().rev());
            bars.extend(answer.page.bars);
            bars.truncate(limit);
            query.cursor = answer.page.next;
            if bars.len() >= limit || query.cursor.is_none() {
                break;
            }
        }
        bars.reverse();
        let body = if bars.is_empty() {
            no_data(history, &query, from_ms)?
        } else {
            columns(&bars)
        };
        Ok(Answer::json(body.into_bytes()).respond(&headers))
    });
    Ok(answer.await?)
}

/// Nothing in the range. `nextTime` says that there are older bars; without it the chart stops
/// scrolling back.
fn no_data(
    history: &History,
    query: &BarQuery,
    from_ms: Option<UnixMillis>,
) -> Result<String, ApiError> {
    let older = BarQuery {
        from_ms: None,
        to_ms: from_ms.or(query.to_ms),
        limit: 1,
        cursor: None,
        ..query.clone()
    };
    let answer = history.bars(&older, false)?;
    Ok(match answer.page.bars.first() {
        Some(bar) => {
            let next = bar.start_ms.div_euclid(1_000);
            format!(r#"{{"s":"no_data","nextTime":{next}}}"#)
        }
        None => r#"{"s":"no_data"}"#.to_owned(),
    })
}

fn columns(bars: &[BarRow]) -> String {
    let mut json = String::with_capacity(64 + bars.len() * 64);
    json.push_str(r#"{"s":"ok""#);
    let mut column = |name: &str, value: &dyn Fn(&BarRow) -> String| {
        let _ = write!(json, r#","{name}":["#);
        for (index, bar) in bars.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let _ = write!(json, "{comma}{}", value(bar));
        }
        json.push(']');
    };
    column("t", &|bar| bar.start_ms.div_euclid(1_000).to_string());
    column("o", &|bar| bar.open.to_string());
    column("h", &|bar| bar.high.to_string());
    column("l", &|bar| bar.low.to_string());
    column("c", &|bar| bar.close.to_string());
    column("v", &|bar| bar.volume.to_string());
    json.push('}');
    json
}

#[cfg(test)]
mod tests;
