//! Every topic's slot, the rising version over all of them, and the shards that have not seen a
//! change yet.
//!
//! Ingest writes here. Each shard pulls the changes since its last pull, all of them as of one
//! version, so that its sessions stay in lockstep and share their frames.

mod entries;
mod folded;
mod followed;
mod traced;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use bytes::Bytes;
use dashmap::DashMap;
use market_core::Topic;
use market_core::wire::BarHead;
use tokio::sync::Notify;

use crate::topics::demand::Demand;
use crate::topics::endings::Endings;
use crate::topics::followed::Followed;
use crate::topics::hold::{Held, Hold};
use crate::topics::names::Names;
use crate::topics::slot_id::SlotId;
use crate::topics::state::{Depth, Keep, Newest, Offered, Slot, TopicState};
use crate::topics::traced::Traced;
use client_frames::encode::frame_budget::FrameBudget;

/// The state that all shards share.
#[derive(Debug)]
pub(crate) struct Hub {
    topics: DashMap<Topic, SlotId>,
    core: Mutex<Core>,
    /// One for each shard: there is a change since its last pull.
    signals: Vec<Notify>,
    /// There is a change of a topic that is followed.
    followed_signal: Notify,
    topics_max: usize,
    depth: Depth,
    /// The names that a topic may have.
    pub names: Names,
    /// The channels that some session has wanted.
    pub demand: Demand,
    /// The budget of frames that wait for slow clients.
    pub budget: Arc<FrameBudget>,
}

#[derive(Debug)]
struct Core {
    version: u64,
    slots: Vec<CoreSlot>,
    /// For each shard.
    news: Vec<News>,
    endings: Endings,
    hold: Hold,
    /// Closed bars that were released early since the last call.
    early: u64,
    /// Of the entries of logs: they have a budget of their own, so that they release no bars.
    log_hold: Hold,
    /// Entries that were released early since the last call.
    early_entries: u64,
    followed: Followed,
}

/// What has happened since a shard's last pull.
#[derive(Debug, Default)]
struct News {
    /// The slots that changed.
    dirty: Vec<SlotId>,
    /// When the first of those changes came.
    dirty_since: Option<Instant>,
    /// The slots whose exchange became known or changed.
    named: Vec<SlotId>,
    /// The slots that were given to other topics.
    renewed: Vec<SlotId>,
    /// The slots that have ended.
    ended: Vec<SlotId>,
    /// Publications that are traced, and whether they are lasting.
    traced: Vec<(SlotId, bool, Traced)>,
}

#[derive(Debug)]
struct CoreSlot {
    slot: Arc<Slot>,
    /// One bit for each shard whose dirty list contains the slot.
    dirty_mask: u64,
    newest: u64,
    /// See [`Changed::lasting`].
    lasting: u64,
    /// The venue of its bars, if they name it.
    exchange: Option<Arc<str>>,
}

impl CoreSlot {
    fn new(slot: Slot) -> Self {
        Self {
            slot: Arc::new(slot),
            dirty_mask: 0,
            newest: 0,
            lasting: 0,
            exchange: None,
        }
    }
}

/// The most shards of a hub: each has one bit of a mask.
pub(crate) const SHARDS_MAX: usize = 64;

/// Most closed bars per step that are checked after their hold time.
const LET_GO_AT_ONCE: usize = 64;

/// There is no room for another topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the hub has reached its limit of topics")]
pub(crate) struct HubFull;

/// The changes for a shard since its last pull.
#[derive(Debug, Default)]
pub(crate) struct Pulled {
    /// The version up to which this is complete.
    pub version: u64,
    /// New slots, in order of their ids.
    pub created: Vec<Arc<Slot>>,
    /// Slots that were given to other topics. Their former topics ended before.
    pub renewed: Vec<(SlotId, Arc<Slot>)>,
    /// Slots that have ended, and are neither changed nor named any more. The shard must forget
    /// them before its next pull.
    pub ended: Vec<SlotId>,
    /// Changed slots, including new ones.
    pub changed: Vec<Changed>,
    /// The venues of slots whose venue became known or changed.
    pub named: Vec<(SlotId, Arc<str>)>,
    /// When the first change came.
    pub since: Option<Instant>,
    /// Changes that are traced, and whether they are lasting; at most [`service::LINKS_MAX`].
    pub traced: Vec<(SlotId, bool, Traced)>,
}

/// A slot as of a pull.
#[derive(Debug)]
pub(crate) struct Changed {
    /// Which.
    pub slot: SlotId,
    /// Version of its newest publication.
    pub newest_version: u64,
    /// Version of its newest publication that is not a forming bar.
    pub lasting: u64,
    /// Its forming bar or value.
    pub newest: Option<Newest>,
}

impl Hub {
    /// An empty hub for `shards` shards and at most `topics_max` topics, with names of `names`.
    #[must_use]
    pub(crate) fn new(shards: usize, topics_max: usize, depth: Depth, names: Names) -> Self {
        let shards = shards.clamp(1, SHARDS_MAX);
        Self {
            topics: DashMap::new(),
            core: Mutex::new(Core {
                version: 0,
                slots: Vec::new(),
                news: (0..shards).map(|_| News::default()).collect(),
                endings: Endings::new(shards),
                hold: Hold::new(depth),
                early: 0,
                log_hold: Hold::new(Depth {
                    hold_bytes_max: depth.log_hold_bytes_max,
                    ..depth
                }),
                early_entries: 0,
                followed: Followed::default(),
            }),
            followed_signal: Notify::new(),
            signals: (0..shards).map(|_| Notify::new()).collect(),
            topics_max,
            depth,
            names,
            demand: Demand::default(),
            budget: Arc::new(FrameBudget::new(usize::MAX)),
        }
    }

    /// The same, with a budget of frames that wait for slow clients.
    #[must_use]
    pub(crate) fn with_budget(self, budget: FrameBudget) -> Self {
        Self {
            budget: Arc::new(budget),
            ..self
        }
    }

    /// The slot of a topic, if it has one.
    #[must_use]
    pub(crate) fn find(&self, topic: &Topic) -> Option<SlotId> {
        self.topics.get(topic).map(|id| *id)
    }

    /// How many topics are known.
    #[must_use]
    pub(crate) fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// The slot of a topic, created if necessary.
    ///
    /// # Errors
    /// [`HubFull`].
    pub(crate) fn slot_of(&self, topic: &Topic) -> Result<SlotId, HubFull> {
        let mut core = self.core();
        // Another ingest task may have been faster.
        if let Some(id) = self.find(topic) {
            if !core.slots[id.index()].slot.is_folded {
                return Ok(id);
            }
            // It is published from now on.
            self.end(&mut core, id);
        }
        let id = core.append(Slot::new(topic.clone()), self.topics_max)?;
        self.topics.insert(topic.clone(), id);
        self.names.saw_topic(topic);
        Ok(id)
    }

    /// How many slots there are, free slots included.
    #[cfg(test)]
    pub(crate) fn slot_count(&self) -> usize {
        self.core().slots.len()
    }

    /// Takes a publication: a bar if it has a head, otherwise a status.
    pub(crate) fn offer(
        &self,
        id: SlotId,
        head: Option<&BarHead<'_>>,
        payload: Bytes,
        received_at: Instant,
    ) -> Offered {
        self.offer_traced(id, head, payload, received_at, None)
    }

    /// The same, with what is told of it if it is traced.
    pub(crate) fn offer_traced(
        &self,
        id: SlotId,
        head: Option<&BarHead<'_>>,
        payload: Bytes,
        received_at: Instant,
        traced: Option<Traced>,
    ) -> Offered {
        let mut core = self.core();
        let core = &mut *core;
        let version = core.version + 1;
        if core.endings.has(id) {
            return Offered::Stale;
        }
        let entry = &mut core.slots[id.index()];
        let (keep, json_bytes) = (core.hold.keep(self.depth), payload.len());
        let offered = {
            let mut state = entry.slot.state();
            match head {
                Some(head) => state.offer_bar(head, payload, version, keep, &mut core.early),
                None => state.offer_latest(payload, version),
            }
        };
        if matches!(offered, Offered::New { .. }) {
            let is_lasting = head.is_none_or(|head| head.closed);
            let exchange = head.map_or("", |head| head.exchange);
            self.note(core, id, exchange, is_lasting, received_at);
            if let Some(traced) = traced {
                for news in &mut core.news {
                    news.trace(id, is_lasting, traced);
                }
            }
            if let Some(head) = head.filter(|head| head.closed) {
                let start_ms = head.start_ms;
                core.hold
                    .push(id, start_ms, version, json_bytes, received_at);
                core.make_room(self.depth);
                core.let_go(received_at, self.depth);
            }
        }
        offered
    }

    /// A slot has a publication of the next version: tells the shards.
    fn note(
        &self,
        core: &mut Core,
        id: SlotId,
        exchange: &str,
        is_lasting: bool,
        received_at: Instant,
    ) {
        if core
            .followed
            .changed(id, &core.slots[id.index()].slot.topic)
        {
            self.followed_signal.notify_one();
        }
        core.version += 1;
        let version = core.version;
        let entry = &mut core.slots[id.index()];
        if !exchange.is_empty() && entry.exchange.as_deref() != Some(exchange) {
            // A venue beyond the limit of known venues has no second name.
            let is_known = self.names.saw_exchange(exchange);
            entry.exchange = Some(Arc::from(exchange));
            for news in core.news.iter_mut().filter(|_| is_known) {
                news.named.push(id);
            }
        }
        entry.newest = version;
        if is_lasting {
            entry.lasting = version;
        }
        for (shard, (news, signal)) in core.news.iter_mut().zip(&self.signals).enumerate() {
            let bit = 1 << shard;
            if entry.dirty_mask & bit == 0 {
                entry.dirty_mask |= bit;
                news.dirty.push(id);
                if news.dirty_since.is_none() {
                    news.dirty_since = Some(received_at);
                    signal.notify_one();
                }
            }
        }
    }

    /// Releases the closed bars whose hold time is over, also in quiet topics.
    pub(crate) fn let_go(&self, now: Instant) {
        while self.core().let_go(now, self.depth) {}
    }

    /// The changes since the shard's last pull; `known` is the number of slots that it knows.
    #[must_use]
    pub(crate) fn pull(&self, shard: usize, known: usize) -> Pulled {
        let mut core = self.core();
        let core = &mut *core;
        let news = std::mem::take(&mut core.news[shard]);
        let mut changed = Vec::with_capacity(news.dirty.len());
        for id in news.dirty {
            let entry = &mut core.slots[id.index()];
            entry.dirty_mask &= !(1 << shard);
            if !core.endings.has(id) {
                changed.push(Changed {
                    slot: id,
                    newest_version: entry.newest,
                    lasting: entry.lasting,
                    newest: entry.slot.state().newest(),
                });
            }
        }
        let slots = &core.slots;
        let exchange_of = |id: SlotId| Some((id, slots[id.index()].exchange.clone()?));
        let slot_of = |id: SlotId| (id, Arc::clone(&slots[id.index()].slot));
        let named = news.named.into_iter().filter(|id| !core.endings.has(*id));
        let pulled = Pulled {
            version: core.version,
            named: named.filter_map(exchange_of).collect(),
            created: slots[known..]
                .iter()
                .map(|entry| Arc::clone(&entry.slot))
                .collect(),
            renewed: news.renewed.into_iter().map(slot_of).collect(),
            ended: news.ended,
            changed,
            since: news.dirty_since,
            traced: news.traced,
        };
        for &id in &pulled.ended {
            if core.endings.seen_by(id, shard) {
                core.empty(id);
            }
        }
        pulled
    }

    /// Completes once there may be a change since the shard's last pull.
    pub(crate) async fn changed(&self, shard: usize) {
        self.signals[shard].notified().await;
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().expect("no holder panics")
    }
}

impl Core {
    /// Adds a slot.
    fn append(&mut self, slot: Slot, topics_max: usize) -> Result<SlotId, HubFull> {
        if self.slots.len() >= topics_max {
            return Err(HubFull);
        }
        let id = SlotId(u32::try_from(self.slots.len()).expect("fewer than 2^32 topics"));
        self.slots.push(CoreSlot::new(slot));
        Ok(id)
    }

    /// Frees the contents of a slot that no session knows any more.
    fn empty(&self, id: SlotId) {
        *self.slots[id.index()].slot.state() = TopicState::default();
    }

    /// Gives a free slot to another topic.
    fn renew(&mut self, id: SlotId, slot: Slot) -> SlotId {
        self.slots[id.index()] = CoreSlot::new(slot);
        for news in &mut self.news {
            news.renewed.push(id);
        }
        id
    }

    /// Releases some closed bars and entries whose hold time is over; true if there may be more.
    fn let_go(&mut self, now: Instant, depth: Depth) -> bool {
        let mut is_more = false;
        for hold in [&mut self.hold, &mut self.log_hold] {
            let mut released = 0;
            while released < LET_GO_AT_ONCE
                && let Some(held) = hold.pop_old(now)
            {
                release(&self.slots, held, hold.keep(depth));
                released += 1;
            }
            is_more |= released == LET_GO_AT_ONCE;
        }
        is_more
    }

    /// Releases the oldest closed bars if all of them have too many bytes.
    fn make_room(&mut self, depth: Depth) {
        while let Some(held) = self.hold.pop_beyond() {
            let is_gone = release(&self.slots, held, self.hold.keep(depth));
            self.early += u64::from(is_gone);
        }
    }
}

/// Releases what is held beyond the last ones of a slot. True if it is no longer held.
fn release(slots: &[CoreSlot], held: Held, keep: Keep) -> bool {
    let slot = &slots[held.slot.index()].slot;
    slot.state().let_go(held.start_ms, held.version, keep)
}

#[cfg(test)]
mod tests;
