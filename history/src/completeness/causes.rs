//! Why bars are not what the trades of the venue made of them here.
//!
//! A cause is told by the stored rows: by the quality of a bar, by who made it, and by the trade ids
//! around a hole. So it is as true as the rows: when a gap is healed, its bar is revised, and the
//! cause is another one. What was known before can be read as of that time.

use market_core::{BarRow, Quality, Timeframe, UnixMillis};
use serde::Serialize;

/// Why a bar is missing, or what is special about it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// No bar is stored, and trades are missing there, or may be: nobody received them, or the bus
    /// kept the bar no longer.
    Missing,
    /// The venue has no bar between two of its own ones that are stored. Most often there was no trade.
    NotAtVenue,
    /// The bar lacks trades that the venue did not give again.
    Gap,
    /// The bar began before its first trade was received.
    Partial,
    /// The venue's own bar, because none was made here.
    FromVenue,
    /// Trades were missing, and the venue gave them again: the bar is whole.
    Backfilled,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Missing,
        Self::NotAtVenue,
        Self::Gap,
        Self::Partial,
        Self::FromVenue,
        Self::Backfilled,
    ];

    /// The cause of a stored bar; `None` for a bar without a flaw.
    #[must_use]
    pub fn of(row: &BarRow) -> Option<Self> {
        match row.quality {
            Quality::Gap => Some(Self::Gap),
            Quality::Partial => Some(Self::Partial),
            _ if row.is_imported => Some(Self::FromVenue),
            Quality::Backfilled => Some(Self::Backfilled),
            Quality::Complete | Quality::Filled => None,
        }
    }

    /// Whether trades are missing, as far as is known.
    #[must_use]
    pub const fn lacks_trades(self) -> bool {
        matches!(self, Self::Missing | Self::Gap | Self::Partial)
    }

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::NotAtVenue => "not_at_venue",
            Self::Gap => "gap",
            Self::Partial => "partial",
            Self::FromVenue => "from_venue",
            Self::Backfilled => "backfilled",
        }
    }
}

/// Adjoining intervals with one cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CauseSpan {
    /// First instant.
    pub from_ms: UnixMillis,
    /// First instant after it.
    pub to_ms: UnixMillis,
    /// Why.
    pub cause: Cause,
    /// How many intervals.
    pub bars: u64,
}

/// Finds the causes in bars that are pushed by ascending start.
#[derive(Debug)]
pub struct Causes {
    timeframe: Timeframe,
    /// Of which instants the causes are wanted.
    from_ms: UnixMillis,
    to_ms: UnixMillis,
    newest: Option<BarRow>,
    /// The highest trade id so far, if the newest bars with trades have ids.
    last_id: Option<u64>,
    current: Option<CauseSpan>,
}

impl Causes {
    /// Of bars that start in `[from_ms, to_ms)`. The bar before may be pushed, too, and the one after.
    #[must_use]
    pub fn new(timeframe: Timeframe, from_ms: UnixMillis, to_ms: UnixMillis) -> Self {
        Self {
            timeframe,
            from_ms,
            to_ms,
            newest: None,
            last_id: None,
            current: None,
        }
    }

    /// Takes the next bar, and tells the spans that have ended.
    pub fn push(&mut self, row: &BarRow, tell: &mut impl FnMut(CauseSpan)) {
        if let Some(newest) = self.newest {
            let end_ms = self.timeframe.end_of(newest.start_ms);
            if end_ms < row.start_ms
                && let Some(cause) = self.cause_of_hole(&newest, row)
            {
                self.add(end_ms, row.start_ms, cause, tell);
            }
        }
        if let Some(cause) = Cause::of(row) {
            let end_ms = self.timeframe.end_of(row.start_ms);
            self.add(row.start_ms, end_ms, cause, tell);
        }
        self.newest = Some(*row);
        if !row.is_flat() {
            self.last_id = row.ids.map(|ids| ids.last);
        }
    }

    /// Tells the last span.
    pub fn finish(mut self, tell: &mut impl FnMut(CauseSpan)) {
        if let Some(span) = self.current.take() {
            tell(span);
        }
    }

    fn cause_of_hole(&self, before: &BarRow, after: &BarRow) -> Option<Cause> {
        if before.is_imported && after.is_imported {
            return Some(Cause::NotAtVenue);
        }
        let adjoins = match (self.last_id, after.ids) {
            (Some(last), Some(ids)) => last.checked_add(1) == Some(ids.first),
            _ => false,
        };
        // No trade happened: flat bars need not be stored.
        (!adjoins).then_some(Cause::Missing)
    }

    fn add(
        &mut self,
        from_ms: UnixMillis,
        to_ms: UnixMillis,
        cause: Cause,
        tell: &mut impl FnMut(CauseSpan),
    ) {
        let (from_ms, to_ms) = (from_ms.max(self.from_ms), to_ms.min(self.to_ms));
        if from_ms >= to_ms {
            return;
        }
        let bars = self.bars_in(from_ms, to_ms);
        match &mut self.current {
            Some(span) if span.cause == cause && span.to_ms == from_ms => {
                span.to_ms = to_ms;
                span.bars = span.bars.saturating_add(bars);
            }
            current => {
                let span = CauseSpan {
                    from_ms,
                    to_ms,
                    cause,
                    bars,
                };
                if let Some(ended) = current.replace(span) {
                    tell(ended);
                }
            }
        }
    }

    /// How many intervals start there. All of one timeframe are about equally wide.
    fn bars_in(&self, from_ms: UnixMillis, to_ms: UnixMillis) -> u64 {
        let width_ms = self
            .timeframe
            .end_of(from_ms)
            .saturating_sub(from_ms)
            .max(1);
        let bars = to_ms.saturating_sub(from_ms).saturating_add(width_ms - 1) / width_ms;
        bars.max(1).unsigned_abs()
    }
}

#[cfg(test)]
mod tests {
    use market_core::{Amount, IdSpan, Price};

    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn bar(minute: i64, quality: Quality, id: Option<u64>) -> BarRow {
        let price = Price::from_parts(100, 0).expect("above zero");
        BarRow {
            volume: Amount::from_parts(1, 0),
            count: Some(1),
            ids: id.map(|id| IdSpan {
                first: id,
                last: id,
            }),
            quality,
            is_imported: id.is_none(),
            ..BarRow::flat(minute * MINUTE_MS, price, 0)
        }
    }

    #[track_caller]
    fn check(rows: &[BarRow], expected: &[(i64, i64, &str, u64)]) {
        let mut causes = Causes::new(Timeframe::MINUTE, 10 * MINUTE_MS, 30 * MINUTE_MS);
        let mut spans = Vec::new();
        let mut tell = |span: CauseSpan| {
            let (from, to) = (span.from_ms / MINUTE_MS, span.to_ms / MINUTE_MS);
            spans.push((from, to, span.cause.as_str(), span.bars));
        };
        for row in rows {
            causes.push(row, &mut tell);
        }
        causes.finish(&mut tell);
        assert_eq!(spans, expected);
    }

    #[test]
    fn causes_are_told_by_the_rows_and_the_holes_between_them() {
        use Quality::{Backfilled, Complete, Gap, Partial};
        check(&[], &[]);
        let own = |minute, quality| bar(minute, quality, Some(minute.unsigned_abs()));
        check(&[own(10, Complete), own(11, Complete)], &[]);
        check(
            &[
                own(10, Gap),
                own(11, Gap),
                own(12, Complete),
                own(13, Partial),
                own(14, Backfilled),
            ],
            &[
                (10, 12, "gap", 2),
                (13, 14, "partial", 1),
                (14, 15, "backfilled", 1),
            ],
        );
        // Ids adjoin over the first hole.
        check(
            &[
                bar(10, Complete, Some(7)),
                bar(15, Complete, Some(8)),
                bar(20, Complete, Some(10)),
            ],
            &[(16, 20, "missing", 4)],
        );
        let venue = |minute| bar(minute, Complete, None);
        check(
            &[venue(10), venue(11), venue(13), own(20, Complete)],
            &[
                (10, 12, "from_venue", 2),
                (12, 13, "not_at_venue", 1),
                (13, 14, "from_venue", 1),
                (14, 20, "missing", 6),
            ],
        );
        // Only what lies in the range counts.
        check(&[own(5, Gap), own(40, Gap)], &[(10, 30, "missing", 20)]);
    }
}
