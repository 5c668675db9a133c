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
//! | quote volume | less volume times close |
//! | taker's quote volume | less its share of the quote volume by volume |
//! | first id | less the last id before, less one |
//! | last id | less the first id and the number of trades |
//! | event time, known | less the end of the bar |
//! | receive time | less the event time |

use market_core::sequence::ID_MAX;
use market_core::{Amount, IdSpan, Price, Quality, Timeframe};

use super::BlockError;
use super::column::{ColumnReader, ColumnWriter, Kind};
use super::decimals::{Decimals, at_scale, put_scale, put_wide, take_scale, take_wide};
use market_core::BarRow;

const MICROS: i64 = 1_000;

/// In the column of flags: three bits of quality, and these.
const IMPORTED: i64 = 1 << 3;
const HAS_IDS: i64 = 1 << 4;
const HAS_EVENT: i64 = 1 << 5;
const HAS_RECEIVED: i64 = 1 << 6;
/// Four bits, one for each sum that gave up decimal places.
const ROUNDED: [i64; 4] = [1 << 7, 1 << 8, 1 << 9, 1 << 10];
const FLAGS_MAX: i64 = (1 << 11) - 1;

const QUALITIES: [Quality; 5] = [
    Quality::Complete,
    Quality::Gap,
    Quality::Backfilled,
    Quality::Partial,
    Quality::Filled,
];

fn quality_code(quality: Quality) -> i64 {
    match quality {
        Quality::Complete => 0,
        Quality::Gap => 1,
        Quality::Backfilled => 2,
        Quality::Partial => 3,
        Quality::Filled => 4,
    }
}

type Parts = Vec<(i128, u32)>;

/// Encodes bars of one symbol and `timeframe`, in the given order.
///
/// # Errors
/// `Unstorable` for no rows, more than [`super::BLOCK_ROWS_MAX`], a start that is not one of
/// `timeframe`, or prices and ids that no bar can have.
pub fn encode_bars(timeframe: Timeframe, rows: &[BarRow]) -> Result<Vec<u8>, BlockError> {
    let mut writer = ColumnWriter::new(Kind::Bars, rows.len())?;
    for row in rows {
        check(timeframe, row).map_err(BlockError::Unstorable)?;
    }
    let mut end_before = 0i64;
    let starts = rows.iter().map(|row| {
        let start = row.start_ms.wrapping_sub(end_before);
        end_before = timeframe.end_of(row.start_ms);
        start
    });
    writer.put(&starts.collect::<Vec<_>>())?;
    put_flags(&mut writer, rows)?;
    let prices = put_prices(&mut writer, rows)?;
    let sums =
        |sum: fn(&BarRow) -> Amount| -> Parts { rows.iter().map(|row| sum(row).parts()).collect() };
    let volumes = [sums(|row| row.volume), sums(|row| row.taker_buy_volume)];
    let volumes = put_volumes(&mut writer, &volumes)?;
    let quotes = [
        sums(|row| row.quote_volume),
        sums(|row| row.taker_buy_quote_volume),
    ];
    put_quotes(&mut writer, &quotes, prices.as_ref(), volumes.as_ref())?;
    put_ids_and_times(&mut writer, timeframe, rows)?;
    Ok(writer.finish())
}

/// What is wrong with a row, if anything.
fn check(timeframe: Timeframe, row: &BarRow) -> Result<(), &'static str> {
    // A year of a hundred thousand: dates beyond it have no calendar.
    const TIME_MAX_MS: i64 = 100_000 * 366 * 86_400_000;
    if !(-TIME_MAX_MS..TIME_MAX_MS).contains(&row.start_ms) {
        return Err("the start of a bar is out of range");
    }
    if timeframe.start_of(row.start_ms) != row.start_ms {
        return Err("the start of a bar is not one of its timeframe");
    }
    let range = row.low..=row.high;
    if !range.contains(&row.open) || !range.contains(&row.close) {
        return Err("open or close lies outside low and high");
    }
    let is_span = |ids: &IdSpan| ids.first <= ids.last && ids.last <= ID_MAX;
    if row.ids.is_some_and(|ids| !is_span(&ids)) {
        return Err("trade ids");
    }
    let sums = [
        row.volume,
        row.quote_volume,
        row.taker_buy_volume,
        row.taker_buy_quote_volume,
    ];
    if sums.iter().any(|sum| sum.is_negative()) {
        return Err("a volume is below zero");
    }
    Ok(())
}

fn put_flags(writer: &mut ColumnWriter, rows: &[BarRow]) -> Result<(), BlockError> {
    let flag = |is_set: bool, bit: i64| if is_set { bit } else { 0 };
    let flags = rows.iter().map(|row| {
        let sums = [
            row.volume,
            row.quote_volume,
            row.taker_buy_volume,
            row.taker_buy_quote_volume,
        ];
        let rounded = sums.iter().zip(ROUNDED);
        quality_code(row.quality)
            | flag(row.is_imported, IMPORTED)
            | flag(row.ids.is_some(), HAS_IDS)
            | flag(row.event_ms.is_some(), HAS_EVENT)
            | flag(row.received_us.is_some(), HAS_RECEIVED)
            | rounded.fold(0, |bits, (sum, bit)| bits | flag(!sum.is_exact(), bit))
    });
    writer.put(&flags.collect::<Vec<_>>())
}

/// Closes at the scale of the block's prices, if they have one.
fn put_prices(
    writer: &mut ColumnWriter,
    rows: &[BarRow],
) -> Result<Option<(u32, Vec<i64>)>, BlockError> {
    let prices = |price: fn(&BarRow) -> Price| -> Parts {
        rows.iter().map(|row| price(row).parts()).collect()
    };
    let [open, high, low, close] = [
        prices(|row| row.open),
        prices(|row| row.high),
        prices(|row| row.low),
        prices(|row| row.close),
    ];
    let Some((scale, [open, high, low, close])) =
        Decimals::common_scale([&open, &high, &low, &close])
    else {
        put_scale(writer, rows.len(), None)?;
        for column in [open, high, low, close] {
            put_wide(writer, &column)?;
        }
        return Ok(None);
    };
    put_scale(writer, rows.len(), Some(scale))?;
    let mut columns = [const { Vec::new() }; 4];
    let mut close_before = 0;
    for row in 0..rows.len() {
        let (open, close) = (open[row], close[row]);
        columns[0].push(open.wrapping_sub(close_before));
        columns[1].push(high[row].wrapping_sub(open.max(close)));
        columns[2].push(open.min(close).wrapping_sub(low[row]));
        columns[3].push(close.wrapping_sub(open));
        close_before = close;
    }
    for column in &columns {
        writer.put(column)?;
    }
    Ok(Some((scale, close)))
}

struct Volumes {
    scale: u32,
    volume: Vec<i64>,
    taker_buy: Vec<i64>,
}

fn put_volumes(
    writer: &mut ColumnWriter,
    [volume, taker_buy]: &[Parts; 2],
) -> Result<Option<Volumes>, BlockError> {
    let scaled = Decimals::common_scale([volume, taker_buy]);
    let Some((scale, [volume, taker_buy])) = scaled else {
        put_scale(writer, volume.len(), None)?;
        put_wide(writer, volume)?;
        put_wide(writer, taker_buy)?;
        return Ok(None);
    };
    put_scale(writer, volume.len(), Some(scale))?;
    writer.put(&volume)?;
    writer.put(&taker_buy)?;
    Ok(Some(Volumes {
        scale,
        volume,
        taker_buy,
    }))
}

/// The quote volume if every trade had the closing price.
fn expected_quote(volume: i64, close: i64) -> i128 {
    i128::from(volume) * i128::from(close)
}

/// The share of the quote volume that the taker's volume would have at the mean price.
fn expected_taker_quote(quote: i128, volume: i64, taker_buy: i64) -> i128 {
    let product = quote.checked_mul(i128::from(taker_buy));
    match product {
        Some(product) if volume != 0 => product / i128::from(volume),
        _ => 0,
    }
}

fn put_quotes(
    writer: &mut ColumnWriter,
    quotes: &[Parts; 2],
    prices: Option<&(u32, Vec<i64>)>,
    volumes: Option<&Volumes>,
) -> Result<(), BlockError> {
    let rows = quotes[0].len();
    let expected = prices
        .zip(volumes)
        .and_then(|((price_scale, close), volumes)| {
            let columns = quote_differences(quotes, *price_scale, close, volumes)?;
            Some((price_scale + volumes.scale, columns))
        });
    if let Some((scale, columns)) = expected {
        put_scale(writer, rows, Some(scale))?;
        columns.iter().try_for_each(|column| writer.put(column))
    } else {
        put_scale(writer, rows, None)?;
        quotes
            .iter()
            .try_for_each(|column| put_wide(writer, column))
    }
}

fn quote_differences(
    [quotes, taker_buys]: &[Parts; 2],
    price_scale: u32,
    close: &[i64],
    volumes: &Volumes,
) -> Option<[Vec<i64>; 2]> {
    let scale = price_scale + volumes.scale;
    let mut columns = [const { Vec::new() }; 2];
    for row in 0..quotes.len() {
        let quote = at_scale(quotes[row], scale)?;
        let taker_buy = at_scale(taker_buys[row], scale)?;
        let (volume, taker_volume) = (volumes.volume[row], volumes.taker_buy[row]);
        let quote_less = quote.checked_sub(expected_quote(volume, close[row]))?;
        let taker_less =
            taker_buy.checked_sub(expected_taker_quote(quote, volume, taker_volume))?;
        columns[0].push(i64::try_from(quote_less).ok()?);
        columns[1].push(i64::try_from(taker_less).ok()?);
    }
    Some(columns)
}

fn put_ids_and_times(
    writer: &mut ColumnWriter,
    timeframe: Timeframe,
    rows: &[BarRow],
) -> Result<(), BlockError> {
    let count = rows.iter().map(|row| row.count.cast_signed());
    writer.put(&count.collect::<Vec<_>>())?;
    let mut next_id = 0u64;
    let (mut first, mut last) = (Vec::new(), Vec::new());
    let (mut event, mut received, mut known) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        if let Some(ids) = row.ids {
            first.push(ids.first.wrapping_sub(next_id).cast_signed());
            let expected = ids.first.wrapping_add(row.count).wrapping_sub(1);
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
    for column in [first, last, event, received, known] {
        writer.put(&column)?;
    }
    let rev = rows.iter().map(|row| i64::from(row.rev));
    writer.put(&rev.collect::<Vec<_>>())
}

/// Decodes a block, appending its bars to `out`.
///
/// # Errors
/// `Torn`, `Version`, or `Impossible` with what is wrong; `out` may then hold some of the bars.
pub fn decode_bars(
    timeframe: Timeframe,
    block: &[u8],
    out: &mut Vec<BarRow>,
) -> Result<(), BlockError> {
    let mut reader = ColumnReader::new(Kind::Bars, block)?;
    let starts = reader.take()?;
    let flags = reader.take()?;
    let prices = take_prices(&mut reader)?;
    let volumes = take_pair(&mut reader)?;
    let quotes = take_quotes(&mut reader, &prices, &volumes)?;
    let [count, first, last, event, received, known, rev] = [(); 7].map(|()| reader.take());
    let (count, first, last) = (count?, first?, last?);
    let (event, received, known, rev) = (event?, received?, known?, rev?);
    reader.finish()?;
    let (mut end_before, mut next_id) = (0i64, 0u64);
    for row in 0..starts.len() {
        let bits = flags[row];
        if !(0..=FLAGS_MAX).contains(&bits) {
            return Err(BlockError::Impossible("flags"));
        }
        let start_ms = starts[row].wrapping_add(end_before);
        let price = |column: &Decimals| {
            let (mantissa, scale) = column.get(row);
            Price::from_parts(mantissa, scale).ok_or(BlockError::Impossible("a price"))
        };
        let sum = |column: &Decimals, rounded: i64| {
            let (mantissa, scale) = column.get(row);
            if bits & rounded == 0 {
                Amount::from_parts(mantissa, scale)
            } else {
                Amount::from_rounded_parts(mantissa, scale)
            }
        };
        let count = count[row].cast_unsigned();
        let ids = (bits & HAS_IDS != 0).then(|| {
            let first = first[row].cast_unsigned().wrapping_add(next_id);
            let expected = first.wrapping_add(count).wrapping_sub(1);
            let last = last[row].cast_unsigned().wrapping_add(expected);
            IdSpan { first, last }
        });
        next_id = ids.map_or(next_id, |ids| ids.last.wrapping_add(1));
        let quality = usize::try_from(bits & 7).unwrap_or(usize::MAX);
        let mut bar = BarRow {
            start_ms,
            open: price(&prices[0])?,
            high: price(&prices[1])?,
            low: price(&prices[2])?,
            close: price(&prices[3])?,
            volume: sum(&volumes[0], ROUNDED[0]),
            quote_volume: sum(&quotes[0], ROUNDED[1]),
            taker_buy_volume: sum(&volumes[1], ROUNDED[2]),
            taker_buy_quote_volume: sum(&quotes[1], ROUNDED[3]),
            count,
            ids,
            event_ms: None,
            received_us: None,
            rev: u32::try_from(rev[row]).map_err(|_| BlockError::Impossible("a revision"))?,
            quality: *QUALITIES
                .get(quality)
                .ok_or(BlockError::Impossible("a quality"))?,
            is_imported: bits & IMPORTED != 0,
            known_ms: 0,
        };
        check(timeframe, &bar).map_err(BlockError::Impossible)?;
        let end_ms = timeframe.end_of(start_ms);
        let event_ms = event[row].wrapping_add(end_ms);
        bar.event_ms = (bits & HAS_EVENT != 0).then_some(event_ms);
        let received_us = received[row].wrapping_add(event_ms.wrapping_mul(MICROS));
        bar.received_us = (bits & HAS_RECEIVED != 0).then_some(received_us);
        bar.known_ms = known[row].wrapping_add(end_ms);
        end_before = end_ms;
        out.push(bar);
    }
    Ok(())
}

fn take_prices(reader: &mut ColumnReader<'_>) -> Result<[Decimals; 4], BlockError> {
    let Some(scale) = take_scale(reader)? else {
        let columns = [(); 4].map(|()| take_wide(reader));
        let [open, high, low, close] = columns;
        return Ok([open?, high?, low?, close?].map(Decimals::Wide));
    };
    let columns = [(); 4].map(|()| reader.take());
    let [open, high, low, close] = columns;
    let (mut open, mut high, mut low, mut close) = (open?, high?, low?, close?);
    let mut close_before = 0i64;
    for row in 0..open.len() {
        open[row] = open[row].wrapping_add(close_before);
        close[row] = close[row].wrapping_add(open[row]);
        high[row] = high[row].wrapping_add(open[row].max(close[row]));
        low[row] = open[row].min(close[row]).wrapping_sub(low[row]);
        close_before = close[row];
    }
    Ok([open, high, low, close].map(|mantissas| Decimals::Scaled { scale, mantissas }))
}

fn take_pair(reader: &mut ColumnReader<'_>) -> Result<[Decimals; 2], BlockError> {
    let Some(scale) = take_scale(reader)? else {
        let (first, second) = (take_wide(reader)?, take_wide(reader)?);
        return Ok([first, second].map(Decimals::Wide));
    };
    let (first, second) = (reader.take()?, reader.take()?);
    Ok([first, second].map(|mantissas| Decimals::Scaled { scale, mantissas }))
}

fn take_quotes(
    reader: &mut ColumnReader<'_>,
    prices: &[Decimals; 4],
    volumes: &[Decimals; 2],
) -> Result<[Decimals; 2], BlockError> {
    let Some(scale) = take_scale(reader)? else {
        let (quote, taker_buy) = (take_wide(reader)?, take_wide(reader)?);
        return Ok([quote, taker_buy].map(Decimals::Wide));
    };
    let (
        Decimals::Scaled {
            mantissas: close, ..
        },
        [
            Decimals::Scaled {
                mantissas: volume, ..
            },
            Decimals::Scaled {
                mantissas: taker_volume,
                ..
            },
        ],
    ) = (&prices[3], volumes)
    else {
        return Err(BlockError::Impossible("quote volumes without prices"));
    };
    let (quote_less, taker_less) = (reader.take()?, reader.take()?);
    let (mut quotes, mut taker_buys) = (Vec::new(), Vec::new());
    for row in 0..close.len() {
        let expected = expected_quote(volume[row], close[row]);
        let quote = expected.wrapping_add(i128::from(quote_less[row]));
        let expected = expected_taker_quote(quote, volume[row], taker_volume[row]);
        quotes.push(quote);
        taker_buys.push(expected.wrapping_add(i128::from(taker_less[row])));
    }
    Ok([quotes, taker_buys].map(|values| Decimals::from_wide(scale, values)))
}
