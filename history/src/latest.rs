//! The newest bars of the bus: the forming one of each series, and closed ones that the store does
//! not hold yet.
//!
//! The bus delivers a closed bar some hundred milliseconds before the store has it. An answer that
//! reaches until now has both, so that no bar is missing between them.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bus::{Bus, BusError, Message};
use bytes::Bytes;
use market_core::channel::KLINE;
use market_core::wire::BarHead;
use market_core::{Timeframe, UnixMillis, subject};
use metrics::{Counter, Gauge, counter, gauge};
use service::Shutdown;

use crate::BarRow;
use crate::cache::CacheFeed;
use crate::catalog::first_series;
use crate::retained::{self, NewestValues};
use crate::store::{BarSeries, Instrument};

/// Closed bars of a series that are remembered while the store does not take them.
const CLOSED_MAX: usize = 8;
/// A timeframe is no longer made if a wider bar began longer after the end of its newest bar.
const ENDED_AFTER_MS: i64 = 10_000;
/// Forming bars of a series that are remembered: a bar of a second closes two seconds after its end.
const FORMING_MAX: usize = 8;

/// The newest bars of one series, as the bus carried them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewestBars {
    /// The forming bar.
    pub forming: Option<Bytes>,
    /// Bars before the forming one whose intervals are over, and whose closes have not come yet, by
    /// ascending start.
    pub closing: Vec<Bytes>,
    /// Closed bars that may not be stored yet, by ascending start. They may be stored already.
    pub closed: Vec<Bytes>,
}

/// The newest bars of every series. Clones share them.
#[derive(Clone)]
pub struct Latest(Arc<Inner>);

struct Inner {
    /// In order, so that the series of one instrument are found without a look at all series.
    series: Mutex<BTreeMap<BarSeries, Bars>>,
    series_max: usize,
    cache: CacheFeed,
    count: Gauge,
    refused: Counter,
    unreadable: Counter,
    lost: Counter,
}

#[derive(Default)]
struct Bars {
    /// By start.
    forming: BTreeMap<UnixMillis, Numbered>,
    /// The start of the newest closed bar that has come.
    closed_ms: Option<UnixMillis>,
    /// By start.
    closed: BTreeMap<UnixMillis, (u32, Bytes)>,
}

struct Numbered {
    /// Epoch and sequence number.
    stamp: (u64, u64),
    payload: Bytes,
}

impl std::fmt::Debug for Latest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Latest").finish_non_exhaustive()
    }
}

impl Latest {
    /// Nothing yet; at most `series_max` series. A cache gets what is remembered, too.
    #[must_use]
    pub fn new(series_max: usize, cache: CacheFeed) -> Self {
        Self(Arc::new(Inner {
            series: Mutex::default(),
            series_max,
            cache,
            count: gauge!("history_latest_series"),
            refused: counter!("history_latest_refused_total"),
            unreadable: counter!("history_messages_unreadable_total", "from" => "latest"),
            lost: counter!("history_latest_lost_total"),
        }))
    }

    fn series(&self) -> MutexGuard<'_, BTreeMap<BarSeries, Bars>> {
        // Each change leaves whole values.
        self.0.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest bars of a series.
    #[must_use]
    pub fn of(&self, series: &BarSeries) -> NewestBars {
        let all = self.series();
        all.get(series)
            .map_or_else(NewestBars::default, |bars| NewestBars {
                forming: bars
                    .forming
                    .last_key_value()
                    .map(|(_, bar)| bar.payload.clone()),
                closing: {
                    let older = bars.forming.values().rev().skip(1).rev();
                    older.map(|bar| bar.payload.clone()).collect()
                },
                closed: bars.closed.values().map(|(_, bar)| bar.clone()).collect(),
            })
    }

    /// The bars of a series with their starts, newest first, and whether each is forming.
    pub(crate) fn newest_first(&self, series: &BarSeries) -> Vec<(UnixMillis, bool, Bytes)> {
        let all = self.series();
        let Some(bars) = all.get(series) else {
            return Vec::new();
        };
        let closed = bars.closed.iter();
        let closed = closed.map(|(start_ms, (_, bar))| (*start_ms, false, bar.clone()));
        let forming = bars.forming.iter();
        let forming = forming.map(|(start_ms, bar)| (*start_ms, true, bar.payload.clone()));
        let mut newest: Vec<_> = closed.chain(forming).collect();
        newest.sort_by_key(|(start_ms, is_forming, _)| (Reverse(*start_ms), *is_forming));
        newest
    }

    /// The series of an instrument that have a bar, narrowest first.
    #[must_use]
    pub fn of_instrument(&self, instrument: &Instrument) -> Vec<BarSeries> {
        let all = self.series();
        let own = all
            .range(first_series(instrument.clone())..)
            .take_while(|(series, _)| series.instrument == *instrument);
        own.map(|(series, _)| series.clone()).collect()
    }

    /// The end of the bar after the newest one of an instrument's narrowest timeframe that goes on.
    pub(crate) fn next_end_ms(&self, instrument: &Instrument) -> Option<UnixMillis> {
        let all = self.series();
        let own = all
            .range(first_series(instrument.clone())..)
            .take_while(|(series, _)| series.instrument == *instrument);
        let newest = own.filter_map(|(series, bars)| {
            let forming = bars.forming.last_key_value().map(|(start_ms, _)| *start_ms);
            Some((series.timeframe, forming.max(bars.closed_ms)?))
        });
        next_end_ms(&newest.collect::<Vec<_>>())
    }

    /// Every series that has a bar, in order.
    #[must_use]
    pub fn known(&self) -> Vec<BarSeries> {
        self.series().keys().cloned().collect()
    }

    /// Takes what the bus delivered.
    pub(crate) fn offer(&self, message: &Message) {
        let Some((series, head)) = read(message) else {
            self.0.unreadable.increment(1);
            return;
        };
        let mut all = self.series();
        if !all.contains_key(&series) {
            if all.len() >= self.0.series_max {
                self.0.refused.increment(1);
                return;
            }
            all.insert(series.clone(), Bars::default());
            self.0.count.set(all.len() as f64);
        }
        if let Some(bars) = all.get_mut(&series) {
            bars.offer(&head, &message.payload);
        }
        drop(all);
        self.0.cache.offer_bar(&series, &head, &message.payload);
    }

    /// These rows are stored.
    pub(crate) fn stored(&self, batch: &[(BarSeries, Vec<BarRow>)]) {
        let mut all = self.series();
        for (series, rows) in batch {
            let Some(bars) = all.get_mut(series) else {
                continue;
            };
            for row in rows {
                let held = bars.closed.get(&row.start_ms);
                if held.is_some_and(|(rev, _)| *rev <= row.rev) {
                    bars.closed.remove(&row.start_ms);
                }
            }
        }
    }

    /// Follows the bus until the shutdown.
    ///
    /// # Errors
    /// If the bus will never accept the subscription.
    pub(crate) async fn follow(
        self,
        bus: Arc<dyn Bus>,
        shutdown: Shutdown,
    ) -> Result<(), BusError> {
        retained::follow(&self, &*bus, &KLINE.subjects(), shutdown).await
    }
}

impl NewestValues for Latest {
    fn take(&self, message: &Message) {
        self.offer(message);
    }

    fn lost(&self, count: u64) {
        self.0.lost.increment(count);
    }
}

impl Bars {
    fn offer(&mut self, head: &BarHead<'_>, payload: &Bytes) {
        if head.closed {
            let held = self.closed.get(&head.start_ms);
            if held.is_none_or(|(rev, _)| *rev <= head.rev) {
                self.closed
                    .insert(head.start_ms, (head.rev, payload.clone()));
            }
            if self.closed.len() > CLOSED_MAX {
                self.closed.pop_first();
            }
            self.closed_ms = self.closed_ms.max(Some(head.start_ms));
            self.forming.retain(|start_ms, _| *start_ms > head.start_ms);
            return;
        }
        // A forming bar that comes after its close is late.
        if self.closed_ms.is_some_and(|closed| closed >= head.start_ms) {
            return;
        }
        let stamp = (head.epoch, head.seq);
        let held = self.forming.get(&head.start_ms);
        if held.is_none_or(|held| held.stamp < stamp) {
            let payload = payload.clone();
            let bar = Numbered { stamp, payload };
            self.forming.insert(head.start_ms, bar);
        }
        if self.forming.len() > FORMING_MAX {
            self.forming.pop_first();
        }
    }
}

/// The end of the bar after the newest one of the narrowest timeframe, from the newest starts, narrowest
/// first. Publishers may have stopped to make a timeframe, whose last bar the bus retains: wider bars began
/// long after its end.
fn next_end_ms(newest: &[(Timeframe, UnixMillis)]) -> Option<UnixMillis> {
    let ends = newest
        .iter()
        .enumerate()
        .map(|(index, (timeframe, start))| {
            let end_ms = timeframe.end_of(*start);
            let goes_on_ms = end_ms.saturating_add(ENDED_AFTER_MS);
            let wider = newest.iter().skip(index.saturating_add(1));
            let is_ended = wider.clone().any(|(_, start_ms)| *start_ms > goes_on_ms);
            (is_ended, timeframe.end_of(end_ms))
        });
    let mut going_on = ends.filter(|(is_ended, _)| !is_ended);
    going_on.next().map(|(_, next_end_ms)| next_end_ms)
}

/// The series of a message, from its subject and its head.
fn read(message: &Message) -> Option<(BarSeries, BarHead<'_>)> {
    let topic = subject::to_topic(&message.subject)?;
    let (timeframe, symbol) = KLINE.rest(topic.as_str(), ':')?.split_once(':')?;
    let head = BarHead::read(&message.payload)?;
    if head.exchange.is_empty() {
        return None;
    }
    let series = BarSeries {
        instrument: Instrument {
            exchange: head.exchange.into(),
            symbol: symbol.parse().ok()?,
        },
        timeframe: timeframe.parse().ok()?,
    };
    Some((series, head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeframe_that_is_no_longer_made_does_not_tell_that_a_symbol_is_not_followed() {
        let (second, minute) = (Timeframe::SECOND, Timeframe::MINUTE);
        for (newest, expected) in [
            (vec![], None),
            (vec![(second, 70_000), (minute, 60_000)], Some(72_000)),
            // Both have ended.
            (vec![(second, 30_000), (minute, 0)], Some(32_000)),
            // Seconds may be a little late.
            (vec![(second, 58_000), (minute, 60_000)], Some(60_000)),
            // Seconds have ended, and minutes go on.
            (vec![(second, 30_000), (minute, 600_000)], Some(720_000)),
        ] {
            assert_eq!(next_end_ms(&newest), expected, "{newest:?}");
        }
    }
}
