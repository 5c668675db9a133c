//! Binance's REST answers about the last price, the best prices, and windows of time.

use serde_json::{Value, json};

use super::encode;
use super::query::{Failure, failure, symbols, zone_ms};
use crate::exchange::Exchange;
use crate::fixed::decimal;
use crate::interval::{DAY_MS, Interval};
use crate::venues::request::{Reply, Request};

/// Most symbols of one request.
const SYMBOLS_MAX: usize = 100;

/// Makes the row of one symbol.
pub(super) type Row = fn(&Exchange, usize, &Request) -> Option<Value>;

/// One row for each symbol that the request names, or for all.
pub(super) fn rows(exchange: &Exchange, request: &Request, row: Row) -> Result<Reply, Failure> {
    let (indexes, single) = symbols(exchange, request)?;
    let rows: Vec<Value> = indexes
        .into_iter()
        .filter_map(|index| row(exchange, index, request))
        .collect();
    Ok(Reply::ok(match (single, rows.first()) {
        (true, Some(row)) => row.to_string(),
        (true, None) => "{}".to_owned(),
        (false, _) => Value::from(rows).to_string(),
    }))
}

/// `/api/v3/ticker/bookTicker`
pub(super) fn book(exchange: &Exchange, index: usize, _: &Request) -> Option<Value> {
    let instrument = exchange.instrument(index);
    let (bid, ask) = exchange.core(index).book_now(instrument)?.top(instrument);
    let price = |price: i64| decimal(i128::from(price), instrument.price_scale, 8);
    let quantity = |quantity: i64| decimal(i128::from(quantity), instrument.quantity_scale, 8);
    Some(json!({
        "symbol": instrument.symbol,
        "bidPrice": price(bid.price), "bidQty": quantity(bid.quantity),
        "askPrice": price(ask.price), "askQty": quantity(ask.quantity),
    }))
}

/// `/api/v3/ticker/price`
pub(super) fn price(exchange: &Exchange, index: usize, _: &Request) -> Option<Value> {
    let instrument = exchange.instrument(index);
    let price = exchange.core(index).tape.last()?.price;
    Some(
        json!({"symbol": instrument.symbol, "price": decimal(i128::from(price), instrument.price_scale, 8)}),
    )
}

/// `/api/v3/ticker/24hr`
pub(super) fn day(exchange: &Exchange, index: usize, request: &Request) -> Option<Value> {
    let instrument = exchange.instrument(index);
    let mut core = exchange.core(index);
    let day = core.day_now(request.now_ms())?;
    let book = core.book_now(instrument)?;
    let last = core.tape.last()?;
    let mut row = json!({"symbol": instrument.symbol});
    for (_, name, value) in encode::day_fields(instrument, &day, last, &book, request.now_us) {
        row[name] = serde_json::from_str(&value).expect("the fields are JSON values");
    }
    Some(row)
}

/// `/api/v3/ticker/tradingDay`: since the midnight of a time zone.
pub(super) fn trading_day(exchange: &Exchange, request: &Request) -> Result<Reply, Failure> {
    let zone = request.get("timeZone").unwrap_or("0");
    let offset_ms = zone_ms(zone)
        .ok_or_else(|| failure(-1130, "Data sent for parameter 'timeZone' is not valid."))?;
    let open_ms = Interval::Fixed(DAY_MS).start_of(request.now_ms(), offset_ms);
    since(exchange, request, open_ms, open_ms + DAY_MS - 1)
}

/// `/api/v3/ticker`: a window of minutes, hours or days that ends now.
pub(super) fn window(exchange: &Exchange, request: &Request) -> Result<Reply, Failure> {
    let size = request.get("windowSize").unwrap_or("1d");
    let length_ms = match Interval::parse(size) {
        Some(Interval::Fixed(length_ms))
            if (60_000..=7 * DAY_MS).contains(&length_ms) && !size.ends_with('s') =>
        {
            length_ms
        }
        _ => {
            return Err(failure(
                -1130,
                "Data sent for parameter 'windowSize' is not valid.",
            ));
        }
    };
    let now_ms = request.now_ms();
    let open_ms = Interval::MINUTE.start_of(now_ms - length_ms, 0);
    since(exchange, request, open_ms, now_ms)
}

fn since(
    exchange: &Exchange,
    request: &Request,
    open_ms: i64,
    close_ms: i64,
) -> Result<Reply, Failure> {
    if request.get("symbol").is_none() && request.get("symbols").is_none() {
        return Err(failure(
            -1128,
            "Combination of optional parameters invalid.",
        ));
    }
    let (indexes, single) = symbols(exchange, request)?;
    if indexes.len() > SYMBOLS_MAX {
        return Err(failure(
            -1101,
            "Too many values sent for parameter 'symbols'.",
        ));
    }
    let is_mini = request.get("type").is_some_and(|kind| kind == "MINI");
    let mut rows = Vec::new();
    for index in indexes {
        let instrument = exchange.instrument(index);
        let mut core = exchange.core(index);
        let (Some(book), Some(last), Some(bar)) = (
            core.book_now(instrument),
            core.tape.last().copied(),
            core.tape.summary_since(open_ms),
        ) else {
            continue;
        };
        drop(core);
        let mut row = json!({"symbol": instrument.symbol});
        for (_, name, value) in encode::day_fields(instrument, &bar, &last, &book, request.now_us) {
            let is_of_window = match name {
                "priceChange" | "priceChangePercent" | "weightedAvgPrice" => !is_mini,
                "prevClosePrice" | "lastQty" | "bidPrice" | "bidQty" | "askPrice" | "askQty" => {
                    false
                }
                _ => true,
            };
            if is_of_window {
                row[name] = serde_json::from_str(&value).expect("the fields are JSON values");
            }
        }
        row["openTime"] = Value::from(open_ms);
        row["closeTime"] = Value::from(close_ms);
        rows.push(row);
    }
    Ok(Reply::ok(match (single, rows.first()) {
        (true, Some(row)) => row.to_string(),
        (true, None) => "{}".to_owned(),
        (false, _) => Value::from(rows).to_string(),
    }))
}
