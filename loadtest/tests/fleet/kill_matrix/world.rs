//! A cluster of NATS, a publisher with its standby, two gateways behind nginx, history, alerts, and a
//! broker.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use bus::BusConfig;
use loadtest::clock::Clock;
use loadtest::fleet::{FleetConfig, INSTRUMENTS, compare, find_nginx, topics, unless_missing};
use loadtest::follower::Follower;
use loadtest::link::Link;
use loadtest::nats::cluster::{MEMBERS, NatsCluster};
use loadtest::nats::disk::SmallDisk;
use loadtest::network;
use loadtest::nginx::Nginx;
use loadtest::program::arguments;
use loadtest::simulator::Simulator;
use loadtest::wait::{holds, until};
use service::JournalConfig;

use super::fault::{Fault, Kind, Target};
use super::journal;
use super::own::{Links, Own, Place, start_nats};
use super::programs::{
    JOURNAL_BYTES, JOURNAL_BYTES_MAX, count_alerts, start_own_alerts, start_own_broker,
    start_own_gateway, start_own_history, start_own_marketdata, until_it_names,
};
use crate::history::until_all_is_stored;
use crate::outages::{check_nothing_lost_silently, until_later};

/// Where the programs are in their list.
const GATEWAYS: Range<usize> = 0..2;
const BROKER: usize = 2;
const ALERTS: usize = 3;
const HISTORY: usize = 4;
const MARKETDATA: Range<usize> = 5..7;
const FOLLOWERS: usize = 3;
/// Elections take 4 to 9 s, and on a busy machine there may be several.
const CONNECT_DEADLINE_MS: &str = "90000";
/// Two of the widest bars: the second one is whole.
const WHOLE_BARS_MS: i64 = 10_000;
/// Streams that must have all their copies before the next fault.
const STREAMS: [&str; 4] = ["CLOSED", "JOURNAL", "KLINE", "STATE"];

/// One of the processes.
#[derive(Clone, Copy, Debug)]
enum Who {
    /// Of the list.
    Program(usize),
    Nats(usize),
    Nginx,
}

/// What a run showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// The longest time without a forming bar of some topic, at the client that was hit most.
    pub(crate) worst: Duration,
    /// The same at the client that was hit least.
    pub(crate) best: Duration,
    /// From the beginning until everything was ready and had its copies again.
    pub(crate) whole: Duration,
    /// Closed bars that clients were told of in `skipped`, since they started.
    pub(crate) skipped: u64,
    /// Those that they have not, since they started.
    pub(crate) missing: u64,
    /// Revisions that they got, since they started.
    pub(crate) revisions: u64,
}

/// See the module. Fields are dropped, and therefore ended, from the clients' side on.
pub(crate) struct World {
    followers: Vec<Follower>,
    nginx: Nginx,
    programs: Vec<Own>,
    history: SocketAddr,
    broker: SocketAddr,
    simulator: Simulator,
    client: async_nats::Client,
    nats: NatsCluster,
}

impl World {
    /// `None`, and a printed line, where NATS or nginx is not installed and not required.
    pub(crate) async fn start() -> Option<Self> {
        let nginx = find_nginx()?;
        let nats = unless_missing(tokio::task::block_in_place(start_nats))?;
        let config = FleetConfig {
            marketdata: arguments(&[
                "--batch-bars",
                "--journal-bytes-max",
                JOURNAL_BYTES,
                "--bus-replicas",
                "3",
                "--bus-connect-deadline-ms",
                CONNECT_DEADLINE_MS,
            ]),
            gateway: arguments(&["--bus-connect-deadline-ms", CONNECT_DEADLINE_MS]),
            ..FleetConfig::default()
        };
        let simulator =
            Simulator::start(arguments(&["--rate", "8", "--history-minutes", "1"])).await;
        let mut marketdata = Vec::new();
        for number in 1..=2 {
            let place = Place::new(&nats, number).await;
            marketdata.push(start_own_marketdata(&config, place, &simulator).await);
        }
        let place = Place::with_disk(&nats, 9).await;
        let (history, history_address) = start_own_history(place).await;
        let alerts = start_own_alerts(Place::with_disk(&nats, 10).await).await;
        let (broker, broker_address) = start_own_broker(Place::new(&nats, 11).await).await;
        let (mut programs, mut addresses) = (Vec::new(), Vec::new());
        for number in 20..22 {
            let place = Place::new(&nats, number).await;
            let (gateway, address) = start_own_gateway(&config, place).await;
            programs.push(gateway);
            addresses.push(address);
        }
        programs.extend([broker, alerts, history]);
        programs.extend(marketdata);
        let nginx = Nginx::start(&nginx, &addresses).await;
        let servers: Vec<String> = nats.url().split(',').map(str::to_owned).collect();
        let client = async_nats::connect(servers)
            .await
            .expect("the cluster runs");
        let followers = (0..FOLLOWERS).map(|_| Follower::start(nginx.url(), topics()));
        let mut world = Self {
            followers: followers.collect(),
            nginx,
            programs,
            history: history_address,
            broker: broker_address,
            simulator,
            client,
            nats,
        };
        world.until_whole().await;
        // The standby has joined within intervals whose bars are partial. It takes over after them.
        until_later(&world.followers, WHOLE_BARS_MS).await;
        Some(world)
    }

    /// Does these things to it, waits until it is whole, and checks what clients have.
    pub(crate) async fn meet(&mut self, faults: &[Fault]) -> Outcome {
        let mut targets = Vec::new();
        for fault in faults {
            targets.push(self.who(fault.target).await);
        }
        let begins = (0..)
            .zip(faults)
            .map(|(index, it)| (it.begins, index, true));
        let ends = (0..)
            .zip(faults)
            .map(|(index, it)| (it.ends(), index, false));
        let mut steps: Vec<(Duration, usize, bool)> = begins.chain(ends).collect();
        // A fault of no length begins before it ends.
        steps.sort_by_key(|&(at, index, is_begin)| (at, index, !is_begin));
        let since = Instant::now();
        for (at, index, is_begin) in steps {
            // The moment is what is tested: nothing can be waited for.
            tokio::time::sleep(at.saturating_sub(since.elapsed())).await;
            let (who, kind) = (targets[index], faults[index].kind);
            match is_begin {
                true => self.begin(who, kind).await,
                false => self.end(who, kind).await,
            }
        }
        self.until_whole().await;
        let whole = since.elapsed();
        until_later(&self.followers, 2_000).await;
        let pauses: Vec<Duration> = self.followers.iter().map(|it| pause(it, since)).collect();
        self.check_clients().await;
        let sum = |of: fn(&Follower) -> u64| self.followers.iter().map(of).sum::<u64>();
        Outcome {
            worst: pauses.iter().copied().max().unwrap_or_default(),
            best: pauses.iter().copied().min().unwrap_or_default(),
            whole,
            skipped: sum(|it| it.seen(|seen| seen.topics.values().map(|it| it.skipped).sum())),
            missing: sum(|it| {
                it.seen(|seen| seen.topics.values().map(|it| it.holes().len() as u64).sum())
            }),
            revisions: sum(|it| {
                it.seen(|seen| seen.topics.values().map(|it| it.revisions as u64).sum())
            }),
        }
    }

    async fn who(&self, target: Target) -> Who {
        match target {
            Target::Holder => Who::Program(MARKETDATA.start + self.holder().await),
            Target::Standby => Who::Program(MARKETDATA.start + 1 - self.holder().await),
            Target::NatsLeader => Who::Nats(self.leader().await),
            Target::NatsOther => Who::Nats((self.leader().await + 1) % MEMBERS),
            Target::Gateway => Who::Program(GATEWAYS.start),
            Target::Nginx => Who::Nginx,
            Target::History => Who::Program(HISTORY),
            Target::Alerts => Who::Program(ALERTS),
            Target::Broker => Who::Program(BROKER),
        }
    }

    async fn begin(&mut self, who: Who, kind: Kind) {
        match (kind, who) {
            (Kind::Cut, _) => self.links(who).links.iter().for_each(Link::cut),
            (Kind::Dropped, Who::Nats(index)) => self.nats.cut_off(index),
            (Kind::Dropped, _) => self.links(who).address().drop_packets(),
            (Kind::Full, _) => self.disk(who).fill(),
            (Kind::ClockSet(step_s), _) => self.clock(who).set(step_s * 1_000),
            (Kind::Killed, Who::Nats(index)) => self.nats.members()[index].kill(),
            (Kind::Killed, Who::Nginx) => self.nginx.kill(),
            (Kind::Killed, Who::Program(index)) => self.programs[index].it.process.kill(),
            (Kind::Stopped, Who::Nats(index)) => self.nats.members()[index].suspend(),
            (Kind::Stopped, Who::Nginx) => self.nginx.suspend(),
            (Kind::Stopped, Who::Program(index)) => self.programs[index].it.process.signal("STOP"),
            (Kind::Restarted, Who::Nats(index)) => {
                tokio::task::block_in_place(|| self.nats.members()[index].shut_down());
            }
            (Kind::Restarted, Who::Nginx) => self.nginx.shut_down().await,
            (Kind::Restarted, Who::Program(index)) => {
                let process = &mut self.programs[index].it.process;
                process.signal("TERM");
                process.until_ended().await;
            }
        }
    }

    async fn end(&mut self, who: Who, kind: Kind) {
        match (kind, who) {
            (Kind::Cut, _) => self.links(who).links.iter().for_each(Link::mend),
            (Kind::Dropped, Who::Nats(index)) => self.nats.mend(index),
            (Kind::Dropped, _) => self.links(who).address().pass(),
            (Kind::Full, _) => {
                self.disk(who).free();
                if let Who::Nats(_) = who {
                    self.start_again(who).await;
                }
            }
            (Kind::ClockSet(_), _) => self.clock(who).set(0),
            (Kind::Stopped, Who::Nats(index)) => self.nats.members()[index].resume(),
            (Kind::Stopped, Who::Nginx) => self.nginx.resume(),
            (Kind::Stopped, Who::Program(index)) => self.programs[index].it.process.signal("CONT"),
            (Kind::Killed | Kind::Restarted, _) => self.start_again(who).await,
        }
    }

    async fn start_again(&mut self, who: Who) {
        match who {
            Who::Program(index) => self.programs[index].it.restart().await,
            Who::Nats(index) => {
                let started = tokio::task::block_in_place(|| self.nats.members()[index].restart());
                started.expect("the server starts again");
            }
            Who::Nginx => self.nginx.start_again().await,
        }
    }

    fn links(&self, who: Who) -> &Links {
        match who {
            Who::Program(index) => &self.programs[index].place.links,
            Who::Nats(_) | Who::Nginx => panic!("{who:?} has no links"),
        }
    }

    fn clock(&self, who: Who) -> &Clock {
        let clock = match who {
            Who::Program(index) => self.programs[index].place.clock.as_ref(),
            Who::Nats(_) | Who::Nginx => None,
        };
        clock.expect("clocks can be set here")
    }

    fn disk(&mut self, who: Who) -> &SmallDisk {
        let disk = match who {
            Who::Nats(index) => self.nats.members()[index].disk(),
            Who::Program(index) => self.programs[index].place.disk.as_ref(),
            Who::Nginx => None,
        };
        disk.expect("disks can be made here")
    }

    /// Whether this machine allows such a fault.
    pub(crate) fn can_meet(&self, kind: Kind) -> bool {
        let place = &self.programs[HISTORY].place;
        match kind {
            Kind::Dropped => network::is_own(),
            Kind::Full => place.disk.is_some(),
            Kind::ClockSet(_) => place.clock.is_some(),
            Kind::Killed | Kind::Stopped | Kind::Restarted | Kind::Cut => true,
        }
    }

    /// Which marketdata publishes more instruments than the other.
    async fn holder(&self) -> usize {
        let mut held = Vec::new();
        for Own { it, .. } in &self.programs[MARKETDATA] {
            held.push(it.metric("marketdata_instruments_held", &[]).await);
        }
        usize::from(held[1] > held[0])
    }

    async fn leader(&self) -> usize {
        until("a leader of the stream of closed bars", async || {
            let leader = copies(&self.client, "CLOSED").await?;
            NatsCluster::index(&leader).ok_or(leader)
        })
        .await
    }

    /// Waits until every process is ready, every instrument has a publisher and a standby, every
    /// stream has its copies, and no bar or alert waits.
    async fn until_whole(&mut self) {
        for Own { it, .. } in &self.programs {
            it.until_ready().await;
        }
        let all = INSTRUMENTS.len() as f64;
        until(
            "each instrument is published and has a standby",
            async || {
                for (name, expected) in [
                    ("marketdata_instruments_held", all),
                    ("marketdata_instruments_standby", all),
                    ("marketdata_bars_waiting", 0.0),
                ] {
                    let mut sum = 0.0;
                    for Own { it, .. } in &self.programs[MARKETDATA] {
                        sum += it.metric(name, &[]).await;
                    }
                    holds(sum == expected, || format!("{name}: {sum}"))?;
                }
                Ok(())
            },
        )
        .await;
        until("every stream has all its copies", async || {
            for stream in STREAMS {
                copies(&self.client, stream).await?;
            }
            Ok(())
        })
        .await;
        until_it_names(self.broker, &STREAMS).await;
        until("every alert is on the bus", async || {
            let waiting = self.programs[ALERTS]
                .it
                .metric("alerts_unpublished", &[])
                .await;
            holds(waiting == 0.0, || format!("{waiting} wait"))
        })
        .await;
    }

    /// Every client has the true bars, and none is missing of which it was not told.
    async fn check_clients(&self) {
        for follower in &self.followers {
            until("the bars of a client equal the truth", async || {
                let comparison = compare(&self.simulator, follower).await?;
                holds(comparison.gaps.is_empty(), || format!("{comparison:?}"))
            })
            .await;
            follower.seen(check_nothing_lost_silently);
            follower.seen(|seen| {
                for (name, topic) in &seen.topics {
                    let holes = topic.holes();
                    if topic.skipped != holes.len() as u64 {
                        println!("told: {name} lacks {holes:?} at last: {:?}", topic.told);
                    }
                }
            });
        }
    }

    /// The journal and history have every bar of the time, and one effective bar for each interval,
    /// equal to what was traded. Each alert that the bus keeps is there once, and there are some.
    pub(crate) async fn check_stored(&self) {
        let config = BusConfig {
            bus: self.nats.url().parse().expect("an address"),
            ..BusConfig::default()
        };
        let journal = JournalConfig {
            journal_bytes_max: Some(JOURNAL_BYTES_MAX),
            ..JournalConfig::default()
        };
        let journal = journal.on(&config).stream();
        let journal = journal.expect("a journal is kept");
        let alert = service::streams().into_iter().find(|it| it.root == "alert");
        let alert = alert.expect("alerts are kept");
        let bus = bus::connect(&config, &[journal, alert])
            .await
            .expect("the cluster runs");
        until("the journal equals the truth", async || {
            journal::compare(&*bus, &self.simulator).await
        })
        .await;
        until_all_is_stored(&self.simulator, &self.history.to_string()).await;
        println!("alerts: {}, each once", count_alerts(&*bus).await);
        journal::count(&self.nats.url(), &self.simulator.url()).await;
    }
}

/// The longest time without a forming bar of a second of some instrument, since then.
fn pause(follower: &Follower, since: Instant) -> Duration {
    follower.seen(|seen| {
        let seconds = seen
            .topics
            .iter()
            .filter(|(name, _)| name.starts_with("kline:1s:"));
        let pauses = seconds.map(|(_, topic)| topic.without_forming(since));
        pauses.max().unwrap_or_default()
    })
}

/// The leader of a stream that has all its copies.
async fn copies(client: &async_nats::Client, stream: &str) -> Result<String, String> {
    let stream = jetstream::new(client.clone()).get_stream(stream).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let cluster = stream.cached_info().cluster.as_ref();
    let cluster = cluster.ok_or("the stream is in no cluster")?;
    let current = cluster
        .replicas
        .iter()
        .filter(|it| it.current && !it.offline);
    let current = current.count();
    holds(current == MEMBERS - 1, || {
        format!("{current} copies: {cluster:?}")
    })?;
    cluster.leader.clone().ok_or_else(|| "no leader".to_owned())
}
