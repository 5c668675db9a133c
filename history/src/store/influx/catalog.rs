//! What is stored, how much of it, and what is deleted.

use std::collections::BTreeSet;

use market_core::width::{month_of, month_start};
use market_core::{Timeframe, UnixMillis};

use super::InfluxStore;
use super::answer::Series;
use super::point::{BARS, PLACES, REVISIONS, TIME_END_MS, TRADES};
use super::question::{between, of_timeframe, quoted};
use crate::store::remote::Purpose;
use crate::store::{
    BarSeries, Catalog, Instrument, Kind, Retention, SeriesInfo, StoreError, Watermark,
};

/// Whose points a series has; `None` if history did not write them.
fn instrument(series: &Series) -> Option<Instrument> {
    let exchange = series.tag("exchange");
    let symbol = series.tag("symbol").parse().ok()?;
    (!exchange.is_empty()).then(|| Instrument {
        exchange: exchange.into(),
        symbol,
    })
}

fn bar_series(series: &Series) -> Option<BarSeries> {
    let timeframe: Timeframe = series.tag("interval").parse().ok()?;
    Some(BarSeries {
        instrument: instrument(series)?,
        timeframe,
    })
}

impl InfluxStore {
    /// The time of the first point of a kind at or after an instant.
    fn first_since(
        &self,
        kind: Kind,
        from_ms: UnixMillis,
    ) -> Result<Option<UnixMillis>, StoreError> {
        let condition = between(from_ms, UnixMillis::MAX);
        let statement = match kind {
            Kind::Bars(timeframe) => {
                let timeframe = of_timeframe(timeframe);
                format!("SELECT first(\"rev\") FROM \"{BARS}\" WHERE {timeframe} AND {condition}")
            }
            Kind::Trades => {
                format!("SELECT first(\"price\") FROM \"{TRADES}\" WHERE {condition}")
            }
        };
        let answers = self.ask(&[statement], Purpose::Survey)?;
        let first_ns = answers.iter().find_map(|answer| answer.first_time());
        Ok(first_ns.map(|at_ns| at_ns.div_euclid(PLACES)))
    }
}

impl Catalog for InfluxStore {
    fn series(&self) -> Result<Vec<SeriesInfo>, StoreError> {
        let ends = ["first", "last"].map(|end| {
            format!(
                "SELECT {end}(\"rev\") FROM \"{BARS}\" GROUP BY \"exchange\", \"symbol\", \"interval\""
            )
        });
        let answers = self.whole(self.ask(&ends, Purpose::Survey)?)?;
        let [first, last] = answers.as_slice() else {
            return Ok(Vec::new());
        };
        let times = |series: &Series| {
            let at_ns = series.times().next()?;
            Some((bar_series(series)?, at_ns.div_euclid(PLACES)))
        };
        let lasts: std::collections::BTreeMap<_, _> =
            last.series.iter().filter_map(times).collect();
        let firsts = first.series.iter().filter_map(times);
        let mut found: Vec<SeriesInfo> = firsts
            .map(|(series, first_ms)| {
                let last_ms = lasts.get(&series).copied().unwrap_or(first_ms);
                let last_end_ms = series.timeframe.end_of(last_ms);
                SeriesInfo {
                    series,
                    first_ms,
                    last_end_ms,
                }
            })
            .collect();
        found.sort_by(|a, b| a.series.cmp(&b.series));
        Ok(found)
    }

    fn traded(&self) -> Result<Vec<Instrument>, StoreError> {
        let statement =
            format!("SELECT last(\"price\") FROM \"{TRADES}\" GROUP BY \"exchange\", \"symbol\"");
        let answers = self.whole(self.ask(&[statement], Purpose::Survey)?)?;
        let series = answers.iter().flat_map(|answer| &answer.series);
        let found: BTreeSet<Instrument> = series.filter_map(instrument).collect();
        Ok(found.into_iter().collect())
    }

    /// Of the shards of the database, as the server knows it.
    fn bytes(&self) -> Result<u64, StoreError> {
        let database = self.client.url().database();
        let answers = self.ask(&["SHOW STATS FOR 'shard'".to_owned()], Purpose::Read)?;
        let shards = answers.iter().flat_map(|answer| &answer.series);
        let own = shards.filter(|shard| shard.tag("database") == database);
        Ok(own
            .flat_map(|shard| shard.numbers("diskBytes"))
            .fold(0, u64::saturating_add))
    }
}

impl Retention for InfluxStore {
    fn watermark(&self, stream: &str) -> Result<Option<u64>, StoreError> {
        self.read_mark(stream)
    }

    fn watermarks(&self, prefix: &str) -> Result<Vec<Watermark>, StoreError> {
        let mut marks = self.read_marks("")?;
        marks.retain(|mark| mark.stream.starts_with(prefix));
        Ok(marks)
    }

    fn drop_before(&self, kind: Kind, before_ms: UnixMillis) -> Result<usize, StoreError> {
        let end_ms = month_start(month_of(before_ms.clamp(0, TIME_END_MS)));
        let (mut months, mut from_ms) = (0, 0);
        while let Some(first_ms) = self
            .first_since(kind, from_ms)?
            .filter(|first_ms| *first_ms < end_ms)
        {
            months += 1;
            from_ms = month_start(month_of(first_ms).saturating_add(1));
        }
        if months > 0 {
            let (measurements, condition): (&[&str], _) = match kind {
                Kind::Bars(timeframe) => (
                    &[BARS, REVISIONS],
                    format!("{} AND ", of_timeframe(timeframe)),
                ),
                Kind::Trades => (&[TRADES], String::new()),
            };
            self.check_others(measurements, &condition, end_ms)?;
            let statements = match kind {
                Kind::Bars(timeframe) => [BARS, REVISIONS].map(|measurement| {
                    let interval = quoted(&timeframe.to_string());
                    format!(
                        "DELETE FROM \"{measurement}\" WHERE \"interval\"={interval} AND time < {end_ms}ms"
                    )
                })
                .to_vec(),
                Kind::Trades => vec![format!("DELETE FROM \"{TRADES}\" WHERE time < {end_ms}ms")],
            };
            self.ask(&statements, Purpose::Survey)?;
        }
        Ok(months)
    }

    /// The server does this by itself.
    fn compact(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
