//! Binance's REST market data under `/api/v3`, and the few others that clients ask for.

use serde_json::{Value, json};

use super::encode;
use super::stream::{find_interval, kline_interval};
use super::ticker;
use crate::exchange::Exchange;
use crate::fixed::decimal;
use crate::instrument::{Instrument, Venue};
use crate::trade::Trade;
use crate::venues::rest::{Reply, Request};

/// Most rows in an answer.
const LIMIT_MAX: i64 = 1_000;
/// Most aggregates inspected for one answer.
const AGGREGATE_TRADES_MAX: usize = 200_000;

pub(super) type Failure = Reply;

/// The cost of a request, of the 6,000 a minute.
pub(crate) fn weight(request: &Request) -> u64 {
    match request.path.as_str() {
        "/api/v3/exchangeInfo" => 20,
        "/api/v3/historicalTrades" | "/api/v3/trades" => 25,
        "/api/v3/aggTrades" => 4,
        "/api/v3/klines" | "/api/v3/uiKlines" | "/api/v3/avgPrice" => 2,
        "/api/v3/depth" => 5,
        "/api/v3/ticker/24hr" => {
            if request.get("symbol").is_some() {
                2
            } else {
                80
            }
        }
        "/api/v3/ticker/price" | "/api/v3/ticker/bookTicker" => {
            if request.get("symbol").is_some() {
                2
            } else {
                4
            }
        }
        "/api/v3/ticker" | "/api/v3/ticker/tradingDay" => {
            let symbols = request
                .get("symbols")
                .map_or(1, |symbols| symbols.split(',').count() as u64);
            (4 * symbols).min(200)
        }
        "/api/v3/executionRules" => {
            if request.get("symbol").is_some() {
                2
            } else {
                40
            }
        }
        _ => 1,
    }
}

/// Answers a request.
pub(crate) fn respond(exchange: &Exchange, request: &Request) -> Reply {
    let answer = match request.path.as_str() {
        "/api/v3/ping" | "/fapi/v1/ping" | "/dapi/v1/ping" => Ok(Reply::ok("{}")),
        "/api/v3/time" => Ok(Reply::ok(format!(r#"{{"serverTime":{}}}"#, time(request)))),
        "/api/v3/exchangeInfo" => exchange_info(exchange, request),
        "/api/v3/klines" | "/api/v3/uiKlines" => klines(exchange, request),
        "/api/v3/trades" => trades(exchange, request, false),
        "/api/v3/historicalTrades" => trades(exchange, request, true),
        "/api/v3/aggTrades" => aggregates(exchange, request),
        "/api/v3/depth" => depth(exchange, request),
        "/api/v3/avgPrice" => average(exchange, request),
        "/api/v3/ticker/bookTicker" => ticker::rows(exchange, request, ticker::book),
        "/api/v3/ticker/price" => ticker::rows(exchange, request, ticker::price),
        "/api/v3/ticker/24hr" => ticker::rows(exchange, request, ticker::day),
        "/api/v3/ticker/tradingDay" => ticker::trading_day(exchange, request),
        "/api/v3/ticker" => ticker::window(exchange, request),
        "/api/v3/executionRules" => execution_rules(exchange, request),
        "/sapi/v1/asset/tradeFee" => Ok(trade_fees(exchange)),
        "/fapi/v1/exchangeInfo" | "/dapi/v1/exchangeInfo" | "/eapi/v1/exchangeInfo" => Ok(Reply::ok(
            json!({"timezone": "UTC", "serverTime": request.now_ms(), "rateLimits": [], "exchangeFilters": [], "assets": [],
                   "symbols": [], "optionSymbols": []})
            .to_string(),
        )),
        _ => Err(Reply::status(404, r#"{"code":-1000,"msg":"no such path in this simulator"}"#)),
    };
    answer.unwrap_or_else(|failure| failure)
}

fn time(request: &Request) -> i64 {
    if request.micros {
        request.now_us
    } else {
        request.now_ms()
    }
}

pub(super) fn failure(code: i32, message: &str) -> Failure {
    Reply::status(400, json!({"code": code, "msg": message}).to_string())
}

fn illegal(key: &str) -> Failure {
    failure(
        -1100,
        &format!(
            "Illegal characters found in parameter '{key}'; legal range is '^[0-9]{{1,20}}$'."
        ),
    )
}

fn symbol(exchange: &Exchange, request: &Request) -> Result<usize, Failure> {
    let symbol = request.get("symbol").ok_or_else(|| {
        failure(
            -1102,
            "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.",
        )
    })?;
    exchange
        .listing
        .find(Venue::Binance, symbol)
        .ok_or_else(|| failure(-1121, "Invalid symbol."))
}

fn limit(request: &Request, default: i64, most: i64) -> Result<usize, Failure> {
    let limit = request.number("limit").map_err(illegal)?.unwrap_or(default);
    if limit < 1 {
        return Err(failure(
            -1130,
            "Data sent for parameter 'limit' is not valid.",
        ));
    }
    Ok(limit.min(most) as usize)
}

/// A time of the query in milliseconds; microseconds are recognised by their size.
fn time_ms(request: &Request, key: &'static str) -> Result<Option<i64>, Failure> {
    let time = request.number(key).map_err(illegal)?;
    Ok(time.map(|time| {
        if time >= 100_000_000_000_000 {
            time / 1000
        } else {
            time
        }
    }))
}

fn klines(exchange: &Exchange, request: &Request) -> Result<Reply, Failure> {
    let index = symbol(exchange, request)?;
    let name = request.get("interval").ok_or_else(|| {
        failure(
            -1102,
            "Mandatory parameter 'interval' was not sent, was empty/null, or malformed.",
        )
    })?;
    let (interval, _) = kline_interval(
        find_interval(name).ok_or_else(|| failure(-1120, "Invalid interval."))?,
        false,
    );
    let offset_ms = match request.get("timeZone") {
        None => 0,
        Some(zone) => zone_ms(zone)
            .ok_or_else(|| failure(-1130, "Data sent for parameter 'timeZone' is not valid."))?,
    };
    let limit = limit(request, 500, LIMIT_MAX)?;
    let (start, end) = (time_ms(request, "startTime")?, time_ms(request, "endTime")?);

    let instrument = exchange.instrument(index);
    let core = exchange.core(index);
    let Some(earliest) = core.tape.earliest_bar_ms(interval, offset_ms) else {
        return Ok(Reply::rows(&[]));
    };
    let newest_ms = interval.start_of(core.market_now_ms(request.now_ms()), offset_ms);
    let end_ms = end.unwrap_or(i64::MAX - 1).min(newest_ms);
    let mut from_ms = match start {
        // The first bar that opens at or after the start.
        Some(start) => {
            let aligned = interval.start_of(start.max(earliest), offset_ms);
            if aligned < start {
                interval.next(aligned, offset_ms)
            } else {
                aligned
            }
        }
        None => {
            let mut from_ms = interval.start_of(end_ms, offset_ms);
            for _ in 1..limit {
                if from_ms <= earliest {
                    break;
                }
                from_ms = interval.previous(from_ms, offset_ms);
            }
            from_ms
        }
    };
    from_ms = from_ms.max(earliest);
    let mut to_ms = from_ms;
    for _ in 0..limit {
        if to_ms > end_ms {
            break;
        }
        to_ms = interval.next(to_ms, offset_ms);
    }
    let rows: Vec<String> = core
        .tape
        .bars_filled(interval, offset_ms, from_ms, to_ms)
        .iter()
        .map(|bar| {
            encode::kline_row(
                instrument,
                encode::Kline {
                    bar,
                    interval,
                    offset_ms,
                },
                request.micros,
            )
        })
        .collect();
    Ok(Reply::rows(&rows))
}

/// `8`, `-1:30`, `05:45` as milliseconds.
pub(super) fn zone_ms(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (hours, minutes) = digits.split_once(':').unwrap_or((digits, "0"));
    let minutes = hours
        .parse::<i64>()
        .ok()
        .filter(|hours| (0..=14).contains(hours))?
        * 60
        + minutes
            .parse::<i64>()
            .ok()
            .filter(|minutes| (0..60).contains(minutes))?;
    Some(if negative { -minutes } else { minutes } * 60_000)
}

fn trades(exchange: &Exchange, request: &Request, historical: bool) -> Result<Reply, Failure> {
    let index = symbol(exchange, request)?;
    let limit = limit(request, 500, LIMIT_MAX)?;
    let from_id = if historical {
        request.number("fromId").map_err(illegal)?
    } else {
        None
    };
    let instrument = exchange.instrument(index);
    let core = exchange.core(index);
    let row = |trade: &Trade| encode::trade_row(instrument, trade);
    let rows: Vec<String> = match from_id {
        Some(from_id) => core
            .tape
            .since_id(from_id.max(0) as u64)
            .take(limit)
            .map(row)
            .collect(),
        None => {
            let mut rows: Vec<String> = core.tape.newest_first().take(limit).map(row).collect();
            rows.reverse();
            rows
        }
    };
    Ok(Reply::rows(&rows))
}

fn aggregates(exchange: &Exchange, request: &Request) -> Result<Reply, Failure> {
    let index = symbol(exchange, request)?;
    let limit = limit(request, 500, LIMIT_MAX)?;
    let from_id = request.number("fromId").map_err(illegal)?;
    let (start, end) = (time_ms(request, "startTime")?, time_ms(request, "endTime")?);
    if from_id.is_some() && (start.is_some() || end.is_some()) {
        return Err(failure(
            -1128,
            "Combination of optional parameters invalid.",
        ));
    }
    let instrument = exchange.instrument(index);
    let core = exchange.core(index);
    let row = |run: &[Trade]| encode::aggregate_row(instrument, run);
    let rows: Vec<String> = if let Some(from_id) = from_id {
        let trades = core
            .tape
            .since_aggregate(from_id.max(0) as u64)
            .take(AGGREGATE_TRADES_MAX);
        group(trades)
            .iter()
            .take(limit)
            .map(|run| row(run))
            .collect()
    } else if start.is_some() || end.is_some() {
        let from_us = start.unwrap_or(0).saturating_mul(1000);
        let to_us = end.map_or(i64::MAX, |end| end.saturating_add(1).saturating_mul(1000));
        let groups = group(core.tape.between(from_us, to_us).take(AGGREGATE_TRADES_MAX));
        // With only an end, the answer is the rows before it.
        let skip = if start.is_none() {
            groups.len().saturating_sub(limit)
        } else {
            0
        };
        groups[skip..]
            .iter()
            .take(limit)
            .map(|run| row(run))
            .collect()
    } else {
        let Some(last) = core.tape.last() else {
            return Ok(Reply::rows(&[]));
        };
        let from = (last.aggregate_id + 1).saturating_sub(limit as u64);
        let groups = group(core.tape.since_aggregate(from));
        groups[groups.len().saturating_sub(limit)..]
            .iter()
            .map(|run| row(run))
            .collect()
    };
    Ok(Reply::rows(&rows))
}

fn group<'a>(trades: impl Iterator<Item = &'a Trade>) -> Vec<Vec<Trade>> {
    let mut groups: Vec<Vec<Trade>> = Vec::new();
    for trade in trades {
        match groups.last_mut() {
            Some(group) if group[0].aggregate_id == trade.aggregate_id => group.push(*trade),
            _ => groups.push(vec![*trade]),
        }
    }
    groups
}

fn depth(exchange: &Exchange, request: &Request) -> Result<Reply, Failure> {
    let index = symbol(exchange, request)?;
    let limit = limit(request, 100, 5_000)?;
    let instrument = exchange.instrument(index);
    let book = exchange.core(index).book_now(instrument);
    // Beyond the levels that the stream keeps up to date, a book would become wrong.
    let levels = (limit as i64).min(crate::book::LEVELS);
    Ok(Reply::ok(match book {
        Some(book) => encode::depth(instrument, &book, levels),
        None => r#"{"lastUpdateId":0,"bids":[],"asks":[]}"#.to_owned(),
    }))
}

fn average(exchange: &Exchange, request: &Request) -> Result<Reply, Failure> {
    let index = symbol(exchange, request)?;
    let instrument = exchange.instrument(index);
    let core = exchange.core(index);
    let window = core.tape.summary_since(request.now_ms() - 300_000);
    let (price, at_ms) = match window {
        Some(bar) => (
            bar.quote_volume.checked_div(bar.volume).unwrap_or(0),
            bar.close_key.0 / 1000,
        ),
        None => (core.tape.last().map_or(0, |last| i128::from(last.price)), 0),
    };
    Ok(Reply::ok(
        json!({"mins": 5, "price": decimal(price, instrument.price_scale, 8), "closeTime": at_ms})
            .to_string(),
    ))
}

/// The symbols that `symbol` or `symbols` name, or all symbols; and whether one was named.
pub(super) fn symbols(
    exchange: &Exchange,
    request: &Request,
) -> Result<(Vec<usize>, bool), Failure> {
    if request.get("symbol").is_some() {
        return Ok((vec![symbol(exchange, request)?], true));
    }
    match request.get("symbols") {
        Some(list) => {
            // The server has replaced unescaped quotation marks by apostrophes.
            let list = list.replace('\'', "\"");
            let names: Vec<String> = serde_json::from_str(&list).map_err(|_| illegal("symbols"))?;
            let found: Option<Vec<usize>> = names
                .iter()
                .map(|name| exchange.listing.find(Venue::Binance, name))
                .collect();
            Ok((
                found.ok_or_else(|| failure(-1121, "Invalid symbol."))?,
                false,
            ))
        }
        None => Ok((
            exchange
                .listing
                .of(Venue::Binance)
                .map(|(index, _)| index)
                .collect(),
            false,
        )),
    }
}

fn trade_fees(exchange: &Exchange) -> Reply {
    let rows: Vec<Value> = exchange
        .listing
        .of(Venue::Binance)
        .map(|(_, instrument)| json!({"symbol": instrument.symbol, "makerCommission": "0.001", "takerCommission": "0.001"}))
        .collect();
    Reply::ok(Value::from(rows).to_string())
}

/// The only rule, with the factors of the venue's documentation.
fn execution_rules(exchange: &Exchange, request: &Request) -> Result<Reply, Failure> {
    let (indexes, _) = symbols(exchange, request)?;
    let rule = json!({
        "ruleType": "PRICE_RANGE",
        "bidLimitMultUp": "2.0000", "bidLimitMultDown": "0.5000",
        "askLimitMultUp": "2.0000", "askLimitMultDown": "0.5000",
    });
    let rows: Vec<Value> = indexes
        .into_iter()
        .map(|index| json!({"symbol": exchange.instrument(index).symbol, "rules": [rule]}))
        .collect();
    Ok(Reply::ok(json!({"symbolRules": rows}).to_string()))
}

fn exchange_info(exchange: &Exchange, request: &Request) -> Result<Reply, Failure> {
    let (indexes, _) = symbols(exchange, request)?;
    let symbols: Vec<Value> = indexes
        .into_iter()
        .map(|index| symbol_info(exchange.instrument(index)))
        .collect();
    let info = json!({
        "timezone": "UTC",
        "serverTime": time(request),
        "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
            {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200_000},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61_000},
        ],
        "exchangeFilters": [],
        "symbols": symbols,
    });
    Ok(Reply::ok(info.to_string()))
}

/// The full shape: SDKs read the precisions and every filter; `filters[0]` is the PRICE_FILTER.
fn symbol_info(instrument: &Instrument) -> Value {
    let tick = decimal(i128::from(instrument.tick), instrument.price_scale, 8);
    let lot = decimal(i128::from(instrument.lot), instrument.quantity_scale, 8);
    let order_types = [
        "LIMIT",
        "LIMIT_MAKER",
        "MARKET",
        "STOP_LOSS",
        "STOP_LOSS_LIMIT",
        "TAKE_PROFIT",
        "TAKE_PROFIT_LIMIT",
    ];
    let min_notional = if instrument.quote == "BTC" {
        "0.00010000"
    } else {
        "5.00000000"
    };
    json!({
        "symbol": instrument.symbol,
        "status": "TRADING",
        "baseAsset": instrument.base,
        "baseAssetPrecision": 8,
        "quoteAsset": instrument.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": order_types,
        "icebergAllowed": true,
        "ocoAllowed": true,
        "otoAllowed": true,
        "opoAllowed": true,
        "quoteOrderQtyMarketAllowed": true,
        "allowTrailingStop": true,
        "cancelReplaceAllowed": true,
        "amendAllowed": true,
        "pegInstructionsAllowed": true,
        "isSpotTradingAllowed": true,
        "isMarginTradingAllowed": false,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "9000000000.00000000", "stepSize": lot},
            {"filterType": "ICEBERG_PARTS", "limit": 10},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": "100000.00000000", "stepSize": "0.00000000"},
            {"filterType": "TRAILING_DELTA", "minTrailingAboveDelta": 10, "maxTrailingAboveDelta": 2000,
             "minTrailingBelowDelta": 10, "maxTrailingBelowDelta": 2000},
            {"filterType": "PERCENT_PRICE_BY_SIDE", "bidMultiplierUp": "5", "bidMultiplierDown": "0.2",
             "askMultiplierUp": "5", "askMultiplierDown": "0.2", "avgPriceMins": 5},
            {"filterType": "NOTIONAL", "minNotional": min_notional, "applyMinToMarket": true,
             "maxNotional": "9000000.00000000", "applyMaxToMarket": false, "avgPriceMins": 5},
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT"],
    })
}
