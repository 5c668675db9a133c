//! The simulator's own endpoints under `/sim`: ground truth, faults, injected trades, figures.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bar::Bar;
use crate::book::{LEVELS, Level};
use crate::clock;
use crate::delivery::Injection;
use crate::exchange::Exchange;
use crate::fault_spec::FaultSpec;
use crate::fixed::{decimal, parse_at};
use crate::instrument::{Instrument, Venue};
use crate::interval::Interval;
use crate::symbol::BOOKS_KEPT;
use crate::trade::Trade;
use crate::venues::request::Reply;

/// Most trades in an answer.
const TRADES_MAX: usize = 100_000;
/// Most bars in an answer.
const BARS_MAX: usize = 100_000;
/// Latest time of a placed trade: the end of the year 9999, which every venue can write.
const EVENT_US_MAX: i64 = 253_402_300_799_999_999;
/// Highest id on a tape: from there ids of all kinds can still be counted up.
const TAPE_ID_MAX: u64 = 1 << 58;

/// A trade of `POST /sim/trade`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TradeRequest {
    venue: Venue,
    symbol: String,
    price: String,
    quantity: String,
    /// The taker's side.
    side: Side,
    /// Default: now.
    event_ms: Option<i64>,
    /// Finer than `event_ms`.
    event_us: Option<i64>,
    /// Default: the id after the last.
    id: Option<u64>,
    /// Whether the venue's ids start again with this one.
    #[serde(default)]
    restart_ids: bool,
    /// False: the trade is sent, but neither REST nor the truth has it.
    tape: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    Buy,
    Sell,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

/// Answers a request to `/sim/...`.
pub(crate) fn respond(
    exchange: &Exchange,
    method: &str,
    path: &str,
    query: &HashMap<String, String>,
    body: &[u8],
) -> Reply {
    let answer = match (method, path.trim_end_matches('/')) {
        ("GET", "/sim") => Ok(Reply::ok(
            json!({"endpoints": ["GET /sim/stats", "GET /sim/symbols", "GET /sim/trades", "GET /sim/klines", "GET /sim/books", "POST /sim/trade",
                                 "GET|POST|DELETE /sim/faults", "DELETE /sim/faults/{id}"]})
            .to_string(),
        )),
        ("GET", "/sim/stats") => Ok(stats(exchange)),
        ("GET", "/sim/symbols") => Ok(symbols(exchange)),
        ("GET", "/sim/trades") => trades(exchange, query),
        ("GET", "/sim/klines") => klines(exchange, query),
        ("GET", "/sim/books") => books(exchange, query),
        ("POST", "/sim/trade") => inject(exchange, body),
        ("GET", "/sim/faults") => Ok(Reply::ok(json!(exchange.faults.list()).to_string())),
        ("POST", "/sim/faults") => add_faults(exchange, body),
        ("DELETE", "/sim/faults") => Ok(remove_faults(exchange, None)),
        ("DELETE", path) if path.starts_with("/sim/faults/") => match path["/sim/faults/".len()..].parse() {
            Ok(id) => Ok(remove_faults(exchange, Some(id))),
            Err(_) => Err("the fault's id must be a number".to_owned()),
        },
        _ => return Reply::status(404, json!({"error": "no such endpoint; GET /sim lists them"}).to_string()),
    };
    answer.unwrap_or_else(|error| Reply::status(400, json!({"error": error}).to_string()))
}

fn symbol(exchange: &Exchange, query: &HashMap<String, String>) -> Result<usize, String> {
    let venue = query.get("venue").ok_or("venue is missing")?;
    let venue = Venue::parse(venue).ok_or_else(|| format!("unknown venue {venue:?}"))?;
    find(
        exchange,
        venue,
        query.get("symbol").ok_or("symbol is missing")?,
    )
}

fn find(exchange: &Exchange, venue: Venue, symbol: &str) -> Result<usize, String> {
    exchange
        .listing
        .find_any(venue, symbol)
        .ok_or_else(|| format!("{} does not list {symbol:?}", venue.name()))
}

fn number(query: &HashMap<String, String>, key: &str, default: i64) -> Result<i64, String> {
    match query.get(key) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .map_err(|_| format!("{key} is no number: {text:?}")),
    }
}

fn trades(exchange: &Exchange, query: &HashMap<String, String>) -> Result<Reply, String> {
    let index = symbol(exchange, query)?;
    let limit = (number(query, "limit", 1_000)?.max(0) as usize).min(TRADES_MAX);
    let from_id = number(query, "from_id", 0)?.max(0) as u64;
    let core = exchange.core(index);
    let page: Vec<Trade> = core.tape.since_id(from_id).take(limit).copied().collect();
    let (first_id, last_id) = (
        core.tape.first().map(|trade| trade.id),
        core.tape.last().map(|trade| trade.id),
    );
    drop(core);
    let instrument = exchange.instrument(index);
    let rows: Vec<Value> = page
        .iter()
        .map(|trade| trade_row(instrument, trade))
        .collect();
    Ok(Reply::ok(
        json!({
            "venue": instrument.venue.name(), "symbol": instrument.symbol, "first_id": first_id, "last_id": last_id,
            "next_id": page.last().map(|trade| trade.id + 1), "trades": rows,
        })
        .to_string(),
    ))
}

fn trade_row(instrument: &Instrument, trade: &Trade) -> Value {
    json!({
        "id": trade.id,
        "price": decimal(i128::from(trade.price), instrument.price_scale, 0),
        "quantity": decimal(i128::from(trade.quantity), instrument.quantity_scale, 0),
        "side": if trade.taker_buys { Side::Buy } else { Side::Sell },
        "event_ms": trade.event_ms(),
        "event_us": trade.event_us,
        "count": trade.count,
        "aggregate_id": trade.aggregate_id,
    })
}

/// The last books, newest first.
fn books(exchange: &Exchange, query: &HashMap<String, String>) -> Result<Reply, String> {
    let index = symbol(exchange, query)?;
    let within = |key: &str, default: i64, max: i64| {
        number(query, key, default).map(|value| value.clamp(1, max))
    };
    let limit = within("limit", 1, BOOKS_KEPT as i64)? as usize;
    let depth = within("depth", 20, LEVELS)?;
    let instrument = exchange.instrument(index);
    let core = exchange.core(index);
    let side = |levels: Vec<Level>| -> Vec<[String; 2]> {
        let text = |level: &Level| {
            [
                decimal(i128::from(level.price), instrument.price_scale, 0),
                decimal(i128::from(level.quantity), instrument.quantity_scale, 0),
            ]
        };
        levels.iter().map(text).collect()
    };
    let newest = core.books.iter().rev().take(limit);
    let books: Vec<Value> = newest
        .map(|book| {
            json!({
                "update_id": book.update_id,
                "bids": side(book.bids(instrument, depth)),
                "asks": side(book.asks(instrument, depth)),
            })
        })
        .collect();
    Ok(Reply::ok(json!({ "books": books }).to_string()))
}

fn klines(exchange: &Exchange, query: &HashMap<String, String>) -> Result<Reply, String> {
    let index = symbol(exchange, query)?;
    let name = query.get("interval").map_or("1m", String::as_str);
    let interval = Interval::parse(name).ok_or_else(|| format!("unknown interval {name:?}"))?;
    let limit = (number(query, "limit", 1_000)?.max(0) as usize).min(BARS_MAX);
    let filled = query
        .get("fill")
        .is_some_and(|fill| fill == "true" || fill == "1");
    let core = exchange.core(index);
    let now_ms = core.market_now_ms(clock::now_ms());
    let earliest = core.tape.earliest_bar_ms(interval, 0).unwrap_or(now_ms);
    let from_ms = interval.start_of(number(query, "from_ms", earliest)?.max(earliest), 0);
    let to_ms =
        number(query, "to_ms", i64::MAX)?.min(interval.next(interval.start_of(now_ms, 0), 0));
    let mut bars = if filled {
        // A tape may begin long ago with one placed trade: at most the requested number of bars is
        // made.
        let mut last_ms = from_ms;
        for _ in 0..limit {
            if last_ms >= to_ms {
                break;
            }
            last_ms = interval.next(last_ms, 0);
        }
        let to_ms = to_ms.min(last_ms);
        core.tape.bars_filled(interval, 0, from_ms, to_ms)
    } else {
        core.tape.bars(interval, 0, from_ms, to_ms)
    };
    drop(core);
    bars.truncate(limit);
    let instrument = exchange.instrument(index);
    let rows: Vec<Value> = bars
        .iter()
        .map(|bar| bar_row(instrument, bar, interval))
        .collect();
    Ok(Reply::ok(
        json!({"venue": instrument.venue.name(), "symbol": instrument.symbol, "interval": name, "klines": rows}).to_string(),
    ))
}

/// The names are those of the bars that Klinecast publishes.
fn bar_row(instrument: &Instrument, bar: &Bar, interval: Interval) -> Value {
    let price = |price: i64| decimal(i128::from(price), instrument.price_scale, 0);
    let quantity = |quantity: i128| decimal(quantity, instrument.quantity_scale, 0);
    let quote = |amount: i128| {
        decimal(
            amount,
            instrument.price_scale + instrument.quantity_scale,
            0,
        )
    };
    let id = |id: u64| (bar.count > 0).then(|| id.to_string());
    json!({
        "start_ms": bar.start_ms,
        "end_ms": interval.next(bar.start_ms, 0),
        "open": price(bar.open),
        "high": price(bar.high),
        "low": price(bar.low),
        "close": price(bar.close),
        "volume": quantity(bar.volume),
        "quote_volume": quote(bar.quote_volume),
        "taker_buy_volume": quantity(bar.taker_buy_volume),
        "taker_buy_quote_volume": quote(bar.taker_buy_quote_volume),
        "count": bar.count,
        "first_id": id(bar.first_id),
        "last_id": id(bar.last_id),
    })
}

fn inject(exchange: &Exchange, body: &[u8]) -> Result<Reply, String> {
    let requests: OneOrMany<TradeRequest> = read_json(body)?;
    let now_us = clock::now_us();
    let mut injections = Vec::new();
    // All trades are checked before the first one is placed.
    for request in requests.into_vec() {
        let index = find(exchange, request.venue, &request.symbol)?;
        let instrument = exchange.instrument(index);
        let read = |key: &str, text: &str, scale: u8| {
            parse_at(text, scale)
                .filter(|mantissa| *mantissa > 0)
                .ok_or_else(|| {
                    format!("{key} is no positive decimal of up to {scale} decimals: {text:?}")
                })
        };
        let event_us = request
            .event_us
            .or(request
                .event_ms
                .map(|event_ms| event_ms.saturating_mul(1000)))
            .unwrap_or(now_us);
        if !(0..=EVENT_US_MAX).contains(&event_us) {
            return Err(
                "event_ms (or event_us) must be a time of the years 1970 to 9999".to_owned(),
            );
        }
        let aside = request.tape == Some(false);
        if aside && (request.id.is_none() || request.restart_ids) {
            return Err("a trade with tape=false needs an id, and cannot restart_ids".to_owned());
        }
        if request.restart_ids && request.id.is_none() {
            return Err("restart_ids needs the id that the venue begins with".to_owned());
        }
        if !aside && request.id.is_some_and(|id| id > TAPE_ID_MAX) {
            return Err(format!(
                "ids above {TAPE_ID_MAX} can only be sent with tape=false"
            ));
        }
        injections.push((
            index,
            Injection {
                id: request.id,
                restarts_ids: request.restart_ids,
                aside,
                event_us,
                price: read("price", &request.price, instrument.price_scale)?,
                quantity: read("quantity", &request.quantity, instrument.quantity_scale)?,
                taker_buys: request.side == Side::Buy,
            },
        ));
    }
    let mut ids = Vec::new();
    for (index, injection) in injections {
        let id = exchange.inject(index, injection, now_us / 1000);
        ids.push(id.ok_or_else(|| {
            format!(
                "trade {} is on the tape already",
                injection.id.unwrap_or_default()
            )
        })?);
    }
    Ok(Reply::ok(
        json!({"id": ids.first(), "ids": ids}).to_string(),
    ))
}

fn add_faults(exchange: &Exchange, body: &[u8]) -> Result<Reply, String> {
    let specs: OneOrMany<FaultSpec> = read_json(body)?;
    let now_ms = clock::now_ms();
    let mut ids = Vec::new();
    for spec in specs.into_vec() {
        let id = exchange
            .faults
            .add(spec.clone(), now_ms)
            .ok_or("too many faults are set; DELETE some")?;
        tracing::info!(fault = ?spec, id, "fault set");
        ids.push(id);
    }
    exchange.apply_delistings(now_ms);
    Ok(Reply::ok(
        json!({"id": ids.first(), "ids": ids}).to_string(),
    ))
}

fn remove_faults(exchange: &Exchange, id: Option<u64>) -> Reply {
    let removed = exchange.faults.remove(id);
    exchange.apply_delistings(clock::now_ms());
    Reply::ok(json!({"removed": removed}).to_string())
}

/// Errors name the field, which an untagged enum alone would not.
fn read_json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<OneOrMany<T>, String> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| format!("the body is no JSON: {error}"))?;
    let read = |value: Value| serde_json::from_value::<T>(value).map_err(|error| error.to_string());
    match value {
        Value::Array(values) => values
            .into_iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map(OneOrMany::Many),
        value => read(value).map(OneOrMany::One),
    }
}

fn symbols(exchange: &Exchange) -> Reply {
    let rows: Vec<Value> = exchange
        .listing
        .all()
        .iter()
        .map(|instrument| {
            json!({
                "venue": instrument.venue.name(), "symbol": instrument.symbol, "base": instrument.base, "quote": instrument.quote,
                "tick": decimal(i128::from(instrument.tick), instrument.price_scale, 0),
                "lot": decimal(i128::from(instrument.lot), instrument.quantity_scale, 0),
                "quiet": instrument.quiet,
            })
        })
        .collect();
    Reply::ok(Value::from(rows).to_string())
}

fn stats(exchange: &Exchange) -> Reply {
    let clients = exchange.clients();
    let mut venues = serde_json::Map::new();
    for venue in Venue::ALL {
        let counts = exchange.counts(venue);
        let mut of_venue: Vec<_> = clients
            .iter()
            .filter(|client| client.venue == venue)
            .collect();
        of_venue.sort_by_key(|client| client.id);
        let connections: Vec<Value> = of_venue
            .iter()
            .map(|client| {
                json!({
                    "id": client.id, "peer": client.peer.to_string(), "connected_ms": client.connected_ms,
                    "subscriptions": client.subscriptions.load(Ordering::Relaxed),
                    "frames": client.frames.load(Ordering::Relaxed),
                })
            })
            .collect();
        venues.insert(
            venue.name().to_owned(),
            json!({
                "attempts": counts.attempts.load(Ordering::Relaxed),
                "refused": counts.refused.load(Ordering::Relaxed),
                "requests": counts.requests.load(Ordering::Relaxed),
                "trades": counts.trades.load(Ordering::Relaxed),
                "frames": counts.frames.load(Ordering::Relaxed),
                "symbols": exchange.listing.of(venue).count(),
                "connections": connections,
            }),
        );
    }
    let playback = exchange.playback();
    Reply::ok(json!({"now_ms": clock::now_ms(), "venues": venues, "capture": playback}).to_string())
}
