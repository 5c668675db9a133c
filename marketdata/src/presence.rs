//! Announces this publisher on the bus, and listens to the announcements of others: see
//! [`crate::rivals`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bus::{Bus, BusError, Delivery, Subscription};
use market_core::{UnixMillis, subject};
use service::Shutdown;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::feed::symbols::SymbolBoard;
use crate::host_clock::now_ms;
use crate::instrument::{Instrument, InstrumentId};
use crate::lease::bridge_epoch::epoch_in;
use crate::lease::carriers::Carriers;
use crate::lease::command::Leases;
use crate::publish::durable::{Item, Lane};
use crate::recovery;
use crate::rivals::{Announcement, Event, OthersOfFeed, Rivals, epoch_above, is_plausible};

/// How often a publisher announces itself.
const INTERVAL: Duration = Duration::from_millis(500);

/// The highest epoch of this process: leases are taken with numbers that are not below it.
#[derive(Debug)]
pub struct Epoch(AtomicU64);

impl Epoch {
    /// Starts with this epoch.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        Self(AtomicU64::new(epoch))
    }

    /// The epoch now; it only rises.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Continues under this epoch, if it is above the one now.
    pub(crate) fn raise(&self, epoch: u64) {
        self.0.fetch_max(epoch, Ordering::AcqRel);
    }
}

/// The first epoch of a program that starts at `now`. It is above the last epochs of publishers and
/// of bridges on the bus, even if the clock of this host is behind.
///
/// # Errors
/// As [`recovery::checkpoints`].
pub(crate) async fn first_epoch(
    bus: &dyn Bus,
    now: UnixMillis,
    shutdown: &Shutdown,
) -> Result<u64, BusError> {
    let mut highest = None;
    for subject in [subject::EPOCH, subject::BRIDGE_EPOCH] {
        for message in recovery::last_values(bus, subject, shutdown).await? {
            let Some(epoch) = epoch_in(&message.payload) else {
                continue;
            };
            if is_plausible(epoch, now) {
                highest = highest.max(Some(epoch));
                continue;
            }
            error!(
                epoch,
                subject,
                "the epoch on the bus is more than a day ahead of this host's clock and is ignored: set the clock right, or purge the subject"
            );
        }
    }
    Ok(epoch_above(highest, now))
}

/// Symbols by exchange.
type Symbols = BTreeMap<String, BTreeSet<String>>;

/// The symbols of `instruments` that this program publishes now, and those that it follows as a
/// standby with a feed of its own.
pub(crate) fn published(instruments: &[Instrument], board: &SymbolBoard) -> (Symbols, Symbols) {
    let (mut held, mut followed) = (Symbols::new(), Symbols::new());
    for (id, instrument) in instruments.iter().enumerate() {
        let symbols = match (board.is_held(id), board.is_ours(id)) {
            (true, _) => &mut held,
            (false, true) if !board.is_unfed(id) => &mut followed,
            (false, _) => continue,
        };
        let of_exchange = symbols.entry(instrument.exchange.to_owned()).or_default();
        of_exchange.insert(instrument.symbol.to_string());
    }
    (held, followed)
}

/// What is known about other publishers. The feeds' status reports it.
#[derive(Debug, Default)]
pub(crate) struct Others(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    of_feeds: HashMap<&'static str, OthersOfFeed>,
    followed: HashSet<InstrumentId>,
    carriers: Arc<Carriers>,
}

impl Others {
    pub(crate) fn of_feed(&self, exchange: &str) -> OthersOfFeed {
        let known = self.known();
        known.of_feeds.get(exchange).copied().unwrap_or_default()
    }

    /// Whether a living program would take over this instrument.
    pub(crate) fn is_followed(&self, instrument: InstrumentId) -> bool {
        self.known().followed.contains(&instrument)
    }

    /// Which instruments each living program has.
    pub(crate) fn carriers(&self) -> Arc<Carriers> {
        Arc::clone(&self.known().carriers)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().expect("no code panics while it holds it")
    }
}

/// See the module.
pub(crate) struct Presence {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) me: Announcement,
    /// Every instrument that this program may publish. The board knows which are ours now.
    pub(crate) instruments: Arc<[Instrument]>,
    pub(crate) board: Arc<SymbolBoard>,
    pub(crate) exchanges: Vec<&'static str>,
    pub(crate) epoch: Arc<Epoch>,
    /// Keeps the epoch on the bus.
    pub(crate) lane: Arc<Lane>,
    pub(crate) others: Arc<Others>,
    pub(crate) leases: Leases,
    pub(crate) silence_ms: i64,
}

impl Presence {
    /// Announces and listens until `stop`. The last announcement says goodbye.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut rivals = Rivals::new(self.me.clone(), self.silence_ms, now_ms());
        self.keep_epoch();
        let mut subscription: Option<Subscription> = None;
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut events = Vec::new();
        let mut assignments = self.board.changes();
        let mut holders = self.board.holder_changes();
        let mut noted = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Ok(()) = assignments.changed() => self.publish(&mut rivals, &mut events).await,
                Ok(()) = holders.changed() => self.publish(&mut rivals, &mut events).await,
                _ = ticks.tick() => {
                    if subscription.is_none() {
                        // If the bus is away, the next tick tries again.
                        subscription = self.bus.subscribe(subject::PUBLISHERS).await.ok();
                    }
                    self.say(rivals.me()).await;
                    rivals.tick(now_ms(), &mut events);
                }
                delivery = next(&mut subscription) => match delivery {
                    Some(Delivery::Message(message)) => {
                        match serde_json::from_slice::<Announcement>(&message.payload) {
                            Ok(said) => rivals.heard(said, now_ms(), &mut events),
                            Err(_) => metrics::counter!("marketdata_publishers_ignored_total").increment(1),
                        }
                    }
                    // A missed announcement is repeated within half a second.
                    Some(_) => {}
                    None => subscription = None,
                },
            }
            for event in events.drain(..) {
                self.tell(event).await;
            }
            // Most announcements repeat the last one.
            if noted.replace(rivals.changes()) != Some(rivals.changes()) {
                self.note(&rivals);
            }
        }
        let mut goodbye = rivals.me().clone();
        goodbye.leaves = true;
        self.say(&goodbye).await;
    }

    /// Tells the rest of the program what is known about other publishers.
    fn note(&self, rivals: &Rivals) {
        metrics::gauge!("marketdata_rival_publishers").set(rivals.count() as f64);
        let of_feed = |&exchange: &&'static str| {
            let of_feed = rivals.of_feed(exchange);
            metrics::gauge!("marketdata_standbys", "exchange" => exchange)
                .set(of_feed.standbys as f64);
            (exchange, of_feed)
        };
        let followed = self.instruments.iter().enumerate();
        let followed = followed
            .filter(|(_, of)| rivals.is_followed(of.exchange, of.symbol.as_str()))
            .map(|(id, _)| id);
        let carriers = rivals.living().map(|said| {
            let instruments = self.instruments.iter();
            let has = instruments.map(|of| said.has(of.exchange, of.symbol.as_str()));
            (said.instance.clone(), has.collect())
        });
        *self.others.known() = Known {
            of_feeds: self.exchanges.iter().map(of_feed).collect(),
            followed: followed.collect(),
            carriers: Arc::new(Carriers::new(carriers)),
        };
    }

    /// Says at once what is ours now: another program may take over soon.
    async fn publish(&self, rivals: &mut Rivals, events: &mut Vec<Event>) {
        let symbols = published(&self.instruments, &self.board);
        rivals.publish(symbols, self.epoch.get(), now_ms(), events);
        self.say(rivals.me()).await;
    }

    async fn say(&self, announcement: &Announcement) {
        let payload = serde_json::to_vec(announcement).expect("plain fields");
        if self
            .bus
            .publish(subject::PUBLISHERS, payload.into())
            .await
            .is_err()
        {
            metrics::counter!("marketdata_publish_failures_total").increment(1);
        }
    }

    fn keep_epoch(&self) {
        let payload = self.epoch.get().to_string().into();
        self.lane
            .set_checkpoint(Item::new(subject::EPOCH.into(), payload));
    }

    async fn tell(&self, event: Event) {
        match event {
            Event::Appeared {
                instance,
                epoch,
                common,
            } => {
                metrics::counter!("marketdata_rivals_appeared_total").increment(1);
                error!(
                    instance,
                    epoch,
                    common,
                    me = self.me.instance,
                    "another marketdata publishes symbols of this one: stop one of them, or give each its own --instruments"
                );
            }
            Event::Gone { instance, has_left } => {
                warn!(instance, has_left, "the other marketdata is gone");
            }
            Event::Implausible { instance, epoch } => {
                metrics::counter!("marketdata_epochs_refused_total").increment(1);
                error!(
                    instance,
                    epoch,
                    "the epoch of another marketdata is more than a day ahead of this host's clock and is ignored: set the clocks right and restart it"
                );
            }
            Event::Take { epoch } => {
                metrics::counter!("marketdata_epochs_taken_total").increment(1);
                info!(epoch, "continuing under a new epoch");
                self.epoch.raise(epoch);
                self.keep_epoch();
                self.leases.renumber().await;
            }
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
mod tests {
    use bus::MemoryBus;

    use super::*;

    #[tokio::test]
    async fn first_epoch_is_above_those_of_publishers_and_of_bridges() {
        let bus = MemoryBus::with_streams(&service::streams());
        let (shutdown, now) = (service::Service::for_test().shutdown, 1_700_000_000_000);
        let first = async || first_epoch(&bus, now, &shutdown).await;
        assert_eq!(first().await, Ok(now.unsigned_abs()));
        for (subject, ahead_ms) in [(subject::EPOCH, 5), (subject::BRIDGE_EPOCH, 9)] {
            let epoch = now.unsigned_abs() + ahead_ms;
            let kept = bus.publish_durable(subject, epoch.to_string().into()).await;
            kept.expect("it is kept");
            assert_eq!(first().await, Ok(epoch + 1), "{subject}");
        }
    }
}
