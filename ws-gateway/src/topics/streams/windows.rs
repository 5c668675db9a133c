//! The bars of windows that end now, of which tickers are made.
//!
//! A topic holds the last few bars only, so the others come from history: once for each symbol, and
//! again for the minutes that did not come. Until history has answered, there is no event: a sum of
//! some of the bars looks like a right one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use market_core::binance::minute::MINUTE_MS;
use market_core::binance::{Minute, MinuteBar, MinuteSums, TickerWindow};
use market_core::{BarRow, Topic, UnixMillis};
use metrics::{Counter, Gauge, counter, gauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Until history is asked again that gave no answer.
const LOAD_REST: Duration = Duration::from_secs(5);

/// Until history is asked again if it lacked bars: it may still be reading them from the venue. The
/// time doubles up to the second one.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(320);
/// The last bars of a window, which the topic holds: they are not older than those of history.
const HELD_MINUTES: i64 = 5;

/// The room that windows have for their minutes.
#[derive(Debug)]
pub(super) struct MinuteRoom {
    permits: Arc<Semaphore>,
    minutes_max: usize,
    held: Gauge,
    left_out: Counter,
}

/// The windows of a stream: of its symbol, or of all symbols.
#[derive(Debug)]
pub(super) struct Windows {
    width: TickerWindow,
    by_source: BTreeMap<Topic, Window>,
    /// The symbols for which there was no room.
    left_out: BTreeSet<Topic>,
    room: Arc<MinuteRoom>,
}

/// The bars of a symbol.
#[derive(Debug)]
struct Window {
    minutes: BTreeMap<UnixMillis, MinuteBar>,
    /// The one that begins last.
    newest: Arc<Minute>,
    /// All bars of the window before this instant are there, or history has none.
    whole_upto_ms: Option<UnixMillis>,
    /// Those of the bars before the newest one, once they are added up.
    before: Option<Option<MinuteSums>>,
    /// When history may be asked; `None` while it is asked.
    load_at: Option<Instant>,
    /// When history is asked again for all bars, as it lacked some.
    again_at: Option<Instant>,
    again_after: Duration,
    _room: OwnedSemaphorePermit,
}

impl MinuteRoom {
    /// Room for so many.
    pub(super) fn new(minutes_max: usize) -> Arc<Self> {
        let minutes_max = minutes_max.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(minutes_max)),
            minutes_max,
            held: gauge!("gateway_binance_window_bars"),
            left_out: counter!("gateway_binance_window_symbols_left_out_total"),
        })
    }

    /// Whether there is room for another window.
    pub(super) fn has(&self, width: TickerWindow) -> bool {
        self.permits.available_permits() >= permits(width) as usize
    }

    fn take(&self, width: TickerWindow) -> Option<OwnedSemaphorePermit> {
        let permits = Arc::clone(&self.permits).try_acquire_many_owned(permits(width));
        permits.ok()
    }

    /// Says in the metrics how many minutes have their room taken.
    pub(super) fn report(&self) {
        let free = self.permits.available_permits();
        self.held.set(self.minutes_max.saturating_sub(free) as f64);
    }
}

/// The most bars of a window.
fn permits(width: TickerWindow) -> u32 {
    u32::try_from(width.minutes()).map_or(u32::MAX, |minutes| minutes.saturating_add(1))
}

impl Windows {
    /// None so far.
    pub(super) fn new(width: TickerWindow, room: &Arc<MinuteRoom>) -> Self {
        Self {
            width,
            by_source: BTreeMap::new(),
            left_out: BTreeSet::new(),
            room: Arc::clone(room),
        }
    }

    /// A topic has these bars, among others.
    pub(super) fn took(&mut self, source: &Topic, minutes: &[&Arc<Minute>], now: Instant) {
        let Some(newest) = minutes.iter().max_by_key(|minute| minute.bar.start_ms) else {
            return;
        };
        if !self.by_source.contains_key(source) {
            let Some(room) = self.room.take(self.width) else {
                if self.left_out.insert(source.clone()) {
                    self.room.left_out.increment(1);
                }
                return;
            };
            self.left_out.remove(source);
            let window = Window::new(Arc::clone(newest), room, now);
            self.by_source.insert(source.clone(), window);
        }
        if let Some(window) = self.by_source.get_mut(source) {
            window.took(self.width, minutes);
        }
    }

    /// The event of a symbol; `None` while bars are missing.
    pub(super) fn event(&mut self, source: &Topic) -> Option<String> {
        self.by_source.get_mut(source)?.event(self.width)
    }

    /// What is to be asked of history now: at most so many questions. Each has the topic, the range
    /// and the venue, if it is known.
    pub(super) fn wanted(
        &mut self,
        most: usize,
        now: Instant,
    ) -> Vec<(Topic, (UnixMillis, UnixMillis), Option<String>)> {
        let width = self.width;
        let windows = self.by_source.iter_mut();
        let wanted = windows.filter_map(|(source, window)| {
            window.load_at.filter(|load_at| *load_at <= now)?;
            let again_at = window.again_at.filter(|again_at| *again_at <= now);
            let whole = again_at.map(|_| window.whole_range(width));
            let range = whole.or_else(|| window.missing(width))?;
            let exchange = window.newest.exchange.clone();
            Some((source, window, range, exchange))
        });
        let asked = wanted.take(most).map(|(source, window, range, exchange)| {
            window.load_at = None;
            let exchange = (!exchange.is_empty()).then_some(exchange);
            (source.clone(), range, exchange)
        });
        asked.collect()
    }

    /// How many questions wait for their answer.
    pub(super) fn asked(&self) -> usize {
        let windows = self.by_source.values();
        windows.filter(|window| window.load_at.is_none()).count()
    }

    /// The bars that history has in a range; `None` if it gave no answer.
    pub(super) fn loaded(
        &mut self,
        source: &Topic,
        range: (UnixMillis, UnixMillis),
        rows: Option<&[BarRow]>,
        now: Instant,
    ) {
        let Some(window) = self.by_source.get_mut(source) else {
            return;
        };
        match rows {
            Some(rows) => {
                window.load_at = Some(now);
                window.loaded(self.width, range, rows);
                window.plan_again(self.width, now);
            }
            None => window.load_at = Some(now + LOAD_REST),
        }
    }
}

impl Window {
    fn new(newest: Arc<Minute>, room: OwnedSemaphorePermit, now: Instant) -> Self {
        Self {
            minutes: BTreeMap::new(),
            newest,
            whole_upto_ms: None,
            before: None,
            load_at: Some(now),
            again_at: None,
            again_after: AGAIN_AFTER,
            _room: room,
        }
    }

    fn took(&mut self, width: TickerWindow, minutes: &[&Arc<Minute>]) {
        let newest = minutes.iter().max_by_key(|minute| minute.bar.start_ms);
        if let Some(newest) =
            newest.filter(|newest| newest.bar.start_ms >= self.newest.bar.start_ms)
        {
            if newest.bar.start_ms > self.newest.bar.start_ms {
                self.before = None;
            }
            self.newest = Arc::clone(newest);
        }
        let first_ms = width.open_ms(self.newest.bar.start_ms);
        for minute in minutes
            .iter()
            .filter(|minute| minute.bar.start_ms >= first_ms)
        {
            let bar = minute.bar;
            let known = self.minutes.insert(bar.start_ms, bar);
            if bar.start_ms < self.newest.bar.start_ms && known != Some(bar) {
                self.before = None;
            }
        }
        self.advance(width);
    }

    /// Lets the bars before the window go, and looks how far it is whole.
    fn advance(&mut self, width: TickerWindow) {
        let first_ms = width.open_ms(self.newest.bar.start_ms);
        while let Some(first) = self.minutes.first_entry()
            && *first.key() < first_ms
        {
            first.remove();
        }
        if let Some(upto_ms) = self.whole_upto_ms {
            let mut upto_ms = upto_ms.max(first_ms);
            while self.minutes.get(&upto_ms).is_some_and(|bar| bar.is_closed) {
                upto_ms += MINUTE_MS;
            }
            self.whole_upto_ms = Some(upto_ms);
        }
    }

    /// The bars that are missing. The one before the newest may not be closed yet.
    fn missing(&self, width: TickerWindow) -> Option<(UnixMillis, UnixMillis)> {
        let newest_ms = self.newest.bar.start_ms;
        let first_ms = width.open_ms(newest_ms);
        let from_ms = self.whole_upto_ms.unwrap_or(first_ms).max(first_ms);
        (from_ms < newest_ms.saturating_sub(MINUTE_MS)).then_some((from_ms, newest_ms))
    }

    fn loaded(&mut self, width: TickerWindow, range: (UnixMillis, UnixMillis), rows: &[BarRow]) {
        let held_ms = self.newest.bar.start_ms - HELD_MINUTES * MINUTE_MS;
        for row in rows {
            let known = self.minutes.get(&row.start_ms);
            if row.start_ms < held_ms || known.is_none_or(|known| !known.is_closed) {
                self.minutes.insert(row.start_ms, MinuteBar::of_closed(row));
            }
        }
        let upto_ms = range.1.saturating_sub(MINUTE_MS);
        self.whole_upto_ms = Some(self.whole_upto_ms.unwrap_or(upto_ms).max(upto_ms));
        self.before = None;
        self.advance(width);
    }

    /// The time of all bars before the newest one.
    fn whole_range(&self, width: TickerWindow) -> (UnixMillis, UnixMillis) {
        let newest_ms = self.newest.bar.start_ms;
        (width.open_ms(newest_ms), newest_ms)
    }

    /// If history lacked bars, it is asked again later for all of them.
    fn plan_again(&mut self, width: TickerWindow, now: Instant) {
        // The one before the newest may not be closed yet.
        let is_whole = self.minutes.len() >= width.minutes();
        self.again_at = (!is_whole).then(|| now + self.again_after);
        self.again_after = (self.again_after * 2).min(AGAIN_AFTER_MAX);
    }

    fn event(&mut self, width: TickerWindow) -> Option<String> {
        if self.missing(width).is_some() {
            return None;
        }
        let newest = self.newest.bar;
        let earlier = self.minutes.range(..newest.start_ms).map(|(_, bar)| bar);
        let before = self
            .before
            .get_or_insert_with(|| MinuteSums::of_all(earlier));
        let sums = match *before {
            None => MinuteSums::of(&newest),
            Some(mut sums) => {
                sums.add(&newest);
                sums
            }
        };
        Some(width.event(&self.newest, &sums))
    }
}

#[cfg(test)]
mod tests {
    use market_core::{Amount, Price};
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const WIDTH: TickerWindow = TickerWindow::Hour;

    fn source() -> Topic {
        "kline:1m:BTC-USDT".parse().expect("a topic")
    }

    fn minute(at: i64, volume: u64, is_closed: bool) -> Arc<Minute> {
        let state = if is_closed { "closed" } else { "forming" };
        let json = format!(
            r#"{{"symbol":"BTC-USDT","exchange":"binance","start_ms":{},"open":"5","high":"5","low":"5","close":"5","volume":"{volume}","quote_volume":"{}","count":1,"state":"{state}","event_ms":null,"published_us":1}}"#,
            at * MINUTE_MS,
            5 * volume,
        );
        Arc::new(Minute::read(json.as_bytes()).expect("a bar"))
    }

    fn row(at: i64, volume: u64) -> BarRow {
        let price = Price::parse("5").expect("a price");
        BarRow {
            volume: Amount::from_parts(volume.into(), 0),
            quote_volume: Some(Amount::from_parts((5 * volume).into(), 0)),
            count: Some(1),
            ..BarRow::flat(at * MINUTE_MS, price, 0)
        }
    }

    fn volume(windows: &mut Windows) -> Option<u64> {
        let event: Value = serde_json::from_str(&windows.event(&source())?).expect("JSON");
        Some(event["v"].as_str()?.parse().expect("a number"))
    }

    #[test]
    fn there_is_no_event_until_history_has_answered_and_none_while_a_minute_is_missing() {
        let now = Instant::now();
        let mut windows = Windows::new(WIDTH, &MinuteRoom::new(1_000));
        windows.took(
            &source(),
            &[&minute(99, 1, true), &minute(100, 1, false)],
            now,
        );
        assert_eq!(volume(&mut windows), None);
        let range = (40 * MINUTE_MS, 100 * MINUTE_MS);
        let asked = windows.wanted(8, now);
        assert_eq!(asked, [(source(), range, Some("binance".to_owned()))]);
        assert_eq!((windows.wanted(8, now).len(), windows.asked()), (0, 1));
        windows.loaded(&source(), range, None, now);
        assert!(windows.wanted(8, now).is_empty());
        let later = now + LOAD_REST;
        assert_eq!(windows.wanted(8, later).len(), 1);
        // What history has of a minute that the topic holds is not taken.
        let rows: Vec<BarRow> = (40..100).map(|at| row(at, 10)).collect();
        windows.loaded(&source(), range, Some(&rows), later);
        assert_eq!(volume(&mut windows), Some(59 * 10 + 1 + 1));
        // The next minute begins before the one before is closed, and the first one leaves.
        windows.took(
            &source(),
            &[&minute(100, 2, false), &minute(101, 1, false)],
            now,
        );
        assert_eq!(volume(&mut windows), Some(58 * 10 + 1 + 2 + 1));
        windows.took(
            &source(),
            &[&minute(100, 3, true), &minute(101, 1, false)],
            now,
        );
        assert_eq!(volume(&mut windows), Some(58 * 10 + 1 + 3 + 1));
        // The bus was away for five minutes.
        windows.took(&source(), &[&minute(107, 1, false)], now);
        assert_eq!(volume(&mut windows), None);
        let range = (101 * MINUTE_MS, 107 * MINUTE_MS);
        assert_eq!(windows.wanted(8, later)[0].1, range);
        let rows: Vec<BarRow> = (101..106).map(|at| row(at, 10)).collect();
        windows.loaded(&source(), range, Some(&rows), later);
        assert_eq!(volume(&mut windows), Some(52 * 10 + 1 + 3 + 5 * 10 + 1));
    }

    #[test]
    fn history_is_asked_again_for_bars_that_it_reads_from_the_venue_only_now() {
        let mut now = Instant::now();
        let mut windows = Windows::new(WIDTH, &MinuteRoom::new(1_000));
        windows.took(&source(), &[&minute(100, 1, false)], now);
        let whole = (40 * MINUTE_MS, 100 * MINUTE_MS);
        let rows: Vec<BarRow> = (40..100).map(|at| row(at, 1)).collect();
        windows.loaded(&source(), whole, Some(&rows[50..]), now);
        assert_eq!(volume(&mut windows), Some(11));
        assert!(windows.wanted(8, now).is_empty());
        now += AGAIN_AFTER;
        assert_eq!(windows.wanted(8, now)[0].1, whole);
        windows.loaded(&source(), whole, Some(&rows[40..]), now);
        assert_eq!(volume(&mut windows), Some(21));
        now += AGAIN_AFTER;
        assert!(windows.wanted(8, now).is_empty(), "it waits for longer");
        now += AGAIN_AFTER;
        assert_eq!(windows.wanted(8, now)[0].1, whole);
        windows.loaded(&source(), whole, Some(&rows), now);
        assert_eq!(volume(&mut windows), Some(61));
        assert!(windows.wanted(8, now + AGAIN_AFTER_MAX).is_empty());
    }

    #[test]
    fn without_room_a_symbol_is_left_out_until_another_leaves() {
        let now = Instant::now();
        let room = MinuteRoom::new(100);
        let mut first = Windows::new(WIDTH, &room);
        first.took(&source(), &[&minute(100, 1, false)], now);
        assert!(!room.has(WIDTH));
        let mut second = Windows::new(WIDTH, &room);
        second.took(&source(), &[&minute(100, 1, false)], now);
        assert!(second.wanted(8, now).is_empty());
        drop(first);
        second.took(&source(), &[&minute(100, 1, false)], now);
        assert_eq!(second.wanted(8, now).len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Minutes come, some of them are lost, some are revised; history has all of them.
        #[test]
        fn an_event_is_the_sum_of_the_window_or_none(steps in proptest::collection::vec((0u64..5, 1u64..4, any::<bool>()), 1..80)) {
            let now = Instant::now();
            let mut windows = Windows::new(WIDTH, &MinuteRoom::new(1_000));
            let mut truth: BTreeMap<i64, u64> = (0..=100).map(|at| (at, 1)).collect();
            let mut at = 100;
            for (step, volume_of, is_revised) in steps {
                // The topic holds two closed bars and the forming one.
                let held = |truth: &BTreeMap<i64, u64>, at: i64| -> Vec<Arc<Minute>> {
                    (at - 2..=at).map(|held| minute(held, truth[&held], held < at)).collect()
                };
                if is_revised {
                    truth.insert(at - 1, volume_of);
                    let held = held(&truth, at);
                    windows.took(&source(), &held.iter().collect::<Vec<_>>(), now);
                }
                at += i64::try_from(step).expect("small");
                for new in truth.len() as i64..=at {
                    truth.insert(new, volume_of);
                }
                let held = held(&truth, at);
                windows.took(&source(), &held.iter().collect::<Vec<_>>(), now);
                let sum: u64 = truth.range(at - 60..).map(|(_, volume)| volume).sum();
                if let Some(volume) = volume(&mut windows) {
                    prop_assert_eq!(volume, sum);
                }
                for (source, range, _) in windows.wanted(8, now) {
                    let rows: Vec<BarRow> = truth.range(range.0 / MINUTE_MS..range.1 / MINUTE_MS).map(|(at, volume)| row(*at, *volume)).collect();
                    windows.loaded(&source, range, Some(&rows), now);
                }
                prop_assert_eq!(volume(&mut windows), Some(sum));
            }
        }
    }
}
