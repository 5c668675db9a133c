//! Bars of widths that nobody publishes: each width of a symbol is folded once, for all sessions
//! that want it, and only while some session does.
//!
//! A shard renews the bars that its sessions want. Ingest passes each bar of a timeframe that is
//! folded; the folded bars go to the hub like published ones.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use market_core::channel::KLINE;
use market_core::wire::bar::{Stamp, encode_row};
use market_core::wire::{BarHead, BarMessage};
use market_core::{BarRow, BarState, Quality, Symbol, Timeframe, Topic, UnixMillis, Width};
use metrics::{Counter, Gauge, counter, gauge};

use crate::topics::host_clock::wall_us;
use crate::topics::hub::Hub;
use crate::topics::slot::SlotId;
use crate::topics::width_bars::{Folded, WidthBars};

/// Rest before history is asked again for what is missing.
const LOAD_REST: Duration = Duration::from_secs(10);

/// The part of the topics in the life of the gateway that may be of symbols without bars: invented
/// names must leave room for the others.
const WITHOUT_BARS_DIVISOR: usize = 10;

/// The limits of folds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoldLimits {
    /// Most of them at once.
    pub folds_max: usize,
    /// Most topics of them in the life of the gateway: a slot is never removed.
    pub topics_max: usize,
    /// How long one lasts after the last session has left.
    pub linger: Duration,
}

impl Default for FoldLimits {
    fn default() -> Self {
        Self {
            folds_max: 1_000,
            topics_max: 10_000,
            linger: Duration::from_secs(60),
        }
    }
}

/// What must be read from history for a fold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Load {
    /// The fold.
    pub topic: Topic,
    /// The topic of its parts.
    pub source: Topic,
    /// From and until when.
    pub range: (UnixMillis, UnixMillis),
    /// The venue of the parts, if it is known.
    pub exchange: Option<String>,
}

#[derive(Debug)]
struct Fold {
    bars: WidthBars,
    source: Topic,
    symbol: Symbol,
    width: Width,
    exchange: String,
    slot: SlotId,
    seq: u64,
    epoch: u64,
    wanted_at: Instant,
    /// When history may be asked next; `None` while it is asked.
    load_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Inner {
    folds: BTreeMap<Topic, Fold>,
    by_source: HashMap<Topic, Vec<Topic>>,
    /// Topics that have a slot.
    known: HashSet<Topic>,
    /// How many of them had a symbol without bars when they were first wanted.
    without_bars: usize,
    epoch: u64,
}

/// The folds of a gateway.
pub(crate) struct Folds {
    limits: FoldLimits,
    /// Whether there are any: ingest looks at this first.
    is_any: AtomicBool,
    inner: Mutex<Inner>,
    count: Gauge,
    refused: Counter,
}

impl std::fmt::Debug for Folds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Folds")
    }
}

/// A topic of a width that is folded: its parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Made {
    /// The topic that is folded.
    pub topic: Topic,
    /// Its width.
    pub width: Width,
    /// The timeframe of its parts.
    pub source: Timeframe,
}

impl Made {
    /// The topic of the parts.
    #[must_use]
    pub(crate) fn source_topic(&self) -> Option<Topic> {
        let (_, symbol) = KLINE.rest(self.topic.as_str(), ':')?.split_once(':')?;
        format!("{}:{}:{symbol}", KLINE.root, self.source)
            .parse()
            .ok()
    }

    /// The same of the symbol that another topic of the parts names.
    #[must_use]
    pub(crate) fn of_source(&self, source: &Topic) -> Option<Self> {
        let (_, symbol) = KLINE.rest(source.as_str(), ':')?.split_once(':')?;
        let topic = format!("{}:{}:{symbol}", KLINE.root, self.width)
            .parse()
            .ok()?;
        Some(Self { topic, ..*self })
    }
}

impl Folds {
    /// None so far.
    #[must_use]
    pub(crate) fn new(limits: FoldLimits) -> Self {
        Self {
            limits,
            is_any: AtomicBool::new(false),
            inner: Mutex::default(),
            count: gauge!("gateway_folds"),
            refused: counter!("gateway_folds_refused_total"),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder panics")
    }

    /// The topics that are folded.
    #[must_use]
    pub(crate) fn topics(&self) -> Vec<Topic> {
        if !self.is_any() {
            return Vec::new();
        }
        self.inner().folds.keys().cloned().collect()
    }

    /// A session wants a topic, or still does.
    ///
    /// # Errors
    /// What to do, if there is no room for another.
    pub(crate) fn want(&self, hub: &Hub, made: &Made, now: Instant) -> Result<(), String> {
        let mut inner = self.inner();
        let inner = &mut *inner;
        if let Some(fold) = inner.folds.get_mut(&made.topic) {
            fold.wanted_at = now;
            return Ok(());
        }
        let is_new = !inner.known.contains(&made.topic);
        let is_full = inner.folds.len() >= self.limits.folds_max;
        if is_full || (is_new && inner.known.len() >= self.limits.topics_max) {
            self.refused.increment(1);
            return Err(format!(
                "this gateway makes no more widths at the moment: subscribe {} or another published width, or ask again later",
                made.source
            ));
        }
        let no_room = |_| "this gateway holds no more topics: ask another gateway".to_owned();
        let malformed = || format!("'{}' names no bars", made.topic);
        let bars = WidthBars::new(made.width, made.source).ok_or_else(malformed)?;
        let source = made.source_topic().ok_or_else(malformed)?;
        let symbol = symbol_of(&made.topic).ok_or_else(malformed)?;
        let is_without_bars = is_new && hub.find(&source).is_none();
        let without_bars_max = self.limits.topics_max / WITHOUT_BARS_DIVISOR;
        if is_without_bars && inner.without_bars >= without_bars_max {
            self.refused.increment(1);
            return Err(format!(
                "no bars of {source} have come: check the symbol, or subscribe {source} and ask again once it has bars"
            ));
        }
        let slot = hub.folded_slot_of(&made.topic).map_err(no_room)?;
        inner.known.insert(made.topic.clone());
        inner.without_bars += usize::from(is_without_bars);
        let wall_ms = u64::try_from(wall_us() / 1_000).unwrap_or(0);
        inner.epoch = wall_ms.max(inner.epoch.saturating_add(1));
        let mut fold = Fold {
            bars,
            source: source.clone(),
            symbol,
            width: made.width,
            exchange: String::new(),
            slot,
            seq: 0,
            epoch: inner.epoch,
            wanted_at: now,
            load_at: Some(now),
        };
        // Ingest looks for folds after it has put a bar into its slot: what is not in the slot now
        // comes from there.
        inner
            .by_source
            .entry(source)
            .or_default()
            .push(made.topic.clone());
        self.is_any.store(true, Ordering::SeqCst);
        fold.begin(hub);
        inner.folds.insert(made.topic.clone(), fold);
        self.count.set(inner.folds.len() as f64);
        Ok(())
    }

    /// Whether there are any.
    #[must_use]
    pub(crate) fn is_any(&self) -> bool {
        self.is_any.load(Ordering::SeqCst)
    }

    /// Sessions still want these topics.
    pub(crate) fn renew(&self, topics: &[Topic], now: Instant) {
        let mut inner = self.inner();
        for topic in topics {
            if let Some(fold) = inner.folds.get_mut(topic) {
                fold.wanted_at = now;
            }
        }
    }

    /// A bar of a topic was taken.
    pub(crate) fn took(&self, hub: &Hub, source: &Topic, payload: &Bytes, now: Instant) {
        if !self.is_any() {
            return;
        }
        let mut inner = self.inner();
        let Inner {
            folds, by_source, ..
        } = &mut *inner;
        let Some(topics) = by_source.get(source) else {
            return;
        };
        let Some((message, row)) = read(payload) else {
            return;
        };
        for topic in topics {
            if let Some(fold) = folds.get_mut(topic) {
                fold.exchange.clone_from(&message.exchange);
                let folded = match message.state {
                    BarState::Closed => fold.bars.closed(message.epoch, row),
                    BarState::Forming => fold.bars.forming(row),
                };
                fold.offer(hub, folded, now);
            }
        }
    }

    /// Ends the folds that no session wants, and says what others need from history.
    pub(crate) fn tend(&self, now: Instant) -> Vec<Load> {
        if !self.is_any() {
            return Vec::new();
        }
        let mut inner = self.inner();
        let Inner {
            folds, by_source, ..
        } = &mut *inner;
        let linger = self.limits.linger;
        folds.retain(|_, fold| now.saturating_duration_since(fold.wanted_at) < linger);
        by_source.retain(|_, topics| {
            topics.retain(|topic| folds.contains_key(topic));
            !topics.is_empty()
        });
        self.is_any.store(!folds.is_empty(), Ordering::SeqCst);
        self.count.set(folds.len() as f64);
        let mut loads = Vec::new();
        for (topic, fold) in folds.iter_mut() {
            let is_due = fold.load_at.is_some_and(|load_at| load_at <= now);
            if let Some(range) = fold.bars.missing().filter(|_| is_due) {
                fold.load_at = None;
                loads.push(Load {
                    topic: topic.clone(),
                    source: fold.source.clone(),
                    range,
                    exchange: (!fold.exchange.is_empty()).then(|| fold.exchange.clone()),
                });
            }
        }
        loads
    }

    /// The parts that history has for a fold; `None` if it gave no answer.
    pub(crate) fn loaded(&self, hub: &Hub, load: &Load, rows: Option<&[BarRow]>, now: Instant) {
        let mut inner = self.inner();
        if let Some(fold) = inner.folds.get_mut(&load.topic) {
            fold.load_at = Some(match rows {
                Some(_) => now,
                None => now + LOAD_REST,
            });
            let folded = fold.bars.loaded(load.range, rows);
            fold.offer(hub, folded, now);
        }
    }
}

impl Fold {
    /// Begins with the bars that the slot of its parts holds.
    fn begin(&mut self, hub: &Hub) {
        let (held, forming) = hub.held_bars(&self.source);
        for (message, row) in held.iter().filter_map(read) {
            self.exchange = message.exchange;
            self.bars.seed(message.epoch, row);
        }
        let mut folded = self.bars.begin();
        if let Some((message, row)) = forming.as_ref().and_then(read) {
            self.exchange = message.exchange;
            folded.extend(self.bars.forming(row));
        }
        self.offer(hub, folded, Instant::now());
    }

    fn offer(&mut self, hub: &Hub, folded: Vec<Folded>, now: Instant) {
        for Folded { row, state } in folded {
            self.seq += 1;
            let stamp = Stamp {
                seq: self.seq,
                epoch: self.epoch,
                published_us: wall_us(),
            };
            let head = BarHead {
                seq: self.seq,
                epoch: self.epoch,
                start_ms: row.start_ms,
                end_ms: self.width.end_of(row.start_ms),
                closed: state == BarState::Closed,
                rev: row.rev,
                filled: row.quality == Quality::Filled,
                exchange: &self.exchange,
            };
            let topic = hub.topic_of(self.slot);
            let json = encode_row(
                &topic,
                &self.exchange,
                &self.symbol,
                self.width,
                &row,
                state,
                stamp,
            );
            let _ = hub.offer(self.slot, Some(&head), json, now);
        }
    }
}

fn read(payload: &Bytes) -> Option<(BarMessage, BarRow)> {
    let message = BarMessage::read(payload)?;
    let row = BarRow::of_message(&message)?;
    Some((message, row))
}

/// The symbol of a topic of bars.
fn symbol_of(topic: &Topic) -> Option<Symbol> {
    let (_, symbol) = KLINE.rest(topic.as_str(), ':')?.split_once(':')?;
    symbol.parse().ok()
}
