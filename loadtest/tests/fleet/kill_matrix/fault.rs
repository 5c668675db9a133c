//! What is done to the fleet, drawn from a seed.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

/// Who it happens to, as the roles are when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The marketdata that publishes.
    Holder,
    /// The other one.
    Standby,
    /// The NATS server that leads the stream of closed bars.
    NatsLeader,
    /// Another one of the cluster.
    NatsOther,
    /// One of the gateways.
    Gateway,
    /// nginx with its workers.
    Nginx,
    /// History.
    History,
    /// Alerts.
    Alerts,
    /// The broker's API. The servers are not its children.
    Broker,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// SIGKILL, and a new start at the end.
    Killed,
    /// SIGSTOP, and SIGCONT at the end.
    Stopped,
    /// SIGTERM, and a new start once it has ended.
    Restarted,
    /// Nothing passes between it and NATS until the end; what waits then passes.
    Cut,
    /// The kernel drops its packets from and to NATS until the end. A nats-server is cut off from the
    /// others, too.
    Dropped,
    /// No space is left on its disk; at the end there is. A nats-server is started again then:
    /// JetStream does not recover by itself.
    Full,
    /// Its wall clock is set by so many seconds, and is right again at the end.
    ClockSet(i64),
}

/// One of the faults of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) target: Target,
    pub(crate) kind: Kind,
    /// After the beginning of the run.
    pub(crate) begins: Duration,
    pub(crate) lasts: Duration,
}

const TARGETS: [Target; 9] = [
    Target::Holder,
    Target::Standby,
    Target::NatsLeader,
    Target::NatsOther,
    Target::Gateway,
    Target::Nginx,
    Target::History,
    Target::Alerts,
    Target::Broker,
];

/// How far a clock is set, s.
const CLOCK_STEPS_S: [i64; 8] = [-3_600, -60, -5, -1, 1, 5, 60, 3_600];

/// The second fault of a pair begins within this time after the first.
const BEGIN_SPAN_MS: u64 = 2_000;

impl Target {
    /// Clients of NATS have links that can be cut, and clocks of the C library.
    fn kinds(self) -> Vec<Kind> {
        let mut kinds = vec![Kind::Killed, Kind::Stopped, Kind::Restarted];
        kinds.extend_from_slice(match self {
            Self::Holder | Self::Standby | Self::Gateway | Self::Broker => {
                &[Kind::Cut, Kind::Dropped, Kind::ClockSet(0)]
            }
            Self::History | Self::Alerts => {
                &[Kind::Cut, Kind::Dropped, Kind::ClockSet(0), Kind::Full]
            }
            Self::NatsLeader | Self::NatsOther => &[Kind::Dropped, Kind::Full],
            Self::Nginx => &[],
        });
        kinds
    }
}

impl Fault {
    pub(crate) fn new(target: Target, kind: Kind, begins_ms: u64, lasts_ms: u64) -> Self {
        Self {
            target,
            kind,
            begins: Duration::from_millis(begins_ms),
            lasts: Duration::from_millis(lasts_ms),
        }
    }

    fn draw(random: &mut StdRng, target: Target, begins_ms: u64, seconds_max: u64) -> Self {
        let kinds = target.kinds();
        let mut kind = kinds[random.random_range(0..kinds.len())];
        if let Kind::ClockSet(step_s) = &mut kind {
            *step_s = *CLOCK_STEPS_S.choose(random).expect("there are some");
        }
        let lasts_ms = match kind {
            Kind::Killed => random.random_range(0..=3_000),
            Kind::Stopped | Kind::Cut | Kind::Dropped | Kind::Full | Kind::ClockSet(_) => {
                random.random_range(500..=seconds_max * 1_000)
            }
            // It is started again once it has ended.
            Kind::Restarted => 0,
        };
        Self::new(target, kind, begins_ms, lasts_ms)
    }

    /// When it ends, after the beginning of the run.
    pub(crate) fn ends(&self) -> Duration {
        self.begins + self.lasts
    }

    /// The kind of fault, without its times.
    pub(crate) fn name(&self) -> String {
        let kind = match self.kind {
            Kind::ClockSet(step_s) => format!("clock{step_s:+}s"),
            kind => format!("{kind:?}"),
        };
        format!("{:?}-{kind}", self.target).to_lowercase()
    }

    /// The fault that a line of the report describes.
    ///
    /// # Panics
    /// If there is none of this name.
    pub(crate) fn of_json(described: &Value) -> Self {
        let ms = |name: &str| described[name].as_u64().expect("a time in ms");
        let clocks = CLOCK_STEPS_S.map(Kind::ClockSet);
        let all = TARGETS.into_iter().flat_map(|target| {
            let kinds = target.kinds().into_iter().chain(clocks);
            kinds.map(move |kind| (target, kind))
        });
        let (begins_ms, ends_ms) = (ms("from_ms"), ms("to_ms"));
        let mut faults = all.map(|(target, kind)| {
            Self::new(target, kind, begins_ms, ends_ms.saturating_sub(begins_ms))
        });
        let fault = faults.find(|fault| described["fault"] == *fault.name());
        fault.unwrap_or_else(|| panic!("no fault: {described}"))
    }

    /// For the report.
    pub(crate) fn json(&self) -> Value {
        json!({
            "fault": self.name(),
            "from_ms": self.begins.as_millis(),
            "to_ms": self.ends().as_millis(),
        })
    }
}

/// The faults of the next run: one, or two of different targets.
pub(crate) fn draw(random: &mut StdRng, seconds_max: u64) -> Vec<Fault> {
    let first = TARGETS[random.random_range(0..TARGETS.len())];
    let mut faults = vec![Fault::draw(random, first, 0, seconds_max)];
    if random.random_bool(0.5) {
        let others: Vec<Target> = TARGETS.into_iter().filter(|it| *it != first).collect();
        let second = others[random.random_range(0..others.len())];
        let begins_ms = random.random_range(0..=BEGIN_SPAN_MS);
        faults.push(Fault::draw(random, second, begins_ms, seconds_max));
    }
    faults
}
