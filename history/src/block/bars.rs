//! Blocks of bars.
//!
//! What a column holds instead of the field itself:
//!
//! | field | column |
//! |---|---|
//! | start | less the end of the bar before |
//! | open | less the close before |
//! | high, low | distance from the higher and the lower of open and close |
//! | close | less the open |
//! | taker's volume | the lesser part of the volume: takers' purchases or sales; a flag says which |
//! | quote volume | what takers' sales brought, less their volume at the low |
//! | taker's quote volume | the taker's volume at the high, less what it cost |
//! | first id | less the last id before, less one |
//! | last id | less the first id and the number of trades |
//! | event time, known | less the end of the bar |
//! | receive time | less the event time |
//!
//! Takers buy at the ask and sell at the bid. So in a bar of these two prices both quote volumes are
//! known from the other columns, and in any other bar the columns hold small numbers.

mod fields;
mod pack;
#[cfg(test)]
mod tests;

use std::ops::Range;

use market_core::sequence::ID_MAX;
use market_core::{Amount, BarRow, IdSpan, Price, Quality, Timeframe};

use super::column::{ColumnReader, Kind};
use super::error::BlockError;
use super::layout::VERSION_MIN;

pub use pack::encode_bars;

use fields::{Parts, Prices, Quotes, Volumes};

const MICROS: i64 = 1_000;

/// In the column of flags: three bits of quality, and these.
const IMPORTED: i64 = 1 << 3;
const HAS_IDS: i64 = 1 << 4;
const HAS_EVENT: i64 = 1 << 5;
const HAS_RECEIVED: i64 = 1 << 6;
/// Four bits, one for each sum that gave up decimal places.
const ROUNDED: [i64; 4] = [1 << 7, 1 << 8, 1 << 9, 1 << 10];
/// Takers bought more than they sold.
const BOUGHT_MORE: i64 = 1 << 11;
/// Four bits, one for each field that the venue does not say: quote volume, both of takers, count.
const UNKNOWN: [i64; 4] = [1 << 12, 1 << 13, 1 << 14, 1 << 15];
const FLAGS_MAX: i64 = (1 << 16) - 1;

const QUALITIES: [Quality; 5] = [
    Quality::Complete,
    Quality::Gap,
    Quality::Backfilled,
    Quality::Partial,
    Quality::Filled,
];

/// What is wrong with the start of a bar, if anything.
fn check_start(timeframe: Timeframe, start_ms: i64) -> Result<(), &'static str> {
    // A year of a hundred thousand: dates beyond it have no calendar.
    const TIME_MAX_MS: i64 = 100_000 * 366 * 86_400_000;
    if !(-TIME_MAX_MS..TIME_MAX_MS).contains(&start_ms) {
        return Err("the start of a bar is out of range");
    }
    if timeframe.start_of(start_ms) != start_ms {
        return Err("the start of a bar is not one of its timeframe");
    }
    Ok(())
}

/// What is wrong with a bar that no store can hold, if anything.
pub(crate) fn check_bar(timeframe: Timeframe, row: &BarRow) -> Result<(), &'static str> {
    check_start(timeframe, row.start_ms)?;
    check(row)
}

/// The fault of a row whose start is right, if it has one.
fn check(row: &BarRow) -> Result<(), &'static str> {
    let range = row.low..=row.high;
    if !range.contains(&row.open) || !range.contains(&row.close) {
        return Err("open or close lies outside low and high");
    }
    let is_span = |ids: &IdSpan| ids.first <= ids.last && ids.last <= ID_MAX;
    if row.ids.is_some_and(|ids| !is_span(&ids)) {
        return Err("trade ids");
    }
    let sums = [
        Some(row.volume),
        row.quote_volume,
        row.taker_buy_volume,
        row.taker_buy_quote_volume,
    ];
    if sums.iter().flatten().any(|sum| sum.is_negative()) {
        return Err("a volume is below zero");
    }
    Ok(())
}

/// A block that is unpacked as far as all its rows depend on each other. Rows are made when they are
/// asked for.
#[derive(Clone, Debug)]
pub struct BarColumns {
    timeframe: Timeframe,
    /// Zeros of imported bars may be unknown: older programs had no other word for it.
    has_vague_zeros: bool,
    start_ms: Vec<i64>,
    flags: Vec<i64>,
    prices: Prices,
    volumes: Volumes,
    quotes: Quotes,
    count: Vec<i64>,
    first_id: Vec<i64>,
    more_ids: Vec<i64>,
    event: Vec<i64>,
    received: Vec<i64>,
    known: Vec<i64>,
    rev: Vec<i64>,
}

impl BarColumns {
    /// Checks and unpacks a block.
    ///
    /// # Errors
    /// `Torn`, `Version`, or `Impossible` with what is wrong.
    pub fn new(timeframe: Timeframe, block: &[u8]) -> Result<Self, BlockError> {
        let mut reader = ColumnReader::new(Kind::Bars, block)?;
        let start_ms = take_starts(timeframe, &mut reader)?;
        Self::take(timeframe, start_ms, reader)
    }

    /// The rows that the reader wants, of which it has read the starts.
    fn take(
        timeframe: Timeframe,
        start_ms: Vec<i64>,
        mut reader: ColumnReader<'_>,
    ) -> Result<Self, BlockError> {
        let has_vague_zeros = reader.version == VERSION_MIN;
        let flags = reader.take()?;
        let prices = Prices::take(&mut reader)?;
        let volumes = Volumes::take(&mut reader)?;
        let quotes = Quotes::take(&mut reader, &prices, &volumes)?;
        let [count, mut first_id, more_ids, event, received, known, rev] = reader.take_many()?;
        reader.finish()?;
        let mut next_id = 0i64;
        for row in 0..first_id.len() {
            if flags[row] & HAS_IDS != 0 {
                first_id[row] = first_id[row].wrapping_add(next_id);
                next_id = last_id(first_id[row], count[row], more_ids[row]).wrapping_add(1);
            }
        }
        Ok(Self {
            timeframe,
            has_vague_zeros,
            start_ms,
            flags,
            prices,
            volumes,
            quotes,
            count,
            first_id,
            more_ids,
            event,
            received,
            known,
            rev,
        })
    }

    /// First instants of the bars.
    #[must_use]
    pub fn start_ms(&self) -> &[i64] {
        &self.start_ms
    }

    /// One bar.
    ///
    /// # Errors
    /// `Impossible` with what is wrong.
    pub fn row(&self, row: usize) -> Result<BarRow, BlockError> {
        let bits = self.flags[row];
        if !(0..=FLAGS_MAX).contains(&bits) {
            return Err(BlockError::Impossible("flags"));
        }
        let has = |bit: i64| bits & bit != 0;
        let sum = |(mantissa, scale): Parts, rounded: i64| {
            if has(rounded) {
                Amount::from_rounded_parts(mantissa, scale)
            } else {
                Amount::from_parts(mantissa, scale)
            }
        };
        let prices = self.prices.get(row);
        let volumes = self.volumes.get(row, has(BOUGHT_MORE));
        let quotes = self.quotes.get(row, &prices, &volumes);
        let price = |(mantissa, scale): Parts| {
            Price::from_parts(mantissa, scale).ok_or(BlockError::Impossible("a price"))
        };
        let (first, count) = (self.first_id[row], self.count[row]);
        let ids = has(HAS_IDS).then(|| IdSpan {
            first: first.cast_unsigned(),
            last: last_id(first, count, self.more_ids[row]).cast_unsigned(),
        });
        let (volume, quote_volume) = (sum(volumes[0], ROUNDED[0]), sum(quotes[0], ROUNDED[1]));
        let [no_quote, no_taker, no_taker_quote, no_count] =
            match self.has_vague_zeros && has(IMPORTED) && !volume.is_zero() {
                // A volume above 0 has a quote volume and a number of trades above 0.
                true => {
                    let (no_quote, no_count) = (quote_volume.is_zero(), count == 0);
                    [no_quote, no_count, no_quote || no_count, no_count]
                }
                false => UNKNOWN.map(has),
            };
        let quality = usize::try_from(bits & 7).unwrap_or(usize::MAX);
        let start_ms = self.start_ms[row];
        let end_ms = self.timeframe.end_of(start_ms);
        let event_ms = self.event[row].wrapping_add(end_ms);
        let received_us = self.received[row].wrapping_add(event_ms.wrapping_mul(MICROS));
        let bar = BarRow {
            start_ms,
            open: price(prices[0])?,
            high: price(prices[1])?,
            low: price(prices[2])?,
            close: price(prices[3])?,
            volume,
            quote_volume: (!no_quote).then_some(quote_volume),
            taker_buy_volume: (!no_taker).then(|| sum(volumes[1], ROUNDED[2])),
            taker_buy_quote_volume: (!no_taker_quote).then(|| sum(quotes[1], ROUNDED[3])),
            count: (!no_count).then_some(count.cast_unsigned()),
            ids,
            event_ms: has(HAS_EVENT).then_some(event_ms),
            received_us: has(HAS_RECEIVED).then_some(received_us),
            rev: u32::try_from(self.rev[row]).map_err(|_| BlockError::Impossible("a revision"))?,
            quality: *QUALITIES
                .get(quality)
                .ok_or(BlockError::Impossible("a quality"))?,
            is_imported: has(IMPORTED),
            known_ms: self.known[row].wrapping_add(end_ms),
        };
        check(&bar).map_err(BlockError::Impossible)?;
        Ok(bar)
    }
}

/// The starts of all bars of a block.
fn take_starts(
    timeframe: Timeframe,
    reader: &mut ColumnReader<'_>,
) -> Result<Vec<i64>, BlockError> {
    let mut start_ms = reader.take()?;
    let mut end_before = 0i64;
    for start_ms in &mut start_ms {
        *start_ms = start_ms.wrapping_add(end_before);
        check_start(timeframe, *start_ms).map_err(BlockError::Impossible)?;
        end_before = timeframe.end_of(*start_ms);
    }
    Ok(start_ms)
}

/// The last id, if `more` ids than trades are in a span.
fn last_id(first: i64, count: i64, more: i64) -> i64 {
    let expected = first.wrapping_add(count).wrapping_sub(1);
    more.wrapping_add(expected)
}

/// Decodes a block, appending those of its bars to `out` whose place is in the span that `wanted`
/// makes of their starts.
///
/// # Errors
/// As for [`BarColumns`]; `out` may then hold some of the bars.
pub(crate) fn decode_some_bars(
    timeframe: Timeframe,
    block: &[u8],
    wanted: impl FnOnce(&[i64]) -> Range<usize>,
    out: &mut Vec<BarRow>,
) -> Result<(), BlockError> {
    let mut reader = ColumnReader::new(Kind::Bars, block)?;
    let start_ms = take_starts(timeframe, &mut reader)?;
    let rows = wanted(&start_ms);
    if rows.is_empty() {
        return Ok(());
    }
    reader.want_first(rows.end);
    let columns = BarColumns::take(timeframe, start_ms, reader)?;
    out.reserve(rows.len());
    for row in rows {
        out.push(columns.row(row)?);
    }
    Ok(())
}

/// Decodes a block, appending its bars to `out`.
///
/// # Errors
/// As for [`BarColumns`]; `out` may then hold some of the bars.
pub fn decode_bars(
    timeframe: Timeframe,
    block: &[u8],
    out: &mut Vec<BarRow>,
) -> Result<(), BlockError> {
    decode_some_bars(timeframe, block, |starts| 0..starts.len(), out)
}
