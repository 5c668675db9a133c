//! Binance's REST answers from the tape: klines, trades, aggregates, the book and the average price.

use serde_json::json;

use super::encode;
use super::query::{Failure, failure, illegal, limit, symbol, time_ms, zone_ms};
use super::stream::{find_interval, kline_interval};
use crate::exchange::Exchange;
use crate::fixed::decimal;
use crate::trade::Trade;
use crate::venues::request::{Reply, Request};

/// Most rows in an answer.
const LIMIT_MAX: i64 = 1_000;
/// Most aggregates inspected for one answer.
const AGGREGATE_TRADES_MAX: usize = 200_000;

/// `/api/v3/klines`
pub(super) fn klines(exchange: &Exchange, request: &Request) -> Result<Reply, Failure> {
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

/// `/api/v3/trades` and `/api/v3/historicalTrades`
pub(super) fn trades(
    exchange: &Exchange,
    request: &Request,
    historical: bool,
) -> Result<Reply, Failure> {
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

/// `/api/v3/aggTrades`
pub(super) fn aggregates(exchange: &Exchange, request: &Request) -> Result<Reply, Failure> {
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

/// `/api/v3/depth`
pub(super) fn depth(exchange: &Exchange, request: &Request) -> Result<Reply, Failure> {
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

/// `/api/v3/avgPrice`
pub(super) fn average(exchange: &Exchange, request: &Request) -> Result<Reply, Failure> {
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
