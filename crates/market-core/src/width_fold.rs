//! Folds stored bars into wider ones: exact, because a wider bar is the merge of the bars in it.

use crate::bar::Quality;
use crate::bar_row::BarRow;
use crate::series::sequence::IdSpan;
use crate::value::amount::Amount;
use crate::value::clock::UnixMillis;
use crate::value::timeframe::Timeframe;
use crate::value::width::Width;

/// Folds bars of one symbol and timeframe into bars of a width.
///
/// Bars go in by ascending start, each start once. A bar comes out when a bar after it goes in, so
/// memory does not grow with the range.
///
/// The store may have no bar for an interval. If the trade ids before and after it adjoin, there
/// was no trade, and nothing is missing. If not, the folded bar says `gap`, or `partial` if nothing
/// is stored before it.
#[derive(Clone, Debug)]
pub struct WidthFold {
    width: Width,
    source: Timeframe,
    current: Option<BarRow>,
    /// The end of the newest bar that went in.
    end_ms: Option<UnixMillis>,
    /// The highest trade id that went in, if the newest bars have ids.
    last_id: Option<u64>,
    /// Between the newest bar and the end of `current`, no bar has come.
    is_open_ended: bool,
}

impl WidthFold {
    /// `None` if bars of `width` are not whole numbers of bars of `source`.
    #[must_use]
    pub fn new(width: Width, source: Timeframe) -> Option<Self> {
        width.is_made_of(source).then_some(Self {
            width,
            source,
            current: None,
            end_ms: None,
            last_id: None,
            is_open_ended: false,
        })
    }

    /// Adds the next bar; returns the folded bar before it, if one is finished.
    pub fn push(&mut self, row: &BarRow) -> Option<BarRow> {
        let start_ms = self.width.start_of(row.start_ms);
        let adjoins = match (row.ids, self.last_id) {
            (Some(ids), Some(last)) => last.checked_add(1) == Some(ids.first),
            _ => false,
        };
        let is_known = adjoins || self.end_ms == Some(row.start_ms);
        let is_first = self.end_ms.is_none();
        let finished = match &mut self.current {
            Some(current) if current.start_ms == start_ms => {
                merge(current, row);
                if !is_known {
                    current.quality = Quality::Gap;
                }
                None
            }
            _ => {
                let next = BarRow { start_ms, ..*row };
                let mut finished = self.current.replace(next);
                if let Some(finished) = &mut finished
                    && self.is_open_ended
                    && !is_known
                {
                    finished.quality = Quality::Gap;
                }
                // The bar begins with its window, or nothing is missing before it.
                if row.start_ms != start_ms && !is_known {
                    let quality = if is_first {
                        Quality::Partial
                    } else {
                        Quality::Gap
                    };
                    self.mark(quality);
                }
                finished
            }
        };
        let end_ms = self.source.end_of(row.start_ms);
        self.is_open_ended = end_ms < self.width.end_of(start_ms);
        self.end_ms = Some(end_ms);
        if !row.is_flat() {
            self.last_id = row.ids.map(|ids| ids.last);
        }
        finished
    }

    fn mark(&mut self, quality: Quality) {
        if let Some(current) = &mut self.current {
            current.quality = worse(current.quality, quality);
        }
    }

    /// The bar that is being folded: it lacks the parts that have not come yet.
    #[must_use]
    pub fn forming(&self) -> Option<&BarRow> {
        self.current.as_ref()
    }

    /// Whether the bars of later windows give the same in both folds.
    #[must_use]
    pub fn continues_as(&self, other: &Self) -> bool {
        (self.end_ms, self.last_id) == (other.end_ms, other.last_id)
    }

    /// The last bar, if its window ends at or before `until_ms`: all bars up to there have gone in.
    #[must_use]
    pub fn finish(mut self, until_ms: UnixMillis) -> Option<BarRow> {
        let end_ms = self.width.end_of(self.current?.start_ms);
        if end_ms > until_ms {
            return None;
        }
        if self.is_open_ended {
            self.mark(Quality::Gap);
        }
        self.current
    }
}

/// Adds the bar after it to a bar.
fn merge(bar: &mut BarRow, next: &BarRow) {
    bar.quality = worse(bar.quality, next.quality);
    // Every revision of a part raises the number of the whole.
    bar.rev = bar.rev.saturating_add(next.rev);
    bar.is_imported |= next.is_imported;
    bar.known_ms = bar.known_ms.max(next.known_ms);
    if next.is_flat() {
        return;
    }
    if bar.is_flat() {
        let BarRow {
            start_ms,
            quality,
            rev,
            is_imported,
            known_ms,
            ..
        } = *bar;
        *bar = BarRow {
            start_ms,
            quality,
            rev,
            is_imported,
            known_ms,
            ..*next
        };
        return;
    }
    bar.high = bar.high.max(next.high);
    bar.low = bar.low.min(next.low);
    bar.close = next.close;
    bar.volume.add(next.volume);
    bar.quote_volume = sum(bar.quote_volume, next.quote_volume);
    bar.taker_buy_volume = sum(bar.taker_buy_volume, next.taker_buy_volume);
    bar.taker_buy_quote_volume = sum(bar.taker_buy_quote_volume, next.taker_buy_quote_volume);
    let counts = bar.count.zip(next.count);
    bar.count = counts.map(|(own, next)| own.saturating_add(next));
    bar.ids = bar.ids.zip(next.ids).map(|(own, next)| IdSpan {
        first: own.first.min(next.first),
        last: own.last.max(next.last),
    });
    bar.event_ms = bar.event_ms.max(next.event_ms);
    bar.received_us = bar.received_us.max(next.received_us);
    let is_exact = |sum: Option<Amount>| sum.is_none_or(Amount::is_exact);
    if !bar.volume.is_exact() || !is_exact(bar.quote_volume) {
        bar.quality = Quality::Gap;
    }
}

/// A sum that is unknown of one part is unknown of the whole.
fn sum(own: Option<Amount>, next: Option<Amount>) -> Option<Amount> {
    let mut sum = own?;
    sum.add(next?);
    Some(sum)
}

/// The quality of a bar with parts of both. A flat part takes nothing away.
fn worse(a: Quality, b: Quality) -> Quality {
    let badness = |quality| match quality {
        Quality::Filled => 0,
        Quality::Complete => 1,
        Quality::Backfilled => 2,
        Quality::Partial => 3,
        Quality::Gap => 4,
    };
    if badness(a) >= badness(b) { a } else { b }
}
