//! Delivered and skipped together are what was published.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Forming(usize),
    Closed(usize),
    Flush,
    Stall(usize),
    Resume(usize),
    Pass,
    Resubscribe(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(
        prop_oneof![
            6 => (0usize..3).prop_map(Step::Forming),
            6 => (0usize..3).prop_map(Step::Closed),
            6 => Just(Step::Flush),
            2 => (0usize..4).prop_map(Step::Stall),
            2 => (0usize..4).prop_map(Step::Resume),
            2 => Just(Step::Pass),
            1 => (0usize..4).prop_map(Step::Resubscribe),
        ],
        1..200,
    )
}

proptest! {
    /// Whatever is published, flushed and stalled when: each session gets each closed bar or is
    /// told that it did not, in order, and ends with the newest forming bar.
    #[test]
    fn delivered_and_skipped_is_what_was_published(steps in steps()) {
        let topics = ["kline:1s:A-B", "kline:1s:C-D", "kline:1s:E-F"];
        let subscriptions = [
            r#"{"op":"sub","topics":["kline:1s:*"]}"#,
            r#"{"op":"sub","topics":["kline:1s:*"],"max_rate":5}"#,
            r#"{"op":"sub","topics":["kline:1s:A-B","kline:1s:C-D","kline:1s:E-F"],"closed_only":true}"#,
            r#"{"op":"sub","topics":["kline:1s:*","kline:1s:A-B"]}"#,
        ];
        let mut world = World::new();
        let members: Vec<_> = (0..4).map(|_| world.join()).collect();
        for ((id, _), text) in members.iter().zip(subscriptions) {
            world.ask(*id, text);
        }
        let (mut index, mut seq) = ([1i64; 3], [0u64; 3]);
        let (mut closed_count, mut last_forming) = ([0u64; 3], [None; 3]);
        for step in steps {
            match step {
                Step::Forming(topic) => {
                    seq[topic] += 1;
                    last_forming[topic] = Some(seq[topic]);
                    world.publish(topics[topic], index[topic], seq[topic], false);
                }
                Step::Closed(topic) => {
                    seq[topic] += 1;
                    closed_count[topic] += 1;
                    last_forming[topic] = None;
                    world.publish(topics[topic], index[topic], seq[topic], true);
                    index[topic] += 1;
                }
                Step::Flush => world.flush(),
                Step::Stall(member) => members[member].1.state().is_stalled = true,
                Step::Resume(member) => {
                    members[member].1.state().is_stalled = false;
                    world.shard.writable(members[member].0, world.now);
                }
                Step::Pass => world.pass(SECOND / 4),
                Step::Resubscribe(member) if !members[member].1.state().is_stalled => {
                    world.ask(members[member].0, subscriptions[member]);
                }
                Step::Resubscribe(_) => {}
            }
        }
        for (id, client) in &members {
            client.state().is_stalled = false;
            world.shard.writable(*id, world.now);
        }
        world.flush();
        world.pass(SECOND);
        world.flush();
        for (number, (_, client)) in members.iter().enumerate() {
            let mut closed: BTreeMap<String, Vec<i64>> = BTreeMap::new();
            let (mut skipped, mut newest) = (BTreeMap::new(), BTreeMap::new());
            for object in client.take() {
                let Some(topic) = object["topic"].as_str().map(str::to_owned) else { continue };
                *skipped.entry(topic.clone()).or_insert(0) += object["skipped"].as_u64().unwrap_or(0);
                if object["state"] == "closed" {
                    let bars = closed.entry(topic.clone()).or_default();
                    let start_ms = object["start_ms"].as_i64().expect("a bar");
                    // A subscription that is repeated brings the newest bar once more.
                    if bars.last() != Some(&start_ms) {
                        bars.push(start_ms);
                    }
                } else {
                    prop_assert!(number != 2, "forming bars are declined");
                }
                newest.insert(topic, object["seq"].as_u64());
            }
            for (index, topic) in topics.iter().enumerate() {
                let bars = closed.remove(*topic).unwrap_or_default();
                prop_assert!(bars.is_sorted(), "{topic}: {bars:?}");
                let missed = skipped.get(*topic).copied().unwrap_or(0);
                prop_assert_eq!(bars.len() as u64 + missed, closed_count[index]);
                if let (Some(seq), true) = (last_forming[index], number != 2) {
                    prop_assert_eq!(newest[*topic], Some(seq));
                }
            }
        }
    }
}
