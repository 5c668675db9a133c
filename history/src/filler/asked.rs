//! From when on the venues were asked already.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use market_core::UnixMillis;

use crate::store::BarSeries;

/// What is known about the bars before the first stored one of each series. A venue may have none,
/// and each question that reaches there would ask it again.
#[derive(Debug, Default)]
pub(super) struct Asked(Mutex<HashMap<BarSeries, UnixMillis>>);

impl Asked {
    /// Everything that the venue has from this time on was asked for.
    pub(super) fn since(&self, series: &BarSeries) -> Option<UnixMillis> {
        // Each change is one insertion.
        let asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.get(series).copied()
    }

    /// Remembers it. There is one entry for each series, and the index of the store has as many.
    pub(super) fn note(&self, series: &BarSeries, since_ms: UnixMillis) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = asked.entry(series.clone()).or_insert(since_ms);
        *known = since_ms.min(*known);
    }
}
