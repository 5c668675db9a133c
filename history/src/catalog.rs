//! What the store holds, remembered: a question about it reads no file.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use market_core::UnixMillis;

use crate::BarRow;
use crate::store::{BarSeries, Instrument, SeriesInfo, Store, StoreError};

/// First start and last end of each stored series.
#[derive(Debug, Default)]
pub struct SeriesIndex {
    spans: Mutex<BTreeMap<BarSeries, (UnixMillis, UnixMillis)>>,
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

    /// Reads it anew, after rows were deleted.
    pub(crate) fn reload(&self, store: &dyn Store) -> Result<(), StoreError> {
        let infos = store.series()?;
        let spans = infos
            .into_iter()
            .map(|info| (info.series, (info.first_ms, info.last_end_ms)));
        *self.spans() = spans.collect();
        Ok(())
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
            .iter()
            .filter(|(series, _)| series.instrument == *instrument);
        let mut infos: Vec<SeriesInfo> = own.map(|(series, span)| info(series, *span)).collect();
        infos.sort_by_key(|info| info.series.timeframe);
        infos
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

fn info(series: &BarSeries, (first_ms, last_end_ms): (UnixMillis, UnixMillis)) -> SeriesInfo {
    SeriesInfo {
        series: series.clone(),
        first_ms,
        last_end_ms,
    }
}
