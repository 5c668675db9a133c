//! From the bus to the hub: one task for each pattern.
//!
//! A message's head is read once; from then on its bytes are shared. A gateway first subscribes and
//! then asks for the retained messages, so that no message is missed in between. After a loss it
//! asks again, beside the live messages. The slots drop duplicates.

mod messages;
mod outcomes;
mod traces;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Bus, Delivery, LogLimit, Subscription};
use bytes::Bytes;
use market_core::channel::{BOUNDARY, Channel};
use market_core::subject;
use market_core::timeframe::Timeframe;
use metrics::counter;
use tokio::time::sleep_until;
use tracing::{info, trace_span, warn};

use self::outcomes::Outcomes;
use crate::standstill::Witness;
use crate::topics::book_silence::BookSilence;
use crate::topics::boundary_gate::BoundaryGate;
use crate::topics::clock_lead::{ClockHealth, ClockLead};
use crate::topics::folds::Folds;
use crate::topics::hub::Hub;
use crate::topics::loaded::Loaded;
use crate::topics::publication::{Bounds, Name};
use crate::topics::resync::{Reading, Resync, Resyncs, Unsynced};
use crate::topics::slot_id::SlotId;
use crate::topics::traced::Traced;
use crate::topics::warmth::Warmth;

/// Shortest and longest pause between attempts to subscribe.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Retained messages that are taken before live ones have their turn, and vice versa.
const PORTION: usize = 256;
/// Most turns that are given to messages on their way from the connection.
const ARRIVAL_TURNS: usize = 64;
/// Time between two log lines about refused messages.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// A subject of a topic.
#[derive(Clone)]
struct Named {
    name: Name,
    /// The slot of its topic, after its first message.
    slot: Option<SlotId>,
}

/// The state that all ingests of a gateway share.
#[derive(Clone)]
pub(crate) struct Shared {
    /// Where messages come from.
    pub bus: Arc<dyn Bus>,
    /// Where they go.
    pub hub: Arc<Hub>,
    /// What is made of their bars.
    pub folds: Arc<Folds>,
    /// Most topics of the hub.
    pub topics_max: usize,
    /// The bounds of accepted messages.
    pub bounds: Bounds,
    /// Marks that wait for their bars.
    pub boundaries: Arc<BoundaryGate>,
    /// Books whose publisher is not heard any more.
    pub books: Arc<BookSilence>,
    /// Readiness: told when all retained messages are loaded.
    pub warmth: Arc<Warmth>,
    /// Whether this host's clock is right.
    pub clock: Arc<ClockHealth>,
    /// Of the process's standstills.
    pub witness: Witness,
}

/// The ingest of one pattern.
pub(crate) struct Ingest {
    pattern: String,
    shared: Shared,
    /// By subject, so that each subject is parsed once. Only subjects of topics, which are short.
    names: HashMap<Arc<str>, Named>,
    names_max: usize,
    outcomes: Outcomes,
    refusal_log: LogLimit,
    clock: ClockLead,
    /// Bars were refused until just now and must be read again.
    has_refused: bool,
    is_warm: bool,
    /// What is told of the message that is taken now, if it is traced.
    traced: Option<Traced>,
}

impl Ingest {
    /// Ingests `pattern`.
    #[must_use]
    pub(crate) fn new(pattern: String, shared: Shared) -> Self {
        let names_max = shared.topics_max.saturating_mul(2).max(1_024);
        let clock = ClockLead::new(Arc::clone(&shared.clock), shared.bounds.future_max_ms);
        Self {
            pattern,
            shared,
            clock,
            has_refused: false,
            names: HashMap::new(),
            names_max,
            outcomes: Outcomes::new(),
            refusal_log: LogLimit::new(LOG_INTERVAL),
            is_warm: false,
            traced: None,
        }
    }

    /// Whether it waits until a session wants its channel.
    #[must_use]
    pub(crate) fn is_on_demand(pattern: &str) -> bool {
        channel_of(pattern).is_some_and(|channel| channel.is_on_demand)
    }

    /// Runs for as long as it is polled.
    pub(crate) async fn run(mut self) {
        if let Some(channel) = channel_of(&self.pattern).filter(|channel| channel.is_on_demand) {
            // It is not awaited by the readiness.
            self.is_warm = true;
            self.shared.hub.demand.wanted(channel).await;
            info!(
                pattern = self.pattern,
                "a session wants this channel, subscribing"
            );
        }
        let mut rest = RETRY_MIN;
        loop {
            match self.shared.bus.subscribe(&self.pattern).await {
                Ok(subscription) => {
                    rest = RETRY_MIN;
                    self.follow(subscription).await;
                    // The bus has ended the subscription: it drains, or will accept a new one.
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
        let mut resyncs = Resyncs::new(Instant::now());
        let mut resync = Resync::default();
        let takes_marks = BOUNDARY.rest(&self.pattern, '.').is_some() || self.pattern == ">";
        let far = || Instant::now() + RETRY_MAX;
        let mut unsynced = Unsynced::default();
        loop {
            if let Some(loaded) = &mut resync.loaded {
                let portion = if loaded.waits_for_live() { 0 } else { PORTION };
                for message in std::iter::from_fn(|| loaded.take_next()).take(portion) {
                    self.take_retained(&message, &resync.replaced);
                }
                self.take_live(&mut subscription, &mut resyncs, &mut resync);
                if resync.loaded.as_ref().is_some_and(Loaded::is_empty) {
                    resync.loaded = None;
                    self.synced(&mut unsynced);
                    resyncs.succeeded(Instant::now());
                }
                tokio::task::yield_now().await;
                continue;
            }
            // The ingest of the marks also checks the marks that wait.
            let boundary_at = match takes_marks {
                true => self.shared.boundaries.next_at(),
                false => None,
            };
            let resync_at = resyncs.at().filter(|_| resync.is_over());
            let now = Instant::now();
            // Checked here, because a timer for this very moment lets a live message go first.
            if resync_at.is_some_and(|at| at <= now) {
                resync.wait_until = Some(resyncs.begin(now)).filter(|until| *until > now);
                resync.replaced.clear();
                resync.reading = Some(self.read());
                unsynced.begin(&self.outcomes.unsynced);
                continue;
            }
            tokio::select! {
                biased;
                () = sleep_until(resync_at.unwrap_or_else(far).into()), if resync_at.is_some() => {}
                read = async { resync.reading.as_mut().expect("it is there").await }, if resync.reading.is_some() => {
                    resync.reading = None;
                    match read {
                        Ok(messages) if messages.is_empty() => {
                            resync.wait_until = None;
                            self.synced(&mut unsynced);
                            resyncs.succeeded(Instant::now());
                        }
                        Ok(messages) => {
                            let count = messages.len();
                            info!(pattern = self.pattern, count, "retained messages read");
                            // From here on, each of them has its turn among the live ones.
                            resync.wait_until = None;
                            let waiting = arrived(&subscription).await;
                            resync.loaded = Some(Loaded::new(messages, waiting));
                        }
                        Err(error) => {
                            warn!(%error, pattern = self.pattern, "retained messages not available, retrying");
                            self.outcomes.resync_failures.increment(1);
                            resyncs.failed(Instant::now());
                            resync.wait_until = resyncs.patience(Instant::now());
                        }
                    }
                }
                () = sleep_until(resync.wait_until.unwrap_or_else(far).into()), if resync.wait_until.is_some() => {
                    resync.wait_until = None;
                }
                () = self.shared.witness.stood_still() => {
                    counter!("gateway_resyncs_total", "reason" => "standstill").increment(1);
                    if self.is_warm && !Self::is_on_demand(&self.pattern) {
                        self.is_warm = false;
                        self.shared.warmth.one_is_cold();
                    }
                    resync.interrupted(&mut resyncs, Instant::now());
                }
                delivery = subscription.recv(), if resync.wait_until.is_none() => match delivery {
                    Some(delivery) => self.receive(delivery, &mut resyncs, &mut resync),
                    None => return,
                },
                () = sleep_until(boundary_at.unwrap_or_else(far).into()), if boundary_at.is_some() => {
                    self.offer_overdue(Instant::now());
                }
            }
        }
    }

    /// Takes some of the live messages that wait, while there are retained ones.
    fn take_live(
        &mut self,
        subscription: &mut Subscription,
        resyncs: &mut Resyncs,
        resync: &mut Resync,
    ) {
        for _ in 0..PORTION {
            // After an interruption there are none, and live messages wait.
            let Some(loaded) = &mut resync.loaded else {
                return;
            };
            let Some(delivery) = subscription.try_recv() else {
                loaded.none_waits();
                return;
            };
            loaded.live_taken();
            self.receive(delivery, resyncs, resync);
        }
    }

    fn receive(&mut self, delivery: Delivery, resyncs: &mut Resyncs, resync: &mut Resync) {
        match delivery {
            Delivery::Message(message) => {
                let _stage = trace_span!("ingest").entered();
                let start = self.outcomes.stage.start();
                if let Some(loaded) = &mut resync.loaded {
                    self.take_earlier(&message, loaded, &resync.replaced);
                }
                let slot = self.take_new(&message);
                self.outcomes.stage.end(start);
                if std::mem::take(&mut self.has_refused) {
                    counter!("gateway_resyncs_total", "reason" => "clock").increment(1);
                    resyncs.lost(Instant::now());
                }
                if let Some(slot) = slot
                    && !resync.is_over()
                {
                    resync.replaced.insert(slot);
                }
            }
            Delivery::Lagged { lost } => {
                counter!("gateway_ingest_lost_total").increment(lost);
                counter!("gateway_resyncs_total", "reason" => "lagged").increment(1);
                warn!(lost, pattern = self.pattern, "messages lost, resyncing");
                resyncs.lost(Instant::now());
            }
            Delivery::Reconnected => {
                counter!("gateway_resyncs_total", "reason" => "reconnected").increment(1);
                info!(pattern = self.pattern, "bus reconnected, resyncing");
                resync.interrupted(resyncs, Instant::now());
            }
        }
    }

    fn synced(&mut self, unsynced: &mut Unsynced) {
        unsynced.end();
        if !self.is_warm {
            self.is_warm = true;
            self.shared.warmth.one_is_warm();
        }
    }

    /// Reads the retained messages, closed bars first, because the forming bars are newer.
    fn read(&self) -> Reading {
        let is_retained = channel_of(&self.pattern).is_some_and(|channel| channel.kept.is_some());
        let patterns: Vec<String> = subject::record_pattern(&self.pattern)
            .into_iter()
            .chain(is_retained.then(|| self.pattern.clone()))
            .collect();
        let bus = Arc::clone(&self.shared.bus);
        let seconds = self.outcomes.resync_seconds.clone();
        Box::pin(async move {
            let begun_at = Instant::now();
            let mut messages = Vec::new();
            for pattern in patterns {
                let kept = bus.last_values(&pattern).await?;
                // Who may publish is the business of publishers.
                let bars = kept.into_iter();
                messages.extend(bars.filter(|message| !subject::is_lease(&message.subject)));
            }
            seconds.record(begun_at.elapsed().as_secs_f64());
            Ok(messages)
        })
    }

    /// The meaning of the subject, with the slot if there is one.
    fn named(&self, subject_name: &Arc<str>) -> Option<Named> {
        if let Some(named) = self.names.get(subject_name) {
            return Some(named.clone());
        }
        let name = Name::of_subject(subject_name)?;
        Some(Named { name, slot: None })
    }

    /// The slot of a topic with a message; its subject is remembered from here on.
    fn slot_of(&mut self, subject_name: &Arc<str>, named: Named) -> Option<SlotId> {
        if named.slot.is_some() {
            return named.slot;
        }
        let Ok(slot) = self.shared.hub.slot_of(&named.name.topic) else {
            self.outcomes.full.increment(1);
            return None;
        };
        if self.names.len() < self.names_max {
            let slot = Some(slot);
            let named = Named { slot, ..named };
            self.names.insert(Arc::clone(subject_name), named);
        }
        Some(slot)
    }

    fn offer_mark(&mut self, timeframe: Timeframe, payload: Bytes) {
        let subject_name = subject::boundary(&timeframe.to_string()).into();
        let named = self.named(&subject_name);
        if let Some(slot) = named.and_then(|named| self.slot_of(&subject_name, named)) {
            let _ = self.shared.hub.offer(slot, None, payload, Instant::now());
            self.outcomes.taken.increment(1);
        }
    }

    /// Offers the marks that have waited long enough for their bars.
    pub(crate) fn offer_overdue(&mut self, now: Instant) {
        for (timeframe, payload) in self.shared.boundaries.overdue(now) {
            self.offer_mark(timeframe, payload);
        }
    }
}

/// How many live messages wait, once those that came before now are here: the task that moves them
/// from the connection has its turns first.
async fn arrived(subscription: &Subscription) -> usize {
    let mut waiting = subscription.waiting();
    for _ in 0..ARRIVAL_TURNS {
        tokio::task::yield_now().await;
        let before = std::mem::replace(&mut waiting, subscription.waiting());
        if before == waiting {
            break;
        }
    }
    waiting
}

/// The channel of a pattern of subjects; `None` for a pattern of several.
fn channel_of(pattern: &str) -> Option<&'static Channel> {
    Channel::of_subject_root(pattern.split('.').next().unwrap_or_default())
}
