//! Bars of widths that nobody publishes.

use market_core::BarState;
use market_core::wire::BarMessage;

use super::*;
use crate::limits::{AddressGroups, SharesConfig};
use crate::topics::folds::Load;

const SOURCE: &str = "kline:1m:A-B";
const MINUTE_MS: i64 = 60_000;

impl World {
    /// A world whose folds have these limits.
    fn folding(limits: FoldLimits) -> Self {
        let mut world = Self::new();
        world.folds = world::folds(&world.hub, limits);
        let config = ShardConfig {
            subscriptions_max: 100,
            ..Self::config(Pace::default())
        };
        let (hub, folds) = (Arc::clone(&world.hub), Arc::clone(&world.folds));
        world.shard = Shard::new(config, hub, folds, streams(&world.hub), 0, 7, world.now);
        world
    }

    /// Ten seconds pass; the folds are looked after. What they need of history is returned.
    fn ten_seconds(&mut self) -> Vec<Load> {
        let mut loads = Vec::new();
        for _ in 0..5 {
            self.now += 2 * SECOND;
            loads.extend(self.folds.tend(self.now));
            self.shard.pull();
        }
        self.pass(Duration::ZERO);
        loads
    }

    /// A minute's bar with one trade.
    fn minute(&self, index: i64, seq: u64, state: BarState, rev: u32) {
        minute(
            &self.hub,
            &self.folds,
            "A-B",
            (index, seq, rev),
            state,
            self.now,
        );
    }
}

/// A minute's bar of a symbol, with one trade, by its index, number and revision.
pub(super) fn minute(
    hub: &Hub,
    folds: &Folds,
    symbol: &str,
    bar: (i64, u64, u32),
    state: BarState,
    now: Instant,
) {
    let message = message(symbol, bar, state);
    let json = Bytes::from(serde_json::to_vec(&message).expect("plain fields"));
    let topic = message.topic.parse().expect("a topic");
    let slot = hub.slot_of(&topic).expect("room");
    let head = BarHead::read(&json).expect("a bar");
    let _ = hub.offer(slot, Some(&head), json.clone(), now);
    folds.took(&topic, &json, now);
}

fn message(symbol: &str, (index, seq, rev): (i64, u64, u32), state: BarState) -> BarMessage {
    BarMessage {
        topic: format!("kline:1m:{symbol}"),
        seq,
        epoch: 1,
        exchange: "binance".to_owned(),
        symbol: symbol.to_owned(),
        interval: "1m".parse().expect("a timeframe"),
        start_ms: index * MINUTE_MS,
        end_ms: (index + 1) * MINUTE_MS,
        open: "5".to_owned(),
        high: (5 + rev).to_string(),
        low: "5".to_owned(),
        close: "5".to_owned(),
        volume: "1".to_owned(),
        quote_volume: Some("5".to_owned()),
        taker_buy_volume: Some("0".to_owned()),
        taker_buy_quote_volume: Some("0".to_owned()),
        count: Some(1),
        first_id: Some(index.to_string()),
        last_id: Some(index.to_string()),
        state,
        rev,
        quality: market_core::Quality::Complete,
        event_ms: Some(index * MINUTE_MS),
        received_us: None,
        published_us: 0,
    }
}

/// The same bar as history has it.
pub(super) fn row(index: i64, rev: u32) -> market_core::BarRow {
    let message = message("A-B", (index, 0, rev), BarState::Closed);
    market_core::BarRow::of_message(&message).expect("closed")
}

/// Minutes, trades, state and number of the bars among objects.
fn bars(objects: &[Value]) -> Vec<(i64, u64, &str, u64)> {
    objects
        .iter()
        .filter(|object| object["op"].is_null())
        .map(|object| {
            (
                object["start_ms"].as_i64().expect("a bar") / MINUTE_MS,
                object["count"].as_u64().expect("a bar"),
                object["state"].as_str().expect("a bar"),
                object["rev"].as_u64().expect("a bar"),
            )
        })
        .collect()
}

#[test]
fn one_fold_makes_the_bars_of_a_width_for_all_sessions() {
    let mut world = World::new();
    for index in 7..9 {
        world.minute(index, index.unsigned_abs(), BarState::Closed, 0);
    }
    let clients = [(); 3].map(|()| world.join());
    for (id, client) in &clients {
        world.ask(*id, r#"{"op":"sub","topics":["kline:7m:A-B"]}"#);
        let objects = client.take();
        assert_eq!(objects[0].get("pending"), None, "{objects:?}");
        assert_eq!(bars(&objects), [(7, 2, "forming", 0)]);
        assert_eq!(objects[1]["interval"], "7m");
        assert_eq!(objects[1]["exchange"], "binance");
    }
    // The same topic, with its exchange in front.
    let (id, other) = world.join();
    world.ask(id, r#"{"op":"sub","topics":["kline:7m:BINANCE:A-B"]}"#);
    assert_eq!(bars(&other.take()), [(7, 2, "forming", 0)]);
    assert_eq!(world.folds.topics().len(), 1);
    for index in 9..14 {
        world.minute(index, index.unsigned_abs(), BarState::Closed, 0);
    }
    world.minute(14, 14, BarState::Forming, 0);
    world.minute(8, 15, BarState::Closed, 1);
    let _ = world.folds.tend(world.now);
    world.flush();
    for client in clients.iter().map(|(_, client)| client).chain([&other]) {
        let objects = client.take();
        assert_eq!(bars(&objects), [(7, 7, "closed", 1), (14, 1, "forming", 0)]);
        assert_eq!(objects[0]["high"], "6");
        let place = (&objects[0]["epoch"], &objects[1]["epoch"]);
        assert_eq!(place.0, place.1);
    }
}

#[test]
fn a_width_is_found_by_its_name_alone() {
    let mut world = World::new();
    world.minute(7, 7, BarState::Closed, 0);
    let (id, client) = world.join();
    world.ask(id, r#"{"op":"sub","topics":["kline:>"]}"#);
    let (other, _) = world.join();
    world.ask(other, r#"{"op":"sub","topics":["kline:7m:A-B"]}"#);
    world.ask(id, r#"{"op":"sub","topics":["kline:*:A-B"]}"#);
    world.minute(8, 8, BarState::Closed, 0);
    world.flush();
    let objects = client.take();
    assert!(objects.iter().all(|object| object["interval"] != "7m"));
    world.ask(id, r#"{"op":"sub","topics":["kline:7m:*"]}"#);
    let message = client.take()[0]["message"].to_string();
    assert!(message.contains("without wildcard"), "{message}");
}

#[test]
fn a_fold_ends_some_time_after_the_last_session_has_left() {
    let mut world = World::new();
    world.minute(7, 7, BarState::Closed, 0);
    let (id, client) = world.join();
    world.ask(id, r#"{"op":"sub","topics":["kline:7m:A-B"]}"#);
    for _ in 0..20 {
        let _ = world.ten_seconds();
        assert_eq!(world.folds.topics().len(), 1, "a session has it");
    }
    world.ask(id, r#"{"op":"unsub","topics":["kline:7m:A-B"]}"#);
    let _ = world.ten_seconds();
    assert_eq!(world.folds.topics().len(), 1, "another may come");
    for _ in 0..6 {
        let _ = world.ten_seconds();
    }
    assert!(world.folds.topics().is_empty() && world.folds.is_clean());
    // It begins again, with another epoch.
    let _ = client.take();
    world.ask(id, r#"{"op":"sub","topics":["kline:7m:A-B"]}"#);
    world.minute(8, 8, BarState::Closed, 0);
    world.flush();
    let objects = client.take();
    assert_eq!(bars(&objects).last(), Some(&(7, 2, "forming", 0)));
}

/// A hub with room for so many folds.
fn bounded(folds_max: usize) -> (Arc<Hub>, Folds) {
    let limits = FoldLimits {
        folds_max,
        ..FoldLimits::default()
    };
    let hub = Arc::new(Hub::new(1, 1_000, Depth::default(), Names::any()));
    (Arc::clone(&hub), Folds::new(hub, Warmth::warm(), limits))
}

fn want(hub: &Hub, folds: &Folds, topic: &str, now: Instant) -> Result<(), String> {
    let made = hub.names.made(&topic.parse().expect("a topic"));
    folds.want(&made.expect("of minutes"), None, now)
}

#[test]
fn folds_are_bounded_and_one_too_many_is_refused_with_what_to_do() {
    let mut world = World::new();
    let (hub, folds) = bounded(2);
    let source = SOURCE.parse().expect("a topic");
    hub.slot_of(&source).expect("room");
    for (topic, is_room) in [
        ("kline:2m:A-B", true),
        ("kline:3m:A-B", true),
        ("kline:4m:A-B", false),
    ] {
        let wanted = want(&hub, &folds, topic, world.now);
        assert_eq!(wanted.is_ok(), is_room, "{topic}");
        assert!(is_room || wanted.is_err_and(|message| message.contains("subscribe 1m")));
    }
    let later = world.now + Duration::from_secs(61);
    let _ = folds.tend(later);
    // Until no shard knows the former slots.
    assert!(want(&hub, &folds, "kline:4m:A-B", later).is_err());
    let _ = hub.pull(0, 0);
    assert_eq!(want(&hub, &folds, "kline:4m:A-B", later), Ok(()));
    // A width that is published is not folded, and one that no timeframe divides is refused.
    let (id, client) = world.join();
    world.ask(id, r#"{"op":"sub","topics":["kline:1m:A-B"]}"#);
    assert!(!world.folds.is_any());
    assert_eq!(client.take()[0]["op"], "ack");
}

#[test]
fn invented_symbols_leave_room_for_the_widths_of_symbols_with_bars() {
    let now = Instant::now();
    let (hub, folds) = bounded(100);
    let want = |topic: &str| want(&hub, &folds, topic, now);
    let wanted = (0..50).map(|number| want(&format!("kline:7m:X{number}-Y")));
    let refused: Vec<String> = wanted.filter_map(Result::err).collect();
    assert_eq!(refused.len(), 40);
    assert!(
        refused[0].contains("no bars of kline:1m:X10-Y"),
        "{}",
        refused[0]
    );
    let source = SOURCE.parse().expect("a topic");
    hub.slot_of(&source).expect("room");
    for minutes in 2..50 {
        assert_eq!(want(&format!("kline:{minutes}m:A-B")), Ok(()));
    }
    // One whose first bar comes is no longer invented.
    let bar = (7, 7, 0);
    minute(&hub, &folds, "X0-Y", bar, BarState::Closed, now);
    assert_eq!(want("kline:7m:X20-Y"), Ok(()));
    assert!(want("kline:7m:X21-Y").is_err());
}

#[test]
fn widths_that_clients_want_back_before_the_bars_are_loaded_are_not_taken_for_inventions() {
    let condition = service::Service::for_test().readiness.condition("warm");
    let warmth = Warmth::new(condition, 1);
    let limits = FoldLimits {
        folds_max: 100,
        ..FoldLimits::default()
    };
    let hub = Arc::new(Hub::new(1, 1_000, Depth::default(), Names::any()));
    let folds = Folds::new(Arc::clone(&hub), Arc::clone(&warmth), limits);
    let now = Instant::now();
    let want = |topic: &str| want(&hub, &folds, topic, now);
    for number in 0..50 {
        want(&format!("kline:7m:X{number}-Y")).expect("nobody can know");
    }
    warmth.one_is_warm();
    assert!(want("kline:7m:Z-Y").is_err_and(|error| error.contains("no bars of")));
    // Those with bars are found out when a bar comes.
    for number in 0..45 {
        let symbol = format!("X{number}-Y");
        minute(&hub, &folds, &symbol, (7, 7, 0), BarState::Closed, now);
    }
    want("kline:7m:Z-Y").expect("room");
    // After a standstill, bars may be missing again.
    warmth.one_is_cold();
    for number in 0..10 {
        want(&format!("kline:7m:V{number}-Y")).expect("nobody can know");
    }
}

#[test]
fn a_client_that_goes_through_all_widths_leaves_no_slot_behind() {
    let mut world = World::folding(FoldLimits::default());
    world.minute(7, 7, BarState::Closed, 0);
    let (id, client) = world.join();
    for minutes in 2..500 {
        let topic = format!("kline:{minutes}m:A-B");
        world.ask(id, &format!(r#"{{"op":"sub","topics":["{topic}"]}}"#));
        assert_eq!(client.take()[0]["op"], "ack", "{topic}");
        world.ask(id, &format!(r#"{{"op":"unsub","topics":["{topic}"]}}"#));
        let _ = client.take();
        let _ = world.ten_seconds();
    }
    // Each lasts for a minute, and its slot is given to another.
    let slots = world.hub.slot_count();
    assert!(slots <= 10, "{slots} slots");
    for _ in 0..8 {
        let _ = world.ten_seconds();
    }
    assert!(world.folds.is_clean());
    assert_eq!(
        (world.hub.topic_count(), world.hub.ending_counts().folds),
        (1, 0)
    );
    // The names of those that came and went are told to nobody.
    world.ask(id, r#"{"op":"sub","topics":["kline:7m:A-B"]}"#);
    let _ = client.take();
    world.ask(id, r#"{"op":"list"}"#);
    assert_eq!(client.take()[0]["topics"], serde_json::json!([SOURCE]));
}

#[test]
fn one_message_takes_no_more_widths_than_the_share_of_its_session() {
    let mut world = World::folding(FoldLimits {
        shares: SharesConfig {
            per_session: 3,
            per_ip: 0,
            holds_for_loopback: false,
            groups: AddressGroups::new(64),
        },
        ..FoldLimits::default()
    });
    world.minute(7, 7, BarState::Closed, 0);
    let [(one, first), (other, second)] = [(); 2].map(|()| world.join());
    let topics: Vec<String> = (2..8).map(|it| format!("kline:{it}m:A-B")).collect();
    let ask = |topics: &[String]| serde_json::json!({ "op": "sub", "topics": topics }).to_string();
    world.ask(one, &ask(&topics));
    let objects = first.take();
    assert_eq!(objects[0]["code"], "too_many_topics");
    assert_eq!(objects[0]["topics"].as_array().expect("names").len(), 3);
    let message = objects[0]["message"].as_str().expect("a message");
    assert!(
        message.contains("3 topics") && message.contains("subscribe 1m"),
        "{message}"
    );
    assert_eq!(objects[1]["topics"].as_array().expect("names").len(), 3);
    // What is already made costs nobody anything, and another session has a share of its own.
    world.ask(other, &ask(&topics));
    let acked = second.take();
    assert_eq!(acked[0]["op"], "ack", "{acked:?}");
    assert_eq!(acked[0]["topics"].as_array().expect("names").len(), 6);
    // Giving topics up makes room once their folds have ended, not at once.
    let given_up = serde_json::json!({ "op": "unsub", "topics": topics }).to_string();
    world.ask(one, &given_up);
    world.ask(other, &given_up);
    let _ = first.take();
    world.ask(one, r#"{"op":"sub","topics":["kline:9m:A-B"]}"#);
    assert_eq!(first.take()[0]["code"], "too_many_topics");
    for _ in 0..8 {
        let _ = world.ten_seconds();
    }
    world.ask(one, r#"{"op":"sub","topics":["kline:9m:A-B"]}"#);
    assert_eq!(first.take()[0]["op"], "ack");
}

#[test]
fn sessions_keep_their_widths_while_the_process_stands_still() {
    let mut world = World::new();
    world.minute(7, 7, BarState::Closed, 0);
    let (id, client) = world.join();
    world.ask(id, r#"{"op":"sub","topics":["kline:7m:A-B"]}"#);
    let _ = (world.ten_seconds(), client.take());
    // A night on a laptop that sleeps. What looks after the folds wakes first.
    world.now += Duration::from_secs(8 * 3_600);
    let _ = world.folds.tend(world.now);
    let _ = world.ten_seconds();
    world.minute(8, 8, BarState::Closed, 0);
    world.flush();
    assert_eq!(bars(&client.take()), [(7, 2, "forming", 0)]);
}

#[test]
fn a_width_that_ended_although_a_session_has_it_begins_again() {
    let mut world = World::new();
    world.minute(7, 7, BarState::Closed, 0);
    let clients = ["kline:7m:A-B", "kline:7m:BINANCE:A-B"].map(|topic| {
        let (id, client) = world.join();
        world.ask(id, &format!(r#"{{"op":"sub","topics":["{topic}"]}}"#));
        let _ = client.take();
        client
    });
    // Its shard alone stood still, so that nobody said that it is wanted.
    for _ in 0..70 {
        world.now += SECOND;
        let _ = world.folds.tend(world.now);
    }
    assert!(world.folds.topics().is_empty());
    world.shard.pull();
    world.pass(Duration::ZERO);
    assert_eq!(world.folds.topics().len(), 1);
    world.minute(8, 8, BarState::Closed, 0);
    world.flush();
    for client in &clients {
        assert_eq!(bars(&client.take()), [(7, 2, "forming", 0)]);
    }
}

#[test]
fn a_width_that_is_published_from_now_on_takes_the_place_of_its_fold() {
    let mut world = World::new();
    world.minute(7, 7, BarState::Closed, 0);
    let (id, client) = world.join();
    world.ask(id, r#"{"op":"sub","topics":["kline:5m:A-B"]}"#);
    let _ = client.take();
    // Other sessions get it by a wildcard, as every published topic.
    let (other, by_wildcard) = world.join();
    world.publish("kline:5m:C-D", 0, 1, false);
    world.ask(other, r#"{"op":"sub","topics":["kline:5m:*"]}"#);
    let _ = by_wildcard.take();
    world.publish("kline:5m:A-B", 2, 1, true);
    world.minute(8, 8, BarState::Closed, 0);
    world.flush();
    for client in [&client, &by_wildcard] {
        let objects = client.take();
        assert_eq!(objects.len(), 1, "{objects:?}");
        assert_eq!(objects[0]["start_ms"], 2_000);
    }
    // The fold ends, and its slot is free.
    let _ = world.folds.tend(world.now);
    assert!(world.folds.is_clean());
    assert_eq!(world.hub.ending_counts().folds, 0);
    world.publish("kline:5m:A-B", 3, 2, true);
    world.flush();
    assert_eq!(client.take().len(), 1);
}

#[test]
fn the_beginning_of_the_first_bar_is_asked_of_history() {
    let mut world = World::new();
    for index in 10..12 {
        world.minute(index, index.unsigned_abs(), BarState::Closed, 0);
    }
    let (id, client) = world.join();
    world.ask(id, r#"{"op":"sub","topics":["kline:7m:A-B"]}"#);
    let loads = world.folds.tend(Instant::now());
    assert_eq!(loads.len(), 1);
    assert_eq!(loads[0].source.as_str(), SOURCE);
    assert_eq!(loads[0].range, (7 * MINUTE_MS, 10 * MINUTE_MS));
    assert_eq!(bars(&client.take()), []);
    world.folds.loaded(&loads[0], None, world.now);
    world.flush();
    let objects = client.take();
    assert_eq!(bars(&objects), [(7, 2, "forming", 0)]);
    assert_eq!(objects[0]["quality"], "partial");
}
