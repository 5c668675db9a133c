//! Whatever happens to sessions and to the publisher of a book, and to whatever depth a session takes
//! it: what a session has is the publisher's book.

use std::collections::{BTreeMap, HashMap};

use market_core::channel::Class;
use market_core::protocol::{BOOK_DEPTHS, RequestLimits};
use market_core::wire::{BookChangesMessage, BookMessage, JsonMessage, Stamp};
use market_core::{BookFault, BookLevels, BookTop, PriceLevel};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::sessions::session_id::SessionId;
use crate::topics::publication::Placed;
use crate::topics::state::StreamPosition;

const TOPIC: &str = "book:A-B";
const EXACT: usize = 0;
const PATTERNS: [&str; 2] = [TOPIC, "book:*"];
const MEMBERS: usize = 3;
/// Bids are below it, asks are not.
const MIDDLE: u32 = 40;

/// Any depth, and whether changes are wanted.
type Wanted = (Option<usize>, bool);

#[derive(Debug, Clone)]
enum Step {
    /// Levels get these quantities; of 0, they are gone.
    Publish(Vec<(u32, u32)>),
    /// The publisher sends the same book again.
    Repeat,
    /// The publisher has no book.
    Lose,
    /// Another publisher.
    Restart,
    Pull,
    Flush,
    Stall(usize),
    Resume(usize),
    Subscribe(usize, usize, Wanted),
    Unsubscribe(usize, usize),
    /// The connection breaks, and the client goes on where it was.
    Reconnect(usize),
}

fn levels() -> impl Strategy<Value = Vec<(u32, u32)>> {
    proptest::collection::vec((1..2 * MIDDLE, 0u32..4), 0..12)
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let depth = prop_oneof![
        Just(None),
        proptest::sample::select(&BOOK_DEPTHS[..2]).prop_map(Some)
    ];
    (depth, prop::bool::weighted(0.8))
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let member = 0..MEMBERS;
    proptest::collection::vec(
        prop_oneof![
            12 => levels().prop_map(Step::Publish),
            1 => Just(Step::Repeat),
            1 => Just(Step::Lose),
            1 => Just(Step::Restart),
            2 => Just(Step::Pull),
            8 => Just(Step::Flush),
            2 => member.clone().prop_map(Step::Stall),
            2 => member.clone().prop_map(Step::Resume),
            2 => (member.clone(), 0..PATTERNS.len(), wanted())
                .prop_map(|(member, pattern, wanted)| Step::Subscribe(member, pattern, wanted)),
            1 => (member.clone(), 0..PATTERNS.len())
                .prop_map(|(member, pattern)| Step::Unsubscribe(member, pattern)),
            1 => member.prop_map(Step::Reconnect),
        ],
        1..80,
    )
}

struct Publisher {
    epoch: u64,
    seq: u64,
    levels: BTreeMap<u32, u32>,
    is_lost: bool,
}

impl Publisher {
    fn top(&self) -> BookLevels {
        let level = |(price, quantity): (&u32, &u32)| {
            let level = PriceLevel::parse(&price.to_string(), &quantity.to_string());
            level.expect("numbers").expect("a level")
        };
        BookLevels {
            bids: self.levels.range(..MIDDLE).rev().map(level).collect(),
            asks: self.levels.range(MIDDLE..).map(level).collect(),
        }
    }

    fn publish(&mut self, world: &World) {
        self.seq += 1;
        let levels = self.top();
        let book = BookTop {
            update_id: Some(self.seq),
            bids: levels.bids,
            asks: levels.asks,
            event_ms: None,
            received_us: 1,
        };
        let stamp = Stamp {
            seq: self.seq,
            epoch: self.epoch,
            published_us: 1,
        };
        let symbol = "A-B".parse().expect("a symbol");
        let said = match self.is_lost {
            true => Err(BookFault::Hole),
            false => Ok(&book),
        };
        let json = BookMessage::new("binance", &symbol, said, stamp).encode();
        let slot = world.hub.slot_of(&TOPIC.parse().expect("topic"));
        let placed = Placed {
            position: StreamPosition {
                epoch: self.epoch,
                seq: self.seq,
            },
            exchange: "binance",
            class: Class::Book,
            published_us: Some(1),
        };
        let slot = slot.expect("room");
        let _ = world.hub.offer_placed(slot, placed, json, world.now);
    }
}

/// A client as the protocol says it has to be.
#[derive(Default)]
struct Book {
    place: Option<(u64, u64)>,
    /// `None` if there is no valid book.
    levels: Option<BookLevels>,
    changes: u64,
}

impl Book {
    fn take(&mut self, object: &Value) {
        if object["topic"] != TOPIC {
            return;
        }
        let json = object.to_string();
        if object.get("prev_seq").is_none() {
            let whole = BookMessage::read(json.as_bytes()).expect("a book");
            self.place = Some((whole.epoch, whole.seq));
            self.levels = whole.levels();
            return;
        }
        let message = BookChangesMessage::read(json.as_bytes()).expect("changes");
        assert_eq!(
            self.place,
            Some((message.epoch, message.prev_seq)),
            "{json}"
        );
        let levels = self.levels.as_mut().expect("a book that changes");
        levels.apply(&message.changes().expect("levels"));
        assert_eq!(levels.checksum(), message.checksum, "{json}");
        self.place = Some((message.epoch, message.seq));
        self.changes += 1;
    }
}

struct Member {
    id: SessionId,
    client: Arc<Client>,
    book: Book,
    subscriptions: HashMap<usize, Wanted>,
}

impl Member {
    fn join(world: &mut World) -> Self {
        let (id, client) = world.join();
        Self {
            id,
            client,
            book: Book::default(),
            subscriptions: HashMap::new(),
        }
    }

    fn take(&mut self) {
        for object in self.client.take() {
            self.book.take(&object);
        }
    }

    fn subscribe(&mut self, world: &mut World, pattern: usize, wanted: Wanted, resumes: bool) {
        let (depth, changes) = wanted;
        let mut request = json!({"op": "sub", "topics": [PATTERNS[pattern]], "changes": changes});
        if let Some(depth) = depth {
            request["depth"] = json!(depth);
        }
        if let Some((epoch, seq)) = self.book.place.filter(|_| resumes) {
            request["since"] = json!({"epoch": epoch, "seq": {TOPIC: seq}});
        }
        world.ask(self.id, &request.to_string());
        self.subscriptions.insert(pattern, wanted);
    }

    /// The depth of its book; `None` if it wants none.
    fn depth(&self) -> Option<Option<usize>> {
        let depths = self.subscriptions.values().map(|(depth, _)| *depth);
        depths.reduce(|one, other| one.zip(other).map(|(one, other)| one.max(other)))
    }
}

/// Takes the steps, and says how many messages had changes only.
fn check(steps: Vec<Step>) -> u64 {
    let depth = Depth {
        earlier_books: 3,
        ..Depth::default()
    };
    let mut world = World::holding(depth, Pace::default(), Names::any(), usize::MAX);
    let mut publisher = Publisher {
        epoch: 1,
        seq: 0,
        levels: (1..2 * MIDDLE).step_by(3).map(|price| (price, 1)).collect(),
        is_lost: false,
    };
    publisher.publish(&world);
    let mut members: Vec<Member> = (0..MEMBERS).map(|_| Member::join(&mut world)).collect();
    for (index, member) in members.iter_mut().enumerate() {
        let wanted = ([None, Some(5), Some(10)][index], true);
        member.subscribe(&mut world, EXACT, wanted, false);
    }
    let mut changes = 0;
    for step in steps.into_iter().chain([Step::Flush]) {
        match step {
            Step::Publish(levels) => {
                for (price, quantity) in levels {
                    match quantity {
                        0 => publisher.levels.remove(&price),
                        _ => publisher.levels.insert(price, quantity),
                    };
                }
                publisher.is_lost = false;
                publisher.publish(&world);
            }
            Step::Repeat => publisher.publish(&world),
            Step::Lose => {
                publisher.is_lost = true;
                publisher.publish(&world);
            }
            Step::Restart => {
                (publisher.epoch, publisher.seq) = (publisher.epoch + 1, 0);
                publisher.publish(&world);
            }
            Step::Pull => world.shard.pull(),
            Step::Flush => world.flush(),
            Step::Stall(member) => members[member].client.state().is_stalled = true,
            Step::Resume(member) => {
                let member = &members[member];
                member.client.state().is_stalled = false;
                world.shard.writable(member.id, world.now);
            }
            Step::Subscribe(member, pattern, wanted) => {
                members[member].subscribe(&mut world, pattern, wanted, false);
            }
            Step::Unsubscribe(member, pattern) => {
                let member = &mut members[member];
                let request = json!({"op": "unsub", "topics": [PATTERNS[pattern]]});
                world.ask(member.id, &request.to_string());
                member.subscriptions.remove(&pattern);
            }
            Step::Reconnect(index) => {
                let before = &mut members[index];
                before.take();
                world.shard.leave(before.id);
                let mut after = Member::join(&mut world);
                after.book = std::mem::take(&mut members[index].book);
                if let Some(wanted) = members[index].subscriptions.get(&EXACT).copied() {
                    after.subscribe(&mut world, EXACT, wanted, true);
                }
                members[index] = after;
            }
        }
        for member in &mut members {
            member.take();
        }
    }
    for member in &mut members {
        member.client.state().is_stalled = false;
        world.shard.writable(member.id, world.now);
    }
    world.flush();
    for member in &mut members {
        member.take();
        changes += member.book.changes;
        let Some(depth) = member.depth() else {
            continue;
        };
        let has = member.book.levels.as_ref().map(|levels| levels.cut(depth));
        let expected = publisher.top().cut(depth);
        assert_eq!(has, (!publisher.is_lost).then_some(expected));
        assert_eq!(member.book.place, Some((publisher.epoch, publisher.seq)));
    }
    changes
}

proptest! {
    #[test]
    fn sessions_at_any_pace_and_depth_end_at_the_publishers_book(steps in steps()) {
        check(steps);
    }
}

#[test]
fn a_session_that_keeps_up_gets_changes_and_one_that_is_too_far_behind_the_whole_book() {
    let publish = |price: u32| Step::Publish(vec![(price, 9)]);
    let mut steps = Vec::new();
    for price in [2, 41, 3] {
        steps.extend([publish(price), Step::Flush]);
    }
    assert_eq!(check(steps.clone()), 3 * MEMBERS as u64);
    // Three books are held beside the newest.
    steps.push(Step::Stall(0));
    let behind = |count: u32| -> Vec<Step> {
        let publish = (0..count).flat_map(|price| [publish(4 + price), Step::Flush]);
        steps.iter().cloned().chain(publish).collect()
    };
    let others = |count: u64| (3 + count) * (MEMBERS as u64 - 1);
    assert_eq!(check(behind(3)), 3 + 1 + others(3));
    assert_eq!(check(behind(4)), 3 + others(4));
}

#[test]
fn who_asks_for_a_book_again_gets_the_whole_book_also_if_it_is_behind() {
    let mut world = World::new();
    let mut publisher = Publisher {
        epoch: 1,
        seq: 0,
        levels: (1..2 * MIDDLE).map(|price| (price, 1)).collect(),
        is_lost: false,
    };
    publisher.publish(&world);
    let mut member = Member::join(&mut world);
    let wanted = (Some(5), true);
    member.subscribe(&mut world, EXACT, wanted, false);
    member.take();
    publisher.levels.insert(MIDDLE, 7);
    publisher.publish(&world);
    // It has lost its book for a reason of its own.
    member.book = Book::default();
    member.subscribe(&mut world, EXACT, wanted, false);
    member.take();
    assert_eq!(member.book.levels, Some(publisher.top().cut(Some(5))));
    assert_eq!(member.book.changes, 0);
}

#[test]
fn a_topic_that_a_wildcard_lacks_comes_when_another_topic_is_given_up() {
    let mut world = World::new();
    world.shard.config.topics_max = 2;
    world.publish("kline:1s:C-D", 1, 1, false);
    let mut publisher = Publisher {
        epoch: 1,
        seq: 0,
        levels: (1..2 * MIDDLE).map(|price| (price, 1)).collect(),
        is_lost: false,
    };
    let mut member = Member::join(&mut world);
    world.publish("kline:1s:E-F", 2, 1, false);
    world.ask(
        member.id,
        r#"{"op":"sub","topics":["kline:1s:C-D","kline:1s:E-F"]}"#,
    );
    let request = r#"{"op":"sub","topics":["book:*"],"changes":true}"#;
    world.ask(member.id, request);
    // There is no room for it.
    publisher.publish(&world);
    world.flush();
    member.take();
    assert_eq!(member.book.place, None);
    world.ask(member.id, r#"{"op":"unsub","topics":["kline:1s:C-D"]}"#);
    world.flush();
    member.take();
    assert_eq!(member.book.place, Some((1, 1)));
    // The session has both of its topics, and lacks none.
    let set = world.shard.members.live(member.id.index).set;
    assert!(!world.shard.subscriptions.sets.get(set).lacks_topics);
}

#[test]
fn a_topic_for_which_there_is_room_now_begins_with_the_whole_book() {
    let mut world = World::new();
    world.shard.config.topics_max = 1;
    world.publish("kline:1s:C-D", 1, 1, false);
    let mut publisher = Publisher {
        epoch: 1,
        seq: 0,
        levels: (1..2 * MIDDLE).map(|price| (price, 1)).collect(),
        is_lost: false,
    };
    let mut member = Member::join(&mut world);
    world.ask(member.id, r#"{"op":"sub","topics":["kline:1s:*"]}"#);
    let request = r#"{"op":"sub","topics":["book:*"],"changes":true}"#;
    world.ask(member.id, request);
    // There is no room for it.
    publisher.publish(&world);
    world.flush();
    member.take();
    assert_eq!(member.book.place, None);
    world.ask(member.id, r#"{"op":"unsub","topics":["kline:1s:*"]}"#);
    world.flush();
    member.take();
    assert_eq!(
        member.book.place,
        Some((1, 1)),
        "nothing has to change first"
    );
    publisher.levels.insert(MIDDLE, 7);
    publisher.publish(&world);
    world.flush();
    member.take();
    assert_eq!(member.book.levels, Some(publisher.top()));
}

#[test]
fn a_stream_asked_for_before_the_first_book_of_its_symbol_gets_the_books_of_its_venue() {
    for topic in ["binance:btcusdt:depth", "binance:binance_btcusdt:depth"] {
        let mut world = World::new();
        let (id, client) = world.join();
        world.ask(id, &format!(r#"{{"op":"sub","topics":["{topic}"]}}"#));
        client.take();
        for seq in 1..4 {
            let symbol = "BTC-USDT".parse().expect("a symbol");
            let level = PriceLevel::parse(&seq.to_string(), "1").expect("numbers");
            let top = BookTop {
                update_id: None,
                bids: vec![level.expect("a level")],
                asks: Vec::new(),
                event_ms: None,
                received_us: 1,
            };
            let stamp = Stamp {
                seq,
                epoch: 1_000,
                published_us: 5_000,
            };
            let json = BookMessage::new("binance", &symbol, Ok(&top), stamp).encode();
            let slot = world
                .hub
                .slot_of(&"book:BTC-USDT".parse().expect("a topic"));
            let placed = Placed {
                position: StreamPosition { epoch: 1_000, seq },
                exchange: "binance",
                class: Class::Book,
                published_us: Some(1),
            };
            let slot = slot.expect("room");
            let _ = world.hub.offer_placed(slot, placed, json, world.now);
            world.flush();
            world.pass(SECOND);
            world.shard.streams.turn(world.now);
            world.flush();
        }
        let events = client.take();
        let changes = events
            .iter()
            .filter(|event| event["data"]["e"] == "depthUpdate");
        assert!(changes.count() > 0, "{topic}: {events:?}");
    }
}

#[test]
fn a_stream_of_a_symbol_whose_bars_have_just_come_is_not_taken_for_an_invention() {
    let mut world = World::new();
    let (id, client) = world.join();
    let ask = |world: &mut World, topic: &str| {
        // Without a look at the hub, as when many clients come at once.
        let text = format!(r#"{{"op":"sub","topics":["binance:{topic}:depth"]}}"#);
        let request = Request::parse(&text, RequestLimits::default());
        world.shard.request(id, request, world.now);
        world.perform();
        ops(&client.take()).join(" ")
    };
    assert_eq!(ask(&mut world, "aaa-usdt"), "ack");
    assert_eq!(ask(&mut world, "bbb-usdt"), "ack");
    assert_eq!(ask(&mut world, "ccc-usdt"), "error");
    world.publish("kline:1s:BTC-USDT", 1, 1, false);
    assert_eq!(ask(&mut world, "btcusdt"), "ack");
}
