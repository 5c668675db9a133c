//! Compares a venue's ticker with our own bars.
//!
//! Nobody says to the second where a venue's 24 hours begin, and our bars need not cover them. So
//! our bars give bounds: what is surely in the window bounds a field on one side. If our bars leave
//! nothing out, what may be in the window bounds it on the other side. A field outside of its bounds
//! differs.

use std::collections::BTreeMap;
use std::ops::Range;

use market_core::wire::BarMessage;
use market_core::{Amount, Price, Quality, Ticker, UnixMillis};

use super::compare::Difference;
use super::exact::Exact;

/// The window of a ticker, ms.
const WINDOW_MS: i64 = 24 * 3_600_000;

/// What a comparison allows.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// How far from 24 hours before the ticker its window may begin, ms.
    pub step_ms: i64,
    /// How far the trades of a ticker may lie from its event time, ms.
    pub tolerance_ms: i64,
    /// How long after its event time a ticker may have been received, ms.
    pub age_ms: i64,
}

/// A field of a ticker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// The price of the last trade.
    Last,
    /// The price 24 hours ago.
    Open,
    /// The highest price.
    High,
    /// The lowest price.
    Low,
    /// The volume in the base currency.
    Volume,
}

/// The result for one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is within its bounds.
    Agrees,
    /// It is outside. Ours is the bound.
    Differs(Difference),
    /// Our bars give it no bound.
    Uncovered,
}

/// One of our closed bars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnBar {
    /// First instant in it.
    pub start_ms: UnixMillis,
    /// First instant after it.
    pub end_ms: UnixMillis,
    /// The highest price; without trades, the price before.
    pub high: Price,
    /// The lowest price; without trades, the price before.
    pub low: Price,
    /// The volume in the base currency; zero without trades.
    pub volume: Amount,
    /// No trade of its interval is known to be missing.
    pub is_whole: bool,
}

/// Our closed bars of several widths.
#[derive(Clone, Debug, Default)]
pub struct OwnBars {
    /// By width in ms, narrowest first, then by start.
    by_width: BTreeMap<i64, BTreeMap<UnixMillis, OwnBar>>,
}

/// What some bars have together.
struct Sum {
    high: Price,
    low: Price,
    volume: Amount,
}

/// Between what a field may be.
#[derive(Default)]
struct Bounds {
    at_least: Option<String>,
    at_most: Option<String>,
}

impl Field {
    /// Every field, in the order of [`compare`].
    pub const ALL: [Self; 5] = [Self::Last, Self::Open, Self::High, Self::Low, Self::Volume];

    /// Its name in the ticker and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Open => "open",
            Self::High => "high",
            Self::Low => "low",
            Self::Volume => "volume",
        }
    }

    fn value(self, ticker: &Ticker) -> Option<String> {
        let price = |price: Option<Price>| price.map(|price| price.to_string());
        match self {
            Self::Last => price(Some(ticker.last)),
            Self::Open => price(ticker.open),
            Self::High => price(ticker.high),
            Self::Low => price(ticker.low),
            Self::Volume => Some(ticker.volume.to_string()),
        }
    }
}

impl OwnBar {
    /// A published bar; `None` if its numbers cannot be read.
    #[must_use]
    pub fn of(bar: &BarMessage) -> Option<Self> {
        let is_whole = match bar.quality {
            Quality::Complete | Quality::Backfilled | Quality::Filled => true,
            Quality::Gap | Quality::Partial => false,
        };
        Some(Self {
            start_ms: bar.start_ms,
            end_ms: bar.interval.end_of(bar.start_ms),
            high: Price::parse(&bar.high).ok()?,
            low: Price::parse(&bar.low).ok()?,
            volume: Amount::parse(&bar.volume)?,
            is_whole,
        })
    }

    fn has_trades(&self) -> bool {
        !self.volume.is_zero()
    }
}

impl Extend<OwnBar> for OwnBars {
    fn extend<T: IntoIterator<Item = OwnBar>>(&mut self, bars: T) {
        for bar in bars {
            let width_ms = bar.end_ms.saturating_sub(bar.start_ms);
            if width_ms > 0 {
                let bars = self.by_width.entry(width_ms).or_default();
                bars.insert(bar.start_ms, bar);
            }
        }
    }
}

impl OwnBars {
    /// Bars that lie inside of `times` and do not overlap.
    fn inside(&self, times: &Range<UnixMillis>) -> Vec<OwnBar> {
        let mut found = Vec::new();
        let mut from_ms = times.start;
        while from_ms < times.end {
            // The wider one of two that begin together.
            let next = self.by_width.values().rev().filter_map(|bars| {
                let (_, bar) = bars.range(from_ms..times.end).next()?;
                (bar.end_ms <= times.end).then_some(*bar)
            });
            let Some(bar) = next.min_by_key(|bar| bar.start_ms) else {
                break;
            };
            from_ms = bar.end_ms;
            found.push(bar);
        }
        found
    }

    /// The narrowest whole bar that holds `at_ms`.
    fn at(&self, at_ms: UnixMillis) -> Option<OwnBar> {
        self.by_width.values().find_map(|bars| {
            let (_, bar) = bars.range(..=at_ms).next_back()?;
            (bar.is_whole && bar.end_ms > at_ms).then_some(*bar)
        })
    }

    /// Whole bars that have every instant of `times`, and perhaps more; `None` if there is a hole.
    fn over(&self, times: &Range<UnixMillis>) -> Option<Vec<OwnBar>> {
        let mut found = Vec::new();
        let mut from_ms = times.start;
        while from_ms < times.end {
            let bar = self.at(from_ms)?;
            from_ms = bar.end_ms;
            found.push(bar);
        }
        Some(found)
    }

    /// The lowest and the highest price that was the last one at some instant of `times`.
    fn last_prices(&self, times: &Range<UnixMillis>) -> Bounds {
        self.over(times)
            .and_then(|bars| self.prices(bars))
            .unwrap_or_default()
    }

    /// The same, and also the prices of the first trade after any instant of `times`: if a window
    /// begins in a silence, some venues open it with its first trade.
    fn first_prices(&self, times: &Range<UnixMillis>) -> Bounds {
        let prices = || {
            let mut bars = self.over(times)?;
            loop {
                let next = self.at(bars.last()?.end_ms)?;
                bars.push(next);
                if next.has_trades() {
                    return self.prices(bars);
                }
            }
        };
        prices().unwrap_or_default()
    }

    /// The prices of adjoining bars, and of the last trade before the first of them.
    fn prices(&self, mut bars: Vec<OwnBar>) -> Option<Bounds> {
        bars.push(self.at(bars.first()?.start_ms.checked_sub(1)?)?);
        Some(Bounds {
            at_least: bars.iter().map(|bar| bar.low).min().map(text),
            at_most: bars.iter().map(|bar| bar.high).max().map(text),
        })
    }
}

fn text(price: Price) -> String {
    price.to_string()
}

/// `None` if no bar has trades.
fn sum(bars: &[OwnBar]) -> Option<Sum> {
    let traded = || bars.iter().filter(|bar| bar.has_trades());
    let mut volume = Amount::ZERO;
    for bar in traded() {
        volume.add(bar.volume);
    }
    Some(Sum {
        high: traded().map(|bar| bar.high).max()?,
        low: traded().map(|bar| bar.low).min()?,
        volume,
    })
}

fn exact(volume: Amount) -> Option<String> {
    volume.is_exact().then(|| volume.to_string())
}

fn judge(field: Field, ticker: &Ticker, bounds: Bounds) -> Verdict {
    let Bounds { at_least, at_most } = bounds;
    let Some(venue) = field.value(ticker) else {
        return Verdict::Uncovered;
    };
    let Some(value) = Exact::parse(&venue) else {
        return Verdict::Uncovered;
    };
    let bound = |text: &Option<String>| text.as_deref().and_then(Exact::parse);
    let ours = match (bound(&at_least), bound(&at_most)) {
        (None, None) => return Verdict::Uncovered,
        (Some(least), _) if value < least => at_least,
        (_, Some(most)) if value > most => at_most,
        _ => return Verdict::Agrees,
    };
    Verdict::Differs(Difference {
        field: field.name(),
        ours,
        venue: Some(venue),
    })
}

/// Compares a ticker with our bars, for each of [`Field::ALL`]. `None` if the ticker has no time, or
/// if it was received so late that nobody knows where its window is.
#[must_use]
pub fn compare(ticker: &Ticker, bars: &OwnBars, allowed: Allowance) -> Option<[Verdict; 5]> {
    let event_ms = ticker.event_ms?;
    if ticker.received_us.div_euclid(1_000).checked_sub(event_ms)? > allowed.age_ms {
        return None;
    }
    let (step_ms, tolerance_ms) = (allowed.step_ms, allowed.tolerance_ms);
    let opened_ms = event_ms.checked_sub(WINDOW_MS)?;
    let open = opened_ms.checked_sub(step_ms)?..opened_ms.checked_add(step_ms)?;
    let last = event_ms.checked_sub(tolerance_ms)?..event_ms.checked_add(tolerance_ms)?;
    let (surely, perhaps) = (open.end..last.start, open.start..last.end);
    let inside = sum(&bars.inside(&surely));
    let over = bars.over(&perhaps).and_then(|bars| sum(&bars));
    let bounds = |field| match field {
        Field::Last => bars.last_prices(&last),
        Field::Open => bars.first_prices(&open),
        Field::High => Bounds {
            at_least: inside.as_ref().map(|sum| text(sum.high)),
            at_most: over.as_ref().map(|sum| text(sum.high)),
        },
        Field::Low => Bounds {
            at_least: over.as_ref().map(|sum| text(sum.low)),
            at_most: inside.as_ref().map(|sum| text(sum.low)),
        },
        Field::Volume => Bounds {
            at_least: inside.as_ref().and_then(|sum| exact(sum.volume)),
            at_most: over.as_ref().and_then(|sum| exact(sum.volume)),
        },
    };
    Some(Field::ALL.map(|field| judge(field, ticker, bounds(field))))
}

#[cfg(test)]
mod tests;
