//! One stream: what has come for it, and the slot to which its events go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use client_frames::dialect::binance::stream::{MadeKind, MadeStream};
use market_core::binance::average::AVERAGE_MINUTES;
use market_core::binance::minute::MINUTE_MS;
use market_core::binance::{Minute, average_event};
use market_core::channel::Class;
use market_core::{BarRow, Topic};

use super::readings::{Aggregate, Content, Reading};
use super::room::{MinuteRoom, minutes_of};
use super::windows::Windows;
use crate::limits::Sharer;
use crate::topics::folds::Load;
use crate::topics::followed::{AllOf, Origin};
use crate::topics::hub::Hub;
use crate::topics::publication::Placed;
use crate::topics::slot_id::SlotId;
use crate::topics::state::{StreamBook, StreamUpdate};

/// Most books that wait for an event. Publishers publish fewer in the time between two.
const BOOKS_MAX: usize = 64;

/// From the start of the first minute of an average to that of the last one.
const AVERAGE_BACK_MS: i64 = (AVERAGE_MINUTES as i64 - 1) * MINUTE_MS;

#[derive(Debug)]
pub(super) struct Made {
    stream: MadeStream,
    name: Arc<str>,
    /// Of which topics it is made.
    pub(super) origin: Origin,
    /// Another stream under the same name may have begun since.
    pub(super) epoch: u64,
    pub(super) slot: SlotId,
    /// Nothing of its source has come yet.
    pub(super) is_silent: bool,
    /// Something of its symbol has come: its source, or bars.
    pub(super) is_known: bool,
    /// For whom it was made.
    pub(super) sharer: Option<Sharer>,
    pub(super) wanted_at: Instant,
    /// When its last event was given.
    given_at: Option<Instant>,
    /// The newest publication of the book that was read.
    last: Option<Bytes>,
    /// The last minutes of an average price. The one before the forming one is not held by the topic until
    /// it is closed.
    minutes: BTreeMap<i64, Arc<Minute>>,
    /// The bars of the tickers of a window.
    pub(super) windows: Option<Windows>,
    waiting: Waiting,
}

/// What has come since the last event.
#[derive(Debug, Default)]
struct Waiting {
    is_any: bool,
    books: Vec<Arc<StreamBook>>,
    /// Given at once, so there are no more than are held of a topic.
    trades: Vec<Arc<Aggregate>>,
    event: Option<Arc<str>>,
    rows: BTreeMap<Box<str>, Arc<str>>,
    /// The sources whose windows have changed.
    windows: BTreeSet<Topic>,
}

/// Of which topics a stream is made.
pub(super) fn origin_of(stream: &MadeStream) -> Origin {
    match (stream.source.as_topic(), stream.kind) {
        (Some(source), _) => Origin::One(source),
        (None, MadeKind::WindowTickers(_)) => Origin::All(AllOf::Minutes),
        (None, _) => Origin::All(AllOf::Tickers),
    }
}

/// The minutes of the window of one symbol: the client for whom it is made has them in its share.
pub(super) fn minutes_shared(stream: &MadeStream) -> Option<usize> {
    match stream.kind {
        MadeKind::WindowTicker(width) => Some(minutes_of(width)),
        _ => None,
    }
}

impl Made {
    pub(super) fn new(
        stream: MadeStream,
        is_known: bool,
        slot: SlotId,
        sharer: Option<Sharer>,
        room: &Arc<MinuteRoom>,
        now: Instant,
    ) -> Self {
        let windows = match stream.kind {
            MadeKind::WindowTicker(width) => Some(Windows::new(width, false, room)),
            MadeKind::WindowTickers(width) => Some(Windows::new(width, true, room)),
            _ => None,
        };
        Self {
            name: Arc::from(&*stream.name),
            origin: origin_of(&stream),
            epoch: 0,
            is_silent: stream.source.as_topic().is_some(),
            stream,
            windows,
            is_known,
            slot,
            sharer,
            wanted_at: now,
            given_at: None,
            last: None,
            minutes: BTreeMap::new(),
            waiting: Waiting::default(),
        }
    }

    /// The minutes that it takes of the share of its client.
    pub(super) fn minutes_shared(&self) -> Option<usize> {
        minutes_shared(&self.stream)
    }

    /// Whether nothing has come for it, and the source of `stream` is another one.
    pub(super) fn waits_for_another(&self, stream: &MadeStream) -> bool {
        self.is_silent && self.origin != origin_of(stream)
    }

    /// It is made of the source of `stream` from now on.
    pub(super) fn follow(&mut self, stream: MadeStream) {
        self.origin = origin_of(&stream);
        self.is_silent = matches!(self.origin, Origin::One(_));
        self.stream = stream;
        self.last = None;
        self.minutes.clear();
    }

    /// Something of its symbol has come. `unknown` counts the streams of which nothing has.
    pub(super) fn know(&mut self, unknown: &mut usize) {
        if !std::mem::replace(&mut self.is_known, true) {
            *unknown = unknown.saturating_sub(1);
        }
    }

    /// A topic of the stream has these publications, the newest last. Returns when its event is to be
    /// given, if none waited before.
    pub(super) fn took(
        &mut self,
        source: &Topic,
        publications: &[Reading],
        now: Instant,
    ) -> Option<Instant> {
        let newest = publications.last()?;
        self.is_silent = false;
        let is_last = |reading: &Reading| self.last.as_ref() == Some(&reading.json);
        let from = publications.iter().rposition(is_last);
        let new = &publications[from.map_or(0, |at| at + 1)..];
        let waiting = &mut self.waiting;
        match (self.stream.kind, &newest.content) {
            (MadeKind::Levels(levels), Content::Book(book)) => {
                waiting.event = Some(book.levels_event(levels).into());
            }
            (MadeKind::AveragePrice, Content::Minute(newest)) => {
                let minutes = minutes_among(publications);
                let minutes = minutes.map(|minute| (minute.bar.start_ms, Arc::clone(minute)));
                self.minutes.extend(minutes);
                let last_ms = newest.bar.start_ms;
                let first_ms = last_ms.saturating_sub(AVERAGE_BACK_MS);
                let is_in_it = |start_ms: i64| (first_ms..=last_ms).contains(&start_ms);
                self.minutes.retain(|start_ms, _| is_in_it(*start_ms));
                let minutes: Vec<&Minute> = self.minutes.values().map(|minute| &**minute).collect();
                waiting.event = Some(average_event(&minutes)?.into());
            }
            (MadeKind::MiniTicker, Content::Ticker(ticker)) => {
                waiting.event = Some(Arc::clone(ticker.mini.as_ref()?));
            }
            (MadeKind::Changes, _) => {
                let books = new.iter().filter_map(|reading| match &reading.content {
                    Content::Book(book) => Some(Arc::clone(book)),
                    _ => None,
                });
                waiting.books.extend(books);
                let beyond = waiting.books.len().saturating_sub(BOOKS_MAX);
                waiting.books.drain(..beyond);
                self.last = Some(newest.json.clone());
            }
            (MadeKind::Aggregates, _) => {
                let trades = new.iter().filter_map(|reading| match &reading.content {
                    Content::Trade(trade) => Some(Arc::clone(trade)),
                    _ => None,
                });
                waiting.trades.extend(trades);
                self.last = Some(newest.json.clone());
            }
            (kind @ (MadeKind::MiniTickers | MadeKind::Tickers), Content::Ticker(ticker)) => {
                let event = match kind {
                    MadeKind::MiniTickers => &ticker.mini,
                    _ => &ticker.whole,
                };
                let event = Arc::clone(event.as_ref()?);
                waiting.rows.insert(source.as_str().into(), event);
            }
            (MadeKind::WindowTicker(_) | MadeKind::WindowTickers(_), Content::Minute(_)) => {
                let minutes: Vec<&Arc<Minute>> = minutes_among(publications).collect();
                self.windows.as_mut()?.took(source, &minutes, now);
                waiting.windows.insert(source.clone());
            }
            _ => return None,
        }
        self.due_at(now)
    }

    /// Something waits. Returns when it is to be given, if nothing waited before.
    fn due_at(&mut self, now: Instant) -> Option<Instant> {
        if std::mem::replace(&mut self.waiting.is_any, true) {
            return None;
        }
        Some(self.given_at.map_or(now, |at| at + self.stream.pace))
    }

    /// History has answered for a symbol. Returns when its event is to be given, if none waited before.
    pub(super) fn loaded(
        &mut self,
        load: &Load,
        rows: Option<&[BarRow]>,
        now: Instant,
    ) -> Option<Instant> {
        let windows = self.windows.as_mut()?;
        windows.loaded(&load.source, load.range, rows, now);
        self.waiting.windows.insert(load.source.clone());
        self.due_at(now)
    }

    /// Gives the event that waits, if any. It remembers at most `earlier_max` books beside the newest.
    pub(super) fn give(&mut self, hub: &Hub, earlier_max: usize, now: Instant) {
        let waiting = std::mem::take(&mut self.waiting);
        if !waiting.is_any {
            return;
        }
        self.given_at = Some(now);
        let offer = |update: StreamUpdate| {
            hub.offer_stream(self.slot, &self.name, update, earlier_max, now)
        };
        match self.stream.kind {
            MadeKind::Levels(_) | MadeKind::MiniTicker | MadeKind::AveragePrice => {
                if let Some(event) = waiting.event {
                    let publication = MadeStream::publication(&self.name, &event);
                    let _ = hub.offer(self.slot, None, Bytes::from(publication), now);
                }
            }
            MadeKind::Aggregates => {
                for trade in waiting.trades {
                    let publication = MadeStream::publication(&self.name, &trade.event);
                    let placed = Placed {
                        position: trade.position,
                        exchange: "",
                        class: Class::Log,
                        published_us: None,
                    };
                    let _ = hub.offer_placed(self.slot, placed, Bytes::from(publication), now);
                }
            }
            MadeKind::Changes => {
                for book in waiting.books {
                    let _ = offer(StreamUpdate::Book(book));
                }
                let _ = offer(StreamUpdate::DueBook);
            }
            MadeKind::MiniTickers | MadeKind::Tickers => {
                let _ = offer(StreamUpdate::Rows(waiting.rows.into_iter().collect()));
            }
            MadeKind::WindowTicker(_) => {
                let mut sources = waiting.windows.iter();
                if let Some(windows) = &mut self.windows
                    && let Some(event) = sources.find_map(|source| windows.event(source))
                {
                    let publication = MadeStream::publication(&self.name, &event);
                    let _ = hub.offer(self.slot, None, Bytes::from(publication), now);
                }
            }
            MadeKind::WindowTickers(_) => {
                let Some(windows) = &mut self.windows else {
                    return;
                };
                let row = |source: Topic| {
                    let event = windows.event(&source)?;
                    Some((source.as_str().into(), Arc::from(event)))
                };
                let rows: Vec<_> = waiting.windows.into_iter().filter_map(row).collect();
                if !rows.is_empty() {
                    let _ = offer(StreamUpdate::Rows(rows));
                }
            }
        }
    }
}

/// The bars of a minute among publications.
fn minutes_among(publications: &[Reading]) -> impl Iterator<Item = &Arc<Minute>> {
    publications
        .iter()
        .filter_map(|reading| match &reading.content {
            Content::Minute(minute) => Some(minute),
            _ => None,
        })
}
