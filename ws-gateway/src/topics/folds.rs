//! Bars of widths that nobody publishes: each width of a symbol is folded once, for all sessions
//! that want it, and only while some session does.
//!
//! A shard renews the bars that its sessions want. Ingest passes each bar of a timeframe that is
//! folded; the folded bars go to the hub like published ones.

mod fold;
mod load;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use market_core::{BarRow, BarState, Topic};
use metrics::{Counter, Gauge, counter, gauge};

use self::fold::{Fold, read};
pub(crate) use self::load::Load;
use crate::limits::{AddressGroups, Sharer, Shares, SharesConfig};
use crate::standstill::excuse_standstill;
use crate::topics::host_clock::wall_us;
use crate::topics::hub::Hub;
use crate::topics::made::Made;
use crate::topics::warmth::Warmth;
use crate::topics::width_bars::WidthBars;

/// Rest before history is asked again for what is missing.
const LOAD_REST: Duration = Duration::from_secs(10);
/// The same after an answer that does not have it yet.
const BEHIND_REST: Duration = Duration::from_secs(1);

/// The part of the folds that may be of symbols without bars: invented names must leave room for
/// the others.
const WITHOUT_BARS_DIVISOR: usize = 10;

/// The limits of folds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoldLimits {
    /// Most of them at once.
    pub folds_max: usize,
    /// Of them, the most that were made for one client.
    pub shares: SharesConfig,
    /// How long one lasts after the last session has left.
    pub linger: Duration,
}

impl Default for FoldLimits {
    fn default() -> Self {
        Self {
            folds_max: 1_000,
            shares: SharesConfig {
                per_session: 1_000,
                per_ip: 0,
                holds_for_loopback: false,
                groups: AddressGroups::new(64),
            },
            linger: Duration::from_secs(60),
        }
    }
}

#[derive(Debug)]
struct Inner {
    folds: BTreeMap<Topic, Fold>,
    by_source: HashMap<Topic, Vec<Topic>>,
    shares: Shares,
    /// How many of them have not seen a bar yet.
    without_bars: usize,
    epoch: u64,
    /// When it was last looked which have ended.
    tended_at: Option<Instant>,
}

/// The folds of a gateway.
pub(crate) struct Folds {
    hub: Arc<Hub>,
    warmth: Arc<Warmth>,
    limits: FoldLimits,
    /// Whether there are any: ingest looks at this first.
    is_any: AtomicBool,
    inner: Mutex<Inner>,
    count: Gauge,
    made: Counter,
    ended: Counter,
    given_up: Counter,
}

impl std::fmt::Debug for Folds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Folds")
    }
}

impl Folds {
    /// None so far. Their bars go to `hub`, whose bars are complete once it is `warmth`.
    #[must_use]
    pub(crate) fn new(hub: Arc<Hub>, warmth: Arc<Warmth>, limits: FoldLimits) -> Self {
        Self {
            hub,
            warmth,
            limits,
            is_any: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                folds: BTreeMap::new(),
                by_source: HashMap::new(),
                shares: Shares::new(limits.shares),
                without_bars: 0,
                epoch: 0,
                tended_at: None,
            }),
            count: gauge!("gateway_folds"),
            made: counter!("gateway_folds_made_total"),
            ended: counter!("gateway_folds_ended_total"),
            given_up: counter!("gateway_fold_revisions_given_up_total"),
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

    /// A session wants a topic, or still does. Without `sharer`, it has had it before.
    ///
    /// # Errors
    /// What to do, if there is no room for another.
    pub(crate) fn want(
        &self,
        made: &Made,
        sharer: Option<Sharer>,
        now: Instant,
    ) -> Result<(), String> {
        let mut inner = self.inner();
        let inner = &mut *inner;
        if let Some(fold) = inner.folds.get_mut(&made.topic) {
            fold.wanted_at = now;
            return Ok(());
        }
        let malformed = || format!("'{}' names no bars", made.topic);
        let bars = WidthBars::new(made.width, made.source).ok_or_else(malformed)?;
        let source = made.source_topic().ok_or_else(malformed)?;
        let symbol = made.symbol().ok_or_else(malformed)?;
        let has_bars = self.hub.find(&source).is_some();
        let free = self.check_room(inner, made, &source, has_bars)?;
        if let Some(sharer) = sharer {
            inner.shares.take(sharer, free).map_err(|beyond| {
                let seconds = self.limits.linger.as_secs();
                let (label, whose, most) = beyond.told();
                refused(label);
                format!(
                    "the gateway makes {most} topics of unpublished widths for {whose}: subscribe {} or another published width, or unsubscribe others and ask again after {seconds} s",
                    made.source
                )
            })?;
        }
        let slot = match self.hub.folded_slot(&made.topic) {
            Ok(Some(slot)) => slot,
            other => {
                if let Some(sharer) = sharer {
                    inner.shares.give_back(sharer);
                }
                return other.map(|_| ()).map_err(|_| {
                    refused("topics_max");
                    "this gateway holds no more topics: ask another gateway".to_owned()
                });
            }
        };
        inner.without_bars += usize::from(!has_bars);
        let wall_ms = u64::try_from(wall_us() / 1_000).unwrap_or(0);
        inner.epoch = wall_ms.max(inner.epoch.saturating_add(1));
        let mut fold = Fold {
            bars,
            topic: made.topic.clone(),
            source: source.clone(),
            symbol,
            width: made.width,
            exchange: String::new(),
            slot,
            seq: 0,
            epoch: inner.epoch,
            sharer,
            has_bars,
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
        fold.begin(&self.hub);
        inner.folds.insert(made.topic.clone(), fold);
        self.made.increment(1);
        self.count.set(inner.folds.len() as f64);
        Ok(())
    }

    /// How much room there is for folds of all clients.
    fn check_room(
        &self,
        inner: &Inner,
        made: &Made,
        source: &Topic,
        has_bars: bool,
    ) -> Result<usize, String> {
        // The slot of an ended fold counts until no shard knows it.
        let count = inner
            .folds
            .len()
            .saturating_add(self.hub.ending_counts().folds);
        if count >= self.limits.folds_max {
            refused("gateway");
            return Err(format!(
                "this gateway makes no more widths at the moment: subscribe {} or another published width, or ask again later",
                made.source
            ));
        }
        let without_bars_max = self.limits.folds_max / WITHOUT_BARS_DIVISOR;
        let is_full = inner.without_bars >= without_bars_max.max(1);
        // Until all bars are loaded, the symbols of some are not known.
        if !has_bars && is_full && self.warmth.is_warm() {
            refused("without_bars");
            return Err(format!(
                "no bars of {source} have come: check the symbol, or subscribe {source} and ask again once it has bars"
            ));
        }
        Ok(self.limits.folds_max.saturating_sub(count))
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
    pub(crate) fn took(&self, source: &Topic, payload: &Bytes, now: Instant) {
        if !self.is_any() {
            return;
        }
        let mut inner = self.inner();
        let Inner {
            folds,
            by_source,
            without_bars,
            ..
        } = &mut *inner;
        let Some(topics) = by_source.get(source) else {
            return;
        };
        let Some((message, row)) = read(payload) else {
            return;
        };
        for topic in topics {
            if let Some(fold) = folds.get_mut(topic) {
                if !fold.has_bars {
                    fold.has_bars = true;
                    *without_bars = without_bars.saturating_sub(1);
                }
                fold.exchange.clone_from(&message.exchange);
                let folded = match message.state {
                    BarState::Closed => fold.bars.closed(message.epoch, row),
                    BarState::Forming => fold.bars.forming(row),
                };
                fold.offer(&self.hub, folded, now);
            }
        }
    }

    /// Ends the folds that no session wants, gives the bars whose parts were revised, and says what
    /// is needed from history.
    pub(crate) fn tend(&self, now: Instant) -> Vec<Load> {
        if !self.is_any() {
            return Vec::new();
        }
        let (mut loads, mut topics) = (Vec::new(), Vec::new());
        {
            let mut inner = self.inner();
            self.end_unwanted(&mut inner, now);
            for (topic, fold) in &mut inner.folds {
                loads.extend(fold.load(now));
                self.given_up.increment(fold.bars.take_given_up());
                if fold.bars.is_stale() {
                    topics.push(topic.clone());
                }
            }
        }
        for topic in topics {
            // One after the other: ingest waits for the lock.
            if let Some(fold) = self.inner().folds.get_mut(&topic) {
                let folded = fold.bars.settle();
                fold.offer(&self.hub, folded, now);
            }
        }
        loads
    }

    fn end_unwanted(&self, inner: &mut Inner, now: Instant) {
        let last = inner.tended_at.replace(now).unwrap_or(now);
        let between = now.saturating_duration_since(last);
        let wanted_at = inner.folds.values_mut().map(|fold| &mut fold.wanted_at);
        excuse_standstill(wanted_at, between, now);
        let Inner {
            folds,
            by_source,
            shares,
            without_bars,
            ..
        } = inner;
        let count = folds.len();
        folds.retain(|topic, fold| {
            let is_wanted = now.saturating_duration_since(fold.wanted_at) < self.limits.linger;
            if is_wanted && !self.hub.has_ended(fold.slot) {
                return true;
            }
            self.hub.release(fold.slot);
            if let Some(sharer) = fold.sharer {
                shares.give_back(sharer);
            }
            *without_bars = without_bars.saturating_sub(usize::from(!fold.has_bars));
            if let Some(topics) = by_source.get_mut(&fold.source) {
                topics.retain(|other| other != topic);
                if topics.is_empty() {
                    by_source.remove(&fold.source);
                }
            }
            false
        });
        self.ended.increment((count - folds.len()) as u64);
        self.count.set(folds.len() as f64);
        if folds.is_empty() {
            self.is_any.store(false, Ordering::SeqCst);
            inner.tended_at = None;
        }
    }

    /// The parts that history has for a fold; `None` if it gave no answer.
    pub(crate) fn loaded(&self, load: &Load, rows: Option<&[BarRow]>, now: Instant) {
        let mut inner = self.inner();
        let fold = inner.folds.get_mut(&load.topic);
        if let Some(fold) = fold.filter(|fold| fold.epoch == load.epoch) {
            let folded = fold.bars.loaded(load.range, rows);
            let is_behind = fold.bars.missing() == Some(load.range);
            fold.load_at = Some(match rows {
                Some(_) if !is_behind => now,
                Some(_) => now + BEHIND_REST,
                None => now + LOAD_REST,
            });
            fold.offer(&self.hub, folded, now);
        }
    }

    /// Whether nothing is left of ended folds.
    #[cfg(test)]
    pub(crate) fn is_clean(&self) -> bool {
        let inner = self.inner();
        inner.by_source.is_empty()
            && inner.shares.len() == (0, 0)
            && inner.without_bars == 0
            && !self.is_any()
    }
}

fn refused(limit: &'static str) {
    counter!("gateway_folds_refused_total", "limit" => limit).increment(1);
}
