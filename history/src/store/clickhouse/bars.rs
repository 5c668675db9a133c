//! Bars as rows of `market_klines`.

use market_core::{Amount, BarRow, IdSpan, Price, Quality, Timeframe, UnixMillis};
use twox_hash::XxHash3_64;

use super::binary::{Reader, put_bytes, put_decimal, put_some, put_text};
use super::{
    ClickHouseStore, INSERT_ROWS_MAX, READ_ROWS_MAX, check_time, instant, quoted, schema, span_of,
};
use crate::block::{decode_bars, encode_bars};
use crate::store::remote::Purpose;
use crate::store::revisions::settled;
use crate::store::{BarSeries, BarStore, Cursor, Order, Page, Range, StoreError, Watermark};

const WRITTEN: &str = "exchange, symbol, timeframe, open_time, open, high, low, close, volume, quote_volume, taker_buy_volume, taker_buy_quote_volume, trades, first_id, last_id, event_ms, received_us, rev, quality, is_imported, known_ms, exact, content";
const READ: &str = "open_time, open, high, low, close, volume, quote_volume, taker_buy_volume, taker_buy_quote_volume, trades, first_id, last_id, event_ms, received_us, rev, quality, is_imported, known_ms, exact";

/// By their numbers in the table.
const QUALITIES: [Quality; 5] = [
    Quality::Complete,
    Quality::Gap,
    Quality::Backfilled,
    Quality::Partial,
    Quality::Filled,
];

/// Appends the columns of a row from `open_time` to `exact`.
fn put_row(out: &mut Vec<u8>, timeframe: Timeframe, row: &BarRow) -> Result<(), StoreError> {
    let mut is_exact = true;
    out.extend(row.start_ms.to_le_bytes());
    for price in [row.open, row.high, row.low, row.close] {
        is_exact &= put_decimal(out, price.parts());
    }
    let mut sum = |out: &mut Vec<u8>, sum: Amount| {
        is_exact &= put_decimal(out, sum.parts()) && sum.is_exact();
    };
    sum(out, row.volume);
    put_some(out, row.quote_volume, &mut sum);
    put_some(out, row.taker_buy_volume, &mut sum);
    put_some(out, row.taker_buy_quote_volume, &mut sum);
    put_some(out, row.count, |out, count| out.extend(count.to_le_bytes()));
    for id in [row.ids.map(|ids| ids.first), row.ids.map(|ids| ids.last)] {
        put_some(out, id, |out, id| out.extend(id.to_le_bytes()));
    }
    for time in [row.event_ms, row.received_us] {
        put_some(out, time, |out, time| out.extend(time.to_le_bytes()));
    }
    out.extend(row.rev.to_le_bytes());
    let quality = QUALITIES.iter().position(|quality| *quality == row.quality);
    out.push(quality.unwrap_or(0) as u8);
    out.push(row.is_imported.into());
    out.extend(row.known_ms.to_le_bytes());
    let exact = match is_exact {
        true => Vec::new(),
        false => encode_bars(timeframe, &[*row]).map_err(StoreError::Rows)?,
    };
    put_bytes(out, &exact);
    Ok(())
}

fn read_row(reader: &mut Reader<'_>, timeframe: Timeframe) -> Option<BarRow> {
    let start_ms = reader.i64()?;
    let mut prices = [(0, 0); 4];
    for price in &mut prices {
        *price = reader.decimal()?;
    }
    let sum = |reader: &mut Reader<'_>| {
        let (mantissa, scale) = reader.decimal()?;
        Some(Amount::from_parts(mantissa, scale))
    };
    let volume = sum(reader)?;
    let quote_volume = reader.some(sum)?;
    let taker_buy_volume = reader.some(sum)?;
    let taker_buy_quote_volume = reader.some(sum)?;
    let count = reader.some(Reader::u64)?;
    let (first, last) = (reader.some(Reader::u64)?, reader.some(Reader::u64)?);
    let (event_ms, received_us) = (reader.some(Reader::i64)?, reader.some(Reader::i64)?);
    let rev = reader.u32()?;
    let quality = *QUALITIES.get(usize::from(reader.u8()?))?;
    let is_imported = reader.u8()? != 0;
    let known_ms = reader.i64()?;
    let exact = reader.bytes()?;
    if !exact.is_empty() {
        let mut rows = Vec::new();
        decode_bars(timeframe, exact, &mut rows).ok()?;
        return rows.pop();
    }
    let price = |(mantissa, scale)| Price::from_parts(mantissa, scale);
    Some(BarRow {
        start_ms,
        open: price(prices[0])?,
        high: price(prices[1])?,
        low: price(prices[2])?,
        close: price(prices[3])?,
        volume,
        quote_volume,
        taker_buy_volume,
        taker_buy_quote_volume,
        count,
        ids: first.zip(last).map(|(first, last)| IdSpan { first, last }),
        event_ms,
        received_us,
        rev,
        quality,
        is_imported,
        known_ms,
    })
}

/// Which rows of a series.
fn of(series: &BarSeries) -> String {
    format!(
        "exchange = {} AND symbol = {} AND timeframe = {}",
        quoted(&series.instrument.exchange),
        quoted(series.instrument.symbol.as_str()),
        quoted(&series.timeframe.to_string())
    )
}

/// One of equal rows, known since the earliest time. Parts that are not merged yet hold them.
fn put_revision(revisions: &mut Vec<BarRow>, row: BarRow) {
    match revisions
        .iter_mut()
        .find(|before| before.says_the_same(&row))
    {
        Some(before) => before.known_ms = before.known_ms.min(row.known_ms),
        None => revisions.push(row),
    }
}

impl ClickHouseStore {
    fn read_bars(
        &self,
        series: &BarSeries,
        conditions: &str,
        end: &str,
    ) -> Result<Vec<BarRow>, StoreError> {
        let (table, of) = (self.table(schema::KLINES), of(series));
        let sql = format!("SELECT {READ} FROM {table} WHERE {of} AND {conditions} {end}");
        let bytes = self.ask(&sql, Purpose::Read)?;
        self.rows(&bytes, |reader| read_row(reader, series.timeframe))
    }

    fn write_bars(&self, rows: &[(&BarSeries, &BarRow)]) -> Result<(), StoreError> {
        let mut bytes = Vec::new();
        let mut without_time = Vec::new();
        for (series, row) in rows {
            put_text(&mut bytes, &series.instrument.exchange);
            put_text(&mut bytes, series.instrument.symbol.as_str());
            put_text(&mut bytes, &series.timeframe.to_string());
            put_row(&mut bytes, series.timeframe, row)?;
            // What the row says, whenever it became known.
            without_time.clear();
            let row = BarRow {
                known_ms: 0,
                ..**row
            };
            put_row(&mut without_time, series.timeframe, &row)?;
            bytes.extend(XxHash3_64::oneshot(&without_time).to_le_bytes());
        }
        self.insert(schema::KLINES, WRITTEN, bytes)
    }
}

fn check(series: &BarSeries, rows: &[BarRow]) -> Result<(), StoreError> {
    rows.iter().try_for_each(|row| check_time(row.start_ms))?;
    rows.chunks(1_000).try_for_each(|rows| {
        let encoded = encode_bars(series.timeframe, rows);
        encoded.map(drop).map_err(StoreError::Rows)
    })
}

impl BarStore for ClickHouseStore {
    fn append_bars(
        &self,
        batch: &[(BarSeries, Vec<BarRow>)],
        watermark: Option<&Watermark>,
    ) -> Result<(), StoreError> {
        for (series, rows) in batch {
            check(series, rows)?;
        }
        let rows = batch
            .iter()
            .flat_map(|(series, rows)| rows.iter().map(move |row| (series, row)));
        let rows: Vec<_> = rows.collect();
        rows.chunks(INSERT_ROWS_MAX)
            .try_for_each(|rows| self.write_bars(rows))?;
        self.put_watermark(watermark, rows.len())
    }

    fn bars(&self, series: &BarSeries, range: &Range) -> Result<Page<BarRow>, StoreError> {
        let (mut from_ms, mut to_ms) = span_of(range);
        let order = match range.order {
            Order::Ascending => "ASC",
            Order::Descending => "DESC",
        };
        let go_on =
            |from_ms: &mut UnixMillis, to_ms: &mut UnixMillis, at_ms: UnixMillis| match range.order
            {
                Order::Ascending => *from_ms = (*from_ms).max(at_ms.saturating_add(1)),
                Order::Descending => *to_ms = (*to_ms).min(at_ms),
            };
        if let Some(cursor) = range.cursor {
            go_on(&mut from_ms, &mut to_ms, cursor.at_ms);
        }
        let known = range
            .as_of_ms
            .map(|at_ms| format!(" AND known_ms <= {at_ms}"))
            .unwrap_or_default();
        // One more tells whether something follows.
        let wanted = range.limit.saturating_add(1);
        let mut rows: Vec<BarRow> = Vec::new();
        while rows.len() < wanted && from_ms < to_ms {
            let count = (wanted - rows.len()).min(READ_ROWS_MAX);
            let conditions = format!(
                "open_time >= {} AND open_time < {}{known}",
                instant(from_ms),
                instant(to_ms)
            );
            // All revisions of the last bar come, too.
            let end = format!("ORDER BY open_time {order} LIMIT {count} WITH TIES");
            let read = self.read_bars(series, &conditions, &end)?;
            let mut revisions: Vec<BarRow> = Vec::new();
            for (index, row) in read.iter().enumerate() {
                put_revision(&mut revisions, *row);
                let next = read.get(index + 1);
                if next.is_none_or(|next| next.start_ms != row.start_ms) {
                    rows.extend(BarRow::current(&revisions).map(|at| revisions[at]));
                    revisions.clear();
                }
            }
            match read.last() {
                Some(last) if read.len() >= count => {
                    go_on(&mut from_ms, &mut to_ms, last.start_ms);
                }
                _ => break,
            }
        }
        Ok(Page::of(rows, range.limit, |row| Cursor {
            at_ms: row.start_ms,
            id: 0,
        }))
    }

    fn revisions_between(
        &self,
        series: &BarSeries,
        from_ms: UnixMillis,
        to_ms: UnixMillis,
    ) -> Result<Vec<BarRow>, StoreError> {
        let (mut from_ms, to_ms) = span_of(&Range::new(from_ms, to_ms, 0));
        let mut rows = Vec::new();
        while from_ms < to_ms {
            let condition = format!(
                "open_time >= {} AND open_time < {}",
                instant(from_ms),
                instant(to_ms)
            );
            // All revisions of the last bar come, too.
            let end = format!("ORDER BY open_time ASC LIMIT {READ_ROWS_MAX} WITH TIES");
            let read = self.read_bars(series, &condition, &end)?;
            rows.append(&mut settled(&read));
            match read.last() {
                Some(last) if read.len() >= READ_ROWS_MAX => {
                    from_ms = from_ms.max(last.start_ms.saturating_add(1));
                }
                _ => break,
            }
        }
        Ok(rows)
    }

    fn last_known_after(
        &self,
        series: &BarSeries,
        before_ms: UnixMillis,
        known_after_ms: UnixMillis,
    ) -> Result<Option<UnixMillis>, StoreError> {
        let (table, of) = (self.table(schema::KLINES), of(series));
        let (_, before_ms) = span_of(&Range::new(0, before_ms, 0));
        let known = match known_after_ms {
            UnixMillis::MIN => String::new(),
            known_after_ms => format!(" AND known_ms > {known_after_ms}"),
        };
        let sql = format!(
            "SELECT open_time FROM {table} WHERE {of} AND open_time < {}{known} ORDER BY open_time DESC LIMIT 1",
            instant(before_ms.max(0))
        );
        let bytes = self.ask(&sql, Purpose::Read)?;
        Ok(self.rows(&bytes, |reader| reader.i64())?.pop())
    }

    fn newest_start(&self, series: &BarSeries) -> Result<Option<UnixMillis>, StoreError> {
        self.last_known_after(series, UnixMillis::MAX, UnixMillis::MIN)
    }

    fn check_bar(&self, series: &BarSeries, row: &BarRow) -> Result<(), StoreError> {
        check(series, &[*row])
    }
}
