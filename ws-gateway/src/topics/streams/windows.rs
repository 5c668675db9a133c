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

use super::room::{MinuteRoom, WindowRoom};

/// Until history is asked again that gave no answer.
const LOAD_REST: Duration = Duration::from_secs(5);

/// Until history is asked again if it lacked bars: it may still be reading them from the venue. The
/// time doubles up to the second one.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(320);
/// The last bars of a window, which the topic holds: they are not older than those of history.
const HELD_MINUTES: i64 = 5;

/// The windows of a stream: of its symbol, or of all symbols.
#[derive(Debug)]
pub(super) struct Windows {
    width: TickerWindow,
    is_array: bool,
    by_source: BTreeMap<Topic, Window>,
    /// The symbols for which there was no room.
    left_out: BTreeSet<Topic>,
    /// The room of the only window of a stream of one symbol, until its first bar comes.
    reserved: Option<WindowRoom>,
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
    was_asked: bool,
    /// When history is asked again for all bars, as it lacked some.
    again_at: Option<Instant>,
    again_after: Duration,
    _room: WindowRoom,
}

/// What a question to history is for. The first ones are asked first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Need {
    /// Nothing was asked of the symbol.
    First,
    /// Bars are missing, so there is no event.
    Missing,
    /// History may have bars now that it lacked.
    Again,
}

/// How urgent a question to history is. The lesser one is asked first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Urgency {
    need: Need,
    /// A client waits for the symbol of its stream more than for one of all.
    is_array: bool,
    due_at: Instant,
}

impl Windows {
    /// None so far. The room of the window of one symbol is taken now: its client is told if there is
    /// none.
    pub(super) fn new(width: TickerWindow, is_array: bool, room: &Arc<MinuteRoom>) -> Self {
        let reserved = (!is_array).then(|| room.take(width, is_array));
        Self {
            width,
            is_array,
            reserved: reserved.flatten(),
            by_source: BTreeMap::new(),
            left_out: BTreeSet::new(),
            room: Arc::clone(room),
        }
    }

    /// A topic has these bars, among others. The last one is the newest.
    pub(super) fn took(&mut self, source: &Topic, minutes: &[&Arc<Minute>], now: Instant) {
        let Some(newest) = minutes.last() else {
            return;
        };
        if !self.by_source.contains_key(source) {
            let room = self.reserved.take();
            let room = room.or_else(|| self.room.take(self.width, self.is_array));
            let Some(room) = room else {
                if self.left_out.insert(source.clone()) {
                    self.room.leaves_out();
                }
                return;
            };
            self.left_out.remove(source);
            let window = Window::new(Arc::clone(newest), room, now);
            self.by_source.insert(source.clone(), window);
        }
        if let Some(window) = self.by_source.get_mut(source) {
            window.took(self.width, newest, minutes);
        }
    }

    /// The event of a symbol; `None` while bars are missing.
    pub(super) fn event(&mut self, source: &Topic) -> Option<String> {
        self.by_source.get_mut(source)?.event(self.width)
    }

    /// The symbols for which history may be asked now.
    pub(super) fn due(&self, now: Instant) -> impl Iterator<Item = (Urgency, &Topic)> {
        self.by_source.iter().filter_map(move |(source, window)| {
            let (need, due_at) = window.need(self.width, now)?;
            let urgency = Urgency {
                need,
                is_array: self.is_array,
                due_at,
            };
            Some((urgency, source))
        })
    }

    /// Asks history for a symbol that is due: the range, and the venue if it is known.
    pub(super) fn ask(
        &mut self,
        source: &Topic,
        now: Instant,
    ) -> Option<((UnixMillis, UnixMillis), Option<String>)> {
        let window = self.by_source.get_mut(source)?;
        let range = match window.is_due_again(now) {
            true => window.whole_range(self.width),
            false => window.missing(self.width)?,
        };
        window.load_at = None;
        window.was_asked = true;
        let exchange = window.newest.exchange.clone();
        Some((range, (!exchange.is_empty()).then_some(exchange)))
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
                if window.loaded(self.width, range, rows) {
                    window.plan_again(self.width, range, now);
                }
            }
            None => window.load_at = Some(now + LOAD_REST),
        }
    }
}

impl Window {
    fn new(newest: Arc<Minute>, room: WindowRoom, now: Instant) -> Self {
        Self {
            minutes: BTreeMap::new(),
            newest,
            whole_upto_ms: None,
            before: None,
            load_at: Some(now),
            was_asked: false,
            again_at: None,
            again_after: AGAIN_AFTER,
            _room: room,
        }
    }

    fn took(&mut self, width: TickerWindow, newest: &Arc<Minute>, minutes: &[&Arc<Minute>]) {
        let (newest_ms, before_ms) = (newest.bar.start_ms, self.newest.bar.start_ms);
        if newest_ms != before_ms {
            self.before = None;
        }
        if newest_ms < before_ms {
            self.go_back(newest_ms);
        }
        self.newest = Arc::clone(newest);
        let window = width.open_ms(newest_ms)..=newest_ms;
        for minute in minutes
            .iter()
            .filter(|minute| window.contains(&minute.bar.start_ms))
        {
            let bar = minute.bar;
            let known = self.minutes.insert(bar.start_ms, bar);
            if bar.start_ms < newest_ms && known != Some(bar) {
                self.before = None;
            }
        }
        self.advance(width);
    }

    /// The newest bar was one of the future. The bars that left the window because of it come from
    /// history once more.
    fn go_back(&mut self, newest_ms: UnixMillis) {
        self.minutes.retain(|start_ms, _| *start_ms <= newest_ms);
        self.whole_upto_ms = None;
        self.again_at = None;
        self.again_after = AGAIN_AFTER;
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

    /// What is to be asked of history now, and since when.
    fn need(&self, width: TickerWindow, now: Instant) -> Option<(Need, Instant)> {
        let load_at = self.load_at.filter(|load_at| *load_at <= now)?;
        match self.missing(width) {
            Some(_) if !self.was_asked => Some((Need::First, load_at)),
            Some(_) => Some((Need::Missing, load_at)),
            None => {
                let again_at = self.again_at.filter(|again_at| *again_at <= now)?;
                Some((Need::Again, again_at.max(load_at)))
            }
        }
    }

    fn is_due_again(&self, now: Instant) -> bool {
        self.again_at.is_some_and(|again_at| again_at <= now)
    }

    /// Takes the bars that history has. False if they answer a question that is no longer asked: the
    /// newest bar has gone back since.
    fn loaded(
        &mut self,
        width: TickerWindow,
        range: (UnixMillis, UnixMillis),
        rows: &[BarRow],
    ) -> bool {
        let first_ms = width.open_ms(self.newest.bar.start_ms);
        let wanted_ms = self.whole_upto_ms.unwrap_or(first_ms).max(first_ms);
        if range.0 > wanted_ms || range.1 > self.newest.bar.start_ms {
            return false;
        }
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
        true
    }

    /// The time of all bars before the newest one.
    fn whole_range(&self, width: TickerWindow) -> (UnixMillis, UnixMillis) {
        let newest_ms = self.newest.bar.start_ms;
        (width.open_ms(newest_ms), newest_ms)
    }

    /// If history lacked bars, it is asked again later for all of them: more and more rarely, and
    /// not later because of the questions in between.
    fn plan_again(&mut self, width: TickerWindow, range: (UnixMillis, UnixMillis), now: Instant) {
        let (first_ms, newest_ms) = self.whole_range(width);
        // The one before the newest may not be closed yet.
        let earlier = self
            .minutes
            .range(first_ms..newest_ms.saturating_sub(MINUTE_MS));
        if earlier.count() >= width.minutes() - 1 {
            self.again_at = None;
            self.again_after = AGAIN_AFTER;
        } else if self.again_at.is_none() || range.0 <= first_ms {
            self.again_at = Some(now + self.again_after);
            self.again_after = (self.again_after * 2).min(AGAIN_AFTER_MAX);
        }
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
mod tests;
