//! Replays: each bar at its end, on a clock of its own, and then the present.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::sessions::replay_places::ReplayPlaces;
use crate::sessions::shard::replay::PAGE_BARS;
use crate::sessions::shard::tests::world::replay_shares;

const HALF: Duration = Duration::from_millis(500);

fn replay_of(topic: &str, start_ms: i64, speed: u32) -> String {
    format!(r#"{{"op":"sub","topics":["{topic}"],"from":{{"ms":{start_ms},"speed":{speed}}}}}"#)
}

impl World {
    /// Time passes in small steps, and history answers at once.
    fn play(&mut self, store: &Store, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.pass((end - self.now).min(HALF / 5));
            self.answer_from(store, 0);
        }
    }
}

fn numbers(range: std::ops::Range<i64>) -> Vec<String> {
    range.map(|index| index.to_string()).collect()
}

#[test]
fn each_bar_of_a_replay_comes_at_its_end_and_then_what_is_live() {
    let (mut world, mut store) = world_after(0..10);
    for index in 6..12 {
        world.offer(closed(index), true);
    }
    world.offer(closed(12), false);
    let (id, client) = world.join();
    world.ask(id, &replay_of(A, 2_000, 2));
    world.answer_from(&store, 0);
    assert_eq!(story(&client.take()), ["ack"]);
    world.pass(HALF - Duration::from_millis(1));
    assert_eq!(story(&client.take()), Vec::<String>::new());
    world.pass(Duration::from_millis(1));
    assert_eq!(story(&client.take()), ["2"]);
    world.pass(HALF);
    assert_eq!(story(&client.take()), ["3"]);
    world.pass(4 * HALF);
    assert_eq!(story(&client.take()), numbers(4..8));
    // History gets more meanwhile: it comes at its time, too.
    store.take(closed(10));
    world.pass(2 * HALF);
    world.answer_from(&store, 0);
    assert_eq!(story(&client.take()), numbers(8..10));
    world.pass(HALF);
    world.answer_from(&store, 0);
    let objects = client.take();
    assert_eq!(story(&objects), ["10", "11", "live", "~12"]);
    assert_eq!(objects[2]["token"], "k1.12000.12000");
    assert_eq!(world.shard.read_count(), 0);
    world.offer(closed(12), true);
    world.flush();
    assert_eq!(story(&client.take()), ["12"]);
}

#[test]
fn at_the_speed_of_the_present_a_replay_stays_as_far_behind_as_it_began() {
    let (mut world, mut store) = world_after(0..10);
    let (id, client) = world.join();
    world.ask(id, &replay_of(A, 5_000, 1));
    for index in 10..55 {
        world.offer(closed(index), true);
        store.take(closed(index));
        world.play(&store, SECOND);
        assert_eq!(story(&client.take()).last(), Some(&(index - 5).to_string()));
    }
    assert_eq!(world.shard.read_count(), 1);
    world.ask(id, &format!(r#"{{"op":"unsub","topics":["{A}"]}}"#));
    assert_eq!(world.shard.read_count(), 0);
    let sharer = world.shard.sharer(id);
    assert!(world.shard.config.replay_places.take(sharer).is_ok());
}

#[test]
fn a_replay_asks_for_a_page_at_a_time_and_waits_for_history_after_it_waited_for_its_clock() {
    let (mut world, store) = world_after(0..1_000);
    let (id, client) = world.join();
    world.ask(id, &replay_of(A, 0, 10));
    let asked = world.questions.last().map(|(_, query)| query.limit);
    assert_eq!(asked, Some(PAGE_BARS));
    world.answer_from(&store, 0);
    // Longer than history may take.
    world.pass(10 * SECOND);
    let (read, _) = world.questions.pop().expect("the next page is asked for");
    world.answer(read, Err(NoPage));
    assert_eq!(world.shard.read_count(), 1, "it is asked again");
    world.pass(SECOND);
    world.answer_from(&store, 0);
    let objects = story(&client.take());
    assert_eq!(objects[1..], numbers(0..110));
    // And history that never answers ends it.
    world.pass(9 * SECOND);
    for _ in 0..50 {
        while let Some((id, _)) = world.questions.pop() {
            world.answer(id, Err(NoPage));
        }
        world.pass(HALF);
    }
    let objects = story(&client.take());
    assert_eq!(objects.last().map(String::as_str), Some("live:history"));
}

#[test]
fn a_hole_before_the_present_that_stays_is_said_at_the_end_of_a_replay() {
    let (mut world, store) = world_after(0..10);
    for index in 20..24 {
        world.offer(closed(index), true);
    }
    let (id, client) = world.join();
    world.ask(id, &replay_of(A, 5_000, 10));
    for _ in 0..40 {
        world.answer_from(&store, 0);
        world.pass(HALF);
    }
    let objects = story(&client.take());
    let expected = [
        "ack", "5", "6", "7", "8", "9", "20", "21", "22", "23", "live:gap",
    ];
    assert_eq!(objects, expected);
    assert!(world.questions.is_empty() && world.shard.read_count() == 0);
}

#[test]
fn replays_have_places_and_do_not_keep_others_from_the_past() {
    let (mut world, store) = world_after(0..1_000);
    let other = "kline:1s:C-D";
    let (first, client) = world.join();
    world.ask(first, &replay_of(A, 0, 1));
    world.ask(first, &replay_of(other, 0, 1));
    // Another place in time of the same topic needs no other place.
    world.ask(first, &replay_of(A, 500_000, 1));
    assert_eq!(ops(&client.take()), ["ack", "ack", "ack"]);
    world.ask(first, &replay_of("kline:1s:E-F", 0, 1));
    let error = client.take().pop().expect("an answer");
    assert_eq!(error["code"], "too_many_subscriptions");
    // The past at once, beside them.
    world.ask(
        first,
        r#"{"op":"sub","topics":["kline:1s:E-F"],"from":{"ms":990000}}"#,
    );
    world.answer_from(&store, 1_000_000);
    let objects = story(&client.take());
    assert_eq!(
        objects[..11],
        [vec!["ack".to_owned()], numbers(990..1_000)].concat()
    );

    let (second, client) = world.join();
    world.ask(second, &replay_of(A, 0, 1));
    assert_eq!(ops(&client.take()), ["ack"]);
    world.ask(second, &replay_of(other, 0, 1));
    let error = client.take().pop().expect("an answer");
    assert_eq!(error["code"], "overloaded");
    let counts = &world.shard.counts;
    assert_eq!(
        (
            counts.replays_refused_session,
            counts.replays_refused_gateway
        ),
        (1, 1)
    );
    // Where all places are taken, one that the session has can still go to another time.
    world.ask(second, &replay_of(A, 700_000, 1));
    assert_eq!(ops(&client.take()), ["ack"]);
    world.shard.leave(first);
    world.ask(second, &replay_of(other, 0, 1));
    assert_eq!(ops(&client.take()), ["ack"]);
}

#[test]
fn one_address_takes_no_more_places_for_replays_than_its_share() {
    let (mut world, _) = world_after(0..10);
    let places = ReplayPlaces::new(100, replay_shares(3));
    world.shard.config.replay_places = Arc::new(places);
    let [one, other, third] = ["10.0.0.1", "10.0.0.1", "10.0.0.2"].map(|ip| {
        let client = Arc::new(Client {
            ip: ip.parse().ok(),
            state: Mutex::default(),
            heard_at: world.start,
            encoding: Encoding::default(),
        });
        let id = world.shard.join(Arc::clone(&client), world.now);
        (id, client)
    });
    let topics = [A, "kline:1s:C-D"];
    for topic in topics {
        world.ask(one.0, &replay_of(topic, 0, 1));
    }
    world.ask(other.0, &replay_of(A, 0, 1));
    world.ask(other.0, &replay_of(topics[1], 0, 1));
    let objects = other.1.take();
    assert_eq!(ops(&objects), ["ack", "error"]);
    assert_eq!(objects[1]["code"], "too_many_subscriptions");
    let message = objects[1]["message"].as_str().expect("a message");
    assert!(message.contains("an address replays 3 topics"), "{message}");
    assert_eq!(world.shard.counts.replays_refused_address, 1);
    // Another address has a share of its own, and a connection that ends gives its places back.
    world.ask(third.0, &replay_of(A, 0, 1));
    assert_eq!(ops(&third.1.take()), ["ack"]);
    world.shard.leave(one.0);
    world.ask(other.0, &replay_of(topics[1], 0, 1));
    assert_eq!(ops(&other.1.take()), ["ack"]);
}

#[test]
fn a_replay_from_before_all_bars_begins_with_the_first_one_on_one_clock_for_all_topics() {
    let other = "kline:1s:C-D";
    for answers_first in [A, other] {
        let (mut world, earlier) = world_after(1_000_000..1_000_010);
        let (_, later) = world_after(1_000_003..1_000_010);
        let (id, client) = world.join();
        let ask =
            format!(r#"{{"op":"sub","topics":["{A}","{other}"],"from":{{"ms":0,"speed":1}}}}"#);
        world.ask(id, &ask);
        let mut questions = std::mem::take(&mut world.questions);
        questions.sort_by_key(|(_, query)| query.topic != answers_first);
        for (read, query) in questions {
            let store = if query.topic == A { &earlier } else { &later };
            world.answer(read, Ok(store.answer(&query, 0)));
        }
        assert_eq!(story(&client.take()), ["ack"]);
        for index in 1_000_000..1_000_008 {
            world.pass(SECOND);
            let mut got: Vec<String> = client
                .take()
                .iter()
                .map(|bar| format!("{} {}", bar["topic"], bar["start_ms"]))
                .collect();
            got.sort();
            let topics = if index < 1_000_003 { 1 } else { 2 };
            let expected = [A, other].map(|topic| format!("\"{topic}\" {}", index * BAR_MS));
            assert_eq!(got, expected[..topics], "{answers_first} answers first");
        }
    }
}

#[test]
fn a_replay_does_not_wait_through_a_hole_of_the_past() {
    let (mut world, mut store) = world_after(0..5);
    for index in 10_000..10_005 {
        store.take(closed(index));
    }
    let (id, client) = world.join();
    world.ask(id, &replay_of(A, 0, 2));
    world.play(&store, 5 * HALF);
    assert_eq!(story(&client.take())[1..], numbers(0..5));
    // After the hole, the clock runs as before.
    for index in 10_000..10_005 {
        world.play(&store, HALF - Duration::from_millis(1));
        assert_eq!(story(&client.take()), Vec::<String>::new(), "{index}");
        world.play(&store, Duration::from_millis(1));
        assert_eq!(story(&client.take())[..1], [index.to_string()]);
    }
    assert_eq!(world.shard.counts.replay_holes, 1);
}

#[test]
fn a_hole_of_one_topic_of_a_replay_is_waited_through_while_another_has_bars() {
    let other = "kline:1s:C-D";
    let (mut world, whole) = world_after(0..100);
    let (_, mut torn) = world_after(0..5);
    for index in 60..100 {
        torn.take(closed(index));
    }
    let (id, client) = world.join();
    let ask = format!(r#"{{"op":"sub","topics":["{A}","{other}"],"from":{{"ms":0,"speed":5}}}}"#);
    world.ask(id, &ask);
    let _ = client.take();
    let mut ended = [Vec::new(), Vec::new()];
    for _ in 0..80 {
        world.pass(SECOND / 5);
        while let Some((read, query)) = world.questions.pop() {
            let store = if query.topic == A { &whole } else { &torn };
            world.answer(read, Ok(store.answer(&query, 0)));
        }
        for bar in client.take() {
            if let Some(start_ms) = bar["start_ms"].as_i64() {
                ended[usize::from(bar["topic"] == other)].push(start_ms / BAR_MS);
            }
        }
        let last = ended.each_ref().map(|bars| bars.last().copied());
        // They are side by side wherever both have bars.
        if last[1].is_some_and(|last| last >= 60) {
            assert_eq!(last[0], last[1]);
        }
    }
    assert_eq!(ended[0].len(), 80, "{ended:?}");
    assert_eq!(world.shard.counts.replay_holes, 0);
}

#[test]
fn a_client_that_does_not_read_gets_the_bars_that_were_due_meanwhile() {
    let (mut world, store) = world_after(0..1_000);
    let (id, client) = world.join();
    world.ask(id, &replay_of(A, 0, 10));
    world.answer_from(&store, 0);
    world.play(&store, SECOND);
    assert_eq!(story(&client.take())[1..], numbers(0..10));
    client.state().is_stalled = true;
    world.play(&store, 5 * SECOND);
    client.state().is_stalled = false;
    world.shard.writable(id, world.now);
    world.perform();
    world.answer_from(&store, 0);
    assert_eq!(story(&client.take()), numbers(10..60));
}

#[test]
fn whatever_the_speed_and_the_lag_of_history_no_bar_is_missing_and_none_comes_twice() {
    for seed in 0..300 {
        let mut random = SmallRng::seed_from_u64(seed);
        let begun: i64 = random.random_range(5..300);
        let (mut world, mut store) = world_after(0..begun);
        let (start, speed) = (random.random_range(0..begun), random.random_range(10..60));
        let (mut lag, mut stored) = (0, begun);
        let (id, client) = world.join();
        world.ask(id, &replay_of(A, start * BAR_MS, speed));
        let mut got = Vec::new();
        let mut seconds = begun;
        while seconds < begun + 20 || !got.contains(&"live".to_owned()) {
            assert!(
                seconds < begun + 700,
                "seed {seed}: it never came to the present"
            );
            world.offer(closed(seconds), true);
            seconds += 1;
            if random.random_bool(0.1) {
                lag = random.random_range(0..4);
            }
            while stored < seconds - lag {
                store.take(closed(stored));
                stored += 1;
            }
            for _ in 0..random.random_range(1..4) {
                client.state().is_stalled = random.random_bool(0.2);
                world.pass(SECOND / 4);
                if random.random_bool(0.8) {
                    world.answer_from(&store, seconds * BAR_MS);
                }
                if !client.state().is_stalled {
                    world.shard.writable(id, world.now);
                    world.perform();
                }
                world.flush();
            }
            got.extend(story(&client.take()));
        }
        client.state().is_stalled = false;
        world.shard.writable(id, world.now);
        world.perform();
        world.flush();
        got.extend(story(&client.take()));
        let bars: Vec<String> = got
            .iter()
            .filter(|told| !matches!(told.as_str(), "ack" | "live"))
            .cloned()
            .collect();
        assert_eq!(bars, numbers(start..seconds), "seed {seed}: {got:?}");
    }
}
