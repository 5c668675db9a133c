//! A hub without ingest and shards.

use std::time::Duration;

use super::*;
use crate::topics::state::testing::bar;

fn topic(text: &str) -> Topic {
    text.parse().expect("topic")
}

#[test]
fn each_shard_pulls_every_change_once() {
    let hub = Hub::new(2, 10, Depth::default(), Names::any());
    let id = hub.slot_of(&topic("kline:1s:A-B")).expect("room");
    assert_eq!(hub.slot_of(&topic("kline:1s:A-B")), Ok(id));
    for seq in 1..=3 {
        let (head, payload) = bar(1, seq, 1, false);
        let _ = hub.offer(id, Some(&head), payload, Instant::now());
    }
    for shard in 0..2 {
        let pulled = hub.pull(shard, 0);
        assert_eq!((pulled.version, pulled.created.len()), (3, 1));
        assert_eq!(
            (pulled.changed.len(), pulled.changed[0].newest_version),
            (1, 3)
        );
        assert!(pulled.since.is_some());
        assert!(hub.pull(shard, 1).changed.is_empty());
    }
}

/// Closed bars, each of them with the newest version.
fn publish_closed(hub: &Hub, id: SlotId, count: i64, now: Instant) {
    for index in 0..count {
        let (head, payload) = bar(index, index as u64 + 1, 1, true);
        assert!(matches!(
            hub.offer(id, Some(&head), payload, now),
            Offered::New { .. }
        ));
    }
}

/// How many closed bars of a topic are held whole.
fn held_of(hub: &Hub, id: SlotId) -> usize {
    let pulled = hub.pull(0, 0);
    let slot = &pulled.created[id.index()];
    let filter = market_core::protocol::Filter::default();
    let delta = crate::topics::state::delta(&slot.state(), None, 0, pulled.version, filter);
    delta.updates.len()
}

#[test]
fn closed_bars_are_held_for_their_time_though_their_topic_is_quiet() {
    let depth = Depth {
        closed_bars: 4,
        hold: Duration::from_secs(30),
        ..Depth::default()
    };
    let (hub, now) = (Hub::new(1, 10, depth, Names::any()), Instant::now());
    let id = hub.slot_of(&topic("kline:1s:A-B")).expect("room");
    publish_closed(&hub, id, 100, now);
    assert_eq!(held_of(&hub, id), 100);
    hub.let_go(now + Duration::from_secs(29));
    assert_eq!(held_of(&hub, id), 100);
    hub.let_go(now + Duration::from_secs(30));
    assert_eq!(held_of(&hub, id), 4);
    assert_eq!(hub.take_held(), (0, 0));
}

#[test]
fn closed_bars_beyond_the_budget_are_let_go_early_and_counted() {
    let depth = Depth {
        closed_bars: 4,
        hold_bytes_max: 20_000,
        ..Depth::default()
    };
    let (hub, now) = (Hub::new(1, 10, depth, Names::any()), Instant::now());
    let ids = ["kline:1s:A-B", "kline:1s:C-D"].map(|text| hub.slot_of(&topic(text)));
    for id in ids.iter().flatten() {
        publish_closed(&hub, *id, 100, now);
    }
    let (bytes, early) = hub.take_held();
    assert!(bytes <= 20_000, "{bytes}");
    let [first, second] = ids.map(|id| held_of(&hub, id.expect("room")));
    assert_eq!(first, 4, "the last of each topic stay");
    assert!(second > 4 && (first + second) as u64 + early == 200);
}

/// How many bars a session of the first topic lacks that has seen everything up to `seen`:
/// those that it is sent, and those of which it is told.
fn lacking(hub: &Hub, seen: u64) -> u64 {
    let pulled = hub.pull(0, 0);
    let filter = market_core::protocol::Filter::default();
    let state = pulled.created[0].state();
    let delta = crate::topics::state::delta(&state, None, seen, pulled.version, filter);
    delta.updates.len() as u64 + delta.skipped
}

#[test]
fn bars_are_counted_for_as_long_as_a_session_may_be_behind_and_no_longer() {
    let depth = Depth {
        closed_bars: 4,
        closed_log: 8,
        hold: Duration::from_secs(30),
        lag_max: Duration::from_secs(75),
        ..Depth::default()
    };
    let (hub, now) = (Hub::new(1, 10, depth, Names::any()), Instant::now());
    let id = hub.slot_of(&topic("kline:1s:A-B")).expect("room");
    publish_closed(&hub, id, 100, now);
    hub.let_go(now + Duration::from_secs(40));
    assert_eq!(held_of(&hub, id), 4);
    assert_eq!(lacking(&hub, 1), 99);
    let lacking_at = |index: i64, seconds: u64| {
        let (head, payload) = bar(index, index as u64 + 1, 1, true);
        let at = now + Duration::from_secs(seconds);
        let _ = hub.offer(id, Some(&head), payload, at);
        lacking(&hub, 1)
    };
    assert_eq!(lacking_at(100, 41), 100);
    assert_eq!(lacking_at(101, 115), 101);
    assert_eq!(lacking_at(102, 117), 102);
    assert_eq!(lacking_at(103, 118), 8, "what nobody lacks is forgotten");
}

#[test]
fn topics_are_bounded() {
    let hub = Hub::new(1, 1, Depth::default(), Names::any());
    assert!(hub.slot_of(&topic("a:b")).is_ok());
    assert_eq!(hub.slot_of(&topic("a:c")), Err(HubFull));
    assert_eq!(hub.topic_count(), 1);
}
