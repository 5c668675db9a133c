//! The question for a page of bars.

use market_core::UnixMillis;

use super::cursor::BarCursor;
use crate::Width;
use crate::store::{Instrument, Order};

/// Times are between 1970 and this instant, the first of the year 10000.
pub(super) const TIME_MAX_MS: UnixMillis = 253_402_300_800_000;

/// A question for the bars that start in `[from_ms, to_ms)`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BarQuery {
    /// Whose bars.
    pub instrument: Instrument,
    /// How wide they are.
    pub width: Width,
    /// First instant of the range; `None` for the first bar that is stored.
    pub from_ms: Option<UnixMillis>,
    /// First instant after the range; `None` for now.
    pub to_ms: Option<UnixMillis>,
    /// The most bars of the page. A page may have fewer although more follow: see `next`.
    pub limit: usize,
    /// The direction.
    pub order: Order,
    /// Whether intervals without trades have a flat bar.
    pub has_flat_bars: bool,
    /// Only what was known at this time.
    pub as_of_ms: Option<UnixMillis>,
    /// Only bars that became known after this time: new ones, and revisions.
    pub known_after_ms: Option<UnixMillis>,
    /// Where the page before ended.
    pub cursor: Option<BarCursor>,
}

impl BarQuery {
    /// The newest bars of an instrument, the newest one first.
    #[must_use]
    pub fn newest(instrument: Instrument, width: Width, limit: usize) -> Self {
        Self {
            instrument,
            width,
            from_ms: None,
            to_ms: None,
            limit,
            order: Order::Descending,
            has_flat_bars: true,
            as_of_ms: None,
            known_after_ms: None,
            cursor: None,
        }
    }

    /// The earliest time of a bar in the page, if every bar is there. `None` if it asks for what
    /// is stored.
    pub(crate) fn reaches_to(&self) -> Option<UnixMillis> {
        if self.from_ms.is_some() || self.order == Order::Ascending {
            return self.from_ms;
        }
        let cursor = self.cursor.map(|cursor| cursor.at_ms);
        let end = cursor.or(self.to_ms)?.clamp(0, TIME_MAX_MS);
        let start = self.width.start_of(end);
        let width_ms = self.width.end_of(start).saturating_sub(start);
        let limit = i64::try_from(self.limit).unwrap_or(i64::MAX);
        Some(start.saturating_sub(width_ms.saturating_mul(limit)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_reaches_back_as_far_as_its_limit_says() {
        let instrument = Instrument {
            exchange: "coinbase".into(),
            symbol: "BTC-USD".parse().expect("a symbol"),
        };
        let newest = BarQuery::newest(instrument, "1m".parse().expect("a width"), 500);
        assert_eq!(newest.reaches_to(), None);
        let older = BarQuery {
            to_ms: Some(600 * 60_000 + 1),
            ..newest.clone()
        };
        assert_eq!(older.reaches_to(), Some(100 * 60_000));
        let from = BarQuery {
            from_ms: Some(5),
            ..older
        };
        assert_eq!(from.reaches_to(), Some(5));
        let extreme = BarQuery {
            to_ms: Some(i64::MIN),
            limit: usize::MAX,
            ..newest
        };
        assert!(extreme.reaches_to().is_some_and(|from| from < 0));
    }
}
