//! Tickers. `/api/v3/ticker/price`, `/api/v3/ticker/24hr` and `/api/v3/avgPrice` are made of bars, and
//! `/api/v3/ticker/bookTicker` of quotes.

use std::time::Instant;

use market_core::binance::decimal::text;
use market_core::{BarRow, Timeframe, UnixMillis, Width};
use serde_json::{Value, json};
use service::wall_clock_ms;

use super::failure::{self, Answer, Failure};
use super::listing::{Listed, Market};
use super::query::Parameters;
use super::quotes::Found;
use super::rows::Wanted;
use super::span::{self, Sums, UNKNOWN, silent};
use crate::History;

const MINUTE_MS: UnixMillis = 60_000;
/// Bars of a minute in a day, and the forming one.
const MINUTES_A_DAY: usize = 1_441;
/// Bars of a minute behind the average price.
const AVERAGE_MINUTES: usize = 5;

/// The newest prices.
pub(super) async fn prices(market: &Market, parameters: &Parameters) -> Answer {
    let (listed, is_one) = parameters.symbols(market)?;
    let access = market.access.clone();
    // All at once: most bars come from the bus, and need no file.
    let read = move |history: &History| {
        let mut rows = Vec::with_capacity(listed.len());
        for listed in &listed {
            let permits = |timeframe| access.permits_bars(&listed.instrument, timeframe);
            if let Some(newest) = history.newest_bar(&listed.instrument, permits)? {
                let bar = newest.row;
                let price = bar.close.to_string();
                rows.push(json!({"symbol": listed.name, "price": price}));
            }
        }
        Ok(rows)
    };
    one_or_all(market.read(read).await?, is_one)
}

/// The last 24 hours.
pub(super) async fn days(market: &Market, parameters: &Parameters) -> Answer {
    let (listed, is_one) = parameters.symbols(market)?;
    if let ([listed], true) = (&listed[..], is_one) {
        let bars = minutes(market, listed, MINUTES_A_DAY).await?;
        return one_or_all(day(&listed.name, &bars).into_iter().collect(), is_one);
    }
    let mut tickers = market.day_tickers.lock().await;
    let now = Instant::now();
    tickers.expire(now);
    let mut rows = Vec::with_capacity(listed.len());
    for listed in &listed {
        // Before the kept ones: another client may have been permitted this one.
        let is_permitted = market
            .access
            .permits_bars(&listed.instrument, Timeframe::MINUTE);
        if !is_permitted {
            continue;
        }
        if tickers.get(&listed.name).is_none() {
            let bars = minutes(market, listed, MINUTES_A_DAY).await?;
            tickers.put(listed.name.clone(), day(&listed.name, &bars), now);
        }
        rows.extend(tickers.get(&listed.name).cloned().flatten());
    }
    one_or_all(rows, is_one)
}

/// The best bids and asks of one symbol, or of several.
pub(super) async fn book_tickers(market: &Market, parameters: &Parameters) -> Answer {
    let (listed, is_one) = parameters.symbols(market)?;
    if is_one && let [listed] = &listed[..] {
        let checked = market.access.check_quotes(&listed.instrument);
        checked.map_err(|error| failure::forbidden(&error))?;
    }
    // Who asks meanwhile waits for the same read.
    let mut quotes = market.quotes.lock().await;
    let newest = quotes.newest(&*market.history.bus).await;
    let newest = newest.ok_or_else(failure::busy)?;
    let silence_max_ms = i64::from(market.history.api.history_book_silence_ms);
    let (mut rows, mut has_old) = (Vec::new(), false);
    for listed in &listed {
        let instrument = &listed.instrument;
        if !market.access.permits_quotes(instrument) {
            continue;
        }
        let now_ms = wall_clock_ms();
        let is_followed = market.history.is_followed(instrument, now_ms);
        let is_followed = is_followed.unwrap_or(true);
        match newest.of(instrument, now_ms, silence_max_ms, is_followed) {
            Found::Row(row) => rows.push(row.clone()),
            Found::Old => has_old = true,
            Found::None => {}
        }
    }
    match (is_one, rows.first()) {
        (true, Some(row)) => Ok(row.to_string()),
        (_, None) if has_old => Err(failure::old_quote()),
        (true, None) => Err(failure::no_quote()),
        (false, _) if newest.is_empty() => Err(failure::no_quote()),
        (false, _) => Ok(Value::from(rows).to_string()),
    }
}

/// The average price of the last five minutes, by volume; the last price if there was no trade.
pub(super) async fn average(market: &Market, parameters: &Parameters) -> Answer {
    let listed = parameters.symbol(market)?;
    let bars = minutes(market, &listed, AVERAGE_MINUTES).await?;
    let Some(last) = bars.last() else {
        return Err(failure::invalid_symbol());
    };
    let sums = Sums::of(&bars);
    let price = sums.average().map_or_else(|| last.close.to_string(), text);
    let answer = json!({
        "mins": AVERAGE_MINUTES,
        "price": price,
        "closeTime": last.event_ms.unwrap_or(last.start_ms),
    });
    Ok(answer.to_string())
}

/// One object if one symbol was named, otherwise a list.
pub(super) fn one_or_all(mut rows: Vec<Value>, is_one: bool) -> Answer {
    match is_one {
        true => rows
            .pop()
            .map(|row| row.to_string())
            .ok_or_else(failure::invalid_symbol),
        false => Ok(Value::from(rows).to_string()),
    }
}

/// The bars of the last so many minutes, the forming one included.
async fn minutes(market: &Market, listed: &Listed, count: usize) -> Result<Vec<BarRow>, Failure> {
    let minute: Width = Timeframe::MINUTE.into();
    let back = MINUTE_MS.saturating_mul(UnixMillis::try_from(count).unwrap_or(UnixMillis::MAX));
    let wanted = Wanted {
        width: minute,
        from_ms: None,
        to_ms: None,
        limit: count,
    };
    let mut rows = market.rows(&listed.instrument, wanted).await?;
    let since_ms = wall_clock_ms().saturating_sub(back);
    // A market that was silent for longer has its last price, and no volume.
    let is_recent = |row: &BarRow| row.start_ms >= since_ms;
    if let Some(last) = rows.last().copied()
        && !is_recent(&last)
    {
        return Ok(vec![silent(last)]);
    }
    rows.retain(is_recent);
    Ok(rows)
}

/// The ticker of the last 24 hours.
fn day(name: &str, bars: &[BarRow]) -> Option<Value> {
    let (first, last) = (bars.first()?, bars.last()?);
    let close_ms = last.start_ms.saturating_add(MINUTE_MS - 1);
    let mut row = span::whole(name, bars, (first.start_ms, close_ms))?;
    row["prevClosePrice"] = first.open.to_string().into();
    for unknown in ["lastQty", "bidPrice", "bidQty", "askPrice", "askQty"] {
        row[unknown] = UNKNOWN.into();
    }
    Some(row)
}
