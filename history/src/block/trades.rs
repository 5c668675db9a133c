//! Blocks of trades.

use market_core::sequence::ID_MAX;
use market_core::{AggressorSide, Price, Quantity, Trade};

use super::column::{ColumnReader, ColumnWriter, Kind, PackedColumn, deltas, undo_deltas};
use super::decimals::{Decimals, PackedDecimals, put_scale, put_wide};
use super::error::BlockError;

const MICROS: i64 = 1_000;

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
    // Trades of one burst have one event time, and are received one soon after the other.
    writer.put_series(&transit.collect::<Vec<_>>())?;
    Ok(writer.finish())
}

/// A block whose columns are unpacked when they are asked for: a reader of many rows pays for
/// nothing else.
#[derive(Clone, Copy, Debug)]
pub struct TradeBlock<'a> {
    rows: usize,
    event_ms: PackedColumn<'a>,
    skipped_ids: PackedColumn<'a>,
    more_ids: PackedColumn<'a>,
    price: PackedDecimals<'a>,
    quantity: PackedDecimals<'a>,
    is_buy: PackedColumn<'a>,
    transit_us: PackedColumn<'a>,
}

impl<'a> TradeBlock<'a> {
    /// Checks a block, and finds its columns.
    ///
    /// # Errors
    /// `Torn`, `Version`, or `Impossible` with what is wrong.
    pub fn new(block: &'a [u8]) -> Result<Self, BlockError> {
        let mut reader = ColumnReader::new(Kind::Trades, block)?;
        let block = Self {
            rows: reader.rows,
            event_ms: reader.take_packed()?,
            skipped_ids: reader.take_packed()?,
            more_ids: reader.take_packed()?,
            price: PackedDecimals::take(&mut reader)?,
            quantity: PackedDecimals::take(&mut reader)?,
            is_buy: reader.take_packed()?,
            transit_us: reader.take_packed()?,
        };
        reader.finish()?;
        Ok(block)
    }

    /// The number of trades.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Event times, ms.
    ///
    /// # Errors
    /// `Impossible` with what is wrong: this holds for all columns.
    pub fn event_ms(&self) -> Result<Vec<i64>, BlockError> {
        let mut event_ms = self.event_ms.unpack()?;
        undo_deltas(&mut event_ms);
        Ok(event_ms)
    }

    /// The first and the last ids.
    ///
    /// # Errors
    /// As for [`Self::event_ms`].
    pub fn ids(&self) -> Result<(Vec<i64>, Vec<i64>), BlockError> {
        let (mut first, mut last) = (self.skipped_ids.unpack()?, self.more_ids.unpack()?);
        let mut next = 0i64;
        for (first, last) in first.iter_mut().zip(&mut last) {
            *first = first.wrapping_add(next);
            *last = last.wrapping_add(*first);
            next = last.wrapping_add(1);
        }
        Ok((first, last))
    }

    /// In the quote currency.
    ///
    /// # Errors
    /// As for [`Self::event_ms`].
    pub fn price(&self) -> Result<Decimals, BlockError> {
        self.price.unpack(undo_deltas)
    }

    /// In the base currency.
    ///
    /// # Errors
    /// As for [`Self::event_ms`].
    pub fn quantity(&self) -> Result<Decimals, BlockError> {
        self.quantity.unpack(|_| {})
    }

    /// 1 where the taker bought, 0 where the taker sold.
    ///
    /// # Errors
    /// As for [`Self::event_ms`].
    pub fn is_buy(&self) -> Result<Vec<i64>, BlockError> {
        self.is_buy.unpack()
    }

    /// Receive times, µs; `event_ms` are those of this block. They are noise, and cost more than all
    /// other columns.
    ///
    /// # Errors
    /// As for [`Self::event_ms`].
    pub fn received_us(&self, event_ms: &[i64]) -> Result<Vec<i64>, BlockError> {
        let mut received_us = self.transit_us.unpack()?;
        for (received, event) in received_us.iter_mut().zip(event_ms) {
            *received = received.wrapping_add(event.wrapping_mul(MICROS));
        }
        Ok(received_us)
    }
}

/// Decodes a block, appending those of its trades to `out` whose place is in the span that `wanted`
/// makes of their times and first ids.
///
/// # Errors
/// As for [`TradeBlock`]; `out` may then hold some of the trades.
pub(crate) fn decode_some_trades(
    block: &[u8],
    wanted: impl FnOnce(&[i64], &[i64]) -> std::ops::Range<usize>,
    out: &mut Vec<Trade>,
) -> Result<(), BlockError> {
    let block = TradeBlock::new(block)?;
    let event_ms = block.event_ms()?;
    let (first_ids, last_ids) = block.ids()?;
    let rows = wanted(&event_ms, &first_ids);
    if rows.is_empty() {
        return Ok(());
    }
    let (prices, quantities) = (block.price()?, block.quantity()?);
    let is_buy = block.is_buy()?;
    let received_us = block.received_us(&event_ms)?;
    for row in rows {
        let ((price, price_scale), (quantity, quantity_scale)) =
            (prices.get(row), quantities.get(row));
        let first_id = first_ids[row].cast_unsigned();
        let last_id = last_ids[row].cast_unsigned();
        if last_id < first_id || last_id > ID_MAX {
            return Err(BlockError::Impossible("trade ids"));
        }
        out.push(Trade {
            first_id,
            last_id,
            event_ms: event_ms[row],
            price: Price::from_parts(price, price_scale)
                .ok_or(BlockError::Impossible("a price"))?,
            quantity: Quantity::from_parts(quantity, quantity_scale)
                .ok_or(BlockError::Impossible("a quantity"))?,
            aggressor_side: match is_buy[row] {
                0 => AggressorSide::Sell,
                1 => AggressorSide::Buy,
                _ => return Err(BlockError::Impossible("an aggressor side")),
            },
            received_us: received_us[row],
        });
    }
    Ok(())
}

/// Decodes a block, appending its trades to `out`.
///
/// # Errors
/// As for [`TradeBlock`]; `out` may then hold some of the trades.
pub fn decode_trades(block: &[u8], out: &mut Vec<Trade>) -> Result<(), BlockError> {
    decode_some_trades(block, |event_ms, _| 0..event_ms.len(), out)
}
