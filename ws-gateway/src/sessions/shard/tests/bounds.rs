//! What a session may ask for, and what it leaves behind.

use super::*;

#[test]
fn what_is_too_much_is_refused_and_changes_nothing() {
    let mut world = World::new();
    let (id, client) = world.join();
    world.ask(
        id,
        r#"{"op":"sub","topics":["a:1","a:2","a:3","a:4","a:5"]}"#,
    );
    assert_eq!(ops(&client.take()), ["ack"]);
    world.ask(id, r#"{"op":"sub","id":4,"topics":["a:6"]}"#);
    let objects = client.take();
    assert_eq!(
        (&objects[0]["code"], &objects[0]["id"]),
        (&"too_many_subscriptions".into(), &4.into())
    );
    for number in 0..9 {
        world.publish(&format!("b:{number}"), 1, 1, false);
    }
    let (id, client) = world.join();
    world.ask(id, r#"{"op":"sub","topics":["b:*"]}"#);
    assert_eq!(client.take()[0]["code"], "too_many_topics");
    world.ask(id, r#"{"op":"list"}"#);
    let objects = client.take();
    assert_eq!(objects[0]["subscriptions"], Value::Array(Vec::new()));
    assert_eq!(objects[0]["topics"].as_array().map(Vec::len), Some(3));
    assert_eq!(objects[0]["truncated"], true);
    assert_eq!(world.shard.set_count(), 2);
}

#[test]
fn a_wildcard_that_outgrows_the_bound_keeps_what_it_has_and_says_so_in_the_counts() {
    let mut world = World::new();
    let (id, client) = world.join();
    world.ask(id, r#"{"op":"sub","topics":["b:*","c:*"]}"#);
    for number in 0..12 {
        world.publish(&format!("b:{number}"), 1, 1, false);
    }
    world.flush();
    assert_eq!(client.take().len(), 1 + 8);
    assert_eq!(world.shard.counts.beyond_bound, 4);
    world.ask(id, r#"{"op":"unsub","topics":["c:*"]}"#);
    assert_eq!(ops(&client.take()), ["ack"]);
}

#[test]
fn sessions_leave_nothing_behind() {
    let mut world = World::new();
    world.publish(A, 1, 1, false);
    for round in 0..3 {
        let members: Vec<_> = (0..5).map(|_| world.join().0).collect();
        for (number, &id) in members.iter().enumerate() {
            let text = format!(
                r#"{{"op":"sub","topics":["kline:1s:A-B","a:{}"]}}"#,
                number % 2
            );
            world.ask(id, &text);
        }
        assert_eq!(world.shard.set_count(), 3);
        world.publish(A, 1, 2 + round, false);
        world.shard.pull();
        for id in members {
            world.shard.leave(id);
            world.shard.leave(id);
            world.shard.writable(id, world.now);
        }
        world.flush();
        assert_eq!(
            (world.shard.set_count(), world.shard.members.places()),
            (1, 5)
        );
        assert!(
            world
                .shard
                .subscriptions
                .views
                .iter()
                .all(|view| view.sets.is_empty())
        );
    }
}
