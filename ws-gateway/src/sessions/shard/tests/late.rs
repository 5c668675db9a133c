//! Bars that come late, and those after them that some sessions lack.

use super::*;

const SUB: &str = r#"{"op":"sub","topics":["kline:1s:A-B"]}"#;

fn join(world: &mut World) -> (SessionId, Arc<Client>) {
    let (id, client) = world.join();
    world.ask(id, SUB);
    (id, client)
}

/// A world that holds so many bars whole, and remembers `log`, whatever sessions were told.
fn world(closed_bars: usize, log: usize) -> World {
    let depth = Depth {
        closed_bars,
        closed_log: log,
        burst_max: log,
        hold: SECOND,
        ..Depth::default()
    };
    World::holding(depth, Pace::default(), Names::any(), usize::MAX)
}

/// Bars close, and all sessions get them.
fn close(world: &mut World, indices: std::ops::RangeInclusive<i64>) {
    for index in indices {
        world.publish(A, index, index.unsigned_abs(), true);
        world.flush();
    }
}

/// A bar comes late: the time of those before it is over, so only the last ones are held.
fn late(world: &mut World, index: i64, seq: u64) {
    world.pass(2 * SECOND);
    world.hub.let_go(world.now);
    world.publish(A, index, seq, true);
    world.flush();
}

/// What a client got: the seconds at which bars begin, and the bars that it was told of.
fn got(client: &Client) -> (Vec<i64>, u64) {
    let objects = client.take();
    let second = |bar: &Value| Some(bar["start_ms"].as_i64()? / 1_000);
    let skipped = objects.iter().filter_map(|bar| bar["skipped"].as_u64());
    (
        objects.iter().filter_map(second).collect(),
        skipped.sum::<u64>(),
    )
}

/// A later subscription of another topic says nothing of the bars of this one.
#[test]
fn a_session_that_has_subscribed_another_topic_since_gets_the_late_bar_alone() {
    let mut world = world(4, 8);
    let (id, client) = join(&mut world);
    let (wild, wild_client) = world.join();
    world.ask(wild, r#"{"op":"sub","topics":["kline:1s:*"]}"#);
    close(&mut world, 31..=37);
    world.publish("kline:1s:C-D", 1, 1, true);
    world.publish("kline:1m:C-D", 1, 1, true);
    world.ask(id, r#"{"op":"sub","topics":["kline:1s:C-D"]}"#);
    world.ask(wild, r#"{"op":"sub","topics":["kline:1m:*"]}"#);
    // Nor does the same topic again, by another name or by its own.
    world.ask(id, r#"{"op":"sub","topics":["kline:1s:*"]}"#);
    world.ask(id, SUB);
    got(&client);
    got(&wild_client);
    late(&mut world, 30, 30);
    assert_eq!(got(&client), (vec![30], 0));
    assert_eq!(got(&wild_client), (vec![30], 0));
    // Who gives the topic up begins it anew.
    world.ask(
        id,
        r#"{"op":"unsub","topics":["kline:1s:A-B","kline:1s:*"]}"#,
    );
    world.ask(id, SUB);
    got(&client);
    late(&mut world, 29, 29);
    assert_eq!(got(&wild_client), (vec![29], 0));
    assert_eq!(got(&client), (vec![29, 34, 35, 36, 37], 4));
}

/// Once a session has got a late bar and those after it, it has them.
#[test]
fn a_second_late_bar_brings_nothing_twice() {
    let mut world = world(64, 64);
    close(&mut world, 31..=34);
    let (_, client) = join(&mut world);
    got(&client);
    close(&mut world, 29..=29);
    // The one that is missing is told of.
    assert_eq!(got(&client), (vec![29, 31, 32, 33, 34], 1));
    close(&mut world, 30..=30);
    assert_eq!(got(&client), (vec![30], 0));
    close(&mut world, 27..=28);
    assert_eq!(got(&client), (vec![27, 28], 1));
}

/// However many sessions began at different bars: each is told exactly of what it lacks.
#[test]
fn what_is_no_longer_held_after_a_late_bar_is_told_to_those_who_lack_it_alone() {
    let mut world = world(4, 64);
    let (_, early) = join(&mut world);
    let mut clients = Vec::new();
    for index in 2..40 {
        close(&mut world, index..=index);
        clients.push(join(&mut world).1);
    }
    for client in clients.iter().chain([&early]) {
        got(client);
    }
    late(&mut world, 1, 1);
    assert_eq!(got(&early), (vec![1], 0));
    for (index, client) in (2..40).zip(&clients) {
        let (bars, skipped) = got(client);
        assert_eq!(bars[0], 1);
        // It lacks those from 2 to the one at which it began.
        assert_eq!(skipped, (index - 1).min(34) as u64, "at {index}");
        let held: Vec<i64> = (36..=index).collect();
        assert_eq!(bars[1..], held, "at {index}");
    }
}

#[test]
fn the_bars_between_a_late_one_and_the_first_have_a_bound_in_bytes() {
    let mut world = world(64, 64);
    close(&mut world, 31..=35);
    let (_, client) = join(&mut world);
    got(&client);
    let (_, bar) = bar(31, 31, 1, true);
    world.shard.config.resume_bytes_max = 2 * bar.len() + 10;
    late(&mut world, 30, 30);
    assert_eq!(got(&client), (vec![30, 31, 32], 3));
    close(&mut world, 36..=36);
    assert_eq!(got(&client), (vec![36], 0));
}

/// A bar comes so late that the bars after it are no longer remembered one by one.
#[test]
fn bars_after_a_late_one_that_are_no_longer_remembered_are_told() {
    let mut world = world(4, 8);
    let (_, early) = join(&mut world);
    close(&mut world, 1..=50);
    let (_, middle) = join(&mut world);
    close(&mut world, 51..=100);
    let (_, young) = join(&mut world);
    for client in [&early, &middle, &young] {
        got(client);
    }
    // Newer than all that is forgotten, or it would count as one of these.
    late(&mut world, 0, 101);
    assert_eq!(got(&early), (vec![0], 0));
    // From 1 to 100, of which four are held.
    assert_eq!(got(&young), (vec![0, 97, 98, 99, 100], 96));
    let (bars, skipped) = got(&middle);
    assert_eq!(bars, [0]);
    assert!((50..=82).contains(&skipped), "{skipped}");
}
