//! Finds the instruments that patterns in `--instruments` mean, and follows listings and delistings.
//!
//! [`pattern`] says which markets are meant, and `choice` chooses among them: both pure. The task here
//! asks the venues from time to time, and assigns and revokes instruments through [`Control`], as an
//! operator does. The program's plan has all markets that match. A market that a venue lists later is
//! not in it, so the program makes a new plan, and its parts start again (`Discovery::follow` ends).

mod choice;
mod due;
pub mod pattern;
mod place;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::Bus;
use futures_util::future::join_all;
use market_core::{Symbol, TimeframeSet, UnixMillis, subject};
use rand::Rng;
use serde::Deserialize;
use service::Shutdown;
use tokio::time::sleep;
use tracing::{info, warn};

use self::choice::Choice;
use self::due::Due;
use self::place::{ASK_MAX, Place};
use crate::backfill::client::RestClient;
use crate::config::{Assigned, Config};
use crate::exchange::{Exchange, registry};
use crate::host_clock::now_ms;
use crate::instrument::InstrumentSpec;
use crate::ownership::control::{Control, Refused};

/// Looks at the start before the program begins without venues that do not answer.
const FIRST_LOOKS: u32 = 3;
/// Pause between looks at the start.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Most instruments that are assigned or revoked with one command.
const AT_ONCE_MAX: usize = 64;

/// See the module.
pub(crate) struct Discovery {
    places: Vec<Place>,
    named: Vec<InstrumentSpec>,
    claimed: BTreeSet<Symbol>,
    bus: Arc<dyn Bus>,
    interval: Duration,
    max: usize,
    timeframes: TimeframeSet,
    /// How long after its end a bar may stay open, ms.
    closes_within_ms: i64,
    /// By name: until when a delisted or ranked out instrument is followed, so that its last bars close.
    leaving: BTreeMap<String, (InstrumentSpec, UnixMillis)>,
    /// By name: what was found and assigned.
    assigned: BTreeMap<String, InstrumentSpec>,
    /// There was a plan.
    has_begun: bool,
}

/// A plan's instruments, and which of them are assigned from the start.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) instruments: Vec<InstrumentSpec>,
    /// So many from the first on.
    pub(crate) assigned: usize,
}

impl Found {
    /// What a configuration without patterns names.
    pub(crate) fn named(config: &Config) -> Self {
        let instruments: Vec<InstrumentSpec> = config.named_instruments().cloned().collect();
        let assigned = match config.assigned {
            Assigned::All => instruments.len(),
            Assigned::None => 0,
        };
        Self {
            instruments,
            assigned,
        }
    }
}

#[derive(Deserialize)]
struct LeaseBody {
    holder: Option<String>,
}

impl Discovery {
    /// The discovery of a configuration; `client` asks a venue over REST.
    pub(crate) fn new(
        config: &Config,
        bus: &Arc<dyn Bus>,
        client: impl Fn(&'static dyn Exchange) -> Arc<RestClient>,
    ) -> Self {
        let named: Vec<InstrumentSpec> = config.named_instruments().cloned().collect();
        let place = |exchange: &'static dyn Exchange| {
            let patterns = config.patterns();
            let patterns = patterns.filter(|pattern| pattern.exchange == exchange.name());
            let of_venue = named.iter().filter(|spec| spec.exchange == exchange.name());
            let native = |spec: &InstrumentSpec| {
                exchange.native_name(spec.symbol.base(), spec.symbol.quote())
            };
            Place {
                exchange,
                client: client(exchange),
                patterns: patterns.cloned().collect(),
                named: of_venue.map(native).collect(),
                choice: Choice::default(),
                candidates: Vec::new(),
                has_answered: false,
                listed: 0,
                pause_max: Duration::from_millis(config.discovery.discovery_pause_max_ms),
                due: Due::default(),
            }
        };
        let is_wanted = |exchange: &&'static dyn Exchange| {
            let mut patterns = config.patterns();
            patterns.any(|pattern| pattern.exchange == exchange.name())
        };
        let exchanges = registry::EXCHANGES.into_iter();
        let waits = [
            config.reorder_window_ms,
            config.gap_hold_ms,
            config.proof_hold_ms,
            2_000,
        ];
        Self {
            places: exchanges.filter(is_wanted).map(place).collect(),
            claimed: named.iter().map(|spec| spec.symbol.clone()).collect(),
            named,
            bus: Arc::clone(bus),
            interval: Duration::from_millis(config.discovery.discovery_interval_ms.into()),
            max: config.discovery.discovered_max,
            timeframes: config.timeframes.clone(),
            closes_within_ms: waits.into_iter().map(i64::from).sum(),
            leaving: BTreeMap::new(),
            assigned: BTreeMap::new(),
            has_begun: false,
        }
    }

    /// What the next plan is made of. Before the first one, all venues are asked: without an instrument,
    /// it waits until a venue answers, or for `shutdown`. Later nothing waits, because nothing is followed
    /// meanwhile.
    pub(crate) async fn find(&mut self, control: &Control, shutdown: &Shutdown) -> Found {
        let mut looks = 0;
        let begun = Instant::now();
        while !self.has_begun && !self.places.iter().all(|place| place.has_answered) {
            let looked = tokio::select! {
                () = shutdown.triggered() => return Found::default(),
                () = self.look(true) => true,
            };
            looks += u32::from(looked);
            let has_some = !self.named.is_empty() || self.wanted().next().is_some();
            if has_some && (looks >= FIRST_LOOKS || begun.elapsed() >= ASK_MAX) {
                break;
            }
            if !self.places.iter().all(|place| place.has_answered) {
                tokio::select! {
                    () = shutdown.triggered() => return Found::default(),
                    () = sleep(FIRST_PAUSE) => {}
                }
            }
        }
        let wanted: BTreeMap<String, InstrumentSpec> = self
            .wanted()
            .map(|spec| (spec.to_string(), spec.clone()))
            .collect();
        let kept_away = control.kept_away();
        let meant = self.named.iter().chain(wanted.values()).cloned();
        let (revoked, mut instruments): (Vec<InstrumentSpec>, Vec<InstrumentSpec>) =
            meant.partition(|spec| kept_away.contains(spec));
        let assigned = instruments.len();
        instruments.extend(revoked);
        instruments.extend(self.others(&wanted));
        info!(
            found = wanted.len(),
            planned = instruments.len(),
            "instruments found by patterns"
        );
        self.assigned = wanted;
        self.has_begun = true;
        Found {
            instruments,
            assigned,
        }
    }

    /// Follows listings and delistings with a plan of `planned` instruments, until another plan is
    /// needed. Cancel safe in so far as another call goes on.
    pub(crate) async fn follow(&mut self, control: &Control, planned: &HashSet<String>) {
        if self.places.is_empty() {
            return std::future::pending().await;
        }
        loop {
            let now = Instant::now();
            let waits = self.places.iter().map(|place| place.due.wait(now));
            sleep(waits.min().unwrap_or(self.interval)).await;
            self.look(false).await;
            let now = now_ms();
            self.leaving.retain(|_, (_, until)| *until > now);
            let is_unplanned = |spec: &InstrumentSpec| !planned.contains(&spec.to_string());
            let unplanned: Vec<InstrumentSpec> = self
                .wanted()
                .filter(|spec| is_unplanned(spec))
                .cloned()
                .collect();
            self.assign_and_revoke(control, planned).await;
            if let Some(first) = unplanned.first() {
                let most_ms = u64::try_from(self.interval.as_millis() / 4).unwrap_or(u64::MAX);
                let wait_ms = rand::rng().random_range(0..=most_ms);
                info!(
                    count = unplanned.len(),
                    first = %first,
                    wait_ms,
                    "a venue lists new instruments: the program makes a new plan and starts its parts again"
                );
                // Programs that learn of it at once should not start again at once.
                sleep(Duration::from_millis(wait_ms)).await;
                metrics::counter!("marketdata_replans_total").increment(1);
                return;
            }
        }
    }

    /// What is to be followed besides what the configuration names.
    fn wanted(&self) -> impl Iterator<Item = &InstrumentSpec> {
        let chosen = self.places.iter().flat_map(|place| place.choice.followed());
        chosen.chain(self.leaving.values().map(|(spec, _)| spec))
    }

    /// The markets that match and are not followed, so that they can be without a new plan.
    fn others(&self, wanted: &BTreeMap<String, InstrumentSpec>) -> Vec<InstrumentSpec> {
        let mut symbols = self.claimed.clone();
        symbols.extend(wanted.values().map(|spec| spec.symbol.clone()));
        let mut others = Vec::new();
        for place in &self.places {
            let of_venue = wanted.values();
            let of_venue = of_venue.filter(|spec| spec.exchange == place.exchange.name());
            let room = self.max.saturating_sub(of_venue.count());
            let free = place.candidates.iter().map(|candidate| &candidate.spec);
            let free = free.filter(|spec| symbols.insert(spec.symbol.clone()));
            others.extend(free.take(room).cloned());
        }
        others
    }

    /// Asks each venue whose time has come once; if `is_first`, each that has not answered. A venue
    /// that does not answer keeps what it had.
    async fn look(&mut self, is_first: bool) {
        let elsewhere = self.elsewhere().await;
        let now = now_ms();
        let ends = self.timeframes.as_slice().iter();
        let widest_end = ends.map(|timeframe| timeframe.end_of(timeframe.start_of(now)));
        let until = widest_end
            .max()
            .unwrap_or(now)
            .saturating_add(self.closes_within_ms);
        // At once: a venue that does not answer does not hold up the others.
        let asked = Instant::now();
        let is_due =
            |place: &Place| place.due.wait(asked).is_zero() || (is_first && !place.has_answered);
        let mut places: Vec<&mut Place> = self
            .places
            .iter_mut()
            .filter(|place| is_due(place))
            .collect();
        let looks = places
            .iter_mut()
            .map(|place| place.look(&elsewhere, &self.claimed, self.max));
        let looked = join_all(looks).await;
        for (place, looked) in places.into_iter().zip(looked) {
            place
                .due
                .asked(place.state(), self.interval, Instant::now());
            let exchange = place.exchange.name();
            let result = if looked.is_some() {
                "answered"
            } else {
                "failed"
            };
            metrics::counter!("marketdata_discoveries_total", "exchange" => exchange, "result" => result)
                .increment(1);
            metrics::gauge!("marketdata_markets_known", "exchange" => exchange)
                .set(f64::from(place.has_answered));
            let Some(changes) = looked else { continue };
            let kinds = [
                ("listed", &changes.come),
                ("ranked_out", &changes.leave),
                ("delisted", &changes.delisted),
            ];
            for (change, specs) in kinds {
                metrics::counter!("marketdata_discovered_changes_total", "exchange" => exchange, "change" => change)
                    .increment(specs.len() as u64);
            }
            for spec in &changes.come {
                self.leaving.remove(&spec.to_string());
            }
            let delisted = changes.delisted.into_iter().map(|spec| (spec, "delisted"));
            let ranked_out = changes.leave.into_iter().map(|spec| (spec, "ranked out"));
            for (spec, why) in delisted.chain(ranked_out) {
                info!(instrument = %spec, until_ms = until, "{why}: it is followed until its last bars have closed");
                self.leaving.insert(spec.to_string(), (spec, until));
            }
        }
    }

    /// What any program publishes, as the leases on the bus say.
    async fn elsewhere(&self) -> HashSet<String> {
        let mut elsewhere = HashSet::new();
        for place in &self.places {
            if place.patterns.iter().all(|pattern| pattern.top.is_none()) {
                continue;
            }
            let exchange = place.exchange.name();
            // Without an answer, what is followed here stays, and nothing else comes.
            let leases = self.bus.last_values(&subject::leases_of(exchange)).await;
            // The newest of each lease comes after those that were kept before it.
            let mut is_held: HashMap<String, bool> = HashMap::new();
            for message in leases.unwrap_or_default() {
                let body: Option<LeaseBody> = serde_json::from_slice(&message.payload).ok();
                let has_holder = body.is_some_and(|body| body.holder.is_some());
                is_held.insert(message.subject.to_string(), has_holder);
            }
            let specs = place.candidates.iter().map(|candidate| &candidate.spec);
            let published = specs
                .filter(|spec| is_held.get(&subject::lease(exchange, &spec.symbol)) == Some(&true));
            elsewhere.extend(published.map(ToString::to_string));
        }
        elsewhere
    }

    /// Brings what is assigned to what is wanted, as far as the plan has it. What fails is tried again
    /// at the next look.
    async fn assign_and_revoke(&mut self, control: &Control, planned: &HashSet<String>) {
        let wanted: BTreeMap<String, InstrumentSpec> = self
            .wanted()
            .map(|spec| (spec.to_string(), spec.clone()))
            .filter(|(name, _)| planned.contains(name))
            .collect();
        let lacks = |from: &BTreeMap<String, InstrumentSpec>,
                     of: &BTreeMap<String, InstrumentSpec>| {
            let lacking = of.iter().filter(|(name, _)| !from.contains_key(*name));
            let lacking = lacking.map(|(_, spec)| spec.clone());
            lacking.collect::<Vec<_>>()
        };
        for leave in lacks(&wanted, &self.assigned).chunks(AT_ONCE_MAX) {
            let revoked = control.revoke(leave.to_vec()).await;
            if is_done("revoke", revoked.err().as_ref()) {
                for spec in leave {
                    self.assigned.remove(&spec.to_string());
                }
            }
        }
        let kept_away = control.kept_away();
        let mut come = lacks(&self.assigned, &wanted);
        // As if they were assigned: the operator decides until it assigns them again.
        let named = |spec: &InstrumentSpec| (spec.to_string(), spec.clone());
        let revoked = come.iter().filter(|spec| kept_away.contains(spec));
        self.assigned.extend(revoked.map(named));
        come.retain(|spec| !kept_away.contains(spec));
        for come in come.chunks(AT_ONCE_MAX) {
            let assigned = control.assign(come.to_vec()).await;
            if is_done("assign", assigned.err().as_ref()) {
                self.assigned.extend(come.iter().map(named));
            }
        }
    }
}

/// Whether it is done for sure. What is done already may be asked for again.
fn is_done(action: &str, refused: Option<&Refused>) -> bool {
    if let Some(error) = refused {
        warn!(action, error = %error, "found instruments have not changed hands yet, trying again at the next look");
    }
    refused.is_none()
}

#[cfg(test)]
mod tests;
