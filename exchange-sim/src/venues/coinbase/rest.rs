//! Coinbase's REST market data.

use serde_json::{Value, json};

use super::encode;
use crate::exchange::Exchange;
use crate::fixed::decimal;
use crate::instrument::{Instrument, Venue};
use crate::interval::{DAY_MS, Interval, iso_us, parse_iso_us};
use crate::venues::request::{Reply, Request};

/// Most rows of a page.
const LIMIT_MAX: i64 = 1_000;
/// Most candles of an answer.
const CANDLES_MAX: i64 = 300;

/// Answers a request.
pub(crate) fn respond(exchange: &Exchange, request: &Request) -> Reply {
    let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    match parts[..] {
        ["time"] => {
            let seconds = decimal(i128::from(request.now_ms()), 3, 3);
            Reply::ok(format!(
                r#"{{"iso":"{}","epoch":{seconds}}}"#,
                iso_us(request.now_us)
            ))
        }
        ["currencies"] => currencies(exchange),
        ["products"] => {
            let rows: Vec<Value> = exchange
                .listing
                .of(Venue::Coinbase)
                .map(|(_, instrument)| product(instrument))
                .collect();
            Reply::ok(Value::from(rows).to_string())
        }
        ["products", "stats"] => all_stats(exchange, request),
        ["products", "spark-lines"] => spark_lines(exchange, request),
        ["api", "v3", "brokerage", ..] => Reply::status(
            404,
            r#"{"message":"this is Coinbase Exchange, not Advanced Trade: ask /products"}"#,
        ),
        ["products", id, ref rest @ ..] => match exchange.listing.find(Venue::Coinbase, id) {
            None => not_found(),
            Some(index) => match rest {
                [] => Reply::ok(product(exchange.instrument(index)).to_string()),
                ["trades"] => trades(exchange, index, request),
                ["candles"] => candles(exchange, index, request),
                ["ticker"] => ticker(exchange, index, request),
                ["stats"] => stats(exchange, index, request),
                ["book"] => book(exchange, index, request),
                _ => not_found(),
            },
        },
        _ => not_found(),
    }
}

fn not_found() -> Reply {
    Reply::status(404, r#"{"message":"NotFound"}"#)
}

fn invalid(message: &str) -> Reply {
    Reply::status(400, json!({"message": message}).to_string())
}

/// A page of trades, newest first: `after` is older than a trade id, `before` newer. As on
/// Coinbase, `before` alone gives the newest page, not the one next to the cursor.
fn trades(exchange: &Exchange, index: usize, request: &Request) -> Reply {
    let cursor = |key| request.number(key).map(|id| id.map(|id| id.max(0) as u64));
    let (before, after, limit) = match (cursor("before"), cursor("after"), request.number("limit"))
    {
        (Ok(before), Ok(after), Ok(limit)) => (before, after, limit.unwrap_or(LIMIT_MAX)),
        _ => return invalid("before, after and limit must be integers"),
    };
    if limit < 1 {
        return invalid("limit must be at least 1");
    }
    let instrument = exchange.instrument(index);
    let core = exchange.core(index);
    let page: Vec<_> = core
        .tape
        .newest_between(before, after)
        .take(limit.min(LIMIT_MAX) as usize)
        .copied()
        .collect();
    drop(core);
    let rows: Vec<String> = page
        .iter()
        .map(|trade| encode::trade_row(instrument, trade))
        .collect();
    let reply = Reply::rows(&rows);
    match (page.first(), page.last()) {
        (Some(newest), Some(oldest)) => reply
            .header("cb-before", newest.id.to_string())
            .header("cb-after", oldest.id.to_string()),
        _ => reply,
    }
}

fn candles(exchange: &Exchange, index: usize, request: &Request) -> Reply {
    let granularity_s = match request.number("granularity") {
        Ok(granularity_s) => granularity_s.unwrap_or(60),
        Err(_) => 0,
    };
    if ![60, 300, 900, 3_600, 21_600, 86_400].contains(&granularity_s) {
        return invalid("Unsupported granularity");
    }
    let length_ms = granularity_s * 1000;
    let interval = Interval::Fixed(length_ms);
    let time = |key| match request.get(key) {
        None => Ok(None),
        Some(text) => text
            .parse::<i64>()
            .ok()
            .map(|seconds| seconds * 1000)
            .or_else(|| parse_iso_us(text).map(|us| us / 1000))
            .ok_or(())
            .map(Some),
    };
    let (Ok(start), Ok(end)) = (time("start"), time("end")) else {
        return invalid("Invalid start or end");
    };
    let core = exchange.core(index);
    let end_ms = end.unwrap_or(core.market_now_ms(request.now_ms()));
    let start_ms = start.unwrap_or(end_ms - (CANDLES_MAX - 1) * length_ms);
    if end_ms - start_ms > CANDLES_MAX * length_ms {
        return invalid(
            "granularity too small for the requested time range. Count of aggregations requested exceeds 300",
        );
    }
    let first_ms = interval.start_of(start_ms, 0);
    let from_ms = if first_ms < start_ms {
        first_ms + length_ms
    } else {
        first_ms
    };
    let to_ms = (interval.start_of(end_ms, 0) + length_ms).min(from_ms + CANDLES_MAX * length_ms);
    let instrument = exchange.instrument(index);
    // Intervals without trades are absent.
    let rows: Vec<String> = core
        .tape
        .bars(interval, 0, from_ms, to_ms)
        .iter()
        .rev()
        .map(|bar| encode::candle_row(instrument, bar))
        .collect();
    Reply::rows(&rows)
}

fn ticker(exchange: &Exchange, index: usize, request: &Request) -> Reply {
    let instrument = exchange.instrument(index);
    let mut core = exchange.core(index);
    let (Some(book), Some(day)) = (core.book_now(instrument), core.day_now(request.now_ms()))
    else {
        return Reply::ok("{}");
    };
    let Some(last) = core.tape.last() else {
        return Reply::ok("{}");
    };
    let price = |price: i64| decimal(i128::from(price), instrument.price_scale, 0);
    let size = |size: i128| decimal(size, instrument.quantity_scale, 0);
    Reply::ok(
        json!({
            "ask": price(book.ask), "bid": price(book.bid), "volume": size(day.volume), "trade_id": last.id,
            "price": price(last.price), "size": size(i128::from(last.quantity)), "time": iso_us(last.event_us),
            "rfq_volume": "0",
        })
        .to_string(),
    )
}

fn stats(exchange: &Exchange, index: usize, request: &Request) -> Reply {
    let Some(mut stats) = day_stats(exchange, index, request) else {
        return Reply::ok("{}");
    };
    stats["volume_30day"] = Value::from(month_volume(exchange, index, request));
    Reply::ok(stats.to_string())
}

/// The last day of every product, which the venue answers and does not document.
fn all_stats(exchange: &Exchange, request: &Request) -> Reply {
    let mut all = serde_json::Map::new();
    for (index, instrument) in exchange.listing.of(Venue::Coinbase) {
        let Some(day) = day_stats(exchange, index, request) else {
            continue;
        };
        let month = json!({"volume": month_volume(exchange, index, request)});
        all.insert(
            instrument.symbol.clone(),
            json!({"stats_30day": month, "stats_24hour": day}),
        );
    }
    Reply::ok(Value::from(all).to_string())
}

fn day_stats(exchange: &Exchange, index: usize, request: &Request) -> Option<Value> {
    let instrument = exchange.instrument(index);
    let day = exchange.core(index).day_now(request.now_ms())?;
    let price = |price: i64| decimal(i128::from(price), instrument.price_scale, 0);
    let volume = decimal(day.volume, instrument.quantity_scale, 0);
    Some(json!({
        "open": price(day.open), "high": price(day.high), "low": price(day.low),
        "last": price(day.close), "volume": volume,
    }))
}

fn month_volume(exchange: &Exchange, index: usize, request: &Request) -> String {
    let day = exchange.core(index).day_now(request.now_ms());
    let volume = day.map_or(0, |day| day.volume * 30);
    decimal(volume, exchange.instrument(index).quantity_scale, 0)
}

/// The prices of the last day of every product, by the hour and the newest first.
fn spark_lines(exchange: &Exchange, request: &Request) -> Reply {
    let mut lines = serde_json::Map::new();
    for (index, instrument) in exchange.listing.of(Venue::Coinbase) {
        let core = exchange.core(index);
        let hour = Interval::Fixed(3_600_000);
        let to_ms = hour.start_of(core.market_now_ms(request.now_ms()), 0) + 3_600_000;
        let bars = core.tape.bars(hour, 0, to_ms - DAY_MS, to_ms);
        drop(core);
        let points: Vec<Value> = bars
            .iter()
            .rev()
            .map(|bar| {
                let price = decimal(i128::from(bar.close), instrument.price_scale, 0);
                let number: Value = serde_json::from_str(&price).expect("a decimal is a number");
                json!([bar.start_ms / 1000, number])
            })
            .collect();
        lines.insert(instrument.symbol.clone(), Value::from(points));
    }
    Reply::ok(Value::from(lines).to_string())
}

fn book(exchange: &Exchange, index: usize, request: &Request) -> Reply {
    let instrument = exchange.instrument(index);
    let levels = match request.get("level") {
        None | Some("1") => 1,
        _ => crate::book::LEVELS,
    };
    let Some(book) = exchange.core(index).book_now(instrument) else {
        return Reply::ok(r#"{"bids":[],"asks":[],"sequence":0}"#);
    };
    let side = |side: Vec<crate::book::Level>| -> Vec<Value> {
        side.iter()
            .map(|level| {
                json!([
                    decimal(i128::from(level.price), instrument.price_scale, 0),
                    decimal(i128::from(level.quantity), instrument.quantity_scale, 0),
                    1
                ])
            })
            .collect()
    };
    Reply::ok(
        json!({
            "bids": side(book.bids(instrument, levels)), "asks": side(book.asks(instrument, levels)),
            "sequence": encode::sequence(book.update_id / 3), "auction_mode": false, "auction": null, "time": iso_us(request.now_us),
        })
        .to_string(),
    )
}

fn product(instrument: &Instrument) -> Value {
    json!({
        "id": instrument.symbol,
        "base_currency": instrument.base,
        "quote_currency": instrument.quote,
        "quote_increment": decimal(i128::from(instrument.tick), instrument.price_scale, 0),
        "base_increment": decimal(i128::from(instrument.lot), instrument.quantity_scale, 0),
        "display_name": format!("{}/{}", instrument.base, instrument.quote),
        "min_market_funds": "1",
        "margin_enabled": false,
        "post_only": false,
        "limit_only": false,
        "cancel_only": false,
        "status": "online",
        "status_message": "",
        "trading_disabled": false,
        "fx_stablecoin": false,
        "max_slippage_percentage": "0.02000000",
        "auction_mode": false,
        "high_bid_limit_percentage": "",
    })
}

fn currencies(exchange: &Exchange) -> Reply {
    let mut names: Vec<&str> = exchange
        .listing
        .of(Venue::Coinbase)
        .flat_map(|(_, instrument)| [instrument.base.as_str(), instrument.quote.as_str()])
        .collect();
    names.sort_unstable();
    names.dedup();
    let rows: Vec<Value> = names
        .into_iter()
        .map(|name| {
            let is_fiat = matches!(name, "USD" | "EUR" | "GBP");
            json!({
                "id": name, "name": name, "min_size": "0.00000001", "status": "online", "message": "",
                "max_precision": if is_fiat { "0.01" } else { "0.00000001" }, "convertible_to": [],
                "details": {"type": if is_fiat { "fiat" } else { "crypto" }, "symbol": null, "network_confirmations": 0,
                            "sort_order": 0, "crypto_address_link": "", "crypto_transaction_link": "", "push_payment_methods": [],
                            "group_types": [], "display_name": null, "processing_time_seconds": null,
                            "min_withdrawal_amount": null, "max_withdrawal_amount": null},
                "default_network": "", "supported_networks": [], "display_name": name,
            })
        })
        .collect();
    Reply::ok(Value::from(rows).to_string())
}
