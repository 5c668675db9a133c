//! Clients that ask for the past with `from`, while each program of the fleet is killed at any moment.
//!
//! A seed decides what is killed and when. Each client has a seed of its own besides, for what it asks
//! first and when it leaves its gateway, so that many of them share the time that a fleet needs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use loadtest::collector::{Collected, Collector};
use loadtest::directory::Directory;
use loadtest::fleet::{
    FleetConfig, Gateway, INSTRUMENTS, Instrument, start_gateway, start_history, start_marketdata,
    start_nats,
};
use loadtest::program::{Program, arguments};
use loadtest::simulator::Simulator;
use loadtest::truth;
use loadtest::wait::{holds, until};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use testkit::nats::NatsServer;
use tokio::task::JoinSet;

/// Events of one seed.
const EVENTS: usize = 8;
/// Most bars that the first question of a client asks for.
const LAST_MAX: usize = 60;
/// The widths that are asked for, ms: one is published, and the gateways fold the other.
const WIDTHS: [(&str, i64); 2] = [("1s", 1_000), ("3s", 3_000)];

/// What is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Nobody,
    Gateway(usize),
    Marketdata,
    History,
    Nats,
}

const VICTIMS: [Victim; 6] = [
    Victim::Nobody,
    Victim::Gateway(0),
    Victim::Gateway(1),
    Victim::Marketdata,
    Victim::History,
    Victim::Nats,
];

#[derive(Clone, Copy, Debug)]
struct Event {
    /// How long nothing happens before it.
    calm: Duration,
    victim: Victim,
    /// How long the victim stays away.
    down: Duration,
    /// The clients leave meanwhile, for this time.
    away: Option<Duration>,
}

/// Events with each victim at least once, in any order.
fn events(random: &mut StdRng) -> Vec<Event> {
    let mut victims = VICTIMS.to_vec();
    while victims.len() < EVENTS {
        victims.push(VICTIMS[random.random_range(0..VICTIMS.len())]);
    }
    victims.shuffle(random);
    let mut time = |from: u64, to: u64| Duration::from_millis(random.random_range(from..to));
    let mut event = |victim| Event {
        calm: time(50, 3_000),
        victim,
        down: time(0, 2_500),
        away: (matches!(victim, Victim::Nobody) || time(0, 2).is_zero()).then(|| time(0, 6_000)),
    };
    victims.into_iter().map(&mut event).collect()
}

/// A client of one topic.
struct Asker {
    instrument: Instrument,
    topic: String,
    width_ms: i64,
    collector: Arc<Collector>,
}

/// The fleet of one seed, and its clients.
struct Play {
    askers: Vec<Asker>,
    gateways: Vec<Gateway>,
    history: Program,
    marketdata: Program,
    simulator: Simulator,
    nats: NatsServer,
    _folder: Directory,
}

impl Play {
    /// With so many clients. `None`, and a printed line, where NATS is not installed and not required.
    async fn start(seed: u64, clients: usize) -> Option<Self> {
        let nats = start_nats()?;
        // Gateways forget what history has, and do not wait long for a history that is down.
        let config = FleetConfig {
            gateway: arguments(&[
                "--closed-bars",
                "2",
                "--closed-hold-ms",
                "3000",
                "--history-wait-ms",
                "1000",
            ]),
            ..FleetConfig::default()
        };
        let simulator =
            Simulator::start(arguments(&["--rate", "8", "--history-minutes", "1"])).await;
        let marketdata = start_marketdata(&config, &nats.url(), &simulator).await;
        let folder = Directory::named("past");
        let (history, _) = start_history(&nats.url(), &folder).await;
        let mut gateways = Vec::new();
        for _ in 0..2 {
            gateways.push(start_gateway(&config, &nats.url()).await);
        }
        let mut play = Self {
            askers: Vec::new(),
            gateways,
            history,
            marketdata,
            simulator,
            nats,
            _folder: folder,
        };
        play.until_ready().await;
        for number in 0..clients {
            let mut random = client_random(seed, number);
            let instrument = INSTRUMENTS[number % INSTRUMENTS.len()];
            let (width, width_ms) = WIDTHS[number / INSTRUMENTS.len() % WIDTHS.len()];
            let mut urls: Vec<String> = play.gateways.iter().map(Gateway::url).collect();
            let count = urls.len();
            urls.rotate_left(random.random_range(0..count));
            let topic = format!("kline:{width}:{}", instrument.symbol);
            let last = random.random_range(1..=LAST_MAX);
            play.askers.push(Asker {
                instrument,
                collector: Arc::new(Collector::start(urls, topic.clone(), last)),
                topic,
                width_ms,
            });
        }
        Some(play)
    }

    /// Each client leaves its gateway at times of its own, until the tasks are dropped.
    fn wander(&self, seed: u64) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for (number, asker) in self.askers.iter().enumerate() {
            let mut random = client_random(seed, number + self.askers.len());
            let collector = Arc::clone(&asker.collector);
            tasks.spawn(async move {
                loop {
                    // The moments are what is tested: nothing can be waited for.
                    let calm = random.random_range(100..8_000);
                    tokio::time::sleep(Duration::from_millis(calm)).await;
                    let away = random.random_range(0..3_000);
                    collector.leave(Duration::from_millis(away));
                }
            });
        }
        tasks
    }

    async fn until_ready(&self) {
        self.marketdata.until_ready().await;
        self.history.until_ready().await;
        for gateway in &self.gateways {
            gateway.program.until_ready().await;
        }
    }

    async fn happen(&mut self, event: Event) {
        // The moments are what is tested: nothing can be waited for.
        tokio::time::sleep(event.calm).await;
        match event.victim {
            Victim::Nobody => {}
            Victim::Gateway(which) => self.gateways[which].program.process.kill(),
            Victim::Marketdata => self.marketdata.process.kill(),
            Victim::History => self.history.process.kill(),
            Victim::Nats => self.nats.kill(),
        }
        if let Some(away) = event.away {
            self.leave(away);
        }
        tokio::time::sleep(event.down).await;
        match event.victim {
            Victim::Nobody => {}
            Victim::Gateway(which) => self.gateways[which].program.restart().await,
            Victim::Marketdata => self.marketdata.restart().await,
            Victim::History => self.history.restart().await,
            Victim::Nats => self.nats.restart().expect("the port is free again"),
        }
    }

    /// All clients leave their gateways, and go to the next ones after this time.
    fn leave(&self, away: Duration) {
        for asker in &self.askers {
            asker.collector.leave(away);
        }
    }

    /// No client was sent what the protocol forbids.
    fn check(&self) {
        for asker in &self.askers {
            let is_well = asker.collector.look(|seen| seen.faults.is_empty());
            assert!(is_well, "{}", asker.told());
        }
    }

    /// Waits until every client has the bars up to this time.
    async fn until_closed(&self, until_ms: i64) {
        until("every client has the newest bars", async || {
            for asker in &self.askers {
                let end_ms = asker.collector.look(Collected::end_ms);
                holds(end_ms >= until_ms, || {
                    format!("not at {until_ms}: {}", asker.told())
                })?;
            }
            Ok(())
        })
        .await;
    }

    /// All clients ask the other gateway once more, and are told that they have all.
    async fn ask_again(&self) {
        let askers = self.askers.iter();
        let sessions = askers.map(|asker| asker.collector.look(|seen| seen.sessions));
        let before: Vec<usize> = sessions.collect();
        self.leave(Duration::ZERO);
        until("every client is told that it has all", async || {
            for (asker, before) in self.askers.iter().zip(&before) {
                let recovered = asker.collector.look(|seen| seen.recovered_session);
                holds(recovered > *before, || asker.told())?;
            }
            Ok(())
        })
        .await;
    }

    /// Waits until every client has what the simulator traded, for revisions may be on their way.
    async fn until_true(&self) {
        until("every client has the truth", async || {
            let mut traded = HashMap::new();
            for instrument in INSTRUMENTS {
                let trades = self.simulator.trades(instrument.venue, instrument.native);
                traded.insert(instrument.symbol, trades.await);
            }
            for asker in &self.askers {
                let (bars, width_ms) = (
                    asker.collector.look(|seen| seen.bars.clone()),
                    asker.width_ms,
                );
                let trades = &traded[asker.instrument.symbol];
                let starts: Vec<i64> = bars.keys().copied().collect();
                let holes = starts
                    .windows(2)
                    .filter(|pair| pair[1] != pair[0] + width_ms);
                let holes: Vec<_> = holes.collect();
                holds(holes.is_empty(), || format!("{holes:?}: {}", asker.told()))?;
                let compared = truth::compare(&bars, trades, width_ms)
                    .map_err(|error| format!("{error}: {}", asker.told()))?;
                holds(compared.gaps.is_empty() && compared.equal > 0, || {
                    format!("{compared:?}: {}", asker.told())
                })?;
            }
            Ok(())
        })
        .await;
    }

    async fn newest_ms(&self) -> i64 {
        let instrument = INSTRUMENTS[0];
        let trades = self
            .simulator
            .trades(instrument.venue, instrument.native)
            .await;
        trades.last().expect("the market trades").event_ms()
    }
}

impl Asker {
    /// What happened to it, for the reader of a failure.
    fn told(&self) -> String {
        let told = |seen: &Collected| format!("{:?}\n  {}", seen.faults, seen.story.join("\n  "));
        format!("{}: {}", self.topic, self.collector.look(told))
    }
}

/// What one client of a seed does.
fn client_random(seed: u64, number: usize) -> StdRng {
    let number = u64::try_from(number).expect("few clients");
    StdRng::seed_from_u64(seed ^ (number + 1).rotate_left(32))
}

async fn run(seed: u64, clients: usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let Some(mut play) = Play::start(seed, clients).await else {
        return;
    };
    let begin_ms = play.newest_ms().await;
    play.until_closed(begin_ms).await;
    let wanderers = play.wander(seed);
    let happened = events(&mut random);
    for event in &happened {
        println!("{} {event:?}", play.newest_ms().await);
        play.happen(*event).await;
        play.check();
    }
    drop(wanderers);
    // Each program that was killed was also started again.
    let is_kill = |event: &&Event| !matches!(event.victim, Victim::Nobody);
    let kills = happened.iter().filter(is_kill).count();
    play.until_ready().await;
    let newest_ms = play.newest_ms().await;
    play.until_closed(newest_ms + 2_000).await;
    play.ask_again().await;
    play.until_true().await;
    play.check();
    let sessions = play.askers.iter();
    let sessions: usize = sessions
        .map(|asker| asker.collector.look(|seen| seen.sessions))
        .sum();
    let reconnections = sessions.saturating_sub(play.askers.len());
    // `scripts/kill-matrix.sh --past` adds them up.
    println!("events: kills={kills} restarts={kills} reconnections={reconnections}");
    for asker in &play.askers {
        asker.collector.look(|seen| {
            println!(
                "{}: {} bars, {} sessions, {} recovered, not {:?}, {} skips",
                asker.topic,
                seen.bars.len(),
                seen.sessions,
                seen.recovered,
                seen.unrecovered,
                seen.skips
            );
        });
    }
}

/// `KLINECAST_SEEDS=50` sets how many seeds run, `KLINECAST_SEED=17` runs one alone, and
/// `KLINECAST_CLIENTS=60` sets how many clients each fleet has, two of each topic by default.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_ask_with_from_have_every_bar_whichever_program_is_killed() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = match number("KLINECAST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("KLINECAST_SEEDS").unwrap_or(1),
    };
    let clients = number("KLINECAST_CLIENTS").map(usize::try_from);
    let clients = clients.and_then(Result::ok).unwrap_or(12);
    for seed in seeds {
        println!(
            "repeat: KLINECAST_CLIENTS={clients} scripts/kill-matrix.sh --past --runs 1 --seed {seed}"
        );
        let began_at = Instant::now();
        run(seed, clients).await;
        println!("seed {seed} took {:.0} s", began_at.elapsed().as_secs_f64());
    }
}
