//! Carries out on the bus what [`super::tenure`] decides.

mod beginning;
mod following;
mod moving;
mod takeover;
mod tell;
mod work;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::{Delivery, Lease, LogLimit, Subscription};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::beginning::{Beginning, Gathering};
use self::work::{AT_ONCE_MAX, Done, Question, Taken, Unread};
use super::beat::Beat;
use super::bridge_epoch::BridgeEpoch;
use super::command::Command;
use super::doubts::Doubts;
use super::followed::Followed;
use super::parts::LeaseParts;
use super::progress::Progress;
use super::tenure::{Ask, Tenure};
use crate::host_clock::{now_ms, now_us};
use crate::instrument::InstrumentId;
use crate::publish::fence::Hold;
use crate::publish::outbox::Outbox;

/// How often failed questions are logged.
const FAILURES_TOLD_EVERY: Duration = Duration::from_secs(1);
/// Ticks within the silence after which a program counts as gone.
const TICKS_IN_SILENCE: u32 = 10;
/// How long the release of the last leases may take.
const RELEASE_MAX: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct LeaseTask {
    parts: LeaseParts,
    tenure: Tenure,
    followed: Arc<Followed>,
    /// The leases that are ours.
    leases: HashMap<InstrumentId, Lease>,
    asks: Vec<Ask>,
    running: JoinSet<Done>,
    at_once: Arc<Semaphore>,
    failures: Arc<LogLimit>,
    bridge_epoch: Arc<BridgeEpoch>,
    claims: usize,
    taken: Gathering,
    beginning: VecDeque<Beginning>,
    /// Instruments that this program takes over, or would, and that have not begun.
    coming: HashSet<InstrumentId>,
    progress: Progress,
    doubts: Doubts,
    /// Instruments whose records were read, so that what came since then is enough.
    has_read: HashSet<InstrumentId>,
    /// Reads under way.
    reading: usize,
    /// Every message that was heard is noted.
    is_drained: bool,
    beats: Option<Subscription>,
    records: Option<Subscription>,
    unsettled_since_ms: Option<i64>,
    was_valid: bool,
    /// Instruments of which the bus has refused a bar under the number that we hold.
    refused: HashSet<InstrumentId>,
    /// Instruments of which the bus has refused a bar although their lease is ours.
    owed: HashSet<InstrumentId>,
    is_unfenced: bool,
    /// The instrument that moves to another program now.
    moving: Option<InstrumentId>,
}

impl LeaseTask {
    pub(crate) fn new(parts: LeaseParts) -> Self {
        let silence_ms = i64::try_from(parts.silence.as_millis()).unwrap_or(i64::MAX);
        let followed = Followed::new(&parts.instruments, &parts.outboxes);
        Self {
            tenure: Tenure::new(parts.me.clone(), parts.instruments.len(), silence_ms)
                .sharing(parts.share.clone()),
            followed: Arc::new(followed),
            leases: HashMap::new(),
            asks: Vec::new(),
            running: JoinSet::new(),
            at_once: Arc::new(Semaphore::new(AT_ONCE_MAX)),
            failures: Arc::new(LogLimit::new(FAILURES_TOLD_EVERY)),
            bridge_epoch: Arc::default(),
            claims: 0,
            taken: Gathering::default(),
            beginning: VecDeque::new(),
            coming: HashSet::new(),
            progress: Progress::default(),
            doubts: Doubts::default(),
            has_read: HashSet::new(),
            reading: 0,
            is_drained: false,
            beats: None,
            records: None,
            unsettled_since_ms: None,
            was_valid: false,
            refused: HashSet::new(),
            owed: HashSet::new(),
            is_unfenced: false,
            moving: None,
            parts,
        }
    }

    /// Holds and takes leases until `stop`, and then releases them.
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        stop: CancellationToken,
    ) {
        let mut ticks = interval(self.parts.silence / TICKS_IN_SILENCE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let refused = Arc::clone(&self.parts.refused);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {
                    self.listen().await;
                    self.sample();
                    self.read_doubted();
                    let unfed = self.parts.board.look_at_feeds(Instant::now());
                    self.tenure.know(self.parts.others.carriers(), unfed);
                    self.tenure.tick(now_ms(), &mut self.asks);
                    self.move_surplus();
                    self.expect_marks();
                    self.tell();
                }
                delivery = next(&mut self.beats) => match delivery {
                    Some(Delivery::Message(message)) => self.heard(&message.payload),
                    // The next one comes soon.
                    Some(_) => {}
                    None => self.beats = None,
                },
                delivery = next(&mut self.records) => self.note(delivery),
                () = std::future::ready(()), if !self.beginning.is_empty() => {
                    self.begin_portion();
                    tokio::task::yield_now().await;
                }
                () = refused.notified() => {
                    for outbox in &self.parts.outboxes {
                        for (instrument, is_of_now) in outbox.take_refused() {
                            self.tenure.refused(instrument);
                            if is_of_now {
                                self.refused.insert(instrument);
                            }
                        }
                    }
                    self.tenure.tick(now_ms(), &mut self.asks);
                }
                Some(done) = self.running.join_next() => {
                    self.done(done.expect("a question does not panic"));
                }
                Some(command) = commands.recv() => self.command(command),
            }
            self.carry_out();
            let until_ms = self.tenure.valid_until_ms().unwrap_or(i64::MIN);
            self.parts.validity.set(until_ms);
        }
        self.running.shutdown().await;
        self.release_all().await;
    }

    fn heard(&mut self, payload: &Bytes) {
        match serde_json::from_slice::<Beat>(payload) {
            Ok(beat) => self.tenure.heard(&beat, now_ms()),
            Err(_) => metrics::counter!("marketdata_publishers_ignored_total").increment(1),
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Join(instruments) => {
                for &instrument in &instruments {
                    self.tenure.join(instrument);
                }
                // Otherwise they are read once the records are followed.
                if self.records.is_some() {
                    self.read(instruments);
                }
            }
            Command::Leave(instruments, answer) => {
                self.moving = self.moving.filter(|moving| !instruments.contains(moving));
                self.give_up(instruments, Some(answer));
            }
            Command::HandOver(answer) => {
                self.tenure.stop_taking();
                self.parts.leaving.cancel();
                let held = self.leases.keys().copied();
                let followed: Vec<_> = held
                    .filter(|&id| self.parts.others.is_followed(id))
                    .collect();
                info!(
                    instruments = followed.len(),
                    held = self.leases.len(),
                    "handing over to another marketdata"
                );
                self.give_up(followed, Some(answer));
            }
            Command::Renumber => self.tenure.renumber(&mut self.asks),
        }
    }

    /// Releases leases after what waits is published and stored.
    fn give_up(&mut self, instruments: Vec<InstrumentId>, answer: Option<oneshot::Sender<()>>) {
        let mut given_up = Vec::new();
        for instrument in instruments {
            // First, so that our own release is not taken for a loss.
            self.tenure.leave(instrument);
            self.has_read.remove(&instrument);
            self.owed.remove(&instrument);
            if let Some(lease) = self.leases.remove(&instrument) {
                let (outbox, slot) = self.place(instrument);
                outbox.leave(slot);
                given_up.push((instrument, outbox, slot, lease));
            }
        }
        self.running.spawn(work::release(given_up, answer));
    }

    fn place(&self, instrument: InstrumentId) -> (Arc<Outbox>, usize) {
        let outbox = &self.parts.outboxes[self.parts.worker_of[instrument]];
        let slot = outbox
            .slot(instrument)
            .expect("each worker has an outbox for its symbols");
        (Arc::clone(outbox), slot)
    }

    fn carry_out(&mut self) {
        let mut lost = Vec::new();
        for ask in std::mem::take(&mut self.asks) {
            match ask {
                Ask::Look(instrument) => {
                    let question = self.question(instrument);
                    self.running.spawn(question.look());
                }
                Ask::Claim(instrument, from) => {
                    self.claims += 1;
                    let question = self.question(instrument);
                    let number_min = self.parts.epoch.get();
                    let bridges = Arc::clone(&self.bridge_epoch);
                    let me = self.parts.me.clone();
                    self.running
                        .spawn(question.claim(me, from, number_min, bridges));
                }
                // Its lease is in `taken`: see `begin_taken`.
                Ask::Begin(..) => {}
                Ask::End(instrument) => {
                    self.end(instrument);
                    lost.push(instrument);
                }
                Ask::Repeat(instrument) if self.refused.remove(&instrument) => {
                    self.unfenced(instrument)
                }
                Ask::Repeat(instrument) => self.hold(instrument),
            }
        }
        self.lose(&lost);
        // Without the records it is read once they are followed.
        if self.records.is_some() {
            self.read(lost);
        }
        while let Some((taken, is_anew)) = self.taken.next(self.claims, Instant::now()) {
            self.read_taken(taken, is_anew);
        }
    }

    fn question(&self, instrument: InstrumentId) -> Question {
        Question {
            bus: Arc::clone(&self.parts.bus),
            instrument,
            of: self.parts.instruments[instrument].clone(),
            at_once: Arc::clone(&self.at_once),
            failures: Arc::clone(&self.failures),
        }
    }

    fn done(&mut self, done: Done) {
        let now = now_ms();
        match done {
            Done::Read(instruments) => {
                self.reading -= 1;
                self.has_read.extend(&instruments);
                let again = instruments
                    .into_iter()
                    .filter(|&instrument| !self.tenure.joined(instrument))
                    .collect();
                self.read(again);
                self.tenure.tick(now, &mut self.asks);
            }
            Done::NotRead(instruments, why) => {
                self.reading -= 1;
                if why == Unread::Lost {
                    self.progress.forget();
                }
                self.read(instruments);
            }
            Done::Sampled(losses, known) => self.progress.answered(losses, known),
            Done::Looked(instrument, found, asked) => {
                if let Ok(Some(found)) = &found {
                    self.lease_is(instrument, found, asked);
                }
                self.tenure.looked(instrument, found, now, &mut self.asks);
            }
            Done::Claimed(instrument, claim, lease) => {
                self.claims -= 1;
                self.tenure.claimed(instrument, claim, now, &mut self.asks);
                match lease {
                    Some((lease, holder)) if self.tenure.is_holding(instrument) => {
                        let taken = Taken::new(instrument, lease, holder);
                        self.taken.push(taken, Instant::now());
                    }
                    // Nobody wants it here any more.
                    Some((lease, _)) => self.release_unwanted(instrument, lease),
                    None => {}
                }
            }
            Done::Taken(takeover) => self.begin(takeover),
            Done::Released(instruments, answer) => {
                self.follow_moved(&instruments);
                for instrument in instruments {
                    if !self.leases.contains_key(&instrument) {
                        self.parts.board.set_held(instrument, false);
                    }
                }
                if let Some(answer) = answer {
                    let _ = answer.send(());
                }
            }
        }
    }

    fn release_unwanted(&mut self, instrument: InstrumentId, lease: Lease) {
        let (outbox, slot) = self.place(instrument);
        let given_up = vec![(instrument, outbox, slot, lease)];
        self.running.spawn(work::release(given_up, None));
    }

    fn hold(&mut self, instrument: InstrumentId) {
        let Some(lease) = self.leases.get(&instrument) else {
            return;
        };
        let hold = Hold {
            epoch: lease.number(),
            fence: Some(Arc::new(lease.fence())),
        };
        let (outbox, slot) = self.place(instrument);
        outbox.hold(slot, &hold, now_us());
    }

    fn end(&mut self, instrument: InstrumentId) {
        self.leases.remove(&instrument);
        self.refused.remove(&instrument);
        self.owed.remove(&instrument);
        self.parts.board.set_held(instrument, false);
        metrics::counter!("marketdata_leases_lost_total").increment(1);
        let of = &self.parts.instruments[instrument];
        warn!(
            exchange = of.exchange,
            symbol = of.symbol.as_str(),
            "another marketdata has taken the instrument over; this one is its standby now"
        );
    }

    /// Takes what these have in queues back, in one pass.
    fn lose(&mut self, instruments: &[InstrumentId]) {
        if instruments.is_empty() {
            return;
        }
        self.taken.remove(instruments);
        for outbox in &self.parts.outboxes {
            let slots = instruments.iter().filter_map(|&id| outbox.slot(id));
            let slots: Vec<usize> = slots.collect();
            if !slots.is_empty() {
                outbox.lose(&slots);
            }
        }
    }

    async fn release_all(&mut self) {
        let leases = self.leases.drain().map(|(_, lease)| lease);
        let leases = leases.chain(self.taken.take_leases());
        let beginning = self.beginning.drain(..);
        let leases = leases.chain(beginning.flat_map(Beginning::into_leases));
        let leases: Vec<Lease> = leases.collect();
        let released = futures_util::stream::iter(leases.into_iter().map(Lease::release));
        let released = released
            .buffer_unordered(AT_ONCE_MAX)
            .for_each(|_| async {});
        if tokio::time::timeout(RELEASE_MAX, released).await.is_err() {
            error!(
                "the bus did not take the release of the leases in time: another marketdata takes them after --takeover-silence-ms"
            );
        }
    }
}

/// The next delivery of a subscription. Without a subscription it waits for ever. Cancel safe.
async fn next(subscription: &mut Option<Subscription>) -> Option<Delivery> {
    match subscription {
        Some(subscription) => subscription.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
