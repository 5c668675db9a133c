//! Many sessions that want and give up widths at random, on several shards.

use std::collections::BTreeMap;

use market_core::BarState;
use market_core::protocol::RequestLimits;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::folds::minute;
use super::*;
use crate::limits::{AddressGroups, SharesConfig};

const SHARDS: usize = 2;
const SYMBOLS: [&str; 2] = ["A-B", "C-D"];
const WIDTHS: [i64; 6] = [2, 3, 7, 15, 45, 90];
const FOLDS_MAX: usize = 8;
const MINUTE_MS: i64 = 60_000;

/// What a client has got of a topic since it subscribed.
#[derive(Default)]
struct Got {
    /// Trades and highest price of the closed bars, by their first minute.
    closed: BTreeMap<i64, (u64, u64)>,
    /// First minute, trades and state of the newest object.
    newest: Option<(i64, u64, bool)>,
}

struct Member {
    shard: usize,
    id: SessionId,
    client: Arc<Client>,
    /// Whether it names the venue.
    has_venue: bool,
    /// By symbol and width.
    got: BTreeMap<(usize, i64), Got>,
}

struct Crowd {
    hub: Arc<Hub>,
    folds: Arc<Folds>,
    shards: Vec<Shard<Client>>,
    members: Vec<Member>,
    now: Instant,
    random: StdRng,
    /// For each symbol, the revisions of its minutes.
    truth: [Vec<u32>; 2],
    /// Whether the next minute has begun.
    forms: [bool; 2],
    seq: u64,
}

impl Crowd {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        let hub = Arc::new(Hub::new(SHARDS, 1_000, Depth::default(), Names::any()));
        let limits = FoldLimits {
            folds_max: FOLDS_MAX,
            shares: SharesConfig {
                per_session: 3,
                per_ip: 0,
                holds_for_loopback: false,
                groups: AddressGroups::new(64),
            },
            linger: 30 * SECOND,
        };
        let folds = world::folds(&hub, limits);
        let config = ShardConfig {
            // Its clients send nothing but requests.
            idle_timeout: 100_000 * SECOND,
            first_message_timeout: 100_000 * SECOND,
            ..World::config(Pace::default())
        };
        let shard = |index| {
            let (hub, folds) = (Arc::clone(&hub), Arc::clone(&folds));
            let streams = streams(&hub);
            Shard::new(config.clone(), hub, folds, streams, index, seed, now)
        };
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            members: Vec::new(),
            now,
            random: StdRng::seed_from_u64(seed),
            truth: [Vec::new(), Vec::new()],
            forms: [false; 2],
            seq: 0,
            hub,
            folds,
        }
    }

    fn publish(&mut self, symbol: usize, index: usize, rev: u32, state: BarState) {
        self.seq += 1;
        let at = i64::try_from(index).expect("few");
        let bar = (at, self.seq, rev);
        minute(
            &self.hub,
            &self.folds,
            SYMBOLS[symbol],
            bar,
            state,
            self.now,
        );
    }

    /// The market goes on, and sometimes a bar is revised.
    fn trade(&mut self) {
        for symbol in 0..SYMBOLS.len() {
            let count = self.truth[symbol].len();
            match self.random.random_range(0..4) {
                0 => {
                    self.publish(symbol, count, 0, BarState::Forming);
                    self.forms[symbol] = true;
                }
                1 if count > 0 => {
                    let index = count - 1 - self.random.random_range(0..count.min(60));
                    self.truth[symbol][index] += 1;
                    let rev = self.truth[symbol][index];
                    self.publish(symbol, index, rev, BarState::Closed);
                }
                _ => {
                    self.truth[symbol].push(0);
                    self.publish(symbol, count, 0, BarState::Closed);
                    self.forms[symbol] = false;
                }
            }
        }
    }

    fn ask(&mut self, member: usize, op: &str, symbol: usize, width: i64) {
        let Member {
            shard,
            id,
            has_venue,
            ..
        } = self.members[member];
        let venue = if has_venue { "BINANCE:" } else { "" };
        let topic = format!("kline:{width}m:{venue}{}", SYMBOLS[symbol]);
        let text = serde_json::json!({ "op": op, "topics": [topic] }).to_string();
        let request = Request::parse(&text, RequestLimits::default());
        self.shards[shard].pull();
        self.shards[shard].request(id, request, self.now);
        self.perform(shard);
    }

    fn perform(&mut self, shard: usize) {
        for effect in self.shards[shard].take_effects() {
            self.shards[shard].perform(effect);
        }
    }

    /// Somebody comes, goes, wants a width, or gives one up.
    fn decide(&mut self) {
        let member = match self.members.len() {
            0 => None,
            count => Some(self.random.random_range(0..count)),
        };
        match (self.random.random_range(0..10), member) {
            (0, _) | (_, None) => {
                let shard = self.random.random_range(0..SHARDS);
                let client = Client::new(self.now);
                self.members.push(Member {
                    shard,
                    id: self.shards[shard].join(Arc::clone(&client), self.now),
                    client,
                    has_venue: self.random.random(),
                    got: BTreeMap::new(),
                });
            }
            (1, Some(member)) => {
                let member = self.members.swap_remove(member);
                self.shards[member.shard].leave(member.id);
            }
            (2..=5, Some(member)) => {
                let symbol = self.random.random_range(0..SYMBOLS.len());
                let width = *WIDTHS.choose(&mut self.random).expect("some");
                self.ask(member, "sub", symbol, width);
                let objects = self.members[member].client.take();
                if objects.iter().any(|object| object["op"] == "ack") {
                    self.members[member]
                        .got
                        .insert((symbol, width), Got::default());
                }
                self.take(member, &objects);
            }
            (_, Some(member)) => {
                let topics: Vec<_> = self.members[member].got.keys().copied().collect();
                if let Some(&(symbol, width)) = topics.choose(&mut self.random) {
                    self.ask(member, "unsub", symbol, width);
                    let objects = self.members[member].client.take();
                    self.take(member, &objects);
                    self.members[member].got.remove(&(symbol, width));
                }
            }
        }
    }

    fn take(&mut self, member: usize, objects: &[Value]) {
        for bar in objects.iter().filter(|object| object["op"].is_null()) {
            let symbol = SYMBOLS.iter().position(|symbol| bar["symbol"] == **symbol);
            let interval = bar["interval"].as_str().expect("a bar");
            let width = interval.trim_end_matches('m').parse().expect("minutes");
            let key = (symbol.expect("known"), width);
            let number = |name: &str| bar[name].as_u64().expect("a bar");
            let start = bar["start_ms"].as_i64().expect("a bar") / MINUTE_MS;
            let is_closed = bar["state"] == "closed";
            let got = self.members[member].got.get_mut(&key).expect("subscribed");
            if is_closed {
                let high = bar["high"].as_str().expect("a bar").parse().expect("whole");
                got.closed.insert(start, (number("count"), high));
            }
            if got.newest.is_none_or(|(newest, _, _)| newest <= start) {
                got.newest = Some((start, number("count"), is_closed));
            }
        }
    }

    /// Time passes, the folds are looked after, and all changes are sent.
    fn pass(&mut self) {
        let mut loads = Vec::new();
        for _ in 0..self.random.random_range(0..4) {
            self.now += 2 * SECOND;
            for shard in 0..SHARDS {
                self.shards[shard].tick(self.now);
                self.perform(shard);
            }
            loads.extend(self.folds.tend(self.now));
        }
        // History has all bars.
        loop {
            loads.extend(self.folds.tend(self.now));
            if loads.is_empty() {
                break;
            }
            for load in loads.drain(..) {
                let symbol = SYMBOLS
                    .iter()
                    .position(|symbol| load.source.as_str().ends_with(symbol));
                let truth = &self.truth[symbol.expect("known")];
                let rows: Vec<_> = (load.range.0 / MINUTE_MS..load.range.1 / MINUTE_MS)
                    .filter_map(|index| {
                        let rev = truth.get(usize::try_from(index).ok()?)?;
                        Some(super::folds::row(index, *rev))
                    })
                    .collect();
                self.folds.loaded(&load, Some(&rows), self.now);
            }
        }
        for shard in &mut self.shards {
            shard.pull();
            while !shard.flush_some(self.now, 3) {}
        }
        for member in 0..self.members.len() {
            let objects = self.members[member].client.take();
            self.take(member, &objects);
        }
    }

    /// Everybody has the newest state and the truth, and what nobody wants is bounded.
    fn check(&self) {
        for member in &self.members {
            for (&(symbol, width), got) in &member.got {
                let truth = &self.truth[symbol];
                let count = i64::try_from(truth.len()).expect("few");
                let known = count + i64::from(self.forms[symbol]);
                let told = || format!("{width}m of {}", SYMBOLS[symbol]);
                if known > 0 {
                    let start = (known - 1) / width * width;
                    let trades = u64::try_from(known - start).expect("some");
                    let is_closed = count == start + width;
                    assert_eq!(got.newest, Some((start, trades, is_closed)), "{}", told());
                }
                for (&start, &(trades, high)) in &got.closed {
                    let at = |minute: i64| usize::try_from(minute).expect("after 1970");
                    let revs = &truth[at(start)..at(start + width)];
                    let highest = 5 + revs.iter().max().expect("some");
                    let expected = (u64::try_from(width).expect("few"), u64::from(highest));
                    assert_eq!((trades, high), expected, "{} at {start}", told());
                }
            }
        }
        let slots = self.hub.slot_count();
        assert!(slots <= SYMBOLS.len() + FOLDS_MAX, "{slots} slots");
    }

    /// All leave, and nothing is left of them.
    fn end(mut self) {
        for member in std::mem::take(&mut self.members) {
            self.shards[member.shard].leave(member.id);
        }
        for _ in 0..20 {
            self.now += 2 * SECOND;
            let _ = self.folds.tend(self.now);
        }
        for shard in &mut self.shards {
            shard.pull();
        }
        assert!(self.folds.is_clean());
        let topics = SYMBOLS.iter().filter(|symbol| {
            let source = format!("kline:1m:{symbol}").parse().expect("a topic");
            self.hub.find(&source).is_some()
        });
        assert_eq!(self.hub.topic_count(), topics.count());
        assert_eq!(self.hub.ending_counts().folds, 0);
    }
}

/// `KLINECAST_SEEDS=10000` sets how many seeds run.
#[test]
fn a_crowd_that_wants_and_gives_up_widths_has_the_truth_and_leaves_nothing_behind() {
    let seeds = std::env::var("KLINECAST_SEEDS").ok();
    let seeds = seeds.and_then(|seeds| seeds.parse().ok()).unwrap_or(10);
    for seed in 0..seeds {
        println!("KLINECAST_SEED={seed}");
        let mut crowd = Crowd::new(seed);
        for _ in 0..300 {
            crowd.decide();
            crowd.trade();
            crowd.pass();
            crowd.check();
        }
        crowd.end();
    }
}
