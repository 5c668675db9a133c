//! What the tables hold, how far streams are stored, and the deletion of old months.

use std::collections::BTreeSet;

use market_core::width::{month_of, month_start};
use market_core::{Timeframe, UnixMillis};

use super::binary::Reader;
use super::{ClickHouseStore, quoted, schema};
use crate::store::remote::Purpose;
use crate::store::{
    BarSeries, Catalog, Instrument, Kind, Retention, SeriesInfo, StoreError, Watermark,
};

fn instrument(reader: &mut Reader<'_>) -> Option<Instrument> {
    let (exchange, symbol) = (reader.text()?, reader.text()?);
    Some(Instrument {
        exchange: exchange.into(),
        symbol: symbol.parse().ok()?,
    })
}

impl ClickHouseStore {
    pub(super) fn has_any_row(&self) -> Result<bool, StoreError> {
        for table in [schema::WATERMARKS, schema::KLINES, schema::TRADES] {
            let sql = format!("SELECT 1 FROM {} LIMIT 1", self.table(table));
            if !self.ask(&sql, Purpose::Write)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The months of a kind that have rows: as ClickHouse names them, `202402`.
    fn months(&self, kind: Kind) -> Result<Vec<u32>, StoreError> {
        let sql = format!(
            "SELECT DISTINCT partition FROM system.parts WHERE active AND database = {} AND table = {}",
            quoted(self.client.url().database()),
            quoted(schema::table_of(kind))
        );
        let bytes = self.ask(&sql, Purpose::Read)?;
        let names = self.rows(&bytes, |reader| reader.text().map(str::to_owned))?;
        let mut months = Vec::new();
        for name in names {
            // 202402, or ('1m',202402).
            let digits = name.trim_matches(['(', ')']).rsplit(',').next();
            let Some(month) = digits.and_then(|digits| digits.trim().parse().ok()) else {
                continue;
            };
            let is_of_kind = match kind {
                Kind::Bars(timeframe) => name.contains(&format!("'{timeframe}'")),
                Kind::Trades => true,
            };
            if is_of_kind {
                months.push(month);
            }
        }
        Ok(months)
    }

    /// Deletes a partition of any size: a server refuses one above 50 GB unless the statement says so.
    fn drop_partition(&self, table: &str, partition: &str) -> Result<(), StoreError> {
        let sql = format!("ALTER TABLE {table} DROP PARTITION {partition}");
        let of_any_size = format!("{sql} SETTINGS max_partition_size_to_drop = 0");
        match self.run(&of_any_size, Purpose::Survey) {
            // Before ClickHouse 23.12, this is a setting of the server alone.
            Err(StoreError::Refused { reason, .. }) if reason.contains("max_partition_size") => {
                self.run(&sql, Purpose::Survey).map(drop)
            }
            dropped => dropped.map(drop),
        }
    }

    /// The first instant after a month that ClickHouse names so.
    fn end_of(month: u32) -> Option<UnixMillis> {
        let (year, month) = (i64::from(month / 100), i64::from(month % 100));
        let months = (year - 1970)
            .checked_mul(12)?
            .checked_add(month)
            .filter(|_| (1..=12).contains(&month) && (1970..2300).contains(&year))?;
        Some(month_start(month_of(0) + months))
    }
}

impl Retention for ClickHouseStore {
    fn watermark(&self, stream: &str) -> Result<Option<u64>, StoreError> {
        let marks = self.watermarks(stream)?;
        let mark = marks.into_iter().find(|mark| &*mark.stream == stream);
        Ok(mark.map(|mark| mark.position))
    }

    fn watermarks(&self, prefix: &str) -> Result<Vec<Watermark>, StoreError> {
        let sql = format!(
            "SELECT stream, max(position) FROM {} WHERE startsWith(stream, {}) GROUP BY stream ORDER BY stream",
            self.table(schema::WATERMARKS),
            quoted(prefix)
        );
        let bytes = self.ask(&sql, Purpose::Read)?;
        self.rows(&bytes, |reader| {
            Some(Watermark {
                stream: reader.text()?.into(),
                position: reader.u64()?,
            })
        })
    }

    fn drop_before(&self, kind: Kind, before_ms: UnixMillis) -> Result<usize, StoreError> {
        let table = self.table(schema::table_of(kind));
        let mut dropped = 0;
        for month in self.months(kind)? {
            if Self::end_of(month).is_none_or(|end_ms| end_ms > before_ms) {
                continue;
            }
            let partition = match kind {
                Kind::Bars(timeframe) => format!("({}, {month})", quoted(&timeframe.to_string())),
                Kind::Trades => month.to_string(),
            };
            self.drop_partition(&table, &partition)?;
            dropped += 1;
        }
        Ok(dropped)
    }

    /// The server merges by itself. To wait for a merge of a large table would take hours.
    fn compact(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Catalog for ClickHouseStore {
    fn series(&self) -> Result<Vec<SeriesInfo>, StoreError> {
        let sql = format!(
            "SELECT exchange, symbol, timeframe, min(open_time), max(open_time) FROM {} GROUP BY exchange, symbol, timeframe",
            self.table(schema::KLINES)
        );
        let bytes = self.ask(&sql, Purpose::Survey)?;
        let mut all = self.rows(&bytes, |reader| {
            let instrument = instrument(reader)?;
            let timeframe: Timeframe = reader.text()?.parse().ok()?;
            let (first_ms, last_ms) = (reader.i64()?, reader.i64()?);
            Some(SeriesInfo {
                series: BarSeries {
                    instrument,
                    timeframe,
                },
                first_ms,
                last_end_ms: timeframe.end_of(last_ms),
            })
        })?;
        all.sort_by(|a, b| a.series.cmp(&b.series));
        Ok(all)
    }

    fn traded(&self) -> Result<Vec<Instrument>, StoreError> {
        let table = self.table(schema::TRADES);
        let sql = format!("SELECT exchange, symbol FROM {table} GROUP BY exchange, symbol");
        let bytes = self.ask(&sql, Purpose::Survey)?;
        let traded: BTreeSet<_> = self.rows(&bytes, instrument)?.into_iter().collect();
        Ok(traded.into_iter().collect())
    }

    fn bytes(&self) -> Result<u64, StoreError> {
        let sql = format!(
            "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = {} AND table IN ({}, {}, {}, {})",
            quoted(self.client.url().database()),
            quoted(schema::KLINES),
            quoted(schema::TRADES),
            quoted(schema::ORDERBOOKS),
            quoted(schema::WATERMARKS)
        );
        let bytes = self.ask(&sql, Purpose::Read)?;
        Ok(self.rows(&bytes, |reader| reader.u64())?.pop().unwrap_or(0))
    }
}
