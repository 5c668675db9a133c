//! What slow clients can make a gateway hold.

use super::*;

/// A client that asks for all and reads nothing; in a set of its own.
fn slow(world: &mut World, number: usize) -> (SessionId, Arc<Client>, Value) {
    let (id, client) = world.join();
    client.state().is_stalled = true;
    let own = format!("kline:1s:NOBODY{number}-HAS");
    let request = format!(r#"{{"op":"sub","topics":["kline:1s:*","{own}"]}}"#);
    world.ask(id, &request);
    let answer = client.take().remove(0);
    (id, client, answer)
}

#[test]
fn what_slow_clients_hold_is_bounded_and_others_go_on() {
    const BYTES_MAX: usize = 3_000;
    let mut world = World::bounded(Pace::default(), Names::any(), BYTES_MAX);
    let topics = ["kline:1s:A-B", "kline:1s:C-D", "kline:1s:E-F"];
    for topic in topics {
        world.publish(topic, 1, 1, false);
    }
    // One that reads, and one that has fallen behind.
    let (_, reader, _) = slow(&mut world, 0);
    reader.state().is_stalled = false;
    reader.state().held.clear();
    let (behind_id, behind, _) = slow(&mut world, 1);
    behind.state().held.clear();
    let mut held = Vec::new();
    let mut answer_bytes = 0;
    let refused = loop {
        let before = world.hub.budget.bytes();
        let (id, client, answer) = slow(&mut world, 2 + held.len());
        held.push((id, client));
        if answer["op"] == "error" {
            break answer;
        }
        answer_bytes = answer_bytes.max(world.hub.budget.bytes() - before);
        assert!(held.len() < BYTES_MAX, "there is a bound");
    };
    assert_eq!(refused["code"], "overloaded");
    let bytes = world.hub.budget.bytes();
    assert!(
        (BYTES_MAX..BYTES_MAX + answer_bytes).contains(&bytes),
        "{bytes}"
    );
    assert_eq!(world.shard.counts.overloaded, 1);
    let (id, client) = held.last().expect("some were answered");
    for (request, op) in [("list", "error"), ("ping", "pong")] {
        world.ask(*id, &format!(r#"{{"op":"{request}"}}"#));
        assert_eq!(client.take()[0]["op"], *op);
    }
    // Who is not behind is not kept waiting, who is behind is, and both get all of it.
    world.publish(topics[0], 1, 2, true);
    world.flush();
    assert_eq!(reader.take()[0]["seq"], 2);
    behind.state().is_stalled = false;
    world.shard.writable(behind_id, world.now);
    world.flush();
    assert_eq!(behind.take(), [] as [Value; 0]);
    for (id, client) in held {
        world.shard.leave(id);
        client.state().held.clear();
    }
    assert_eq!(world.hub.budget.bytes(), 0);
    world.pass(SECOND);
    world.flush();
    assert_eq!(behind.take()[0]["seq"], 2);
    let (_, _, answer) = slow(&mut world, 0);
    assert_eq!(answer["op"], "ack");
}

#[test]
fn a_client_that_resumes_more_than_it_may_hold_starts_some_topics_anew() {
    let mut world = World::new();
    let topics = ["kline:1s:A-B", "kline:1s:C-D"];
    for topic in topics {
        for index in 1..=4 {
            world.publish(topic, index, index as u64, true);
        }
    }
    world.shard.config.resume_bytes_max = 200;
    let (id, client) = world.join();
    let request = serde_json::json!({
        "op": "sub",
        "topics": topics,
        "since": {"epoch": 1, "seq": {topics[0]: 1, topics[1]: 1}},
    });
    world.ask(id, &request.to_string());
    let objects = client.take();
    assert_eq!(objects[0]["not_resumed"], serde_json::json!([topics[1]]));
    let seqs: Vec<_> = objects[1..]
        .iter()
        .map(|bar| (bar["topic"].as_str(), bar["seq"].as_u64()))
        .collect();
    let first = |seq| (Some(topics[0]), Some(seq));
    let expected = [first(2), first(3), first(4), (Some(topics[1]), Some(4))];
    assert_eq!(seqs, expected);
}
