//! Two of everything: a cluster of NATS, a publisher with its standby, gateways behind nginx, and
//! history.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use bus::BusConfig;
use loadtest::clock::Clock;
use loadtest::directory::Directory;
use loadtest::fleet::{
    FleetConfig, Gateway, INSTRUMENTS, compare, find_nginx, start_gateway, start_history_with,
    start_marketdata, topics, unless_missing,
};
use loadtest::follower::Follower;
use loadtest::link::Link;
use loadtest::nats::cluster::{MEMBERS, NatsCluster};
use loadtest::nats::disk::SmallDisk;
use loadtest::network;
use loadtest::nginx::Nginx;
use loadtest::program::{Program, arguments};
use loadtest::simulator::Simulator;
use loadtest::wait::{holds, until};
use service::JournalConfig;

use super::fault::{Fault, Kind, Target};
use super::journal;
use super::own::{
    HISTORY, HISTORY_DISK_BYTES, JOURNAL_BYTES, JOURNAL_BYTES_MAX, Linked, Links, launcher,
    on_disk, start_nats, with_launcher,
};
use crate::history::until_all_is_stored;
use crate::outages::{check_nothing_lost_silently, until_later};

const GATEWAYS: u8 = 2;
const FOLLOWERS: usize = 3;
/// Elections take 4 to 9 s, and on a busy machine there may be several.
const CONNECT_DEADLINE_MS: &str = "90000";
/// Two of the widest bars: the second one is whole.
const WHOLE_BARS_MS: i64 = 10_000;
/// Streams that must have all their copies before the next fault.
const STREAMS: [&str; 4] = ["CLOSED", "JOURNAL", "KLINE", "STATE"];

/// One of the processes.
#[derive(Clone, Copy, Debug)]
enum Place {
    Marketdata(usize),
    Nats(usize),
    Gateway(usize),
    Nginx,
    History,
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
    gateways: Vec<Linked<Gateway>>,
    history: Linked<(Program, SocketAddr)>,
    marketdata: Vec<Linked<Program>>,
    simulator: Simulator,
    client: async_nats::Client,
    nats: NatsCluster,
    config: FleetConfig,
    /// Of history's folder, and before it, so that it ends first.
    disk: Option<SmallDisk>,
    folder: Directory,
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
        for number in 0..2 {
            let links = Links::to(&nats, 1 + number).await;
            let clock = Clock::new();
            let config = with_launcher(&config, launcher(clock.as_ref()));
            let it = start_marketdata(&config, &links.url(), &simulator).await;
            // The first one makes the streams.
            it.until_ready().await;
            marketdata.push(Linked { it, links, clock });
        }
        let folder = Directory::named("matrix");
        let disk = SmallDisk::mount(folder.path(), HISTORY_DISK_BYTES).ok();
        let links = Links::to(&nats, 9).await;
        let clock = Clock::new();
        let launcher_of_history = on_disk(disk.as_ref(), launcher(clock.as_ref()));
        let it = start_history_with(launcher_of_history, &HISTORY, &links.url(), &folder).await;
        let history = Linked { it, links, clock };
        let mut gateways = Vec::new();
        for number in 0..GATEWAYS {
            let links = Links::to(&nats, 20 + number).await;
            let clock = Clock::new();
            let config = with_launcher(&config, launcher(clock.as_ref()));
            let it = start_gateway(&config, &links.url()).await;
            it.program.until_ready().await;
            gateways.push(Linked { it, links, clock });
        }
        let addresses: Vec<SocketAddr> = gateways.iter().map(|one| one.it.address).collect();
        let nginx = Nginx::start(&nginx, &addresses).await;
        let servers: Vec<String> = nats.url().split(',').map(str::to_owned).collect();
        let client = async_nats::connect(servers)
            .await
            .expect("the cluster runs");
        let followers = (0..FOLLOWERS).map(|_| Follower::start(nginx.url(), topics()));
        let mut world = Self {
            followers: followers.collect(),
            nginx,
            gateways,
            history,
            marketdata,
            simulator,
            client,
            nats,
            config,
            disk,
            folder,
        };
        world.until_whole().await;
        // The standby has joined within intervals whose bars are partial. It takes over after them.
        until_later(&world.followers, WHOLE_BARS_MS).await;
        Some(world)
    }

    /// Does these things to it, waits until it is whole, and checks what clients have.
    pub(crate) async fn meet(&mut self, faults: &[Fault]) -> Outcome {
        let mut places = Vec::new();
        for fault in faults {
            places.push(self.place(fault.target).await);
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
            let (place, kind) = (places[index], faults[index].kind);
            match is_begin {
                true => self.begin(place, kind).await,
                false => self.end(place, kind).await,
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

    async fn place(&self, target: Target) -> Place {
        match target {
            Target::Holder => Place::Marketdata(self.holder().await),
            Target::Standby => Place::Marketdata(1 - self.holder().await),
            Target::NatsLeader => Place::Nats(self.leader().await),
            Target::NatsOther => Place::Nats((self.leader().await + 1) % MEMBERS),
            Target::Gateway => Place::Gateway(0),
            Target::Nginx => Place::Nginx,
            Target::History => Place::History,
        }
    }

    async fn begin(&mut self, place: Place, kind: Kind) {
        match (kind, place) {
            (Kind::Cut, _) => self.links(place).links.iter().for_each(Link::cut),
            (Kind::Dropped, Place::Nats(index)) => self.nats.cut_off(index),
            (Kind::Dropped, _) => self.links(place).address().drop_packets(),
            (Kind::Full, _) => self.disk(place).fill(),
            (Kind::ClockSet(step_s), _) => self.clock(place).set(step_s * 1_000),
            (Kind::Killed, Place::Nats(index)) => self.nats.members()[index].kill(),
            (Kind::Killed, Place::Nginx) => self.nginx.kill(),
            (Kind::Killed, _) => self.program(place).process.kill(),
            (Kind::Stopped, Place::Nats(index)) => self.nats.members()[index].suspend(),
            (Kind::Stopped, Place::Nginx) => self.nginx.suspend(),
            (Kind::Stopped, _) => self.program(place).process.signal("STOP"),
            (Kind::Restarted, Place::Nats(index)) => {
                tokio::task::block_in_place(|| self.nats.members()[index].shut_down());
            }
            (Kind::Restarted, Place::Nginx) => self.nginx.shut_down().await,
            (Kind::Restarted, _) => {
                let process = &mut self.program(place).process;
                process.signal("TERM");
                process.until_ended().await;
            }
        }
    }

    async fn end(&mut self, place: Place, kind: Kind) {
        match (kind, place) {
            (Kind::Cut, _) => self.links(place).links.iter().for_each(Link::mend),
            (Kind::Dropped, Place::Nats(index)) => self.nats.mend(index),
            (Kind::Dropped, _) => self.links(place).address().pass(),
            (Kind::Full, _) => {
                self.disk(place).free();
                if let Place::Nats(_) = place {
                    self.start_again(place).await;
                }
            }
            (Kind::ClockSet(_), _) => self.clock(place).set(0),
            (Kind::Stopped, Place::Nats(index)) => self.nats.members()[index].resume(),
            (Kind::Stopped, Place::Nginx) => self.nginx.resume(),
            (Kind::Stopped, _) => self.program(place).process.signal("CONT"),
            (Kind::Killed | Kind::Restarted, _) => self.start_again(place).await,
        }
    }

    async fn start_again(&mut self, place: Place) {
        match place {
            Place::Marketdata(index) => {
                let own = &self.marketdata[index];
                let config = with_launcher(&self.config, own.launcher());
                let program = start_marketdata(&config, &own.links.url(), &self.simulator).await;
                self.marketdata[index].it = program;
            }
            Place::Nats(index) => {
                let started = tokio::task::block_in_place(|| self.nats.members()[index].restart());
                started.expect("the server starts again");
            }
            // nginx knows its address.
            Place::Gateway(index) => self.gateways[index].it.program.restart().await,
            Place::Nginx => self.nginx.start_again().await,
            Place::History => {
                let launcher = on_disk(self.disk.as_ref(), self.history.launcher());
                let url = self.history.links.url();
                self.history.it = start_history_with(launcher, &HISTORY, &url, &self.folder).await;
            }
        }
    }

    fn links(&self, place: Place) -> &Links {
        match place {
            Place::Marketdata(index) => &self.marketdata[index].links,
            Place::Gateway(index) => &self.gateways[index].links,
            Place::History => &self.history.links,
            Place::Nats(_) | Place::Nginx => panic!("{place:?} has no links"),
        }
    }

    fn clock(&self, place: Place) -> &Clock {
        let clock = match place {
            Place::Marketdata(index) => &self.marketdata[index].clock,
            Place::Gateway(index) => &self.gateways[index].clock,
            Place::History => &self.history.clock,
            Place::Nats(_) | Place::Nginx => &None,
        };
        clock.as_ref().expect("clocks can be set here")
    }

    fn disk(&mut self, place: Place) -> &SmallDisk {
        let disk = match place {
            Place::Nats(index) => self.nats.members()[index].disk(),
            Place::History => self.disk.as_ref(),
            _ => None,
        };
        disk.expect("disks can be made here")
    }

    /// Whether this machine allows such a fault.
    pub(crate) fn can_meet(&self, kind: Kind) -> bool {
        match kind {
            Kind::Dropped => network::is_own(),
            Kind::Full => self.disk.is_some(),
            Kind::ClockSet(_) => self.history.clock.is_some(),
            Kind::Killed | Kind::Stopped | Kind::Restarted | Kind::Cut => true,
        }
    }

    fn program(&mut self, place: Place) -> &mut Program {
        match place {
            Place::Marketdata(index) => &mut self.marketdata[index].it,
            Place::Gateway(index) => &mut self.gateways[index].it.program,
            Place::History => &mut self.history.it.0,
            Place::Nats(_) | Place::Nginx => panic!("{place:?} is no program of ours"),
        }
    }

    fn programs(&mut self) -> impl Iterator<Item = &mut Program> {
        let gateways = self.gateways.iter_mut().map(|one| &mut one.it.program);
        let marketdata = self.marketdata.iter_mut().map(|one| &mut one.it);
        gateways.chain(marketdata).chain([&mut self.history.it.0])
    }

    /// Which marketdata publishes more instruments than the other.
    async fn holder(&self) -> usize {
        let mut held = Vec::new();
        for marketdata in &self.marketdata {
            held.push(
                marketdata
                    .it
                    .metric("marketdata_instruments_held", &[])
                    .await,
            );
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
    /// stream has its copies, and no bar waits.
    async fn until_whole(&mut self) {
        for program in self.programs() {
            program.until_ready().await;
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
                    for marketdata in &self.marketdata {
                        sum += marketdata.it.metric(name, &[]).await;
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
    /// equal to what was traded.
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
        let bus = bus::connect(&config, &[journal])
            .await
            .expect("the cluster runs");
        until("the journal equals the truth", async || {
            journal::compare(&*bus, &self.simulator).await
        })
        .await;
        until_all_is_stored(&self.simulator, &self.history.it.1.to_string()).await;
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
