//! Blocks of trades.

use market_core::sequence::ID_MAX;
use market_core::{AggressorSide, Price, Quantity, Trade};

use super::BlockError;
use super::column::{ColumnReader, ColumnWriter, Kind, deltas, undo_deltas};
use super::decimals::{Decimals, put_scale, put_wide, take_scale, take_wide};

const MICROS: i64 = 1_000;

/// The columns of a block, for readers of many rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TradeColumns {
    /// Event times, ms.
    pub event_ms: Vec<i64>,
    /// The first trade ids.
    pub first_id: Vec<i64>,
    /// The last trade ids.
    pub last_id: Vec<i64>,
    /// In the quote currency.
    pub price: Decimals,
    /// In the base currency.
    pub quantity: Decimals,
    /// 1 where the taker bought, 0 where the taker sold.
    pub is_buy: Vec<i64>,
    /// Receive times, µs.
    pub received_us: Vec<i64>,
}

/// Encodes trades of one instrument in the given order.
///
/// # Errors
/// `Unstorable` for no rows, more than [`super::BLOCK_ROWS_MAX`], or a trade whose ids fall.
pub fn encode_trades(trades: &[Trade]) -> Result<Vec<u8>, BlockError> {
    let mut writer = ColumnWriter::new(Kind::Trades, trades.len())?;
    let is_sound = |trade: &Trade| (trade.first_id..=ID_MAX).contains(&trade.last_id);
    if !trades.iter().all(is_sound) {
        return Err(BlockError::Unstorable(
            "trade ids that fall or are too high",
        ));
    }
    writer.put(&deltas(trades.iter().map(|trade| trade.event_ms)))?;
    let mut next = 0u64;
    let mut skipped = Vec::with_capacity(trades.len());
    for trade in trades {
        skipped.push(trade.first_id.wrapping_sub(next).cast_signed());
        next = trade.last_id.wrapping_add(1);
    }
    writer.put(&skipped)?;
    let more = trades
        .iter()
        .map(|trade| (trade.last_id - trade.first_id).cast_signed());
    writer.put(&more.collect::<Vec<_>>())?;
    let prices: Vec<_> = trades.iter().map(|trade| trade.price.parts()).collect();
    match Decimals::common_scale([&prices]) {
        Some((scale, [mantissas])) => {
            put_scale(&mut writer, trades.len(), Some(scale))?;
            writer.put(&deltas(mantissas))?;
        }
        None => {
            put_scale(&mut writer, trades.len(), None)?;
            put_wide(&mut writer, &prices)?;
        }
    }
    let quantities: Vec<_> = trades.iter().map(|trade| trade.quantity.parts()).collect();
    match Decimals::common_scale([&quantities]) {
        Some((scale, [mantissas])) => {
            put_scale(&mut writer, trades.len(), Some(scale))?;
            writer.put(&mantissas)?;
        }
        None => {
            put_scale(&mut writer, trades.len(), None)?;
            put_wide(&mut writer, &quantities)?;
        }
    }
    let is_buy = trades
        .iter()
        .map(|trade| i64::from(trade.aggressor_side == AggressorSide::Buy));
    writer.put(&is_buy.collect::<Vec<_>>())?;
    let transit = trades.iter().map(|trade| {
        let event_us = trade.event_ms.wrapping_mul(MICROS);
        trade.received_us.wrapping_sub(event_us)
    });
    writer.put(&transit.collect::<Vec<_>>())?;
    Ok(writer.finish())
}

/// Decodes the columns of a block without making rows.
///
/// # Errors
/// `Torn`, `Version`, or `Impossible` with what is wrong.
pub fn decode_trade_columns(block: &[u8]) -> Result<TradeColumns, BlockError> {
    let mut reader = ColumnReader::new(Kind::Trades, block)?;
    let mut event_ms = reader.take()?;
    undo_deltas(&mut event_ms);
    let (mut first_id, mut last_id) = (reader.take()?, reader.take()?);
    let mut next = 0i64;
    for (first, last) in first_id.iter_mut().zip(&mut last_id) {
        *first = first.wrapping_add(next);
        *last = last.wrapping_add(*first);
        next = last.wrapping_add(1);
    }
    let price = match take_scale(&mut reader)? {
        Some(scale) => {
            let mut mantissas = reader.take()?;
            undo_deltas(&mut mantissas);
            Decimals::Scaled { scale, mantissas }
        }
        None => Decimals::Wide(take_wide(&mut reader)?),
    };
    let quantity = match take_scale(&mut reader)? {
        Some(scale) => Decimals::Scaled {
            scale,
            mantissas: reader.take()?,
        },
        None => Decimals::Wide(take_wide(&mut reader)?),
    };
    let is_buy = reader.take()?;
    let mut received_us = reader.take()?;
    for (received, event) in received_us.iter_mut().zip(&event_ms) {
        *received = received.wrapping_add(event.wrapping_mul(MICROS));
    }
    reader.finish()?;
    Ok(TradeColumns {
        event_ms,
        first_id,
        last_id,
        price,
        quantity,
        is_buy,
        received_us,
    })
}

/// Decodes a block, appending its trades to `out`.
///
/// # Errors
/// As for [`decode_trade_columns`]; `out` may then hold some of the trades.
pub fn decode_trades(block: &[u8], out: &mut Vec<Trade>) -> Result<(), BlockError> {
    let columns = decode_trade_columns(block)?;
    for row in 0..columns.event_ms.len() {
        let ((price, price_scale), (quantity, quantity_scale)) =
            (columns.price.get(row), columns.quantity.get(row));
        let first_id = columns.first_id[row].cast_unsigned();
        let last_id = columns.last_id[row].cast_unsigned();
        if last_id < first_id || last_id > ID_MAX {
            return Err(BlockError::Impossible("trade ids"));
        }
        out.push(Trade {
            first_id,
            last_id,
            event_ms: columns.event_ms[row],
            price: Price::from_parts(price, price_scale)
                .ok_or(BlockError::Impossible("a price"))?,
            quantity: Quantity::from_parts(quantity, quantity_scale)
                .ok_or(BlockError::Impossible("a quantity"))?,
            aggressor_side: match columns.is_buy[row] {
                0 => AggressorSide::Sell,
                1 => AggressorSide::Buy,
                _ => return Err(BlockError::Impossible("an aggressor side")),
            },
            received_us: columns.received_us[row],
        });
    }
    Ok(())
}
