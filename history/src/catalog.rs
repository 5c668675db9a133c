//! What the store holds, remembered: a question about it reads no file.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use market_core::{Timeframe, UnixMillis};

use crate::BarRow;
use crate::range::StoredBars;
use crate::store::{BarSeries, Instrument, SeriesInfo, Store, StoreError};

/// First start and last end of each stored series.
#[derive(Debug, Default)]
pub struct SeriesIndex {
    spans: Mutex<BTreeMap<BarSeries, (UnixMillis, UnixMillis)>>,
    /// Whether the store has said what it holds.
    is_loaded: AtomicBool,
}

impl SeriesIndex {
    /// Reads it from a store.
    pub(crate) fn of(store: &dyn Store) -> Result<Self, StoreError> {
        let index = Self::default();
        index.reload(store)?;
        Ok(index)
    }

    fn spans(&self) -> MutexGuard<'_, BTreeMap<BarSeries, (UnixMillis, UnixMillis)>> {
        // Each change leaves whole values.
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads it again, after rows were deleted.
    pub(crate) fn reload(&self, store: &dyn Store) -> Result<(), StoreError> {
        let before = self.spans().clone();
        let infos = store.series()?;
        let read = infos
            .into_iter()
            .map(|info| (info.series, (info.first_ms, info.last_end_ms)));
        let mut read: BTreeMap<_, _> = read.collect();
        let mut spans = self.spans();
        // What was stored while the files were read.
        for (series, now) in spans.iter() {
            if before.get(series) != Some(now) {
                let span = read.entry(series.clone()).or_insert(*now);
                span.1 = span.1.max(now.1);
            }
        }
        *spans = read;
        self.is_loaded.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether the store has said what it holds. Until then, nothing is known to be missing.
    pub(crate) fn is_loaded(&self) -> bool {
        self.is_loaded.load(Ordering::Acquire)
    }

    /// These rows are stored.
    pub(crate) fn stored(&self, batch: &[(BarSeries, Vec<BarRow>)]) {
        let mut spans = self.spans();
        for (series, rows) in batch {
            let starts = || rows.iter().map(|row| row.start_ms);
            let (Some(first), Some(last)) = (starts().min(), starts().max()) else {
                continue;
            };
            let end = series.timeframe.end_of(last);
            match spans.get_mut(series) {
                Some(span) => *span = (span.0.min(first), span.1.max(end)),
                None => {
                    spans.insert(series.clone(), (first, end));
                }
            }
        }
    }

    /// Every stored series, in order.
    #[must_use]
    pub fn all(&self) -> Vec<SeriesInfo> {
        let spans = self.spans();
        let infos = spans.iter().map(|(series, span)| info(series, *span));
        infos.collect()
    }

    /// The end of the newest bar of all series.
    #[must_use]
    pub fn newest_end_ms(&self) -> Option<UnixMillis> {
        self.spans().values().map(|(_, end_ms)| *end_ms).max()
    }

    /// One series.
    #[must_use]
    pub fn get(&self, series: &BarSeries) -> Option<SeriesInfo> {
        let spans = self.spans();
        spans.get(series).map(|span| info(series, *span))
    }

    /// The stored timeframes of an instrument, narrowest first.
    #[must_use]
    pub fn of_instrument(&self, instrument: &Instrument) -> Vec<SeriesInfo> {
        let spans = self.spans();
        let own = spans
            .range(first_series(instrument.clone())..)
            .take_while(|(series, _)| series.instrument == *instrument);
        own.map(|(series, span)| info(series, *span)).collect()
    }

    /// The same, as sources of wider bars.
    #[must_use]
    pub fn stored_bars(&self, instrument: &Instrument) -> Vec<StoredBars> {
        let infos = self.of_instrument(instrument).into_iter();
        let stored = infos.map(|info| StoredBars {
            timeframe: info.series.timeframe,
            first_ms: info.first_ms,
        });
        stored.collect()
    }

    /// The venues with stored rows, in order.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Box<str>> {
        let spans = self.spans();
        let mut exchanges: Vec<Box<str>> = Vec::new();
        let mut next = spans.first_key_value();
        while let Some((series, _)) = next {
            let exchange = series.instrument.exchange.clone();
            // No name of a symbol is after this one.
            let last = Instrument {
                exchange: format!("{exchange}\0").into(),
                symbol: series.instrument.symbol.clone(),
            };
            exchanges.push(exchange);
            next = spans.range(first_series(last)..).next();
        }
        exchanges
    }

    /// The instruments of a pair such as `BTC-USDT`, one or more of each venue, in order.
    #[must_use]
    pub fn of_pair(&self, pair: &str) -> Vec<Instrument> {
        let exchanges = self.exchanges();
        let spans = self.spans();
        let mut found = Vec::new();
        for exchange in exchanges {
            let venue = exchange.to_ascii_uppercase();
            for name in [pair.to_owned(), format!("{venue}:{pair}")] {
                let Ok(symbol) = name.parse() else {
                    continue;
                };
                let instrument = Instrument {
                    exchange: exchange.clone(),
                    symbol,
                };
                let mut after = spans.range(first_series(instrument.clone())..);
                if after
                    .next()
                    .is_some_and(|(series, _)| series.instrument == instrument)
                {
                    found.push(instrument);
                }
            }
        }
        found
    }

    /// The first `limit` instruments for which `is_wanted`, in order.
    #[must_use]
    pub fn instruments(
        &self,
        is_wanted: impl Fn(&Instrument) -> bool,
        limit: usize,
    ) -> Vec<Instrument> {
        let spans = self.spans();
        let mut found: Vec<Instrument> = Vec::new();
        let mut before = None;
        for series in spans.keys() {
            let is_new = before.replace(&series.instrument) != Some(&series.instrument);
            if found.len() >= limit {
                break;
            }
            if is_new && is_wanted(&series.instrument) {
                found.push(series.instrument.clone());
            }
        }
        found
    }

    /// How many series are stored.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans().len()
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans().is_empty()
    }
}

/// No series of an instrument is before this one.
pub(crate) fn first_series(instrument: Instrument) -> BarSeries {
    BarSeries {
        instrument,
        timeframe: Timeframe::SECOND,
    }
}

fn info(series: &BarSeries, (first_ms, last_end_ms): (UnixMillis, UnixMillis)) -> SeriesInfo {
    SeriesInfo {
        series: series.clone(),
        first_ms,
        last_end_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(series: &[(&str, &str, &str)]) -> SeriesIndex {
        let index = SeriesIndex::default();
        for (number, (exchange, symbol, timeframe)) in (0..).zip(series) {
            let series = BarSeries {
                instrument: Instrument {
                    exchange: (*exchange).into(),
                    symbol: symbol.parse().expect("a symbol"),
                },
                timeframe: timeframe.parse().expect("a timeframe"),
            };
            index.spans().insert(series, (number, number + 1));
        }
        index
    }

    #[test]
    fn what_is_stored_is_found_by_instrument_pair_and_venue() {
        let index = index(&[
            ("binance", "BTC-USDT", "1m"),
            ("binance", "BTC-USDT", "1s"),
            ("binance", "BTC-USDT", "1d"),
            ("binance", "ETH-USDT", "1m"),
            ("coinbase", "BTC-USD", "1m"),
            ("okx", "OKX:BTC-USDT", "1m"),
        ]);
        let exchanges: Vec<String> = index.exchanges().iter().map(ToString::to_string).collect();
        assert_eq!(exchanges, ["binance", "coinbase", "okx"]);
        let found = index.of_pair("BTC-USDT");
        let names = |found: &[Instrument]| -> Vec<String> {
            found.iter().map(|found| found.symbol.to_string()).collect()
        };
        assert_eq!(names(&found), ["BTC-USDT", "OKX:BTC-USDT"]);
        assert_eq!(names(&index.of_pair("BTC-EUR")), [""; 0]);
        let timeframes: Vec<String> = index
            .of_instrument(&found[0])
            .iter()
            .map(|info| info.series.timeframe.to_string())
            .collect();
        assert_eq!(timeframes, ["1s", "1m", "1d"]);
        let all = index.instruments(|_| true, 3);
        assert_eq!(names(&all), ["BTC-USDT", "ETH-USDT", "BTC-USD"]);
        let some = index.instruments(|found| &*found.exchange == "okx", 9);
        assert_eq!(names(&some), ["OKX:BTC-USDT"]);
    }
}
