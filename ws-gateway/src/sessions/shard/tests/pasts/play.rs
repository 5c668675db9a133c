//! Clients that meet publications, revisions, restarts and stalls in a random order.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;

/// A client that keeps the token of `live`, moves it on with each closed bar after it, and asks again whenever it is told of missing bars.
#[derive(Debug, Default)]
struct Bot {
    bars: BTreeMap<i64, (u64, u32)>,
    end_ms: i64,
    known_ms: i64,
    is_live: bool,
    must_ask: bool,
    /// Bars before `live`, which tells whether they are all.
    past: Vec<Value>,
}

impl Bot {
    fn take(&mut self, objects: &[Value], seed: u64) {
        for object in objects {
            if object["skipped"]
                .as_u64()
                .is_some_and(|skipped| skipped > 0)
                || object["recovered"] == false
            {
                // What follows does not move the token: it would hide what is missing.
                self.must_ask = true;
            }
            match object["op"].as_str() {
                Some("live") => self.live(object, seed),
                Some(_) => {}
                None if object["state"] == "closed" && self.is_live => self.take_bar(object, seed),
                None if object["state"] == "closed" => self.past.push(object.clone()),
                None => {}
            }
        }
    }

    fn live(&mut self, object: &Value, seed: u64) {
        let past = std::mem::take(&mut self.past);
        if !self.must_ask {
            for bar in past {
                self.take_bar(&bar, seed);
            }
            self.is_live = true;
            // Without one, neither history nor the gateway had a bar.
            if let Some(token) = object["token"].as_str() {
                let token: ResumeToken = token.parse().expect("a token");
                (self.end_ms, self.known_ms) = (token.end_ms(), token.known_ms());
            }
        }
    }

    fn take_bar(&mut self, object: &Value, seed: u64) {
        let index = object["start_ms"].as_i64().expect("a bar") / BAR_MS;
        let epoch = object["epoch"].as_u64().expect("a bar");
        let rev = u32::try_from(object["rev"].as_u64().expect("a bar")).expect("few");
        if self.must_ask {
            return;
        }
        let newest = self.bars.keys().next_back().copied();
        if self.bars.keys().next().is_some_and(|first| index < *first) {
            // A revision of a bar that it did not ask for.
            assert!(rev > 0, "seed {seed}: {index} before the first");
            return;
        }
        if let Some(held) = self.bars.get(&index) {
            // A bar that the client has comes again only as a revision, or after a reconnect
            // within the time by which clocks may differ.
            assert!(rev >= held.1, "seed {seed}: {index}r{rev} after {held:?}");
        } else {
            assert!(
                newest.is_none_or(|newest| index == newest + 1),
                "seed {seed}: {index} after {newest:?}"
            );
        }
        self.bars.insert(index, (epoch, rev));
        self.end_ms = self.end_ms.max((index + 1) * BAR_MS);
        let known_us = object["published_us"].as_i64().expect("a bar");
        self.known_ms = self.known_ms.max(known_us / 1_000);
    }
}

/// Publisher, history, gateway and client of one seed.
struct Play {
    seed: u64,
    rng: SmallRng,
    world: World,
    log: Vec<Published>,
    truth: BTreeMap<i64, u32>,
    store: Store,
    /// Publications that history has.
    stored: usize,
    /// When each publication came: history lags by less than the hold time of the slots.
    came_at: Vec<Instant>,
    /// Publications that the gateway has.
    ingested: usize,
    seq: u64,
    epoch: u64,
    now_ms: i64,
    bot: Bot,
    session: Option<(SessionId, Arc<Client>)>,
}

const BEGIN: i64 = 50;

const HOLD: Duration = Duration::from_secs(30);

const LAG_MAX: Duration = Duration::from_secs(10);

impl Play {
    fn new(seed: u64) -> Self {
        let mut play = Self {
            seed,
            rng: SmallRng::seed_from_u64(seed),
            world: gateway(),
            log: Vec::new(),
            truth: BTreeMap::new(),
            store: Store::default(),
            stored: 0,
            came_at: Vec::new(),
            ingested: 0,
            seq: 0,
            epoch: 1,
            now_ms: 0,
            bot: Bot::default(),
            session: None,
        };
        for index in 0..BEGIN {
            play.publish(index, 0);
        }
        // A gateway is ready once it has what the bus retains.
        play.ingest();
        play
    }

    fn publish(&mut self, index: i64, rev: u32) {
        self.seq += 1;
        self.now_ms = self.now_ms.max((index + 1) * BAR_MS) + self.rng.random_range(1..300);
        self.log.push(Published {
            index,
            rev,
            seq: self.seq,
            epoch: self.epoch,
            known_ms: self.now_ms,
        });
        // The 32 messages that the bus retains are more than history lags by.
        self.world.now += LAG_MAX / 25;
        self.came_at.push(self.world.now);
        self.truth.insert(index, rev);
    }

    fn ingest(&mut self) {
        for bar in &self.log[self.ingested..] {
            self.world.offer(*bar, true);
        }
        self.ingested = self.log.len();
    }

    fn store(&mut self, count: usize) {
        let end = (self.stored + count).min(self.log.len());
        for bar in &self.log[self.stored..end] {
            self.store.take(*bar);
        }
        self.stored = end;
    }

    fn connect(&mut self) {
        if let Some((id, _)) = self.session.take() {
            self.world.shard.leave(id);
        }
        let (id, client) = self.world.join();
        let from = match ResumeToken::new(self.bot.end_ms, self.bot.known_ms) {
            Some(token) if self.bot.end_ms > 0 => format!(r#"{{"token":"{token}"}}"#),
            _ => match self.rng.random::<bool>() {
                true => format!(r#"{{"ms":{}}}"#, (BEGIN - 20) * BAR_MS),
                false => r#"{"last":20}"#.to_owned(),
            },
        };
        self.bot.past.clear();
        self.bot.is_live = false;
        self.bot.must_ask = false;
        self.world.ask(id, &past_of(&from));
        self.session = Some((id, client));
    }

    fn read(&mut self) {
        if let Some((_, client)) = &self.session
            && !client.state().is_stalled
        {
            let objects = client.take();
            self.bot.take(&objects, self.seed);
        }
    }

    fn set_stalled(&mut self, is_stalled: bool) {
        if let Some((id, client)) = &self.session {
            client.state().is_stalled = is_stalled;
            if !is_stalled {
                self.world.shard.writable(*id, self.world.now);
                self.world.perform();
            }
        }
    }

    fn answer_one(&mut self) {
        if self.world.questions.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..self.world.questions.len());
        let (id, query) = self.world.questions.swap_remove(at);
        let late = self.came_at[self.stored..]
            .iter()
            .take_while(|at| self.world.now.saturating_duration_since(**at) >= LAG_MAX)
            .count();
        self.store(late);
        let answer = match self.rng.random_bool(0.1) {
            true => Err(NoPage),
            false => Ok(self.store.answer(&query, self.now_ms)),
        };
        self.world.answer(id, answer);
    }

    fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..30 => {
                let newest = self.truth.keys().next_back().copied().unwrap_or(-1);
                self.publish(newest + 1, 0);
                self.ingest();
            }
            30..37 => {
                let newest = self.truth.keys().next_back().copied().unwrap_or(0);
                let index = match self.rng.random_bool(0.3) {
                    true => self.rng.random_range(BEGIN - 20..=newest),
                    false => self.rng.random_range((newest - 6).max(BEGIN - 20)..=newest),
                };
                let rev = self.truth[&index] + 1;
                self.publish(index, rev);
                self.ingest();
            }
            37..50 => {
                let count = self.rng.random_range(1..8);
                self.store(count);
            }
            50..65 => self.answer_one(),
            65..80 => {
                self.world.flush();
                self.read();
                if self.bot.must_ask && self.session.is_some() {
                    self.connect();
                }
            }
            80..86 => {
                let time = self.rng.random_range(1..1_500);
                self.world.pass(Duration::from_millis(time));
            }
            86..89 => {
                self.read();
                self.connect();
            }
            89..92 => self.set_stalled(true),
            92..96 => self.set_stalled(false),
            // Another publisher.
            96..98 => self.epoch += 1,
            // Another gateway: it has what the bus retains.
            _ if self.rng.random_bool(0.5) => {
                self.read();
                self.session = None;
                let now = self.world.now;
                self.world = gateway();
                self.world.now = now;
                self.ingested = self.log.len().saturating_sub(32);
                self.ingest();
                self.connect();
            }
            // A long time, as with a slow client.
            _ => {
                self.world.pass(HOLD);
                self.world.hub.let_go(self.world.now);
            }
        }
    }

    /// Everything is well from now on.
    fn settle(&mut self) {
        self.store(usize::MAX / 2);
        self.ingest();
        for _ in 0..40 {
            if self.session.is_none() || self.bot.must_ask {
                self.connect();
            }
            self.set_stalled(false);
            while let Some((id, query)) = self.world.questions.pop() {
                let page = self.store.answer(&query, self.now_ms);
                self.world.answer(id, Ok(page));
            }
            self.world.flush();
            self.read();
            self.world.pass(SECOND / 2);
        }
        assert!(self.bot.is_live, "seed {}", self.seed);
        let first = self.bot.bars.keys().next().copied().unwrap_or(0);
        let expected: BTreeMap<i64, u32> =
            self.truth.range(first..).map(|(i, r)| (*i, *r)).collect();
        let got: BTreeMap<i64, u32> = self.bot.bars.iter().map(|(i, (_, r))| (*i, *r)).collect();
        assert_eq!(got, expected, "seed {}", self.seed);
    }
}

fn gateway() -> World {
    let depth = Depth {
        closed_bars: 8,
        closed_log: 16,
        hold: HOLD,
        ..Depth::default()
    };
    World::holding(depth, Pace::default(), Names::any(), usize::MAX)
}

/// Whatever happens between the publisher and a client, the client's bars are the publisher's.
/// `KLINECAST_SEEDS=20000` sets how many seeds run, `KLINECAST_SEED=17` runs one alone.
#[test]
fn a_client_has_every_bar_and_every_revision_whatever_happens_on_the_way() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = match number("KLINECAST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("KLINECAST_SEEDS").unwrap_or(300),
    };
    for seed in seeds {
        let mut play = Play::new(seed);
        for _ in 0..play.rng.random_range(20..400) {
            play.step();
        }
        play.settle();
    }
}
