//! From the bus to the hub: one task for each pattern.
//!
//! A message's head is read once; from here on its bytes are shared. A gateway subscribes first
//! and asks for the retained messages then, so that nothing falls between; after a loss it asks
//! again. What comes twice is dropped by the slots.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bus::{Bus, Delivery, Message, Subscription};
use bytes::Bytes;
use market_core::subject;
use market_core::wire::{BarHead, BoundaryMark};
use metrics::{Counter, counter};
use service::Condition;
use tokio::time::sleep_until;
use tracing::{info, warn};

use crate::boundary::Boundaries;
use crate::hub::{Hub, SlotId};
use crate::slot::Offered;

/// Least time between two resyncs: under a loss that goes on, asking for everything all the time
/// would make it worse.
const RESYNC_REST: Duration = Duration::from_secs(1);
/// How long after a resync that a loss or an outage caused the retained messages are read again,
/// last one first: a publisher that came back before this gateway had nobody listening when it
/// sent what it had held, and stores it one acknowledgement at a time.
const RESYNC_AGAIN: [Duration; 2] = [Duration::from_secs(8), Duration::from_secs(2)];
/// Between attempts to subscribe, at first and at most.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Readiness: met once every pattern has been synced.
#[derive(Debug)]
pub(crate) struct Warmth {
    condition: Condition,
    cold: AtomicUsize,
}

impl Warmth {
    /// Not met before `patterns` have reported.
    #[must_use]
    pub(crate) fn new(condition: Condition, patterns: usize) -> Arc<Self> {
        condition.unmet("the retained messages are not loaded yet");
        Arc::new(Self {
            condition,
            cold: AtomicUsize::new(patterns),
        })
    }

    fn one_is_warm(&self) {
        if self.cold.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.condition.met();
        }
    }
}

struct Outcomes {
    taken: Counter,
    duplicate: Counter,
    stale: Counter,
    malformed: Counter,
    unknown: Counter,
    full: Counter,
    conflated: Counter,
    missed: Counter,
}

impl Outcomes {
    fn new() -> Self {
        let outcome =
            |outcome: &'static str| counter!("gateway_ingest_messages_total", "outcome" => outcome);
        Self {
            taken: outcome("taken"),
            duplicate: outcome("duplicate"),
            stale: outcome("stale"),
            malformed: outcome("malformed"),
            unknown: outcome("unknown_subject"),
            full: outcome("topics_max"),
            conflated: counter!("gateway_conflated_forming_total"),
            missed: counter!("gateway_missed_closed_bars_total"),
        }
    }
}

/// The ingest of one pattern.
pub(crate) struct Ingest {
    pattern: String,
    bus: Arc<dyn Bus>,
    hub: Arc<Hub>,
    /// Slots by subject, so that a subject is parsed once; none for those that are no topic.
    slots: HashMap<Arc<str>, Option<SlotId>>,
    slots_max: usize,
    outcomes: Outcomes,
    warmth: Option<Arc<Warmth>>,
    boundaries: Arc<Boundaries>,
}

impl Ingest {
    /// Ingests `pattern`, and reports to `warmth` when it has all that is retained of it.
    /// `boundaries` are those of all ingests.
    #[must_use]
    pub(crate) fn new(
        pattern: String,
        bus: Arc<dyn Bus>,
        hub: Arc<Hub>,
        topics_max: usize,
        boundaries: Arc<Boundaries>,
        warmth: Arc<Warmth>,
    ) -> Self {
        Self {
            pattern,
            bus,
            hub,
            slots: HashMap::new(),
            slots_max: topics_max.saturating_mul(2).max(1_024),
            outcomes: Outcomes::new(),
            warmth: Some(warmth),
            boundaries,
        }
    }

    /// Runs for as long as it is polled.
    pub(crate) async fn run(mut self) {
        let mut rest = RETRY_MIN;
        loop {
            match self.bus.subscribe(&self.pattern).await {
                Ok(subscription) => {
                    rest = RETRY_MIN;
                    self.follow(subscription).await;
                    // The bus has ended the subscription: it drains, or will take a new one.
                    counter!("gateway_ingest_resubscribes_total").increment(1);
                }
                Err(error) => {
                    warn!(%error, pattern = self.pattern, "subscribe failed");
                }
            }
            tokio::time::sleep(rest).await;
            rest = (rest * 2).min(RETRY_MAX);
        }
    }

    async fn follow(&mut self, mut subscription: Subscription) {
        let mut resync_at = Some(Instant::now());
        let mut resynced_at: Option<Instant> = None;
        // Bars that were published just before we listened may not have been stored yet.
        let mut again = vec![RESYNC_AGAIN[1]];
        let takes_marks = self.pattern.starts_with("boundary.") || self.pattern == ">";
        loop {
            // Whoever takes the marks looks after those that wait.
            let boundary_at = match takes_marks {
                true => self.boundaries.next_at(),
                false => None,
            };
            let delivery = tokio::select! {
                biased;
                () = sleep_until(resync_at.unwrap_or_else(Instant::now).into()), if resync_at.is_some() => {
                    let rest = match self.resync().await {
                        true => again.pop(),
                        false => Some(RESYNC_REST),
                    };
                    resync_at = rest.map(|rest| Instant::now() + rest);
                    resynced_at = Some(Instant::now());
                    continue;
                }
                delivery = subscription.recv() => delivery,
                () = sleep_until(boundary_at.unwrap_or_else(Instant::now).into()), if boundary_at.is_some() => {
                    for (interval, payload) in self.boundaries.overdue(Instant::now()) {
                        self.offer_mark(&interval, payload);
                    }
                    continue;
                }
            };
            match delivery {
                Some(Delivery::Message(message)) => self.take(&message),
                Some(Delivery::Lagged { lost }) => {
                    counter!("gateway_ingest_lost_total").increment(lost);
                    counter!("gateway_resyncs_total", "reason" => "lagged").increment(1);
                    warn!(lost, pattern = self.pattern, "messages lost, resyncing");
                    // At once, before anything newer is taken: then the closed bars that were
                    // lost come in their order, and none of them is counted as missed.
                    let earliest = resynced_at.map_or_else(Instant::now, |at| at + RESYNC_REST);
                    resync_at = Some(resync_at.map_or(earliest, |at| at.min(earliest)));
                    again = RESYNC_AGAIN.to_vec();
                }
                Some(Delivery::Reconnected) => {
                    counter!("gateway_resyncs_total", "reason" => "reconnected").increment(1);
                    info!(pattern = self.pattern, "bus reconnected, resyncing");
                    resync_at = Some(Instant::now());
                    again = RESYNC_AGAIN.to_vec();
                }
                None => return,
            }
        }
    }

    /// Takes the retained messages; false if the bus did not give them.
    async fn resync(&mut self) -> bool {
        let closed = self
            .pattern
            .strip_prefix("kline.")
            .map(|rest| format!("closed.{rest}"));
        let is_retained = closed.is_some() || self.pattern.starts_with("system.");
        // Closed bars first: the forming ones are newer than they are.
        let patterns = closed
            .into_iter()
            .chain(is_retained.then(|| self.pattern.clone()));
        for pattern in patterns {
            match self.bus.last_values(&pattern).await {
                Ok(messages) => {
                    let count = messages.len();
                    for (index, message) in messages.iter().enumerate() {
                        self.take(message);
                        if index % 1_024 == 1_023 {
                            tokio::task::yield_now().await;
                        }
                    }
                    info!(pattern, count, "retained messages loaded");
                }
                Err(error) => {
                    warn!(%error, pattern, "retained messages not available, retrying");
                    return false;
                }
            }
        }
        if let Some(warmth) = self.warmth.take() {
            warmth.one_is_warm();
        }
        true
    }

    fn slot_of(&mut self, subject_name: &Arc<str>) -> Option<SlotId> {
        if let Some(slot) = self.slots.get(subject_name) {
            if slot.is_none() {
                self.outcomes.unknown.increment(1);
            }
            return *slot;
        }
        let topic = match subject_name.strip_prefix("closed.") {
            // A closed bar, once more.
            Some(rest) => subject::to_topic(&format!("kline.{rest}")),
            None => subject::to_topic(subject_name),
        };
        let slot = match topic.as_ref().map(|topic| self.hub.slot_of(topic)) {
            Some(Ok(slot)) => Some(slot),
            Some(Err(_)) => {
                self.outcomes.full.increment(1);
                return None;
            }
            None => {
                self.outcomes.unknown.increment(1);
                None
            }
        };
        if self.slots.len() < self.slots_max {
            self.slots.insert(Arc::clone(subject_name), slot);
        }
        slot
    }

    fn offer_mark(&mut self, interval: &str, payload: Bytes) {
        let subject_name = subject::boundary(interval).into();
        if let Some(slot) = self.slot_of(&subject_name) {
            let _ = self.hub.offer(slot, None, payload, Instant::now());
            self.outcomes.taken.increment(1);
        }
    }

    /// Takes a mark, which goes on once the bars before it are here.
    fn take_mark(&mut self, payload: &Bytes) {
        let Some(mark) = BoundaryMark::read(payload) else {
            self.outcomes.malformed.increment(1);
            return;
        };
        for payload in self
            .boundaries
            .marked(&mark, payload.clone(), Instant::now())
        {
            self.offer_mark(&mark.interval, payload);
        }
    }

    fn take(&mut self, message: &Message) {
        let received_at = Instant::now();
        let Some(slot) = self.slot_of(&message.subject) else {
            return;
        };
        let payload = &message.payload;
        // Frames join objects by newlines, and say what was skipped after the opening brace.
        let is_object = payload.len() > 2 && payload[0] == b'{' && !payload.contains(&b'\n');
        let is_bar =
            message.subject.starts_with("kline.") || message.subject.starts_with("closed.");
        let head = if is_bar { BarHead::read(payload) } else { None };
        if !is_object || is_bar != head.is_some() {
            self.outcomes.malformed.increment(1);
            return;
        }
        if message.subject.starts_with("boundary.") {
            return self.take_mark(payload);
        }
        match self
            .hub
            .offer(slot, head.as_ref(), payload.clone(), received_at)
        {
            Offered::New { missed, conflated } => {
                self.outcomes.taken.increment(1);
                if conflated {
                    self.outcomes.conflated.increment(1);
                }
                if missed > 0 {
                    self.outcomes.missed.increment(u64::from(missed));
                }
                if let Some(head) = head
                    && head.closed
                    && head.rev == 0
                    && let Some(interval) = message.subject.split('.').nth(1)
                    && let Some(mark) = self.boundaries.closed(interval, head.end_ms)
                {
                    self.offer_mark(interval, mark);
                }
            }
            Offered::Duplicate => self.outcomes.duplicate.increment(1),
            Offered::Stale => self.outcomes.stale.increment(1),
        }
    }
}
