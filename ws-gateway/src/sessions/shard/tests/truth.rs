//! Whatever happens to a session: of each topic, what it was delivered and what it was told it
//! skipped is what was published.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const TOPICS: [&str; 3] = ["kline:1s:A-B", "kline:1s:C-D", "kline:1s:E-F"];
const MEMBERS: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    Forming(usize),
    /// A closed bar; whether it is flat for want of trades.
    Closed(usize, bool),
    /// A closed bar that does not reach the gateway.
    Lost(usize),
    Pull,
    Flush,
    Pass(u32),
    Stall(usize),
    Resume(usize),
    /// Frames a second.
    Rate(usize, u8),
    ClosedOnly(usize, bool),
    /// The connection breaks, and the client resumes.
    Reconnect(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let member = 0..MEMBERS;
    proptest::collection::vec(
        prop_oneof![
            6 => (0usize..3).prop_map(Step::Forming),
            8 => (0usize..3, prop::bool::weighted(0.3)).prop_map(|(topic, filled)| Step::Closed(topic, filled)),
            1 => (0usize..3).prop_map(Step::Lost),
            2 => Just(Step::Pull),
            6 => Just(Step::Flush),
            6 => (1u32..400).prop_map(Step::Pass),
            2 => member.clone().prop_map(Step::Stall),
            2 => member.clone().prop_map(Step::Resume),
            1 => (member.clone(), 0u8..20).prop_map(|(member, rate)| Step::Rate(member, rate)),
            1 => (member.clone(), any::<bool>()).prop_map(|(member, only)| Step::ClosedOnly(member, only)),
            1 => member.prop_map(Step::Reconnect),
        ],
        1..200,
    )
}

/// What a client knows of a topic.
#[derive(Debug, Default)]
struct Known {
    delivered: BTreeSet<i64>,
    skipped: u64,
    seq: u64,
    closed_ms: i64,
    /// The number of the last object.
    last: u64,
}

struct Reader {
    id: SessionId,
    client: Arc<Client>,
    /// Declines flat bars.
    no_fill: bool,
    closed_only: bool,
    has_resumed: bool,
    known: [Known; 3],
    /// Closed bars that it is to account for.
    expected: [u64; 3],
    /// Those that it declined, or had from the beginning.
    declined: [BTreeSet<i64>; 3],
}

impl Reader {
    fn request(&self, since: Option<Value>) -> String {
        let mut request = serde_json::json!({
            "op": "sub", "topics": ["kline:1s:*"], "closed_only": self.closed_only,
            "fill": if self.no_fill { "none" } else { "flat" },
        });
        if let Some(since) = since {
            request["since"] = since;
        }
        request.to_string()
    }

    fn since(&self) -> Value {
        let by_topic = |value: fn(&Known) -> i64| -> serde_json::Map<String, Value> {
            let pairs = TOPICS.iter().zip(&self.known);
            pairs
                .map(|(topic, known)| ((*topic).to_owned(), value(known).into()))
                .collect()
        };
        let (seq, closed_ms) = (
            by_topic(|known| known.seq as i64),
            by_topic(|known| known.closed_ms),
        );
        serde_json::json!({"epoch": 1, "seq": seq, "closed_ms": closed_ms})
    }

    /// Takes what has come.
    fn read(&mut self) {
        for object in self.client.take() {
            assert_eq!(object.get("not_resumed"), None);
            let Some(index) = TOPICS.iter().position(|topic| object["topic"] == **topic) else {
                continue;
            };
            let known = &mut self.known[index];
            known.skipped += object["skipped"].as_u64().unwrap_or(0);
            let (Some(seq), Some(end_ms)) = (object["seq"].as_u64(), object["end_ms"].as_i64())
            else {
                continue;
            };
            known.seq = known.seq.max(seq);
            known.last = seq;
            if object["state"] == "closed" {
                known.delivered.insert(end_ms);
                known.closed_ms = known.closed_ms.max(end_ms);
            } else {
                assert!(!self.closed_only, "forming bars are declined");
            }
        }
    }

    fn is_stalled(&self) -> bool {
        self.client.state().is_stalled
    }
}

struct Market {
    world: World,
    readers: Vec<Reader>,
    /// Start of the interval of each topic, s.
    index: [i64; 3],
    seq: [u64; 3],
    /// The last publication, if it was a forming bar.
    forming: [Option<u64>; 3],
}

impl Market {
    fn new() -> Self {
        let mut market = Self {
            world: World::with(PACE),
            readers: Vec::new(),
            index: [1; 3],
            seq: [0; 3],
            forming: [None; 3],
        };
        // So that a bar that is lost then is known to be missing.
        for topic in 0..3 {
            market.close(topic, false);
        }
        for number in 0..MEMBERS {
            let (id, client) = market.world.join();
            let reader = Reader {
                id,
                client,
                no_fill: number == 1,
                closed_only: number == 2,
                has_resumed: false,
                known: Default::default(),
                expected: [0; 3],
                declined: Default::default(),
            };
            market.world.ask(id, &reader.request(None));
            market.readers.push(reader);
        }
        for reader in &mut market.readers {
            reader.read();
            for (known, declined) in reader.known.iter_mut().zip(&mut reader.declined) {
                // The snapshot, which a subscription that is repeated may bring once more.
                *declined = std::mem::take(&mut known.delivered);
                assert_eq!(declined.len(), 1);
            }
        }
        market
    }

    fn close(&mut self, topic: usize, filled: bool) {
        self.seq[topic] += 1;
        let (index, seq) = (self.index[topic], self.seq[topic]);
        self.world
            .publish_bar(TOPICS[topic], index, seq, true, filled);
        for reader in &mut self.readers {
            if reader.no_fill && filled {
                reader.declined[topic].insert((index + 1) * 1_000);
            } else {
                reader.expected[topic] += 1;
            }
        }
        self.index[topic] += 1;
        self.forming[topic] = None;
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Forming(topic) => {
                self.seq[topic] += 1;
                let (index, seq) = (self.index[topic], self.seq[topic]);
                self.forming[topic] = Some(seq);
                self.world.publish(TOPICS[topic], index, seq, false);
            }
            Step::Closed(topic, filled) => self.close(topic, filled),
            Step::Lost(topic) => {
                self.seq[topic] += 1;
                self.index[topic] += 1;
                for reader in &mut self.readers {
                    reader.expected[topic] += 1;
                }
                // A forming bar of a later interval than the lost one may still come.
                self.forming[topic] = None;
            }
            Step::Pull => self.world.shard.pull(),
            Step::Flush => self.world.flush(),
            Step::Pass(ms) => self.world.pass(ms * MS),
            Step::Stall(member) => self.readers[member].client.state().is_stalled = true,
            Step::Resume(member) => self.resume(member),
            Step::Rate(member, rate) => {
                if !self.readers[member].is_stalled() {
                    let request = format!(r#"{{"op":"rate","max_rate":{rate}}}"#);
                    self.world.ask(self.readers[member].id, &request);
                }
            }
            Step::ClosedOnly(member, only) => {
                let reader = &mut self.readers[member];
                if !reader.is_stalled() {
                    reader.read();
                    reader.closed_only = only;
                    let (id, request) = (reader.id, reader.request(None));
                    // What it lacks comes by the old filter.
                    self.world.ask(id, &request);
                    let was = std::mem::replace(&mut self.readers[member].closed_only, false);
                    self.readers[member].read();
                    self.readers[member].closed_only = was;
                }
            }
            Step::Reconnect(member) => {
                self.readers[member].read();
                self.world.shard.leave(self.readers[member].id);
                let (id, client) = self.world.join();
                let reader = &mut self.readers[member];
                (reader.id, reader.client) = (id, client);
                reader.has_resumed = true;
                let request = reader.request(Some(reader.since()));
                self.world.ask(id, &request);
            }
        }
    }

    fn resume(&mut self, member: usize) {
        let reader = &self.readers[member];
        reader.client.state().is_stalled = false;
        self.world.shard.writable(reader.id, self.world.now);
    }

    /// Lets everyone catch up.
    fn settle(&mut self) {
        for topic in 0..3 {
            self.close(topic, false);
        }
        for topic in 0..3 {
            self.take(&Step::Forming(topic));
        }
        for member in 0..MEMBERS {
            self.resume(member);
        }
        for _ in 0..12 {
            self.world.flush();
            self.world.pass(SECOND / 10);
        }
        for reader in &mut self.readers {
            reader.read();
        }
    }
}

proptest! {
    #[test]
    fn delivered_and_skipped_is_what_was_published_whatever_happens(
        steps in steps(),
    ) {
        let mut market = Market::new();
        for step in &steps {
            market.take(step);
        }
        market.settle();
        for (number, reader) in market.readers.iter().enumerate() {
            for (topic, known) in reader.known.iter().enumerate() {
                let wanted = known.delivered.difference(&reader.declined[topic]).count() as u64;
                let accounted = wanted + known.skipped;
                // Bars that were skipped before one that is declined are said in an object of
                // their own, which has no number to resume from: they are said again.
                if reader.no_fill && reader.has_resumed && accounted > reader.expected[topic] {
                    continue;
                }
                prop_assert_eq!(
                    accounted,
                    reader.expected[topic],
                    "reader {} of {}: {:?}", number, TOPICS[topic], known
                );
                if !reader.closed_only {
                    prop_assert_eq!(Some(known.last), market.forming[topic]);
                }
            }
        }
    }
}

/// What a closed bar costs is the same however many topics the set has.
#[test]
fn a_closed_bar_costs_a_look_at_its_topic_and_not_at_its_set() {
    const SET: usize = 90;
    let mut world = World::new();
    world.shard.config.topics_max = SET;
    let topics: Vec<String> = (0..SET).map(|n| format!("kline:1s:N{n}-B")).collect();
    for topic in &topics {
        world.publish(topic, 1, 1, true);
    }
    let members: Vec<_> = (0..3).map(|_| world.join()).collect();
    for (id, client) in &members {
        world.ask(
            *id,
            r#"{"op":"sub","topics":["kline:1s:*"],"closed_only":true}"#,
        );
        client.take();
    }
    world.flush();
    let slow = &members[2];
    slow.1.state().is_stalled = true;
    for (round, closed) in (2..).zip([vec![5], vec![80, 7], vec![7]]) {
        world.shard.counts = Counts::default();
        for &number in &closed {
            world.publish(&topics[number], round, round as u64, true);
        }
        world.flush();
        let read = members[0].1.take();
        assert_eq!(read.len(), closed.len());
        assert_eq!(members[1].1.take(), read);
        // Who is behind lacks more than what has just closed.
        let behind = if round == 2 { 0 } else { SET };
        assert_eq!(world.shard.counts.looked_at, (closed.len() + behind) as u64);
    }
    world.shard.counts = Counts::default();
    slow.1.state().is_stalled = false;
    world.shard.writable(slow.0, world.now);
    world.pass(SECOND);
    world.flush();
    let starts: Vec<_> = slow
        .1
        .take()
        .iter()
        .map(|bar| bar["topic"].clone())
        .collect();
    assert_eq!(starts, [5, 7, 7, 80].map(|number| topics[number].as_str()));
}

/// Topics that a client lacks nothing of are not looked at again and again.
#[test]
fn a_session_of_closed_bars_costs_nothing_while_none_closes() {
    let mut world = World::new();
    for topic in TOPICS {
        world.publish(topic, 1, 1, true);
    }
    let (id, client) = world.join();
    // In a set of its own.
    world.ask(
        id,
        r#"{"op":"sub","topics":["kline:1s:*","kline:1s:NOBODY-HAS"],"closed_only":true}"#,
    );
    client.take();
    world.flush();
    world.shard.counts = Counts::default();
    for seq in 2..100 {
        for topic in TOPICS {
            world.publish(topic, 2, seq, false);
        }
        world.flush();
        world.pass(SECOND / 100);
    }
    assert_eq!((world.shard.counts.looked_at, client.take().len()), (0, 0));
    assert_eq!(world.shard.flush_at(), None);
    world.publish(TOPICS[1], 2, 100, true);
    world.flush();
    let objects = client.take();
    assert_eq!(objects.len(), 1);
    assert_eq!(objects[0]["seq"], 100);
    assert_eq!(world.shard.counts.looked_at, 1, "the one that changed");
    // What is no bar comes all the same.
    world.ask(
        id,
        r#"{"op":"sub","topics":["boundary:1s"],"closed_only":true}"#,
    );
    client.take();
    world.publish_status("boundary:1s", r#"{"op":"boundary","topic":"boundary:1s"}"#);
    world.flush();
    assert_eq!(client.take()[0]["op"], "boundary");
}
