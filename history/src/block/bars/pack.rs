//! Packing: from rows to columns.

use market_core::{Amount, BarRow, Price, Quality, Timeframe};

use super::fields::{Parts, bought_at_high, sold_at_low};
use super::{
    BOUGHT_MORE, HAS_EVENT, HAS_IDS, HAS_RECEIVED, IMPORTED, MICROS, ROUNDED, UNKNOWN, check,
    check_start,
};
use crate::block::BlockError;
use crate::block::column::{ColumnWriter, Kind};
use crate::block::decimals::{Decimals, at_scale, put_scale, put_wide};

/// Encodes bars of one symbol and `timeframe`, in the given order.
///
/// # Errors
/// `Unstorable` for no rows, more than [`crate::block::BLOCK_ROWS_MAX`], a start that is not one of
/// `timeframe`, or prices and ids that no bar can have.
pub fn encode_bars(timeframe: Timeframe, rows: &[BarRow]) -> Result<Vec<u8>, BlockError> {
    let mut writer = ColumnWriter::new(Kind::Bars, rows.len())?;
    for row in rows {
        check_start(timeframe, row.start_ms)
            .and_then(|()| check(row))
            .map_err(BlockError::Unstorable)?;
    }
    let mut end_before = 0i64;
    let starts = rows.iter().map(|row| {
        let start = row.start_ms.wrapping_sub(end_before);
        end_before = timeframe.end_of(row.start_ms);
        start
    });
    writer.put(&starts.collect::<Vec<_>>())?;
    let volumes = Volumes::of(rows);
    put_flags(&mut writer, rows, &volumes)?;
    let prices = Prices::of(rows);
    prices.put(&mut writer)?;
    volumes.put(&mut writer)?;
    put_quotes(&mut writer, rows, &prices, &volumes)?;
    put_ids_and_times(&mut writer, timeframe, rows)?;
    Ok(writer.finish())
}

fn quality_code(quality: Quality) -> i64 {
    match quality {
        Quality::Complete => 0,
        Quality::Gap => 1,
        Quality::Backfilled => 2,
        Quality::Partial => 3,
        Quality::Filled => 4,
    }
}

fn put_flags(
    writer: &mut ColumnWriter,
    rows: &[BarRow],
    volumes: &Volumes,
) -> Result<(), BlockError> {
    let flag = |is_set: bool, bit: i64| if is_set { bit } else { 0 };
    let flags = rows.iter().enumerate().map(|(index, row)| {
        let sums = [
            Some(row.volume),
            row.quote_volume,
            row.taker_buy_volume,
            row.taker_buy_quote_volume,
        ];
        let rounded = sums.iter().zip(ROUNDED);
        let is_unknown = [
            row.quote_volume.is_none(),
            row.taker_buy_volume.is_none(),
            row.taker_buy_quote_volume.is_none(),
            row.count.is_none(),
        ];
        let unknown = is_unknown.iter().zip(UNKNOWN);
        quality_code(row.quality)
            | flag(row.is_imported, IMPORTED)
            | flag(volumes.bought_more(index), BOUGHT_MORE)
            | flag(row.ids.is_some(), HAS_IDS)
            | flag(row.event_ms.is_some(), HAS_EVENT)
            | flag(row.received_us.is_some(), HAS_RECEIVED)
            | rounded.fold(0, |bits, (sum, bit)| {
                bits | flag(sum.is_some_and(|sum| !sum.is_exact()), bit)
            })
            | unknown.fold(0, |bits, (is_unknown, bit)| bits | flag(*is_unknown, bit))
    });
    writer.put(&flags.collect::<Vec<_>>())
}

/// The columns of some fields, or their values if these have no common scale.
enum Scaled<const N: usize> {
    Integers { scale: u32, columns: [Vec<i64>; N] },
    Wide([Vec<Parts>; N]),
}

impl<const N: usize> Scaled<N> {
    fn of(fields: [Vec<Parts>; N]) -> Self {
        match Decimals::common_scale(fields.each_ref().map(Vec::as_slice)) {
            Some((scale, columns)) => Self::Integers { scale, columns },
            None => Self::Wide(fields),
        }
    }
}

fn put_all_wide(writer: &mut ColumnWriter, columns: &[Vec<Parts>]) -> Result<(), BlockError> {
    put_scale(writer, columns[0].len(), None)?;
    columns
        .iter()
        .try_for_each(|column| put_wide(writer, column))
}

/// Open, high, low and close.
struct Prices(Scaled<4>);

impl Prices {
    fn of(rows: &[BarRow]) -> Self {
        let fields: [fn(&BarRow) -> Price; 4] = [
            |row| row.open,
            |row| row.high,
            |row| row.low,
            |row| row.close,
        ];
        Self(Scaled::of(fields.map(|field| {
            rows.iter().map(|row| field(row).parts()).collect()
        })))
    }

    fn put(&self, writer: &mut ColumnWriter) -> Result<(), BlockError> {
        let (scale, [open, high, low, close]) = match &self.0 {
            Scaled::Integers { scale, columns } => (*scale, columns),
            Scaled::Wide(columns) => return put_all_wide(writer, columns),
        };
        put_scale(writer, open.len(), Some(scale))?;
        let mut columns = [const { Vec::new() }; 4];
        let mut close_before = 0;
        for row in 0..open.len() {
            let (open, close) = (open[row], close[row]);
            columns[0].push(open.wrapping_sub(close_before));
            columns[1].push(high[row].wrapping_sub(open.max(close)));
            columns[2].push(open.min(close).wrapping_sub(low[row]));
            columns[3].push(close.wrapping_sub(open));
            close_before = close;
        }
        columns.iter().try_for_each(|column| writer.put(column))
    }
}

/// The volume, and what takers bought.
struct Volumes(Scaled<2>);

/// An unknown value is 0 in the columns, and has a flag.
fn sums<const N: usize>(
    rows: &[BarRow],
    fields: [fn(&BarRow) -> Option<Amount>; N],
) -> [Vec<Parts>; N] {
    let parts = |sum: Option<Amount>| sum.unwrap_or(Amount::ZERO).parts();
    fields.map(|field| rows.iter().map(|row| parts(field(row))).collect())
}

impl Volumes {
    fn of(rows: &[BarRow]) -> Self {
        Self(Scaled::of(sums(
            rows,
            [|row| Some(row.volume), |row| row.taker_buy_volume],
        )))
    }

    fn bought_more(&self, row: usize) -> bool {
        match &self.0 {
            Scaled::Integers {
                columns: [volume, taker_buy],
                ..
            } => taker_buy[row] > volume[row].wrapping_sub(taker_buy[row]),
            Scaled::Wide(_) => false,
        }
    }

    fn put(&self, writer: &mut ColumnWriter) -> Result<(), BlockError> {
        let (scale, [volume, taker_buy]) = match &self.0 {
            Scaled::Integers { scale, columns } => (*scale, columns),
            Scaled::Wide(columns) => return put_all_wide(writer, columns),
        };
        put_scale(writer, volume.len(), Some(scale))?;
        writer.put(volume)?;
        let lesser = (0..volume.len()).map(|row| {
            if self.bought_more(row) {
                volume[row].wrapping_sub(taker_buy[row])
            } else {
                taker_buy[row]
            }
        });
        writer.put(&lesser.collect::<Vec<_>>())
    }
}

fn put_quotes(
    writer: &mut ColumnWriter,
    rows: &[BarRow],
    prices: &Prices,
    volumes: &Volumes,
) -> Result<(), BlockError> {
    let quotes = sums(
        rows,
        [|row| row.quote_volume, |row| row.taker_buy_quote_volume],
    );
    // Not every venue says them. Then the differences would be as large as the expected values.
    let is_told = quotes.iter().flatten().any(|(mantissa, _)| *mantissa != 0);
    let differences = is_told.then(|| quote_differences(rows, &quotes, prices, volumes));
    let Some((scale, columns)) = differences.flatten() else {
        return put_all_wide(writer, &quotes);
    };
    put_scale(writer, rows.len(), Some(scale))?;
    columns.iter().try_for_each(|column| writer.put(column))
}

fn quote_differences(
    rows: &[BarRow],
    [quotes, taker_buys]: &[Vec<Parts>; 2],
    prices: &Prices,
    volumes: &Volumes,
) -> Option<(u32, [Vec<i64>; 2])> {
    let (
        Scaled::Integers {
            scale: price_scale,
            columns: [_, high, low, _],
        },
        Scaled::Integers {
            scale: volume_scale,
            columns: [volume, taker_volume],
        },
    ) = (&prices.0, &volumes.0)
    else {
        return None;
    };
    let scale = price_scale + volume_scale;
    let mut columns = [const { Vec::new() }; 2];
    for row in 0..quotes.len() {
        let sold = sold_at_low(volume[row], taker_volume[row], low[row]);
        let bought = bought_at_high(taker_volume[row], high[row]);
        // An unknown value is never read, so the cheapest value stands in its place.
        let taker_buy = match rows[row].taker_buy_quote_volume {
            Some(_) => at_scale(taker_buys[row], scale)?,
            None => bought,
        };
        let quote = match rows[row].quote_volume {
            Some(_) => at_scale(quotes[row], scale)?,
            None => sold.checked_add(taker_buy)?,
        };
        let sold = quote.checked_sub(taker_buy)?.checked_sub(sold)?;
        columns[0].push(i64::try_from(sold).ok()?);
        columns[1].push(i64::try_from(bought.checked_sub(taker_buy)?).ok()?);
    }
    Some((scale, columns))
}

fn put_ids_and_times(
    writer: &mut ColumnWriter,
    timeframe: Timeframe,
    rows: &[BarRow],
) -> Result<(), BlockError> {
    let count = rows
        .iter()
        .map(|row| row.count.unwrap_or_default().cast_signed());
    writer.put(&count.collect::<Vec<_>>())?;
    let mut next_id = 0u64;
    let (mut first, mut last) = (Vec::new(), Vec::new());
    let (mut event, mut received, mut known) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        if let Some(ids) = row.ids {
            let count = row.count.unwrap_or_default();
            first.push(ids.first.wrapping_sub(next_id).cast_signed());
            let expected = ids.first.wrapping_add(count).wrapping_sub(1);
            last.push(ids.last.wrapping_sub(expected).cast_signed());
            next_id = ids.last.wrapping_add(1);
        } else {
            first.push(0);
            last.push(0);
        }
        let end_ms = timeframe.end_of(row.start_ms);
        let event_ms = row.event_ms.unwrap_or(end_ms);
        event.push(event_ms.wrapping_sub(end_ms));
        let transit = |received_us: i64| received_us.wrapping_sub(event_ms.wrapping_mul(MICROS));
        received.push(row.received_us.map_or(0, transit));
        known.push(row.known_ms.wrapping_sub(end_ms));
    }
    for column in [first, last] {
        writer.put(&column)?;
    }
    for column in [event, received, known] {
        writer.put_series(&column)?;
    }
    let rev = rows.iter().map(|row| i64::from(row.rev));
    writer.put(&rev.collect::<Vec<_>>())
}
