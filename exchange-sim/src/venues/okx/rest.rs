//! OKX's REST market data under `/api/v5`.

use serde_json::{Value, json};

use super::encode;
use super::feed::{bar_interval, find_bar};
use crate::exchange::Exchange;
use crate::fixed::decimal;
use crate::instrument::{Instrument, Venue};
use crate::venues::request::{Reply, Request};

type Failure = Reply;

/// Answers a request.
pub(crate) fn respond(exchange: &Exchange, request: &Request) -> Reply {
    let answer = match request.path.as_str() {
        "/api/v5/public/time" => Ok(data(&[format!(r#"{{"ts":"{}"}}"#, request.now_ms())])),
        "/api/v5/public/instruments" => instruments(exchange, request),
        "/api/v5/market/trades" => trades(exchange, request, false),
        "/api/v5/market/history-trades" => trades(exchange, request, true),
        "/api/v5/market/candles" => candles(exchange, request, 300),
        "/api/v5/market/history-candles" => candles(exchange, request, 100),
        "/api/v5/market/ticker" => symbol(exchange, request)
            .map(|index| data(&Vec::from_iter(ticker(exchange, index, request)))),
        "/api/v5/market/tickers" => {
            let rows: Vec<String> = exchange
                .listing
                .of(Venue::Okx)
                .filter_map(|(index, _)| ticker(exchange, index, request))
                .collect();
            Ok(data(&rows))
        }
        "/api/v5/market/books" => books(exchange, request),
        "/api/v5/market/index-tickers" => index_tickers(exchange, request),
        "/api/v5/market/platform-24-volume" => Ok(platform_volume(exchange, request)),
        "/api/v5/system/status" => Ok(data(&[])),
        _ => Err(Reply::status(
            404,
            r#"{"code":"404","msg":"no such path in this simulator","data":[]}"#,
        )),
    };
    answer.unwrap_or_else(|failure| failure)
}

fn data(rows: &[String]) -> Reply {
    Reply::ok(format!(
        r#"{{"code":"0","msg":"","data":[{}]}}"#,
        rows.join(",")
    ))
}

fn failure(code: &str, message: &str) -> Failure {
    Reply::ok(json!({"code": code, "msg": message, "data": []}).to_string())
}

fn wrong(key: &str) -> Failure {
    failure("51000", &format!("Parameter {key} error"))
}

fn symbol(exchange: &Exchange, request: &Request) -> Result<usize, Failure> {
    let symbol = request
        .get("instId")
        .ok_or_else(|| failure("50014", "Parameter instId cannot be empty."))?;
    exchange.listing.find(Venue::Okx, symbol).ok_or_else(|| {
        failure(
            "51001",
            "Instrument ID, Instrument ID code, or Spread ID doesn't exist.",
        )
    })
}

fn limit(request: &Request, default: i64, most: i64) -> Result<usize, Failure> {
    let limit = request.number("limit").map_err(wrong)?.unwrap_or(default);
    if limit < 1 {
        Err(wrong("limit"))
    } else {
        Ok(limit.min(most) as usize)
    }
}

/// Newest first. History pages by trade id (`type=1`) or time (`type=2`, `after` only); `after` is
/// older, `before` newer, and `before` alone gives the newest page.
fn trades(exchange: &Exchange, request: &Request, history: bool) -> Result<Reply, Failure> {
    let index = symbol(exchange, request)?;
    let limit = limit(request, 100, if history { 100 } else { 500 })?;
    let instrument = exchange.instrument(index);
    let core = exchange.core(index);
    let (after, before) = if history {
        (
            request.number("after").map_err(wrong)?,
            request.number("before").map_err(wrong)?,
        )
    } else {
        (None, None)
    };
    let row = |trade: &crate::trade::Trade| encode::trade(instrument, trade);
    let rows: Vec<String> = match request.get("type").unwrap_or("1") {
        "2" if history => {
            let older_ms = after.unwrap_or(i64::MAX);
            core.tape
                .newest_first()
                .filter(|trade| trade.event_ms() < older_ms)
                .take(limit)
                .map(row)
                .collect()
        }
        "1" | "2" => {
            let id = |cursor: Option<i64>| cursor.map(|id| id.max(0) as u64);
            core.tape
                .newest_between(id(before), id(after))
                .take(limit)
                .map(row)
                .collect()
        }
        _ => return Err(wrong("type")),
    };
    Ok(data(&rows))
}

fn candles(exchange: &Exchange, request: &Request, most: i64) -> Result<Reply, Failure> {
    let index = symbol(exchange, request)?;
    let limit = limit(request, 100, most)?;
    let bar = find_bar(request.get("bar").unwrap_or("1m")).ok_or_else(|| wrong("bar"))?;
    let (interval, offset_ms) = bar_interval(bar);
    let (after, before) = (
        request.number("after").map_err(wrong)?,
        request.number("before").map_err(wrong)?,
    );
    let instrument = exchange.instrument(index);
    let core = exchange.core(index);
    let Some(earliest) = core.tape.earliest_bar_ms(interval, offset_ms) else {
        return Ok(data(&[]));
    };
    let now_ms = core.market_now_ms(request.now_ms());
    let newest_ms = interval.start_of(now_ms, offset_ms);
    // `after` and `before` both exclude the bar they name.
    let last_start = after
        .map_or(newest_ms, |after| {
            interval.start_of(after.saturating_sub(1), offset_ms)
        })
        .min(newest_ms);
    let mut rows = Vec::new();
    let mut from_ms = last_start;
    for _ in 1..limit {
        if from_ms <= earliest {
            break;
        }
        from_ms = interval.previous(from_ms, offset_ms);
    }
    let to_ms = interval.next(last_start, offset_ms);
    for bar in core
        .tape
        .bars_filled(interval, offset_ms, from_ms.max(earliest), to_ms)
        .iter()
        .rev()
    {
        if before.is_none_or(|before| bar.start_ms > before) {
            let closed = interval.next(bar.start_ms, offset_ms) <= now_ms;
            rows.push(encode::candle(instrument, bar, closed));
        }
    }
    Ok(data(&rows))
}

fn ticker(exchange: &Exchange, index: usize, request: &Request) -> Option<String> {
    let instrument = exchange.instrument(index);
    let mut core = exchange.core(index);
    let day = core.day_now(request.now_ms())?;
    let book = core.book_now(instrument)?;
    Some(encode::ticker(
        instrument,
        core.tape.last()?,
        &day,
        &book,
        request.now_ms(),
    ))
}

/// An index is the price of the spot pair here: there is no other venue to average.
fn index_tickers(exchange: &Exchange, request: &Request) -> Result<Reply, Failure> {
    let (quote, only) = (request.get("quoteCcy"), request.get("instId"));
    if quote.is_none() && only.is_none() {
        return Err(failure(
            "50015",
            "Either parameter quoteCcy or instId is required",
        ));
    }
    let mut rows = Vec::new();
    for (index, instrument) in exchange.listing.of(Venue::Okx) {
        let is_asked = quote.is_none_or(|quote| quote == instrument.quote)
            && only.is_none_or(|only| only == instrument.symbol);
        let mut core = exchange.core(index);
        let (Some(day), true) = (core.day_now(request.now_ms()), is_asked) else {
            continue;
        };
        let price = |price: i64| decimal(i128::from(price), instrument.price_scale, 0);
        rows.push(
            json!({
                "instId": instrument.symbol, "idxPx": price(day.close), "high24h": price(day.high),
                "low24h": price(day.low), "open24h": price(day.open), "sodUtc0": price(day.open),
                "sodUtc8": price(day.open), "ts": request.now_ms().to_string(),
            })
            .to_string(),
        );
    }
    Ok(data(&rows))
}

/// What was traded in a day, in dollars: pairs in dollars count, others do not.
fn platform_volume(exchange: &Exchange, request: &Request) -> Reply {
    let mut dollars = 0i128;
    for (index, instrument) in exchange.listing.of(Venue::Okx) {
        let scale = u32::from(instrument.price_scale + instrument.quantity_scale);
        let day = exchange.core(index).day_now(request.now_ms());
        if let Some(day) = day.filter(|_| instrument.quote.starts_with("USD")) {
            dollars += day.quote_volume / 10i128.pow(scale);
        }
    }
    data(&[json!({
        "volUsd": dollars.to_string(), "volCny": (dollars * 7).to_string(),
        "ts": request.now_ms().to_string(),
    })
    .to_string()])
}

fn books(exchange: &Exchange, request: &Request) -> Result<Reply, Failure> {
    let index = symbol(exchange, request)?;
    let depth = request
        .number("sz")
        .map_err(wrong)?
        .unwrap_or(1)
        .clamp(1, crate::book::LEVELS);
    let instrument = exchange.instrument(index);
    let book = exchange.core(index).book_now(instrument);
    Ok(data(&Vec::from_iter(book.map(|book| {
        encode::book(instrument, &book, depth, request.now_ms())
    }))))
}

fn instruments(exchange: &Exchange, request: &Request) -> Result<Reply, Failure> {
    let kind = request
        .get("instType")
        .ok_or_else(|| failure("50014", "Parameter instType cannot be empty."))?;
    let only = request.get("instId");
    let rows: Vec<String> = exchange
        .listing
        .of(Venue::Okx)
        .filter(|(_, instrument)| {
            kind == "SPOT" && only.is_none_or(|only| only == instrument.symbol)
        })
        .map(|(_, instrument)| instrument_row(instrument).to_string())
        .collect();
    Ok(data(&rows))
}

fn instrument_row(instrument: &Instrument) -> Value {
    let lot = decimal(i128::from(instrument.lot), instrument.quantity_scale, 0);
    json!({
        "alias": "", "auctionEndTime": "", "baseCcy": instrument.base, "category": "1", "contTdSwTime": "", "ctMult": "",
        "ctType": "", "ctVal": "", "ctValCcy": "", "expTime": "", "futureSettlement": false, "groupId": "1",
        "instFamily": "", "instId": instrument.symbol, "instIdCode": 1, "instType": "SPOT", "lever": "10",
        "listTime": "1611907686000", "lotSz": lot, "maxIcebergSz": "9999999999", "maxLmtAmt": "20000000",
        "maxLmtSz": "9999999999", "maxMktAmt": "1000000", "maxMktSz": "1000000", "maxStopSz": "1000000",
        "maxTriggerSz": "9999999999", "maxTwapSz": "9999999999", "minSz": lot, "openType": "", "optType": "",
        "quoteCcy": instrument.quote, "ruleType": "normal", "settleCcy": "", "state": "live", "stk": "",
        "tickSz": decimal(i128::from(instrument.tick), instrument.price_scale, 0), "tradeQuoteCcyList": [instrument.quote],
        "uly": "", "upcChg": [],
    })
}
