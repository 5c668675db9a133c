//! Binance's streams whose events are made of the publications of other topics: each is made once,
//! for all sessions that want it, and only while some session does.
//!
//! A shard renews the streams that its sessions have. The hub says which of their topics have changed,
//! and a task makes the events.

mod limits;
mod loads;
mod made;
mod readings;
mod room;
mod shares;
mod windows;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use client_frames::dialect::binance::stream::{MadeKind, MadeStream};
use market_core::{BarRow, Topic};
use metrics::{Counter, Gauge, counter, gauge};

pub(crate) use self::limits::StreamLimits;
use self::loads::{LOADS_MAX, most_urgent};
use self::made::Made;
use self::readings::Reading;
use self::room::MinuteRoom;
use self::shares::{StreamShares, refused};
use self::windows::Windows;
use crate::limits::Sharer;
use crate::standstill::excuse_standstill;
use crate::topics::folds::Load;
use crate::topics::followed::{AllOf, Origin};
use crate::topics::hub::Hub;
use crate::topics::state::BookBytes;
use crate::topics::warmth::Warmth;

/// Time between two looks at which streams are no longer wanted.
const TEND_INTERVAL: Duration = Duration::from_secs(1);

/// The part of the streams that may be of symbols of which nothing is known: invented names must leave
/// room for the others.
const UNKNOWN_DIVISOR: usize = 10;

#[derive(Debug)]
struct Inner {
    streams: BTreeMap<Topic, Made>,
    /// The streams of each topic, and what is read of it, also for the streams of all symbols.
    by_source: HashMap<Topic, Source>,
    /// The streams of the topics of all symbols.
    of_all: Vec<(AllOf, Topic)>,
    /// The streams with an event that waits for its time.
    due: BTreeSet<(Instant, Topic)>,
    shares: StreamShares,
    /// How many of them are of symbols of which nothing has come yet.
    unknown: usize,
    tended_at: Option<Instant>,
    /// How many streams have begun: what was read before one began may be older than what it has.
    begun: u64,
}

/// What has come, as it was read.
struct Changes {
    read: BTreeMap<Topic, Vec<Reading>>,
    /// [`Inner::begun`] before it was read.
    begun: u64,
}

/// A topic of which streams are made.
#[derive(Debug, Default)]
struct Source {
    streams: Vec<Topic>,
    /// What its publications say, the newest last.
    readings: Vec<Reading>,
}

/// The streams of a gateway.
pub(crate) struct Streams {
    hub: Arc<Hub>,
    warmth: Arc<Warmth>,
    limits: StreamLimits,
    books: Arc<BookBytes>,
    room: Arc<MinuteRoom>,
    is_any: AtomicBool,
    inner: Mutex<Inner>,
    count: Gauge,
    unknown: Gauge,
    made: Counter,
    ended: Counter,
    book_bytes: Gauge,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Streams")
    }
}

impl Inner {
    /// Whether the publications of a topic are read for the streams of all symbols.
    fn is_of_all(&self, source: &Topic) -> bool {
        self.of_all.iter().any(|(all, _)| all.has(source))
    }

    /// What the publications of a topic say, for the next time.
    fn keep(&mut self, source: Topic, readings: Vec<Reading>) {
        if let Some(of) = self.by_source.get_mut(&source) {
            of.readings = readings;
        } else if self.is_of_all(&source) {
            let streams = Vec::new();
            self.by_source.insert(source, Source { streams, readings });
        }
    }
}

impl Streams {
    /// None so far. Their events go to `hub`, whose data is complete once it is `warmth`.
    #[must_use]
    pub(crate) fn new(hub: Arc<Hub>, warmth: Arc<Warmth>, limits: StreamLimits) -> Self {
        Self {
            hub,
            warmth,
            limits,
            books: BookBytes::new(limits.book_bytes_max),
            room: MinuteRoom::new(limits.window_minutes_max),
            is_any: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                streams: BTreeMap::new(),
                by_source: HashMap::new(),
                of_all: Vec::new(),
                due: BTreeSet::new(),
                shares: StreamShares::new(limits),
                unknown: 0,
                tended_at: None,
                begun: 0,
            }),
            count: gauge!("gateway_binance_streams"),
            unknown: gauge!("gateway_binance_streams_unknown"),
            made: counter!("gateway_binance_streams_made_total"),
            ended: counter!("gateway_binance_streams_ended_total"),
            book_bytes: gauge!("gateway_binance_stream_book_bytes"),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder panics")
    }

    /// The topics of the streams that are made.
    #[must_use]
    pub(crate) fn topics(&self) -> Vec<Topic> {
        match self.is_any.load(Ordering::SeqCst) {
            true => self.inner().streams.keys().cloned().collect(),
            false => Vec::new(),
        }
    }

    /// The topics of the streams whose source has no publications yet: it may have another name.
    #[must_use]
    pub(crate) fn silent(&self) -> Vec<Topic> {
        if !self.is_any.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let inner = self.inner();
        let silent = inner.streams.iter().filter(|(_, made)| made.is_silent);
        silent.map(|(topic, _)| topic.clone()).collect()
    }

    /// Whether a symbol without bars may be invented: all bars are loaded. Of a gateway without bars,
    /// no symbol has any.
    #[must_use]
    pub(crate) fn tells_inventions(&self) -> bool {
        self.hub.names.has_bars() && self.warmth.is_warm()
    }

    /// A session wants a stream under this topic, or still does. Without `sharer`, it has had it
    /// before. `is_known` says whether bars of its symbol have come.
    ///
    /// A stream that waits for another source than this one follows this one from now on.
    ///
    /// # Errors
    /// What to do, if there is no room for another.
    pub(crate) fn want(
        &self,
        topic: &Topic,
        stream: MadeStream,
        is_known: bool,
        sharer: Option<Sharer>,
        now: Instant,
    ) -> Result<(), String> {
        // Others wait for the lock: what is to be read is read before.
        let begins = {
            let inner = self.inner();
            let made = inner.streams.get(topic);
            made.is_none_or(|made| made.waits_for_another(&stream))
        };
        let mut read = match begins {
            true => self.read(self.newest_of(&made::origin_of(&stream))),
            false => BTreeMap::new(),
        };
        let mut inner = self.inner();
        let inner = &mut *inner;
        if let Some(mut made) = inner.streams.remove(topic) {
            made.wanted_at = now;
            if is_known {
                made.know(&mut inner.unknown);
            }
            // A shard that lags may not know the name of a source that has come.
            if made.waits_for_another(&stream) {
                self.leave(inner, topic, &made);
                made.follow(stream);
                self.begin(inner, topic, &mut made, &mut read, now);
            }
            inner.streams.insert(topic.clone(), made);
            self.unknown.set(inner.unknown as f64);
            return Ok(());
        }
        let is_known = is_known || self.has_publications(&stream);
        let free = self.check_room(inner, &stream, is_known)?;
        let minutes = made::minutes_shared(&stream);
        if let Some(sharer) = sharer {
            let free_minutes = self.room.free();
            inner.shares.take(sharer, free, minutes, free_minutes)?;
        }
        let slot = match self.hub.folded_slot(topic) {
            Ok(Some(slot)) => slot,
            other => {
                if let Some(sharer) = sharer {
                    inner.shares.give_back(sharer, minutes);
                }
                return other.map(|_| ()).map_err(|_| {
                    refused("topics_max");
                    "this gateway holds no more topics: ask another gateway".to_owned()
                });
            }
        };
        inner.unknown += usize::from(!is_known);
        let mut made = Made::new(stream, is_known, slot, sharer, &self.room, now);
        self.begin(inner, topic, &mut made, &mut read, now);
        inner.streams.insert(topic.clone(), made);
        self.is_any.store(true, Ordering::SeqCst);
        self.made.increment(1);
        self.count.set(inner.streams.len() as f64);
        self.unknown.set(inner.unknown as f64);
        Ok(())
    }

    fn has_publications(&self, stream: &MadeStream) -> bool {
        let source = stream.source.as_topic();
        source.is_none_or(|source| !self.hub.publications(&source).is_empty())
    }

    /// How much room there is for streams of all clients.
    fn check_room(
        &self,
        inner: &Inner,
        stream: &MadeStream,
        is_known: bool,
    ) -> Result<usize, String> {
        let is_held = |source: Topic| inner.by_source.contains_key(&source);
        if stream.is_of_books()
            && !stream.source.as_topic().is_some_and(is_held)
            && self.books.is_full()
        {
            refused("book_bytes");
            return Err("this gateway holds no more books for streams at the moment: subscribe <symbol>@depth20@100ms, or ask again later".to_owned());
        }
        let has_room = match stream.kind {
            MadeKind::WindowTicker(width) => self.room.has(width, false),
            MadeKind::WindowTickers(width) => self.room.has(width, true),
            _ => true,
        };
        if !has_room {
            refused("window_minutes");
            return Err("this gateway holds no more minutes for tickers of windows at the moment: subscribe <symbol>@ticker, or ask again later".to_owned());
        }
        // The slot of an ended stream counts until no shard knows it.
        let ending = self.hub.ending_counts().streams;
        let count = inner.streams.len().saturating_add(ending);
        if count >= self.limits.streams_max {
            refused("gateway");
            return Err("this gateway makes no more streams of books and tickers at the moment: subscribe <symbol>@depth20@100ms, @bookTicker or @ticker, or ask again later".to_owned());
        }
        let unknown_max = self.limits.streams_max / UNKNOWN_DIVISOR;
        if !is_known && inner.unknown >= unknown_max.max(1) && self.tells_inventions() {
            refused("unknown");
            return Err(format!(
                "nothing of {} has come: check the symbol, or ask again once it has bars",
                stream.source
            ));
        }
        Ok(self.limits.streams_max.saturating_sub(count))
    }

    /// The publications of a topic, or of those of all symbols.
    fn newest_of(&self, origin: &Origin) -> Vec<(Topic, Vec<Bytes>)> {
        let sources = match origin {
            Origin::One(source) => vec![source.clone()],
            Origin::All(all) => self.hub.all_of(*all),
        };
        let of_source = |source: Topic| {
            let publications = self.hub.publications(&source);
            (source, publications)
        };
        sources.into_iter().map(of_source).collect()
    }

    /// Reads publications, each of them once. Without the lock, which other threads wait for.
    fn read(&self, publications: Vec<(Topic, Vec<Bytes>)>) -> BTreeMap<Topic, Vec<Reading>> {
        let one = |(source, publications): (Topic, Vec<Bytes>)| {
            let known = {
                let inner = self.inner();
                let of = inner.by_source.get(&source);
                of.map(|of| of.readings.clone()).unwrap_or_default()
            };
            let readings = readings::read(&source, publications, &known, &self.books);
            (source, readings)
        };
        publications.into_iter().map(one).collect()
    }

    /// A publication of its source from here on is noted. What came before is taken now.
    /// Most of it is in `read`.
    fn begin(
        &self,
        inner: &mut Inner,
        topic: &Topic,
        made: &mut Made,
        read: &mut BTreeMap<Topic, Vec<Reading>>,
        now: Instant,
    ) {
        inner.begun = inner.begun.wrapping_add(1);
        made.epoch = inner.begun;
        self.hub.follow(&made.origin);
        match &made.origin {
            Origin::One(source) => {
                let of = inner.by_source.entry(source.clone()).or_default();
                of.streams.push(topic.clone());
            }
            Origin::All(all) => inner.of_all.push((*all, topic.clone())),
        }
        for (source, publications) in self.newest_of(&made.origin) {
            let known = read.remove(&source).unwrap_or_default();
            let readings = readings::read(&source, publications, &known, &self.books);
            made.took(&source, &readings, now);
            inner.keep(source, readings);
        }
        if !made.is_silent {
            made.know(&mut inner.unknown);
        }
        made.give(&self.hub, self.books.earlier_max(), now);
    }

    /// Its source is not followed for it any more.
    fn leave(&self, inner: &mut Inner, topic: &Topic, made: &Made) {
        self.hub.unfollow(&made.origin);
        match &made.origin {
            Origin::One(source) => {
                let is_of_all = inner.is_of_all(source);
                if let Some(of) = inner.by_source.get_mut(source) {
                    of.streams.retain(|other| other != topic);
                    if of.streams.is_empty() && !is_of_all {
                        inner.by_source.remove(source);
                    }
                }
            }
            Origin::All(_) => {
                inner.of_all.retain(|(_, other)| other != topic);
                let of_all = &inner.of_all;
                let is_of_all = |source: &Topic| of_all.iter().any(|(all, _)| all.has(source));
                inner
                    .by_source
                    .retain(|source, of| !of.streams.is_empty() || is_of_all(source));
            }
        }
    }

    /// Sessions still have these streams.
    pub(crate) fn renew(&self, topics: &[Topic], now: Instant) {
        let mut inner = self.inner();
        for topic in topics {
            if let Some(made) = inner.streams.get_mut(topic) {
                made.wanted_at = now;
            }
        }
    }

    /// Makes the events that are due, and ends the streams that no session wants. Returns when it is
    /// to be called again, unless a followed topic changes before.
    pub(crate) fn turn(&self, now: Instant) -> Instant {
        let changes = self.changes();
        self.make(changes, now)
    }

    /// What has come. Without the lock for most of the time.
    fn changes(&self) -> Changes {
        let begun = self.inner().begun;
        let read = self.read(self.hub.take_followed());
        Changes { read, begun }
    }

    fn make(&self, changes: Changes, now: Instant) -> Instant {
        let mut inner = self.inner();
        let inner = &mut *inner;
        let has_begun = inner.begun != changes.begun;
        for (source, mut publications) in changes.read {
            if has_begun {
                let newest = self.hub.publications(&source);
                publications = readings::read(&source, newest, &publications, &self.books);
            }
            let of_source = inner.by_source.get(&source);
            let of_source = of_source.into_iter().flat_map(|of| &of.streams);
            let of_all = inner.of_all.iter().filter(|(all, _)| all.has(&source));
            let of_all = of_all.map(|(_, topic)| topic);
            for topic in of_source.chain(of_all) {
                let Some(made) = inner.streams.get_mut(topic) else {
                    continue;
                };
                if let Some(due_at) = made.took(&source, &publications, now) {
                    inner.due.insert((due_at, topic.clone()));
                }
                if !made.is_silent {
                    made.know(&mut inner.unknown);
                }
            }
            inner.keep(source, publications);
        }
        let earlier_max = self.books.earlier_max();
        while let Some((at, _)) = inner.due.first()
            && *at <= now
            && let Some((_, topic)) = inner.due.pop_first()
        {
            if let Some(made) = inner.streams.get_mut(&topic) {
                made.give(&self.hub, earlier_max, now);
            }
        }
        self.book_bytes.set(self.books.held() as f64);
        self.room.report();
        let tend_at = inner.tended_at.unwrap_or(now) + TEND_INTERVAL;
        if tend_at <= now || inner.tended_at.is_none() {
            self.end_unwanted(inner, now);
        }
        let tend_at = inner.tended_at.unwrap_or(now) + TEND_INTERVAL;
        let due_at = inner.due.first().map(|(at, _)| *at);
        due_at.into_iter().fold(tend_at, Instant::min)
    }

    /// What must be asked of history for the tickers of windows, the most urgent first.
    pub(crate) fn loads(&self, now: Instant) -> Vec<Load> {
        if !self.is_any.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let streams = &mut self.inner().streams;
        let asked = streams.values().filter_map(|made| made.windows.as_ref());
        let most = LOADS_MAX.saturating_sub(asked.map(Windows::asked).sum());
        if most == 0 {
            return Vec::new();
        }
        let of_stream = streams.iter().filter_map(|(topic, made)| {
            let due = made.windows.as_ref()?.due(now);
            Some(due.map(move |(urgency, source)| (urgency, topic, source)))
        });
        let due = most_urgent(of_stream.flatten().collect(), most);
        let load = |(topic, source): (Topic, Topic)| {
            let made = streams.get_mut(&topic)?;
            let epoch = made.epoch;
            let (range, exchange) = made.windows.as_mut()?.ask(&source, now)?;
            Some(Load {
                topic,
                epoch,
                source,
                range,
                exchange,
            })
        };
        due.into_iter().filter_map(load).collect()
    }

    /// The bars that history has for the ticker of a window; `None` if it gave no answer.
    pub(crate) fn loaded(&self, load: &Load, rows: Option<&[BarRow]>, now: Instant) {
        let mut inner = self.inner();
        let made = inner.streams.get_mut(&load.topic);
        let made = made.filter(|made| made.epoch == load.epoch);
        if let Some(due_at) = made.and_then(|made| made.loaded(load, rows, now)) {
            inner.due.insert((due_at, load.topic.clone()));
        }
    }

    fn end_unwanted(&self, inner: &mut Inner, now: Instant) {
        let last = inner.tended_at.replace(now).unwrap_or(now);
        let between = now.saturating_duration_since(last);
        let wanted_at = inner.streams.values_mut().map(|made| &mut made.wanted_at);
        excuse_standstill(wanted_at, between, now);
        let is_unwanted =
            |made: &Made| now.saturating_duration_since(made.wanted_at) >= self.limits.linger;
        let count = inner.streams.len();
        let unwanted = inner.streams.iter().filter(|(_, made)| is_unwanted(made));
        let unwanted: Vec<Topic> = unwanted.map(|(topic, _)| topic.clone()).collect();
        for topic in &unwanted {
            let Some(made) = inner.streams.remove(topic) else {
                continue;
            };
            self.leave(inner, topic, &made);
            self.hub.release(made.slot);
            if let Some(sharer) = made.sharer {
                inner.shares.give_back(sharer, made.minutes_shared());
            }
            inner.unknown = inner.unknown.saturating_sub(usize::from(!made.is_known));
            inner.due.retain(|(_, other)| other != topic);
        }
        let streams = &inner.streams;
        self.unknown.set(inner.unknown as f64);
        self.ended.increment((count - streams.len()) as u64);
        self.count.set(streams.len() as f64);
        self.is_any.store(!streams.is_empty(), Ordering::SeqCst);
    }
}

/// Makes the events for as long as it is polled.
pub(crate) async fn run(streams: Arc<Streams>) {
    loop {
        let next_at = streams.turn(Instant::now());
        tokio::select! {
            () = streams.hub.followed() => {}
            () = tokio::time::sleep_until(next_at.into()) => {}
        }
    }
}

#[cfg(test)]
mod tests;
