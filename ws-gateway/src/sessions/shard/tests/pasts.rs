//! From the past into the present: each client has each bar, once and in its place.

use std::collections::BTreeMap;

use market_core::protocol::ResumeToken;
use market_core::wire::HistoryOrder;
use market_core::wire::history::BARS_PER_PAGE_MAX;

use self::store::{Published, Store, closed, world_after};
use super::*;
use crate::sessions::past::{NoPage, PastAnswer, PastBar, PastPage};

mod play;
mod replays;
mod store;
mod turns;

const BAR_MS: i64 = 1_000;

/// What the client got: starts of closed bars in seconds, and what else it is.
fn story(objects: &[Value]) -> Vec<String> {
    objects
        .iter()
        .map(|object| match (object["op"].as_str(), &object["state"]) {
            (Some("live"), _) => match object["reason"].as_str() {
                None => "live".to_owned(),
                Some(reason) => format!("live:{reason}"),
            },
            (Some(op), _) => op.to_owned(),
            (None, state) => {
                let index = object["start_ms"].as_i64().expect("a bar") / BAR_MS;
                let mark = if state == "forming" { "~" } else { "" };
                match object["rev"].as_u64() {
                    Some(0) => format!("{mark}{index}"),
                    rev => format!("{mark}{index}r{}", rev.expect("a bar")),
                }
            }
        })
        .collect()
}

fn past_of(from: &str) -> String {
    format!(r#"{{"op":"sub","topics":["{A}"],"from":{from}}}"#)
}

#[test]
fn the_past_comes_first_then_live_then_what_is_newer() {
    let (mut world, store) = world_after(0..10);
    for index in 6..12 {
        world.offer(closed(index), true);
    }
    world.offer(closed(12), false);
    let (id, client) = world.join();
    world.ask(id, &past_of(r#"{"last":3}"#));
    // Meanwhile nothing of the topic comes: it would be out of its place.
    world.offer(closed(12), true);
    world.flush();
    assert_eq!(story(&client.take()), ["ack"]);
    world.answer_from(&store, 0);
    let objects = client.take();
    assert_eq!(story(&objects), ["7", "8", "9", "10", "11", "12", "live"]);
    assert_eq!(objects[6]["token"], "k1.13000.13000");
    assert_eq!(objects[6]["topic"], A);
    world.offer(closed(13), true);
    world.flush();
    assert_eq!(story(&client.take()), ["13"]);
    assert_eq!(world.shard.counts.recovered, 1);
    assert_eq!(world.shard.read_count(), 0);
}

#[test]
fn pages_follow_each_other_and_the_last_bars_begin_with_the_oldest() {
    let (mut world, store) = world_after(0..2_300);
    for index in 2_290..2_300 {
        world.offer(closed(index), true);
    }
    for (from, first) in [
        (r#"{"last":2100}"#, 200),
        (r#"{"ms":5000}"#, 5),
        (r#"{"ms":4001}"#, 5),
        (r#"{"token":"k1.7000.7000"}"#, 7),
        (r#"{"last":2500}"#, 0),
    ] {
        let (id, client) = world.join();
        world.ask(id, &past_of(from));
        world.answer_from(&store, 0);
        let bars: Vec<String> = (first..2_300).map(|index: i64| index.to_string()).collect();
        let objects = story(&client.take());
        assert_eq!(objects[1..objects.len() - 1], bars, "{from}");
        assert_eq!(objects.last().map(String::as_str), Some("live"), "{from}");
    }
}

#[test]
fn live_says_how_many_bars_history_lacks() {
    // The publisher was killed: bars 4 and 5 were never stored, and nobody has bar 8 either.
    let (mut world, mut store) = world_after(0..4);
    for index in [6, 7, 9] {
        store.take(closed(index));
        world.offer(closed(index), true);
    }
    for (from, missing) in [
        (r#"{"last":3}"#, Value::from(1)),
        (r#"{"last":5}"#, Value::from(3)),
        (r#"{"token":"k1.4000.4000"}"#, Value::from(3)),
        // The first bar at or after this time.
        (r#"{"ms":4000}"#, Value::from(1)),
        (r#"{"ms":9000}"#, Value::Null),
    ] {
        let (id, client) = world.join();
        world.ask(id, &past_of(from));
        world.answer_from(&store, 0);
        let objects = client.take();
        let live = objects.last().expect("an object");
        assert_eq!(live["recovered"], true, "{from}");
        assert_eq!(live["missing"], missing, "{from}: {:?}", story(&objects));
    }
}

#[test]
fn revisions_that_arrive_meanwhile_come_after_the_pages_and_none_comes_twice() {
    let (mut world, mut store) = world_after(0..10);
    for index in 6..10 {
        world.offer(closed(index), true);
    }
    let revised = |index: i64, rev: u32| Published {
        rev,
        seq: 100 + u64::from(rev),
        known_ms: 10_500,
        ..closed(index)
    };
    let (id, client) = world.join();
    world.ask(id, &past_of(r#"{"last":8}"#));
    // One that history has already, one that it has not, and one before what was asked for.
    store.take(revised(8, 1));
    world.offer(revised(8, 1), true);
    world.offer(revised(9, 2), true);
    world.offer(revised(1, 1), true);
    world.answer_from(&store, 0);
    let objects = story(&client.take());
    assert_eq!(
        objects,
        [
            "ack", "2", "3", "4", "5", "6", "7", "8r1", "9", "9r2", "live"
        ]
    );
}

#[test]
fn a_token_brings_the_revisions_of_bars_that_the_client_has() {
    let (mut world, mut store) = world_after(0..100);
    for index in 90..100 {
        world.offer(closed(index), true);
    }
    store.take(Published {
        rev: 1,
        known_ms: 95_000,
        ..closed(20)
    });
    store.take(Published {
        rev: 1,
        known_ms: 40_000,
        ..closed(30)
    });
    let (id, client) = world.join();
    world.ask(id, &past_of(r#"{"token":"k1.95000.90000"}"#));
    world.answer_from(&store, 0);
    let objects = story(&client.take());
    assert_eq!(
        objects,
        ["ack", "95", "96", "97", "98", "99", "20r1", "live"]
    );
}

#[test]
fn a_token_that_is_owed_more_revisions_than_are_looked_for_is_not_recovered() {
    let revised = |count: usize| {
        let count = i64::try_from(count).expect("few");
        let (mut world, mut store) = world_after(0..count);
        let end_ms = count * BAR_MS;
        for index in 0..count {
            store.take(Published {
                rev: 1,
                known_ms: end_ms + 10_000,
                ..closed(index)
            });
        }
        for index in count - 10..count {
            world.offer(closed(index), true);
        }
        let (id, client) = world.join();
        world.ask(
            id,
            &past_of(&format!(r#"{{"token":"k1.{end_ms}.{end_ms}"}}"#)),
        );
        world.answer_from(&store, 0);
        let objects = story(&client.take());
        let live = objects.iter().find(|object| object.starts_with("live"));
        live.cloned().expect("it went live")
    };
    assert_eq!(revised(BARS_PER_PAGE_MAX + 1), "live");
    assert_eq!(revised(16 * BARS_PER_PAGE_MAX), "live");
    assert_eq!(revised(16 * BARS_PER_PAGE_MAX + 1), "live:too_many");
}

#[test]
fn history_that_lags_is_asked_again_and_a_hole_that_stays_is_said() {
    let (mut world, mut store) = world_after(0..10);
    for index in 20..24 {
        world.offer(closed(index), true);
    }
    let (id, client) = world.join();
    world.ask(id, &past_of(r#"{"last":2}"#));
    world.answer_from(&store, 0);
    assert_eq!(story(&client.take()), ["ack", "8", "9"]);
    for index in 10..22 {
        store.take(closed(index));
    }
    world.pass(SECOND);
    world.answer_from(&store, 0);
    let expected: Vec<String> = (10..24)
        .map(|index: i64| index.to_string())
        .chain(["live".to_owned()])
        .collect();
    assert_eq!(story(&client.take()), expected);
    // This time, the bars in between never come.
    let (id, client) = world.join();
    let (_, store) = world_after(0..10);
    world.ask(id, &past_of(r#"{"last":2}"#));
    for _ in 0..20 {
        world.answer_from(&store, 0);
        world.pass(SECOND);
    }
    let objects = client.take();
    let expected = ["ack", "8", "9", "20", "21", "22", "23", "live:gap"];
    assert_eq!(story(&objects), expected);
    assert_eq!(objects[7]["recovered"], false);
    assert_eq!(world.shard.counts.unrecovered_gap, 1);
    assert!(world.questions.is_empty() && world.shard.read_count() == 0);
}

#[test]
fn without_history_a_session_gets_what_the_gateway_holds_and_is_told() {
    let mut world = World::new();
    for index in 6..10 {
        world.offer(closed(index), true);
    }
    world.offer(closed(10), false);
    let fail = |world: &mut World| {
        for _ in 0..50 {
            while let Some((id, _)) = world.questions.pop() {
                world.answer(id, Err(NoPage));
            }
            world.pass(SECOND / 4);
        }
    };
    let (id, client) = world.join();
    world.ask(id, &past_of(r#"{"last":500}"#));
    fail(&mut world);
    let objects = client.take();
    let expected = ["ack", "6", "7", "8", "9", "live:history", "~10"];
    assert_eq!(story(&objects), expected);
    assert_eq!(
        (&objects[5]["recovered"], &objects[5]["token"]),
        (&Value::Bool(false), &Value::from("k1.10000.10000"))
    );
    // What is held is enough here, so history is not asked.
    let (id, client) = world.join();
    world.ask(id, &past_of(r#"{"ms":8000}"#));
    assert_eq!(story(&client.take()), ["ack", "8", "9", "live", "~10"]);
    assert!(world.questions.is_empty());
}

#[test]
fn a_slow_client_gets_a_page_only_once_it_has_taken_the_one_before() {
    let (mut world, store) = world_after(0..2_500);
    world.offer(closed(2_499), true);
    let (id, client) = world.join();
    world.ask(id, &past_of(r#"{"ms":0}"#));
    client.state().is_stalled = true;
    let (read, query) = world.questions.pop().expect("a question");
    world.answer(read, Ok(store.answer(&query, 0)));
    // The page waits, and no other is asked for.
    assert!(world.questions.is_empty());
    world.shard.writable(id, world.now);
    world.perform();
    assert!(world.questions.is_empty());
    client.state().is_stalled = false;
    world.shard.writable(id, world.now);
    world.perform();
    assert_eq!(world.questions.len(), 1);
    world.answer_from(&store, 0);
    let objects = story(&client.take());
    assert_eq!((objects.len(), objects[2_501].as_str()), (2_502, "live"));
}

#[test]
fn a_read_ends_with_its_session_or_its_subscription() {
    let (mut world, store) = world_after(0..10);
    let (id, client) = world.join();
    world.ask(id, &past_of(r#"{"last":3}"#));
    world.ask(id, r#"{"op":"list"}"#);
    assert_eq!(client.take()[1]["subscriptions"][0], A);
    world.ask(
        id,
        &format!(r#"{{"op":"unsub","topics":["{A}","kline:1s:C-D"]}}"#),
    );
    let objects = client.take();
    assert_eq!(objects[0]["topics"][0], A);
    assert_eq!(objects[0]["not_subscribed"][0], "kline:1s:C-D");
    assert_eq!(world.shard.read_count(), 0);
    // The answer comes to nobody.
    world.answer_from(&store, 0);
    world.ask(id, &past_of(r#"{"last":3}"#));
    // Without its past after all.
    world.ask(id, &format!(r#"{{"op":"sub","topics":["{A}"]}}"#));
    assert_eq!(world.shard.read_count(), 0);
    world.answer_from(&store, 0);
    assert_eq!(story(&client.take()), ["ack", "ack"]);
    world.ask(id, &past_of(r#"{"last":3}"#));
    world.shard.leave(id);
    assert_eq!(world.shard.read_count(), 0);
    world.answer_from(&store, 0);
    assert_eq!(story(&client.take()), ["ack"]);
}

#[test]
fn reads_at_once_are_bounded_and_all_have_their_turn() {
    let (mut world, store) = world_after(0..5);
    let (id, client) = world.join();
    let topics = ["A-B", "C-D", "E-F", "G-H", "I-J"].map(|symbol| format!("\"kline:1s:{symbol}\""));
    let ask = format!(
        r#"{{"op":"sub","topics":[{}],"from":{{"last":2}}}}"#,
        topics.join(",")
    );
    world.ask(id, &ask);
    assert_eq!((world.questions.len(), world.shard.read_count()), (2, 5));
    // Giving up the ones under way lets the next ones begin.
    world.ask(
        id,
        r#"{"op":"unsub","topics":["kline:1s:A-B","kline:1s:C-D"]}"#,
    );
    assert_eq!(world.questions.len(), 4);
    world.answer_from(&store, 0);
    let lives = client.take();
    assert_eq!(ops(&lives).iter().filter(|op| **op == "live").count(), 3);
    // Reads count as subscriptions: five are allowed.
    let topics = topics.map(|topic| topic.replace("1s", "1m")).join(",");
    world.ask(
        id,
        &format!(r#"{{"op":"sub","topics":[{topics}],"from":{{"last":2}}}}"#),
    );
    assert_eq!(client.take()[0]["code"], "too_many_subscriptions");
}

#[test]
fn topics_that_the_held_bars_complete_go_live_in_one_step() {
    let mut world = World::new();
    let topics = ["A-B", "C-D", "E-F", "G-H", "I-J"].map(|symbol| format!("kline:1s:{symbol}"));
    for topic in &topics {
        world.publish(topic, 5, 1, true);
    }
    world.shard.pull();
    let (id, client) = world.join();
    world.shard.counts = Counts::default();
    let names = topics.map(|topic| format!("\"{topic}\"")).join(",");
    let begin_ms = bar(5, 1, 1, true).0.end_ms;
    world.ask(
        id,
        &format!(r#"{{"op":"sub","topics":[{names}],"from":{{"ms":{begin_ms}}}}}"#),
    );
    let objects = client.take();
    assert_eq!(ops(&objects)[1..], ["live"; 5], "{objects:?}");
    assert!(world.questions.is_empty());
    // A set for each topic would be a square of work behind one message.
    assert_eq!(world.shard.counts.sets_made, 1);
    world.publish("kline:1s:C-D", 6, 2, true);
    world.flush();
    assert_eq!(ops(&client.take()), ["bar"]);
}

#[test]
fn without_history_topics_that_wait_for_their_turn_go_live_with_the_others() {
    let mut world = World::new();
    let topics = ["A-B", "C-D", "E-F", "G-H", "I-J"].map(|symbol| format!("\"kline:1s:{symbol}\""));
    let (id, client) = world.join();
    world.ask(
        id,
        &format!(
            r#"{{"op":"sub","topics":[{}],"from":{{"last":2}}}}"#,
            topics.join(",")
        ),
    );
    // Two have their turn. `history_wait` is five seconds.
    for _ in 0..7 {
        while let Some((read, _)) = world.questions.pop() {
            world.answer(read, Err(NoPage));
        }
        world.pass(SECOND);
    }
    let objects = client.take();
    assert_eq!(ops(&objects)[1..], ["live"; 5], "{objects:?}");
    assert!(objects[1..].iter().all(|live| live["recovered"] == false));
    assert_eq!(world.shard.read_count(), 0);
}

#[test]
fn what_cannot_have_a_past_is_refused_with_what_to_do() {
    let mut world = World::new();
    let (id, client) = world.join();
    let refusal = |world: &mut World, ask: &str| {
        world.ask(id, ask);
        let objects = client.take();
        assert_eq!(objects[0]["code"], "bad_option", "{ask}: {objects:?}");
        objects[0]["message"].as_str().expect("a text").to_owned()
    };
    let message = refusal(&mut world, &past_of(r#"{"last":2501}"#));
    assert!(message.contains("2500 are allowed"), "{message}");
    world.ask(id, r#"{"op":"sub","topics":["kline:1s:*"]}"#);
    let _ = client.take();
    let message = refusal(&mut world, &past_of(r#"{"last":2}"#));
    assert!(message.contains("unsubscribe kline:1s:*"), "{message}");
    world.ask(id, r#"{"op":"unsub","topics":["kline:1s:*"]}"#);
    world.ask(id, &past_of(r#"{"last":2}"#));
    let _ = client.take();
    let message = refusal(&mut world, r#"{"op":"sub","topics":["kline:>"]}"#);
    assert!(message.contains("wait for its live message"), "{message}");
}

#[test]
fn while_slow_clients_hold_all_memory_no_page_is_asked_for() {
    let mut world = World::bounded(Pace::default(), Names::any(), 0);
    let store = Store::default();
    let (id, _client) = world.join();
    world.ask(id, &past_of(r#"{"last":2}"#));
    // The request itself is refused then, so the read begins before.
    assert_eq!(world.shard.read_count(), 0);
    let (mut world, _) = (World::bounded(Pace::default(), Names::any(), 2_000), ());
    let (id, client) = world.join();
    world.ask(id, &past_of(r#"{"last":1500}"#));
    let held = world.hub.budget.count(Bytes::from(vec![0; 2_000]));
    let (read, _) = world.questions.pop().expect("a question");
    world.answer(read, Err(NoPage));
    world.pass(SECOND);
    assert!(world.questions.is_empty() && world.shard.counts.overloaded > 0);
    drop(held);
    world.pass(SECOND);
    world.answer_from(&store, 0);
    assert_eq!(story(&client.take()), ["ack", "live"]);
}

#[test]
fn a_topic_that_closed_nothing_since_is_live_by_the_clock() {
    let (mut world, store) = world_after(0..10);
    for (asked_ms, expected) in [(10_900, "live"), (11_000, "live:gap")] {
        let (id, client) = world.join();
        world.ask(id, &past_of(r#"{"last":1}"#));
        for _ in 0..20 {
            world.answer_from(&store, asked_ms);
            world.pass(SECOND);
        }
        assert_eq!(story(&client.take()), ["ack", "9", expected]);
    }
}

#[test]
fn a_page_has_as_many_bars_as_history_may_send() {
    let (mut world, _) = world_after(0..0);
    let (id, _client) = world.join();
    world.ask(id, &past_of(r#"{"last":2500}"#));
    let (_, query) = world.questions.pop().expect("a question");
    assert_eq!(query.limit, BARS_PER_PAGE_MAX);
    assert!(query.has_flat_bars);
}
