//! Bars of widths that nobody publishes.

use market_core::BarState;
use market_core::wire::BarMessage;

use super::*;
use crate::topics::folds::FoldLimits;

const SOURCE: &str = "kline:1m:A-B";
const MINUTE_MS: i64 = 60_000;

impl World {
    /// A minute's bar with one trade.
    fn minute(&self, index: i64, seq: u64, state: BarState, rev: u32) {
        let message = BarMessage {
            topic: SOURCE.to_owned(),
            seq,
            epoch: 1,
            exchange: "binance".to_owned(),
            symbol: "A-B".to_owned(),
            interval: "1m".parse().expect("a timeframe"),
            start_ms: index * MINUTE_MS,
            end_ms: (index + 1) * MINUTE_MS,
            open: "5".to_owned(),
            high: (5 + rev).to_string(),
            low: "5".to_owned(),
            close: "5".to_owned(),
            volume: "1".to_owned(),
            quote_volume: "5".to_owned(),
            taker_buy_volume: "0".to_owned(),
            taker_buy_quote_volume: "0".to_owned(),
            count: 1,
            first_id: Some(index.to_string()),
            last_id: Some(index.to_string()),
            state,
            rev,
            quality: market_core::Quality::Complete,
            event_ms: Some(index * MINUTE_MS),
            received_us: None,
            published_us: 0,
        };
        let json = Bytes::from(serde_json::to_vec(&message).expect("plain fields"));
        let topic = SOURCE.parse().expect("a topic");
        let slot = self.hub.slot_of(&topic).expect("room");
        let head = BarHead::read(&json).expect("a bar");
        let _ = self.hub.offer(slot, Some(&head), json.clone(), self.now);
        self.hub.folds.took(&self.hub, &topic, &json, self.now);
    }
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
    assert_eq!(world.hub.folds.topics().len(), 1);
    for index in 9..14 {
        world.minute(index, index.unsigned_abs(), BarState::Closed, 0);
    }
    world.minute(14, 14, BarState::Forming, 0);
    world.minute(8, 15, BarState::Closed, 1);
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
    let tend = |world: &World| {
        let _ = world.hub.folds.tend(world.now);
        world.hub.folds.topics().len()
    };
    for _ in 0..20 {
        world.pass(10 * SECOND);
        assert_eq!(tend(&world), 1, "a session has it");
    }
    world.ask(id, r#"{"op":"unsub","topics":["kline:7m:A-B"]}"#);
    world.pass(10 * SECOND);
    assert_eq!(tend(&world), 1, "another may come");
    for _ in 0..6 {
        world.pass(10 * SECOND);
    }
    assert_eq!(tend(&world), 0);
    // It begins again, with another epoch.
    let _ = client.take();
    world.ask(id, r#"{"op":"sub","topics":["kline:7m:A-B"]}"#);
    world.minute(8, 8, BarState::Closed, 0);
    world.flush();
    let objects = client.take();
    assert_eq!(bars(&objects).last(), Some(&(7, 2, "forming", 0)));
}

#[test]
fn folds_are_bounded_and_one_too_many_is_refused_with_what_to_do() {
    let mut world = World::new();
    let names = Names::any();
    let limits = FoldLimits {
        folds_max: 2,
        ..FoldLimits::default()
    };
    let hub = Hub::new(1, 100, Depth::default(), names).with_folds(limits);
    let made = |topic: &str| hub.names.made(&topic.parse().expect("a topic"));
    for (topic, is_room) in [
        ("kline:2m:A-B", true),
        ("kline:3m:A-B", true),
        ("kline:4m:A-B", false),
    ] {
        let made = made(topic).expect("of minutes");
        let wanted = hub.folds.want(&hub, &made, world.now);
        assert_eq!(wanted.is_ok(), is_room, "{topic}");
        assert!(is_room || wanted.is_err_and(|message| message.contains("subscribe 1m")));
    }
    let later = world.now + Duration::from_secs(61);
    let _ = hub.folds.tend(later);
    let made = made("kline:4m:A-B").expect("of minutes");
    assert_eq!(hub.folds.want(&hub, &made, later), Ok(()));
    // A width that is published is not folded, and one that no timeframe divides is refused.
    let (id, client) = world.join();
    world.ask(id, r#"{"op":"sub","topics":["kline:1m:A-B"]}"#);
    assert!(!world.hub.folds.is_any());
    assert_eq!(client.take()[0]["op"], "ack");
}

#[test]
fn invented_symbols_leave_room_for_the_widths_of_symbols_with_bars() {
    let now = Instant::now();
    let limits = FoldLimits {
        topics_max: 100,
        ..FoldLimits::default()
    };
    let hub = Hub::new(1, 1_000, Depth::default(), Names::any()).with_folds(limits);
    let want = |topic: &str| {
        let made = hub.names.made(&topic.parse().expect("a topic"));
        hub.folds.want(&hub, &made.expect("of minutes"), now)
    };
    let wanted = (0..50).map(|number| want(&format!("kline:7m:X{number}-Y")));
    let refused: Vec<String> = wanted.filter_map(Result::err).collect();
    assert_eq!(refused.len(), 40);
    assert!(
        refused[0].contains("no bars of kline:1m:X10-Y"),
        "{}",
        refused[0]
    );
    let source = "kline:1m:A-B".parse().expect("a topic");
    hub.slot_of(&source).expect("room");
    for minutes in 2..50 {
        assert_eq!(want(&format!("kline:{minutes}m:A-B")), Ok(()));
    }
    // What was made once is made again.
    assert_eq!(want("kline:7m:X0-Y"), Ok(()));
}

#[test]
fn the_beginning_of_the_first_bar_is_asked_of_history() {
    let mut world = World::new();
    for index in 10..12 {
        world.minute(index, index.unsigned_abs(), BarState::Closed, 0);
    }
    let (id, client) = world.join();
    world.ask(id, r#"{"op":"sub","topics":["kline:7m:A-B"]}"#);
    let loads = world.hub.folds.tend(Instant::now());
    assert_eq!(loads.len(), 1);
    assert_eq!(loads[0].source.as_str(), SOURCE);
    assert_eq!(loads[0].range, (7 * MINUTE_MS, 10 * MINUTE_MS));
    assert_eq!(bars(&client.take()), []);
    world
        .hub
        .folds
        .loaded(&world.hub, &loads[0], None, world.now);
    world.flush();
    let objects = client.take();
    assert_eq!(bars(&objects), [(7, 2, "forming", 0)]);
    assert_eq!(objects[0]["quality"], "partial");
}
