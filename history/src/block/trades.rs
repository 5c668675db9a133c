//! Blocks of trades.
//!
//! What a column holds instead of the field itself:
//!
//! | field | column |
//! |---|---|
//! | event time | less the one before |
//! | first id | less the last id before, less one |
//! | last id | less the first id |
//! | price | how far it moved in the taker's direction, beside a spread of one unit |
//! | side | whether it is not the side of the trade before |
//! | receive time | of the first trade of an event time: less this time |
//! | | of all others, in a column of their own: less the receive time before |
//!
//! One order of a taker makes trades with one event time, one side, and prices that move away. So
//! these columns are small numbers with a few values, where the fields by themselves are not.

use market_core::sequence::ID_MAX;
use market_core::{AggressorSide, Price, Quantity, Trade};

use super::column::{ColumnReader, ColumnWriter, Kind, PackedColumn, deltas, undo_deltas};
use super::decimals::{Decimals, PackedDecimals, put_scale, put_wide};
use super::error::BlockError;
use super::layout::VERSION_TRADES_ALONE;

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
    let is_buy = trades.iter().map(is_buy).collect::<Vec<_>>();
    match Decimals::common_scale([&prices]) {
        Some((scale, [mut mantissas])) => {
            put_scale(&mut writer, trades.len(), Some(scale))?;
            moves_of(&mut mantissas, &is_buy);
            writer.put(&mantissas)?;
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
    let mut before = 0;
    let changes = is_buy
        .iter()
        .map(|side| std::mem::replace(&mut before, *side) ^ side);
    writer.put(&changes.collect::<Vec<_>>())?;
    let mut transit = Vec::with_capacity(trades.len());
    let mut steps = Vec::with_capacity(trades.len());
    let mut before: Option<&Trade> = None;
    for trade in trades {
        match before.filter(|before| before.event_ms == trade.event_ms) {
            Some(before) => steps.push(trade.received_us.wrapping_sub(before.received_us)),
            None => {
                let event_us = trade.event_ms.wrapping_mul(MICROS);
                transit.push(trade.received_us.wrapping_sub(event_us));
            }
        }
        before = Some(trade);
    }
    writer.put_series(&transit)?;
    writer.put_series(&steps)?;
    Ok(writer.finish())
}

fn is_buy(trade: &Trade) -> i64 {
    i64::from(trade.aggressor_side == AggressorSide::Buy)
}

/// Makes moves of prices: how far each went from the one before, up for a purchase and down for a
/// sale. Where the side changed, one unit of it is the spread. [`undo_moves`] is the inverse.
fn moves_of(prices: &mut [i64], is_buy: &[i64]) {
    let (mut before, mut side_before) = (0i64, 0);
    for (price, side) in prices.iter_mut().zip(is_buy) {
        let change = price.wrapping_sub(before);
        before = *price;
        *price = in_direction(change.wrapping_sub(side.wrapping_sub(side_before)), *side);
        side_before = *side;
    }
}

fn undo_moves(moves: &mut [i64], is_buy: &[i64]) {
    let (mut price, mut side_before) = (0i64, 0);
    for (one, side) in moves.iter_mut().zip(is_buy) {
        let change = in_direction(*one, *side).wrapping_add(side.wrapping_sub(side_before));
        price = price.wrapping_add(change);
        side_before = *side;
        *one = price;
    }
}

/// Itself for a purchase, its opposite for a sale.
fn in_direction(change: i64, is_buy: i64) -> i64 {
    if is_buy == 0 {
        change.wrapping_neg()
    } else {
        change
    }
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
    /// Of the side.
    changes: PackedColumn<'a>,
    received: Received<'a>,
}

/// The receive times of a block.
#[derive(Clone, Copy, Debug)]
enum Received<'a> {
    /// As older programs wrote them: each less its event time.
    Alone(PackedColumn<'a>),
    /// Those of the first trades of an event time, and those of all others.
    Bursts([PackedColumn<'a>; 2]),
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
            changes: reader.take_packed()?,
            received: if reader.version <= VERSION_TRADES_ALONE {
                Received::Alone(reader.take_packed()?)
            } else {
                Received::Bursts([reader.take_packed()?, reader.take_packed()?])
            },
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

    /// In the quote currency; `is_buy` are the sides of this block.
    ///
    /// # Errors
    /// As for [`Self::event_ms`].
    pub fn price(&self, is_buy: &[i64]) -> Result<Decimals, BlockError> {
        self.price.unpack(|moves| match self.received {
            Received::Alone(_) => undo_deltas(moves),
            Received::Bursts(_) => undo_moves(moves, is_buy),
        })
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
        let mut sides = self.changes.unpack()?;
        if sides.iter().any(|value| !matches!(value, 0 | 1)) {
            return Err(BlockError::Impossible("an aggressor side"));
        }
        if let Received::Bursts(_) = self.received {
            let mut before = 0;
            for side in &mut sides {
                *side ^= before;
                before = *side;
            }
        }
        Ok(sides)
    }

    /// Receive times, µs; `event_ms` are those of this block. They are noise, and cost more than any
    /// other column.
    ///
    /// # Errors
    /// As for [`Self::event_ms`].
    pub fn received_us(&self, event_ms: &[i64]) -> Result<Vec<i64>, BlockError> {
        let [firsts, others] = match self.received {
            Received::Alone(transit) => {
                let mut received_us = transit.unpack()?;
                for (received, event) in received_us.iter_mut().zip(event_ms) {
                    *received = received.wrapping_add(event.wrapping_mul(MICROS));
                }
                return Ok(received_us);
            }
            Received::Bursts(columns) => columns,
        };
        let others_count = event_ms.windows(2).filter(|two| two[0] == two[1]).count();
        let firsts = firsts.of_rows(event_ms.len() - others_count).unpack()?;
        let others = others.of_rows(others_count).unpack()?;
        let (mut firsts, mut others) = (firsts.into_iter(), others.into_iter());
        let (mut received, mut event_before) = (0i64, None);
        let times = event_ms.iter().map(|event| {
            // Both columns have been counted: neither ends early.
            if event_before.replace(*event) == Some(*event) {
                received = received.wrapping_add(others.next().unwrap_or_default());
            } else {
                let transit = firsts.next().unwrap_or_default();
                received = event.wrapping_mul(MICROS).wrapping_add(transit);
            }
            received
        });
        Ok(times.collect())
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
    let is_buy = block.is_buy()?;
    let (prices, quantities) = (block.price(&is_buy)?, block.quantity()?);
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
