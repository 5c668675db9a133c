//! Stored trades: `/api/v3/trades`, `/api/v3/historicalTrades` and `/api/v3/aggTrades`.
//!
//! A venue's aggregate of trades is one row, and so is a single trade: `aggTrades` has the same rows
//! as the others, numbered by their last trade id, as the events of `@aggTrade` are.

use std::fmt::Write as _;

use market_core::{AggressorSide, Trade, UnixMillis};

use super::failure::{self, Answer, Failure};
use super::listing::{Listed, Market};
use super::query::Parameters;
use crate::History;
use crate::store::{Instrument, Order, Range, Store, StoreError};

const LIMIT_DEFAULT: usize = 500;
const LIMIT_MAX: usize = 1_000;
/// Steps of the search for a trade id: enough for every time.
const STEPS_MAX: usize = 64;

/// Which trades.
#[derive(Clone, Copy, Debug)]
enum Which {
    Newest,
    FromId(u64),
    Between(UnixMillis, UnixMillis),
}

/// The newest trades, the newest one last.
pub(super) async fn newest(market: &Market, parameters: &Parameters) -> Answer {
    rows(market, parameters, Which::Newest, push_trade).await
}

/// Trades from an id on.
pub(super) async fn historical(market: &Market, parameters: &Parameters) -> Answer {
    let which = from_id(parameters)?.map_or(Which::Newest, Which::FromId);
    rows(market, parameters, which, push_trade).await
}

/// Trades from an id on, or of a time.
pub(super) async fn aggregates(market: &Market, parameters: &Parameters) -> Answer {
    let from_id = from_id(parameters)?;
    let start_ms = parameters.time_ms("startTime")?;
    let end_ms = parameters.time_ms("endTime")?;
    let which = match (from_id, start_ms, end_ms) {
        (None, None, None) => Which::Newest,
        (Some(id), None, None) => Which::FromId(id),
        (None, start_ms, end_ms) => Which::Between(
            start_ms.unwrap_or(0),
            end_ms.map_or(UnixMillis::MAX, |end| end.saturating_add(1)),
        ),
        _ => {
            let message = "write fromId, or startTime and endTime";
            return Err(failure::combination(message));
        }
    };
    rows(market, parameters, which, push_aggregate).await
}

fn from_id(parameters: &Parameters) -> Result<Option<u64>, Failure> {
    let id = parameters.number("fromId")?;
    id.map(|id| u64::try_from(id).map_err(|_| failure::illegal("fromId")))
        .transpose()
}

async fn rows(
    market: &Market,
    parameters: &Parameters,
    which: Which,
    push: fn(&mut String, &Trade),
) -> Answer {
    let Listed { name, instrument } = parameters.symbol(market)?;
    market
        .access
        .check_trades(&instrument)
        .map_err(|error| failure::forbidden(&error))?;
    let limit = parameters.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let call = move |history: &History| Ok(read(&*history.store, &instrument, which, limit)?);
    let trades = market.read(call).await?;
    let trades = trades.ok_or_else(|| failure::no_trades(&name))?;
    let mut json = String::with_capacity(2 + trades.len() * 160);
    json.push('[');
    for (index, trade) in trades.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        push(&mut json, trade);
    }
    json.push(']');
    Ok(json)
}

/// Trades by ascending time; `None` if none of the instrument are stored.
fn read(
    store: &dyn Store,
    instrument: &Instrument,
    which: Which,
    limit: usize,
) -> Result<Option<Vec<Trade>>, StoreError> {
    let newest = Range {
        order: Order::Descending,
        ..Range::new(UnixMillis::MIN, UnixMillis::MAX, 1)
    };
    let Some(last) = store.trades(instrument, &newest)?.rows.pop() else {
        return Ok(None);
    };
    let (range, from_id) = match which {
        Which::Newest => {
            let page = store.trades(instrument, &Range { limit, ..newest })?;
            let mut trades = page.rows;
            trades.reverse();
            return Ok(Some(trades));
        }
        Which::Between(from_ms, to_ms) => (Range::new(from_ms, to_ms, limit), 0),
        Which::FromId(id) if id > last.last_id => return Ok(Some(Vec::new())),
        Which::FromId(id) => {
            let from_ms = time_of(store, instrument, id, last.event_ms)?;
            (Range::new(from_ms, UnixMillis::MAX, limit), id)
        }
    };
    let mut range = range;
    let mut trades = Vec::new();
    loop {
        let page = store.trades(instrument, &range)?;
        let wanted = page
            .rows
            .into_iter()
            .filter(|trade| trade.last_id >= from_id);
        trades.extend(wanted.take(limit - trades.len()));
        // The first page may have older trades of the same millisecond.
        match page.next {
            Some(next) if trades.is_empty() => range.cursor = Some(next),
            _ => return Ok(Some(trades)),
        }
    }
}

/// A time at or before the trade of an id, and close to it: a venue's ids rise with time.
fn time_of(
    store: &dyn Store,
    instrument: &Instrument,
    id: u64,
    last_ms: UnixMillis,
) -> Result<UnixMillis, StoreError> {
    let first_since = |at_ms| {
        let page = store.trades(instrument, &Range::new(at_ms, UnixMillis::MAX, 1))?;
        Ok::<_, StoreError>(page.rows.into_iter().next())
    };
    let Some(first) = first_since(UnixMillis::MIN)? else {
        return Ok(last_ms);
    };
    let (mut low_ms, mut high_ms) = (first.event_ms, last_ms.saturating_add(1));
    for _ in 0..STEPS_MAX {
        let middle_ms = low_ms.saturating_add(high_ms.saturating_sub(low_ms) / 2);
        if middle_ms == low_ms {
            break;
        }
        match first_since(middle_ms)? {
            Some(trade) if trade.last_id < id => low_ms = middle_ms,
            _ => high_ms = middle_ms,
        }
    }
    Ok(low_ms)
}

/// `{"id":28457,"price":"4.00000100","qty":"12.00000000","quoteQty":"48.000012","time":1499865549590,"isBuyerMaker":true,"isBestMatch":true}`
fn push_trade(json: &mut String, trade: &Trade) {
    let Trade {
        last_id,
        event_ms,
        price,
        quantity,
        ..
    } = trade;
    let quote = price.times(*quantity);
    let is_buyer_maker = is_buyer_maker(trade);
    let _ = write!(
        json,
        r#"{{"id":{last_id},"price":"{price}","qty":"{quantity}","quoteQty":"{quote}","time":{event_ms},"isBuyerMaker":{is_buyer_maker},"isBestMatch":true}}"#
    );
}

/// `{"a":26129,"p":"0.01633102","q":"4.70443515","f":27781,"l":27781,"T":1498793709153,"m":true,"M":true}`
fn push_aggregate(json: &mut String, trade: &Trade) {
    let Trade {
        first_id,
        last_id,
        event_ms,
        price,
        quantity,
        ..
    } = trade;
    let is_buyer_maker = is_buyer_maker(trade);
    let _ = write!(
        json,
        r#"{{"a":{last_id},"p":"{price}","q":"{quantity}","f":{first_id},"l":{last_id},"T":{event_ms},"m":{is_buyer_maker},"M":true}}"#
    );
}

fn is_buyer_maker(trade: &Trade) -> bool {
    trade.aggressor_side == AggressorSide::Sell
}

#[cfg(test)]
mod tests {
    use market_core::binance::TradeEvent;
    use market_core::wire::{Stamp, encode_trade_entry};
    use market_core::{Price, Quantity};
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_row_of_an_aggregate_is_its_event() {
        let trade = Trade {
            first_id: 41,
            last_id: 43,
            event_ms: 1_723_161_255_342,
            price: Price::parse("61837.63").expect("a price"),
            quantity: Quantity::parse("0.02").expect("a quantity"),
            aggressor_side: AggressorSide::Sell,
            received_us: 1_723_161_255_350_000,
        };
        let stamp = Stamp {
            seq: 1,
            epoch: 1,
            published_us: 7,
        };
        let symbol = "BTC-USDT".parse().expect("a symbol");
        let topic = "trade:BTC-USDT".parse().expect("a topic");
        let published = encode_trade_entry(&topic, "binance", &symbol, &trade, stamp);
        let event = TradeEvent::read(&published).and_then(|trade| trade.aggregate_event());
        let event: Value = serde_json::from_str(&event.expect("a name")).expect("JSON");
        let mut row = String::new();
        push_aggregate(&mut row, &trade);
        let row: Value = serde_json::from_str(&row).expect("JSON");
        for (name, value) in row.as_object().expect("an object") {
            assert_eq!(value, &event[name], "{name}");
        }
    }
}
