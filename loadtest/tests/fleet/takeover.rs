//! The marketdata that publishes is killed, stopped, asked to end or asked to give its instruments away,
//! and its standby takes over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use bus::{BusConfig, Delivery};
use loadtest::bar::{Bar, State};
use loadtest::fleet::{Fleet, FleetConfig, INSTRUMENTS};
use loadtest::program::Program;
use loadtest::wait::{holds, until};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use crate::outages::{check_nothing_lost, until_later};
use crate::two_publishers::{until_it_is_a_standby, until_it_publishes};

/// What was published, as the bus delivers it.
#[derive(Default)]
struct Published {
    closed: Vec<Bar>,
    /// By symbol: the newest epoch of a forming bar, and when its first one came.
    epochs: HashMap<String, (u64, Instant)>,
    /// By symbol: when the newest forming bar came.
    forming: HashMap<String, Instant>,
}

/// Reads what is published from the bus.
#[derive(Clone)]
struct Reader(Arc<Mutex<Published>>);

impl Reader {
    async fn start(fleet: &Fleet) -> Self {
        let config = BusConfig {
            bus: fleet.nats.url().parse().expect("an address"),
            ..BusConfig::default()
        };
        let bus = bus::connect(&config, &[]).await.expect("NATS is there");
        let mut subscription = bus.subscribe("kline.>").await.expect("NATS is there");
        let reader = Self(Arc::default());
        tokio::spawn({
            let reader = reader.clone();
            async move {
                // The bus lives as long as it is read.
                let _bus = bus;
                while let Some(delivery) = subscription.recv().await {
                    let Delivery::Message(message) = delivery else {
                        panic!("the test's own reader lost messages: {delivery:?}");
                    };
                    reader.take(serde_json::from_slice(&message.payload).expect("a bar"));
                }
            }
        });
        reader
    }

    fn published(&self) -> MutexGuard<'_, Published> {
        self.0.lock().expect("not poisoned")
    }

    fn take(&self, bar: Bar) {
        let mut published = self.published();
        if bar.state == State::Closed {
            published.closed.push(bar);
            return;
        }
        let now = Instant::now();
        published.forming.insert(bar.symbol.clone(), now);
        let epoch = published
            .epochs
            .entry(bar.symbol)
            .or_insert((bar.epoch, now));
        if epoch.0 < bar.epoch {
            *epoch = (bar.epoch, now);
        }
    }

    fn epochs(&self) -> HashMap<String, u64> {
        let published = self.published();
        let epochs = published.epochs.iter();
        epochs
            .map(|(symbol, (epoch, _))| (symbol.clone(), *epoch))
            .collect()
    }

    /// Waits until each symbol has a forming bar of a higher epoch, and says when the last one came.
    async fn until_above(&self, before: &HashMap<String, u64>) -> Instant {
        until("forming bars under a new epoch", async || {
            let published = self.published();
            let mut last = None;
            for (symbol, before) in before {
                let (epoch, since) = published.epochs[symbol];
                holds(epoch > *before, || format!("{symbol}: {epoch}"))?;
                last = last.max(Some(since));
            }
            last.ok_or_else(|| "no symbol yet".to_owned())
        })
        .await
    }

    /// When the oldest of the newest forming bars came.
    fn newest_forming(&self) -> Instant {
        let published = self.published();
        *published.forming.values().min().expect("a symbol")
    }

    fn check_doubles(&self) {
        check_doubles(&self.published().closed);
    }
}

/// No closed bar was published twice under one revision with other content.
pub(crate) fn check_doubles(closed: &[Bar]) {
    let mut first: HashMap<(String, i64, u32), (Bar, &Bar)> = HashMap::new();
    for bar in closed {
        let content = Bar {
            seq: 0,
            epoch: 0,
            published_us: 0,
            received_us: None,
            ..bar.clone()
        };
        let key = (bar.topic.clone(), bar.start_ms, bar.rev);
        if let Some((before, whole)) = first.insert(key, (content.clone(), bar)) {
            assert_eq!(
                before, content,
                "published twice with other content: {whole:?}, then {bar:?}"
            );
        }
    }
}

/// What happens to the marketdata that publishes.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// SIGKILL.
    Killed,
    /// SIGSTOP for so many seconds, and then SIGCONT.
    Stopped(i64),
    /// SIGTERM.
    Ended,
    /// Its instruments are revoked, and assigned to it again afterwards.
    Released,
}

/// Two marketdata, and who publishes.
struct Pair {
    holder: Program,
    standby: Program,
}

impl Pair {
    /// On a busy machine a standby may have taken over although nothing was done to the holder.
    async fn with_true_roles(mut self) -> Self {
        let all = INSTRUMENTS.len() as f64;
        let held =
            async |program: &Program| program.metric("marketdata_instruments_held", &[]).await;
        let is_swapped = until("one publishes everything", async || {
            match (held(&self.holder).await, held(&self.standby).await) {
                (first, 0.0) if first == all => Ok(false),
                (0.0, second) if second == all => Ok(true),
                held => Err(format!("{held:?}")),
            }
        })
        .await;
        if is_swapped {
            std::mem::swap(&mut self.holder, &mut self.standby);
        }
        self
    }

    /// Does it to the holder. Gives the time without forming bars, ms.
    async fn meet(self, fault: Fault, fleet: &Fleet, reader: &Reader) -> (Self, u128) {
        // Before the roles are looked at: a takeover that comes between the two is seen, and not waited for.
        let before = reader.epochs();
        let Self {
            mut holder,
            mut standby,
        } = self.with_true_roles().await;
        let at = Instant::now();
        match fault {
            Fault::Killed => holder.process.kill(),
            Fault::Stopped(_) => holder.process.signal("STOP"),
            Fault::Ended => holder.process.signal("TERM"),
            Fault::Released => ask(&holder, "revoke").await,
        }
        let since = reader.until_above(&before).await;
        let without_ms = since.saturating_duration_since(at).as_millis();
        until_it_publishes(&standby).await;
        match fault {
            Fault::Killed => holder = fleet.start_marketdata().await,
            Fault::Stopped(seconds) => {
                let closed = reader.published().closed.len();
                // A bar of a second for each symbol in each second.
                let target = closed + INSTRUMENTS.len() * usize::try_from(seconds).expect("few");
                until("the stop is long enough", async || {
                    let closed = reader.published().closed.len();
                    holds(closed >= target, || format!("{closed} of {target} bars"))
                })
                .await;
                holder.process.signal("CONT");
            }
            Fault::Released => ask(&holder, "assign").await,
            Fault::Ended => {
                let ended = holder.process.until_ended().await;
                assert!(ended.success(), "{ended}");
                holder = fleet.start_marketdata().await;
            }
        }
        holder.until_ready().await;
        until_it_is_a_standby(&holder).await;
        until_it_publishes(&standby).await;
        std::mem::swap(&mut holder, &mut standby);
        (Self { holder, standby }, without_ms)
    }
}

/// Revokes or assigns every instrument.
async fn ask(marketdata: &Program, verb: &str) {
    let names = INSTRUMENTS.map(|it| format!("{}:{}", it.venue, it.symbol));
    let body = json!({"instruments": names});
    let path = format!("/instruments/{verb}");
    let answer = marketdata.post_json(&path, &body).await;
    let (status, text) = answer.expect("an answer");
    assert_eq!(status, 200, "{verb}: {text}");
}

pub(crate) fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// `KLINECAST_SEEDS=20` sets how many seeds run, and `KLINECAST_SEED=7` which one is the first. The times
/// are printed: docs/performance.md has them. `KLINECAST_SECONDS_MAX=3` bounds a standstill.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_whatever_happens_to_the_holder_and_clients_miss_no_bar() {
    let config = FleetConfig {
        has_no_nginx: true,
        ..FleetConfig::default()
    };
    let Some(mut fleet) = Fleet::start(config).await else {
        return;
    };
    let reader = Reader::start(&fleet).await;
    let followers = fleet.follow_each_gateway();
    until_later(&followers, 2_000).await;
    let standby = fleet.start_marketdata().await;
    standby.until_ready().await;
    until_it_is_a_standby(&standby).await;
    let spare = fleet.start_standby().await;
    let holder = std::mem::replace(&mut fleet.marketdata, spare);
    let mut pair = Pair { holder, standby };
    let seconds_max = number("KLINECAST_SECONDS_MAX").unwrap_or(10).cast_signed();
    let first = number("KLINECAST_SEED").unwrap_or(0);
    let seeds = first..first + number("KLINECAST_SEEDS").unwrap_or(1);
    let mut times: HashMap<&str, Vec<u128>> = HashMap::new();
    for seed in seeds {
        println!("KLINECAST_SEED={seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let mut faults = [
            ("killed", Fault::Killed),
            (
                "stopped",
                Fault::Stopped(random.random_range(1..=seconds_max)),
            ),
            ("ended", Fault::Ended),
            ("released", Fault::Released),
        ];
        faults.rotate_left(random.random_range(0..4));
        for (name, fault) in faults {
            let without_ms;
            (pair, without_ms) = pair.meet(fault, &fleet, &reader).await;
            println!("{fault:?}: {without_ms} ms until forming bars of every symbol");
            times.entry(name).or_default().push(without_ms);
            until_later(&followers, 2_000).await;
        }
    }
    assert!(
        reader.newest_forming().elapsed().as_secs() < 60,
        "all symbols form"
    );
    reader.check_doubles();
    for follower in &followers {
        fleet.until_true(follower, false).await;
        follower.seen(|seen| {
            assert_eq!(seen.connects, 1, "{:?}", seen.closes);
            check_nothing_lost(seen);
        });
    }
    for (name, mut times) in times {
        times.sort_unstable();
        let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
        println!(
            "{name}: {} times, p50 {} ms, p99 {} ms, longest {} ms: {times:?}",
            times.len(),
            at(50),
            at(99),
            at(100)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_marketdata_that_die_at_once_leave_no_hole_when_they_are_back() {
    let config = FleetConfig {
        has_no_nginx: true,
        ..FleetConfig::default()
    };
    let Some(mut fleet) = Fleet::start(config).await else {
        return;
    };
    let reader = Reader::start(&fleet).await;
    let followers = fleet.follow_each_gateway();
    until_later(&followers, 2_000).await;
    let mut other = fleet.start_marketdata().await;
    until_it_is_a_standby(&other).await;
    let before = reader.epochs();
    fleet.marketdata.process.kill();
    other.process.kill();
    // Both come back at once: one of them publishes everything.
    let (first, second) = tokio::join!(fleet.start_marketdata(), fleet.start_marketdata());
    reader.until_above(&before).await;
    first.until_ready().await;
    second.until_ready().await;
    until("one publishes and the other is its standby", async || {
        let mut held = Vec::new();
        for program in [&first, &second] {
            held.push(program.metric("marketdata_instruments_held", &[]).await);
        }
        let all = INSTRUMENTS.len() as f64;
        holds(held == [all, 0.0] || held == [0.0, all], || {
            format!("{held:?}")
        })
    })
    .await;
    until_later(&followers, 4_000).await;
    reader.check_doubles();
    for follower in &followers {
        fleet.until_true(follower, false).await;
        follower.seen(|seen| check_nothing_lost(seen));
    }
}
