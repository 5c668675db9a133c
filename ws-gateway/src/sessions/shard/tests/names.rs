//! Exchanges, channels and widths that requests name.

use market_core::TopicPattern;
use market_core::protocol::{Filter, RequestLimits};
use proptest::prelude::*;

use super::*;
use crate::sessions::called::Called;

/// What all patterns of a spec that match a topic decline of it.
fn filter_of(spec: &[(TopicPattern, Filter)], called: Called<'_>) -> Option<Filter> {
    spec.iter()
        .filter(|(pattern, _)| called.is_matched_by(pattern))
        .map(|&(_, filter)| filter)
        .reduce(Filter::union)
}

/// A bar that says its exchange.
fn publish_of(world: &World, exchange: &str, topic: &str, seq: u64) {
    let topic = topic.parse().expect("topic");
    let slot = world.hub.slot_of(&topic).expect("room");
    let (head, payload) = bar(1, seq, 1, false);
    let head = BarHead { exchange, ..head };
    let text = String::from_utf8(payload.to_vec()).expect("UTF-8");
    let payload = Bytes::from(text.replace("kline:1s:A-B", topic.as_str()));
    let _ = world.hub.offer(slot, Some(&head), payload, world.now);
}

/// The topics and numbers of the bars among objects.
fn bars(objects: &[Value]) -> Vec<(&str, u64)> {
    let bar = |object: &&Value| object["seq"].is_u64();
    let said = |object: &'_ Value| object["seq"].as_u64();
    objects
        .iter()
        .filter(bar)
        .filter_map(|object| Some((object["topic"].as_str()?, said(object)?)))
        .collect()
}

fn product(op: &str, symbol: &str, exchange: &str) -> String {
    format!(
        r#"{{"op":"{op}","channels":["kline_1s"],"symbols":["{symbol}"],"exchanges":["{exchange}"]}}"#
    )
}

fn known(exchanges: &[&str]) -> Names {
    let texts = |texts: &[&str]| {
        texts
            .iter()
            .map(|&text| text.to_owned())
            .collect::<Vec<_>>()
    };
    let subjects = texts(&["kline.>", "boundary.>", "system.>"]);
    Names::new(&subjects, &texts(&["1s", "1m"]), &texts(exchanges))
}

#[test]
fn a_symbol_of_an_exchange_is_never_served_from_another() {
    let mut world = World::named(known(&["binance", "coinbase"]));
    publish_of(&world, "binance", "kline:1s:BTC-USDT", 1);
    let (id, client) = world.join();
    world.ask(id, &product("sub", "BTC-USDT", "coinbase"));
    let objects = client.take();
    assert_eq!(objects[0]["pending"][0], "kline:1s:COINBASE:BTC-USDT");
    publish_of(&world, "binance", "kline:1s:BTC-USDT", 2);
    world.flush();
    assert_eq!((objects.len(), client.take().len()), (1, 0));
    // The right one gets it, by the name that its bars have.
    let (id, client) = world.join();
    world.ask(id, &product("sub", "BTC-USDT", "binance"));
    let objects = client.take();
    assert_eq!(objects[0]["topics"][0], "kline:1s:BTC-USDT");
    assert_eq!(bars(&objects), [("kline:1s:BTC-USDT", 2)]);
    world.ask(id, &product("unsub", "BTC-USDT", "coinbase"));
    assert_eq!(
        client.take()[0]["not_subscribed"][0],
        "kline:1s:COINBASE:BTC-USDT"
    );
    world.ask(id, &product("unsub", "BTC-USDT", "binance"));
    assert_eq!(client.take()[0]["topics"][0], "kline:1s:BTC-USDT");
}

#[test]
fn all_symbols_of_an_exchange_are_its_plain_ones_too_whenever_they_appear() {
    let mut world = World::named(known(&["binance", "okx"]));
    publish_of(&world, "binance", "kline:1s:BTC-USDT", 1);
    publish_of(&world, "okx", "kline:1s:OKX:BTC-USDT", 2);
    let (id, client) = world.join();
    world.ask(id, &product("sub", "*", "binance"));
    assert_eq!(bars(&client.take()), [("kline:1s:BTC-USDT", 1)]);
    publish_of(&world, "binance", "kline:1s:ETH-USDT", 3);
    publish_of(&world, "binance", "kline:1s:BINANCE:X-Y", 4);
    publish_of(&world, "okx", "kline:1s:Z-USDT", 5);
    world.flush();
    let objects = client.take();
    assert_eq!(
        bars(&objects),
        [("kline:1s:ETH-USDT", 3), ("kline:1s:BINANCE:X-Y", 4)]
    );
    // Any exchange: all of that symbol.
    let (id, client) = world.join();
    world.ask(id, &product("sub", "BTC-USDT", "*"));
    assert_eq!(
        bars(&client.take()),
        [("kline:1s:BTC-USDT", 1), ("kline:1s:OKX:BTC-USDT", 2)]
    );
}

#[test]
fn a_symbol_of_an_exchange_that_nothing_is_known_of_yet_starts_when_it_appears() {
    let mut world = World::named(known(&["binance"]));
    let (id, client) = world.join();
    world.ask(id, &product("sub", "BTC-USDT", "binance"));
    assert_eq!(client.take()[0]["pending"][0], "kline:1s:BINANCE:BTC-USDT");
    // Its first bar is of a publisher that does not say its exchange.
    publish_of(&world, "", "kline:1s:BTC-USDT", 1);
    world.flush();
    assert_eq!(client.take().len(), 0);
    publish_of(&world, "binance", "kline:1s:BTC-USDT", 2);
    world.flush();
    assert_eq!(bars(&client.take()), [("kline:1s:BTC-USDT", 2)]);
}

#[test]
fn a_topic_that_changes_its_exchange_leaves_those_who_wanted_the_other() {
    let mut world = World::named(known(&["binance", "coinbase"]));
    publish_of(&world, "binance", "kline:1s:BTC-USDT", 1);
    let members: Vec<_> = ["*", "BTC-USDT"]
        .map(|symbol| {
            ["binance", "coinbase"].map(|exchange| {
                let (id, client) = world.join();
                let topic = format!("kline:1s:{}:{symbol}", exchange.to_ascii_uppercase());
                world.ask(id, &format!(r#"{{"op":"sub","topics":["{topic}"]}}"#));
                client.take();
                client
            })
        })
        .into();
    for (seq, exchange) in (2..).zip(["binance", "coinbase", "coinbase", "binance"]) {
        publish_of(&world, exchange, "kline:1s:BTC-USDT", seq);
        world.flush();
        for [binance, coinbase] in &members {
            let got = [binance, coinbase].map(|client| bars(&client.take()).len());
            let expected = if exchange == "binance" {
                [1, 0]
            } else {
                [0, 1]
            };
            assert_eq!(got, expected, "{seq}");
        }
    }
}

#[test]
fn a_typing_error_is_an_error_and_an_unknown_symbol_is_pending() {
    let mut world = World::named(known(&["binance"]));
    let (id, client) = world.join();
    world.ask(
        id,
        r#"{"op":"sub","id":1,"topics":["klines:1m:A-B","kline:5m:*","boundary:5m","kline:1m:NEW-USD"]}"#,
    );
    let objects = client.take();
    assert_eq!(ops(&objects), ["error", "ack"]);
    assert_eq!(objects[0]["code"], "bad_topic");
    assert_eq!(
        objects[0]["topics"],
        serde_json::json!(["klines:1m:A-B", "kline:5m:*", "boundary:5m"])
    );
    assert_eq!(
        objects[1]["topics"],
        serde_json::json!(["kline:1m:NEW-USD"])
    );
    assert_eq!(objects[1]["pending"], objects[1]["topics"]);
    world.ask(id, &product("sub", "A-B", "nope"));
    let objects = client.take();
    assert_eq!(ops(&objects), ["error"]);
    assert_eq!(objects[0]["topics"][0], "kline:1s:NOPE:A-B");
    let message = objects[0]["message"].as_str().expect("a message");
    assert!(message.contains("binance"), "{message}");
    // A width that has come is known.
    publish_of(&world, "binance", "kline:5m:A-B", 1);
    world.ask(id, r#"{"op":"sub","topics":["kline:5m:*"]}"#);
    assert_eq!(ops(&client.take()), ["ack", "bar"]);
}

#[test]
fn marks_come_after_the_bars_of_a_second_subscription() {
    let mut world = World::new();
    let mark = "boundary:1s".parse().expect("topic");
    let slot = world.hub.slot_of(&mark).expect("room");
    let payload = Bytes::from_static(br#"{"op":"boundary","topic":"boundary:1s"}"#);
    let _ = world.hub.offer(slot, None, payload, world.now);
    world.publish(A, 1, 1, true);
    let (first, client) = world.join();
    let both = r#"{"op":"sub","topics":["kline:1s:*","boundary:1s"]}"#;
    world.ask(first, both);
    assert_eq!(ops(&client.take()), ["ack", "bar", "boundary"]);
    for since in ["", r#","since":{"epoch":1,"seq":{"kline:1s:A-B":0}}"#] {
        let (id, client) = world.join();
        world.ask(id, r#"{"op":"sub","topics":["kline:1s:C-D"]}"#);
        client.take();
        let request = both.replacen('}', &format!("{since}}}"), 1);
        world.ask(id, &request);
        assert_eq!(ops(&client.take()), ["ack", "bar", "boundary"], "{request}");
    }
}

/// One request of a session that has many wildcards looks for its own, and not for all of them.
#[test]
fn a_wildcard_is_looked_for_once_and_not_with_each_request() {
    let mut world = World::new();
    for topic in [
        "kline:1s:A-B",
        "kline:1s:C-D",
        "kline:1m:A-B",
        "kline:1m:C-D",
    ] {
        publish_of(&world, "binance", topic, 1);
    }
    let (id, client) = world.join();
    let expanded = |world: &mut World, request: &str| {
        world.shard.counts = Counts::default();
        world.ask(id, request);
        assert_eq!(ops(&client.take())[0], "ack", "{request}");
        world.shard.counts.expanded
    };
    for (request, expected) in [
        (r#"{"op":"sub","topics":["kline:1s:*","kline:*:A-B"]}"#, 2),
        (r#"{"op":"sub","topics":["kline:1m:C-D"]}"#, 0),
        (
            r#"{"op":"sub","topics":["kline:1m:*"],"closed_only":true}"#,
            1,
        ),
        // The plain one is left to its wildcards, with their options.
        (r#"{"op":"unsub","topics":["kline:1m:C-D"]}"#, 0),
        (
            r#"{"op":"sub","topics":["kline:1s:A-B"],"closed_only":true}"#,
            0,
        ),
        (r#"{"op":"unsub","topics":["kline:1s:*"]}"#, 1),
    ] {
        assert_eq!(expanded(&mut world, request), expected, "{request}");
    }
    // What is made from what was there is what would be made again.
    let set = world
        .shard
        .subscriptions
        .sets
        .get(world.shard.members.get(id).expect("a member").set);
    for entry in &set.entries {
        let view = &world.shard.subscriptions.views[entry.slot.index()];
        let filter = filter_of(&set.spec, view.called());
        assert_eq!(Some(entry.filter), filter, "{}", view.slot.topic);
    }
    assert_eq!(set.entries.len(), 3);
}

#[test]
fn giving_up_one_of_many_wildcards_looks_for_no_other() {
    const WILDCARDS: usize = 100;
    let mut world = World::new();
    world.shard.config.wildcards_max = WILDCARDS;
    world.shard.config.subscriptions_max = WILDCARDS;
    for topic in ["kline:1s:A-B", "kline:1s:C-D", "kline:1m:A-B"] {
        publish_of(&world, "binance", topic, 1);
    }
    let (id, client) = world.join();
    let mut wildcards = vec!["kline:1s:*".to_owned(), "kline:*:A-B".to_owned()];
    wildcards.extend((2..WILDCARDS).map(|number| format!("kline:1s:V{number}:*")));
    for some in wildcards.chunks(RequestLimits::default().wildcards_max) {
        let topics = serde_json::json!(some);
        world.ask(id, &format!(r#"{{"op":"sub","topics":{topics}}}"#));
    }
    for (request, expected) in [
        (r#"{"op":"unsub","topics":["kline:1s:V7:*"]}"#, 3),
        // With other options, then given up: the other wildcard still stands for one of its topics.
        (
            r#"{"op":"sub","topics":["kline:1s:*"],"closed_only":true}"#,
            3,
        ),
        (r#"{"op":"unsub","topics":["kline:1s:*"]}"#, 2),
    ] {
        world.shard.counts = Counts::default();
        world.ask(id, request);
        assert_eq!(world.shard.counts.expanded, 1, "{request}");
        let set = world.shard.members.get(id).expect("a member").set;
        assert_eq!(
            world.shard.subscriptions.sets.get(set).entries.len(),
            expected
        );
    }
    client.take();
}

#[test]
fn a_wildcard_given_up_makes_room_for_topics_beyond_the_bound() {
    let mut world = World::new();
    let (id, _client) = world.join();
    world.ask(id, r#"{"op":"sub","topics":["kline:1s:*","kline:1m:*"]}"#);
    let topics_max = world.shard.config.topics_max;
    for interval in ["1s", "1m"] {
        for number in 1..topics_max {
            publish_of(
                &world,
                "binance",
                &format!("kline:{interval}:N{number}-B"),
                1,
            );
        }
    }
    let mut count_after = |request: &str| {
        world.ask(id, request);
        let set = world.shard.members.get(id).expect("a member").set;
        world.shard.subscriptions.sets.get(set).entries.len()
    };
    assert_eq!(count_after(r#"{"op":"ping"}"#), topics_max);
    let all_of_one = topics_max - 1;
    assert_eq!(
        count_after(r#"{"op":"unsub","topics":["kline:1s:*"]}"#),
        all_of_one
    );
}

#[test]
fn the_names_of_a_session_are_bounded_in_bytes() {
    let mut world = World::new();
    world.shard.config.name_bytes_max = 30;
    let (id, client) = world.join();
    for (request, op) in [
        (
            r#"{"op":"sub","topics":["kline:1s:A-B","kline:1s:C-D"]}"#,
            "ack",
        ),
        (r#"{"op":"sub","topics":["kline:1s:E-F"]}"#, "error"),
        (
            r#"{"op":"sub","topics":["kline:1s:A-B"],"closed_only":true}"#,
            "ack",
        ),
        (r#"{"op":"unsub","topics":["kline:1s:A-B"]}"#, "ack"),
        (r#"{"op":"sub","topics":["kline:1s:E-F"]}"#, "ack"),
    ] {
        world.ask(id, request);
        let objects = client.take();
        assert_eq!(objects[0]["op"], op, "{request}");
        if op == "error" {
            assert_eq!(objects[0]["code"], "too_many_subscriptions");
        }
    }
}

proptest! {
    /// Whatever is subscribed and given up, with whatever options: a session has the topics that
    /// its patterns stand for, as if it had asked for all of them at once.
    #[test]
    fn a_set_made_from_another_is_as_one_made_anew(
        requests in proptest::collection::vec((
            proptest::sample::select(vec!["sub", "sub", "unsub"]),
            proptest::collection::vec(proptest::sample::select(vec![
                "kline:1s:*", "kline:*:A-B", "kline:1s:A-B", "kline:1m:A-B", "kline:1s:BINANCE:A-B",
                "kline:1s:BINANCE:*", "kline:1s:OKX:A-B", "kline:1s:X-Y",
            ]), 1..4),
            any::<bool>(),
            proptest::option::of("kline:1[sm]:(OKX:)?(A-B|X-Y)"),
        ), 1..30),
    ) {
        let mut world = World::new();
        (world.shard.config.subscriptions_max, world.shard.config.topics_max) = (20, 20);
        let (id, client) = world.join();
        for (seq, (op, topics, closed_only, appears)) in (1..).zip(requests) {
            if let Some(topic) = appears {
                publish_of(&world, "binance", &topic, seq);
            }
            let topics = serde_json::json!(topics);
            world.ask(id, &format!(r#"{{"op":"{op}","topics":{topics},"closed_only":{closed_only}}}"#));
            prop_assert_eq!(&client.take()[0]["op"], "ack");
            let set = world.shard.subscriptions.sets.get(world.shard.members.get(id).expect("a member").set);
            let expected: Vec<_> = world
                .shard
                .subscriptions
                .views
                .iter()
                .filter_map(|view| filter_of(&set.spec, view.called()))
                .collect();
            let filters: Vec<_> = set.entries.iter().map(|entry| entry.filter).collect();
            prop_assert_eq!(filters, expected);
        }
    }
}
