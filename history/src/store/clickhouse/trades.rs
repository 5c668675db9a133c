//! Trades as rows of `market_trades`.

use market_core::{AggressorSide, Price, Quantity, Trade};

use super::binary::{Reader, put_bytes, put_decimal, put_text};
use super::{
    ClickHouseStore, INSERT_ROWS_MAX, READ_ROWS_MAX, check_time, instant, quoted, schema, span_of,
};
use crate::block::{decode_trades, encode_trades};
use crate::store::remote::Purpose;
use crate::store::{Cursor, Instrument, Order, Page, Range, StoreError, TradeStore, Watermark};

const WRITTEN: &str = "exchange, symbol, event_time, first_id, last_id, price, quantity, aggressor_side, received_us, exact";
const READ: &str =
    "event_time, first_id, last_id, price, quantity, aggressor_side, received_us, exact";

const BUY: u8 = 1;
const SELL: u8 = 2;

fn put_row(out: &mut Vec<u8>, trade: &Trade) -> Result<(), StoreError> {
    out.extend(trade.event_ms.to_le_bytes());
    out.extend(trade.first_id.to_le_bytes());
    out.extend(trade.last_id.to_le_bytes());
    let is_exact = put_decimal(out, trade.price.parts());
    let is_exact = put_decimal(out, trade.quantity.parts()) && is_exact;
    out.push(match trade.aggressor_side {
        AggressorSide::Buy => BUY,
        AggressorSide::Sell => SELL,
    });
    out.extend(trade.received_us.to_le_bytes());
    let exact = match is_exact {
        true => Vec::new(),
        false => encode_trades(&[*trade]).map_err(StoreError::Rows)?,
    };
    put_bytes(out, &exact);
    Ok(())
}

fn read_row(reader: &mut Reader<'_>) -> Option<Trade> {
    let event_ms = reader.i64()?;
    let (first_id, last_id) = (reader.u64()?, reader.u64()?);
    let (price, quantity) = (reader.decimal()?, reader.decimal()?);
    let aggressor_side = match reader.u8()? {
        BUY => AggressorSide::Buy,
        SELL => AggressorSide::Sell,
        _ => return None,
    };
    let received_us = reader.i64()?;
    let exact = reader.bytes()?;
    if !exact.is_empty() {
        let mut trades = Vec::new();
        decode_trades(exact, &mut trades).ok()?;
        return trades.pop();
    }
    Some(Trade {
        first_id,
        last_id,
        event_ms,
        price: Price::from_parts(price.0, price.1)?,
        quantity: Quantity::from_parts(quantity.0, quantity.1)?,
        aggressor_side,
        received_us,
    })
}

fn key(trade: &Trade) -> Cursor {
    Cursor {
        at_ms: trade.event_ms,
        id: trade.first_id,
    }
}

fn check(trades: &[Trade]) -> Result<(), StoreError> {
    trades
        .iter()
        .try_for_each(|trade| check_time(trade.event_ms))?;
    trades.chunks(1_000).try_for_each(|trades| {
        let encoded = encode_trades(trades);
        encoded.map(drop).map_err(StoreError::Rows)
    })
}

impl ClickHouseStore {
    fn write_trades(&self, rows: &[(&Instrument, &Trade)]) -> Result<(), StoreError> {
        let mut bytes = Vec::new();
        for (instrument, trade) in rows {
            put_text(&mut bytes, &instrument.exchange);
            put_text(&mut bytes, instrument.symbol.as_str());
            put_row(&mut bytes, trade)?;
        }
        self.insert(schema::TRADES, WRITTEN, bytes)
    }
}

impl TradeStore for ClickHouseStore {
    fn append_trades(
        &self,
        batch: &[(Instrument, Vec<Trade>)],
        watermark: Option<&Watermark>,
    ) -> Result<(), StoreError> {
        for (_, trades) in batch {
            check(trades)?;
        }
        let rows = batch
            .iter()
            .flat_map(|(instrument, trades)| trades.iter().map(move |trade| (instrument, trade)));
        let rows: Vec<_> = rows.collect();
        rows.chunks(INSERT_ROWS_MAX)
            .try_for_each(|rows| self.write_trades(rows))?;
        self.put_watermark(watermark, rows.len())
    }

    fn trades(&self, instrument: &Instrument, range: &Range) -> Result<Page<Trade>, StoreError> {
        let (from_ms, to_ms) = span_of(range);
        let (order, beyond) = match range.order {
            Order::Ascending => ("ASC", '>'),
            Order::Descending => ("DESC", '<'),
        };
        let table = self.table(schema::TRADES);
        let mut cursor = range.cursor;
        // One more tells whether something follows.
        let wanted = range.limit.saturating_add(1);
        let mut rows: Vec<Trade> = Vec::new();
        while rows.len() < wanted && from_ms < to_ms {
            let count = (wanted - rows.len()).min(READ_ROWS_MAX);
            let after = cursor.map(|cursor| {
                let at = instant(cursor.at_ms.clamp(from_ms, to_ms));
                let id = match cursor.at_ms {
                    at_ms if at_ms < from_ms => 0,
                    _ => cursor.id,
                };
                // The first condition is for the index.
                format!(
                    " AND event_time {beyond}= {at} AND (event_time {beyond} {at} OR first_id {beyond} {id})"
                )
            });
            let sql = format!(
                "SELECT {READ} FROM {table} WHERE exchange = {} AND symbol = {} AND event_time >= {} AND event_time < {}{} ORDER BY event_time {order}, first_id {order} LIMIT {count}",
                quoted(&instrument.exchange),
                quoted(instrument.symbol.as_str()),
                instant(from_ms),
                instant(to_ms),
                after.unwrap_or_default()
            );
            let bytes = self.ask(&sql, Purpose::Read)?;
            let read = self.rows(&bytes, read_row)?;
            for trade in &read {
                // Parts that are not merged yet hold a trade twice.
                if rows.last().map(key) != Some(key(trade)) {
                    rows.push(*trade);
                }
            }
            cursor = match read.last() {
                Some(last) if read.len() >= count => Some(key(last)),
                _ => break,
            };
        }
        Ok(Page::of(rows, range.limit, key))
    }

    fn check_trade(&self, trade: &Trade) -> Result<(), StoreError> {
        check(&[*trade])
    }
}
