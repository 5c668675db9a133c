//! Warm start, loss and reconnect of the bus.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bus::{Bus, MemoryBus};
use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config as Runs, TestRunner};
use serde_json::{Value, json};
use ws_gateway::Config;

use crate::fickle_bus::Fickle;
use crate::support::{closed, forming, start, start_on, until};

#[tokio::test]
async fn a_new_gateway_has_the_last_bars_of_every_topic() {
    let bus = Arc::new(MemoryBus::with_streams(&service::streams()));
    for index in 0..40 {
        let bar = closed(index, index as u64 + 1);
        bus.publish(&bar.subject(), bar.payload()).await.unwrap();
        bus.publish_durable("closed.1s.A-B", bar.payload())
            .await
            .unwrap();
    }
    bus.publish("kline.1s.A-B", forming(40, 41).payload())
        .await
        .unwrap();
    let status = r#"{"topic":"system:feed:okx","state":"live"}"#;
    bus.publish("system.feed.okx", Bytes::from(status))
        .await
        .unwrap();
    let gateway = start_on(Config::default(), bus).await.ready().await;
    let mut client = gateway.connect().await;
    client.subscribe(&["kline:1s:A-B", "system:*:*"]).await;
    // Topics of different patterns come in any order.
    let mut frame = client.frame().await;
    frame.sort_by_key(|object| object["seq"].is_null());
    assert_eq!((frame.len(), frame[0]["seq"].as_u64()), (2, Some(41)));
    assert_eq!(frame[1]["state"], "live");
    // A client that knows nothing of the epoch gets all closed bars that are held.
    let mut client = gateway.connect().await;
    client
        .send(r#"{"op":"sub","topics":["kline:1s:A-B"],"since":{"epoch":0,"seq":{"kline:1s:A-B":0}}}"#)
        .await;
    assert_eq!(client.object().await["not_resumed"][0], "kline:1s:A-B");
    assert_eq!(client.frame().await.len(), 33);
}

#[tokio::test]
async fn a_gateway_is_ready_only_when_warm_and_connected() {
    let bus = Fickle::new(MemoryBus::with_streams(&service::streams()));
    bus.withholds.store(true, Ordering::Release);
    bus.is_connected.store(false, Ordering::Release);
    let gateway = start_on(Config::default(), bus.clone()).await;
    until("asked", || {
        !bus.last_values_asked.lock().unwrap().is_empty()
    })
    .await;
    let unmet = |name| {
        let unmet = gateway.service.readiness.unmet();
        unmet.iter().any(|condition| condition.name == name)
    };
    assert!(unmet("warm") && unmet("bus"));
    bus.withholds.store(false, Ordering::Release);
    until("warm", || !unmet("warm")).await;
    assert!(!gateway.service.readiness.is_ready());
    bus.is_connected.store(true, Ordering::Release);
    until("ready", || gateway.service.readiness.is_ready()).await;
    bus.is_connected.store(false, Ordering::Release);
    until("not ready", || !gateway.service.readiness.is_ready()).await;
}

#[tokio::test]
async fn what_a_full_queue_lost_is_fetched_again() {
    let bus = Fickle::with_queues_of(8);
    let gateway = start_on(Config::default(), bus.clone()).await.ready().await;
    let mut client = gateway.connect().await;
    client.subscribe(&["kline:1s:*"]).await;
    // Longer ago than the rest between two resyncs.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let asked = bus.last_values_asked.lock().unwrap().len();
    // One thread: the gateway's task does not run while this does, and its queue overflows.
    for index in 0..30 {
        let bar = closed(index, index as u64 + 1);
        gateway.publish_closed(&bar).await;
    }
    let mut bars = Vec::new();
    while bars.len() < 30 {
        let object = client.object().await;
        assert_eq!(
            (&object["state"], object.get("skipped")),
            (&"closed".into(), None)
        );
        bars.push(object["start_ms"].as_i64().unwrap());
    }
    assert_eq!(bars, (0..30).map(|index| index * 1_000).collect::<Vec<_>>());
    assert!(bus.last_values_asked.lock().unwrap().len() > asked);
}

/// A client is told of what it does not get, and not of what comes a moment later.
#[tokio::test]
async fn after_an_outage_only_bars_that_never_come_are_told_as_skipped() {
    let config = Config {
        closed_bars: 64,
        ..Config::default()
    };
    let bus = Fickle::new(MemoryBus::with_streams(&service::streams()));
    let gateway = start_on(config, bus.clone()).await.ready().await;
    let mut client = gateway.connect().await;
    client.subscribe(&["kline:1s:*"]).await;
    gateway.publish_closed(&closed(0, 1)).await;
    assert_eq!(client.object().await["start_ms"], 0);
    // Sixty bars that nobody hears, of which the bus retains the last ones.
    let retained = 60 - 32 + 1..61;
    for index in retained.clone() {
        let bar = closed(index, index as u64 + 1);
        let subject = bar.subject().replacen("kline.", "closed.", 1);
        bus.publish_durable(&subject, bar.payload()).await.unwrap();
    }
    // The bus is back, and does not answer yet while the next live bar comes.
    bus.withholds.store(true, Ordering::Release);
    let asked_before = bus.last_values_asked.lock().unwrap().len();
    bus.inner.tell_reconnected();
    gateway.publish(&closed(61, 62)).await;
    until("asked in vain", || {
        bus.last_values_asked.lock().unwrap().len() > asked_before
    })
    .await;
    bus.withholds.store(false, Ordering::Release);
    let (mut bars, mut skipped) = (Vec::new(), 0);
    while bars.last() != Some(&61_000) {
        let object = client.object().await;
        skipped += object["skipped"].as_u64().unwrap_or(0);
        bars.push(object["start_ms"].as_i64().unwrap());
    }
    let expected: Vec<_> = retained.chain([61]).map(|index| index * 1_000).collect();
    assert_eq!(bars, expected);
    assert_eq!(skipped, 60 - 32);
}

#[tokio::test]
async fn what_is_stored_only_after_a_resync_still_reaches_clients() {
    let bus = Fickle::with_queues_of(8);
    let gateway = start_on(Config::default(), bus.clone()).await.ready().await;
    let mut client = gateway.connect().await;
    client.subscribe(&["kline:1s:*"]).await;
    let asked = || bus.last_values_asked.lock().unwrap().len();
    let asked_before = asked();
    // A loss, as above, and what is retained is read again.
    for index in 0..30 {
        gateway
            .publish_closed(&closed(index, index as u64 + 1))
            .await;
    }
    while client.object().await["start_ms"] != 29_000 {}
    until("resynced", || asked() > asked_before).await;
    // Nobody heard these live: a bar of another symbol, and no newer one of it follows.
    let late = closed(40, 41).of("C-D");
    let subject = late.subject().replacen("kline.", "closed.", 1);
    bus.publish_durable(&subject, late.payload()).await.unwrap();
    while client.object().await["symbol"] != "C-D" {}
}

#[tokio::test]
async fn messages_that_are_no_bars_are_counted_and_reach_nobody() {
    let gateway = start(Config::default()).await.ready().await;
    let mut client = gateway.connect().await;
    client.subscribe(&["kline:>", "system:>"]).await;
    let malformed = ["outcome=\"malformed\""];
    let before = gateway.metric("gateway_ingest_messages_total", &malformed);
    for (subject, payload) in [
        ("kline.1s.A-B", "not json"),
        ("kline.1s.A-B", "{}"),
        ("kline.1s.A-B", "{\"seq\":1,\n\"epoch\":1}"),
        ("system.feed.okx", "[1]"),
        ("system.feed.okx", "{\n}"),
    ] {
        let payload = Bytes::from(payload);
        gateway.bus.publish(subject, payload).await.unwrap();
    }
    let good = forming(1, 1);
    gateway.publish(&good).await;
    assert_eq!(client.object().await["seq"], 1);
    until("counted", || {
        gateway.metric("gateway_ingest_messages_total", &malformed) >= before + 5.0
    })
    .await;
}

#[tokio::test]
async fn live_bars_go_on_while_the_bus_does_not_give_what_it_retains() {
    let bus = Fickle::with_queues_of(8);
    let gateway = start_on(Config::default(), bus.clone()).await.ready().await;
    let mut client = gateway.connect().await;
    client.subscribe(&["kline:1s:*", "system:>"]).await;
    let status = |state: &str| json!({"topic": "system:feed:okx", "state": state}).to_string();
    let publish_status = async |state: &str| {
        let payload = Bytes::from(status(state));
        bus.publish("system.feed.okx", payload).await.unwrap();
    };
    publish_status("old").await;
    assert_eq!(client.object().await["state"], "old");
    // A loss, after which the bus takes its time.
    bus.answers.send_replace(false);
    let asked = || bus.last_values_asked.lock().unwrap().clone();
    let before = asked().len();
    for seq in 1..=30 {
        gateway.publish(&forming(1, seq)).await;
        publish_status(&format!("lost {seq}")).await;
    }
    until("both patterns are asked for", || {
        let asked = &asked()[before..];
        asked.iter().any(|pattern| pattern == "closed.>")
            && asked.iter().any(|pattern| pattern == "system.>")
    })
    .await;
    publish_status("new").await;
    while client.object().await["state"] != "new" {}
    for seq in 31..=60 {
        gateway.publish(&forming(1, seq)).await;
        while client.object().await["seq"] != seq {}
    }
    // What was read before is older than what came meanwhile.
    bus.answers.send_replace(true);
    let late = closed(40, 41).of("C-D");
    gateway.publish_closed(&late).await;
    while client.object().await["symbol"] != "C-D" {}
    let mut other = gateway.connect().await;
    other.subscribe(&["system:feed:okx"]).await;
    assert_eq!(other.object().await["state"], "new");
}

/// Values that were each somebody's bug.
fn extreme() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!(0),
        json!(1),
        json!(-1),
        json!(u64::MAX),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(1.5),
        json!(""),
        json!("closed"),
        json!("\u{0}\n\u{2028}"),
        json!(null),
        json!([1]),
        json!({"op": "ack"}),
    ])
}

/// Which message, how often one of its fields becomes what, and a byte that becomes another.
type Mutation = (
    usize,
    Vec<(prop::sample::Index, Value)>,
    Option<(prop::sample::Index, u8)>,
);

fn mutation() -> impl Strategy<Value = Mutation> {
    (
        0usize..4,
        prop::collection::vec((any::<prop::sample::Index>(), extreme()), 1..4),
        prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    )
}

#[tokio::test]
async fn no_message_of_the_bus_keeps_later_ones_from_clients() {
    let gateway = start(Config::default()).await.ready().await;
    let mut client = gateway.connect().await;
    client
        .subscribe(&["kline:>", "boundary:>", "system:>"])
        .await;
    let bars = [forming(0, 1), closed(0, 1)].map(|bar| {
        let value: Value = serde_json::from_slice(&bar.payload()).unwrap();
        (bar.subject(), value)
    });
    let [forming_bar, closed_bar] = bars;
    let messages = [
        forming_bar,
        closed_bar,
        (
            "boundary.1s".to_owned(),
            json!({"op": "boundary", "topic": "boundary:1s", "interval": "1s", "end_ms": 1_000, "bars": 1, "missing": 0}),
        ),
        (
            "system.feed.okx".to_owned(),
            json!({"topic": "system:feed:okx", "state": "live"}),
        ),
    ];
    let mut runner = TestRunner::new(Runs::default());
    for round in 1..=300u64 {
        let (which, changes, flip) = mutation().new_tree(&mut runner).unwrap().current();
        let (subject, mut message) = messages[which].clone();
        let fields: Vec<String> = message.as_object().unwrap().keys().cloned().collect();
        for (field, value) in changes {
            message[field.get(&fields)] = value;
        }
        let mut payload = message.to_string().into_bytes();
        if let Some((at, byte)) = flip {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        let case = format!("{subject} {}", String::from_utf8_lossy(&payload));
        let bus = &gateway.bus;
        bus.publish(&subject, payload.into()).await.unwrap();
        // What a publisher says next reaches the client, whatever it said before.
        let (index, seq) = (round as i64, 2 * round);
        gateway.publish(&closed(index, seq)).await;
        gateway.publish(&forming(index + 1, seq + 1)).await;
        gateway.publish_mark("1s", (index + 1) * 1_000, 1).await;
        let state = json!({"topic": "system:feed:okx", "state": round});
        let state = Bytes::from(state.to_string());
        bus.publish("system.feed.okx", state).await.unwrap();
        let mut lacking = vec!["bar", "forming", "mark", "status"];
        while !lacking.is_empty() {
            let object = client.object_after(&case, &lacking).await;
            let is_bar = object["state"] == "closed" && object["start_ms"] == index * 1_000;
            let is_next = object["start_ms"] == (index + 1) * 1_000;
            let is_mark = object["op"] == "boundary" && object["end_ms"] == (index + 1) * 1_000;
            let is_status = object["state"] == round;
            lacking.retain(|lacked| match *lacked {
                "bar" => !is_bar,
                "forming" => !(is_next && object["state"] == "forming"),
                "mark" => !is_mark,
                _ => !is_status,
            });
        }
    }
}

/// A gateway whose clock is behind all publishers' says so, and recovers without a restart.
#[tokio::test]
async fn a_gateway_that_refuses_every_bar_for_its_clock_is_not_ready() {
    let gateway = start(Config::default()).await.ready().await;
    let ahead = ["outcome=\"ahead\""];
    let before = gateway.metric("gateway_ingest_messages_total", &ahead);
    let is_behind = || {
        let unmet = gateway.service.readiness.unmet();
        unmet.iter().any(|condition| condition.name == "clock")
    };
    // As a gateway sees it whose clock is three hours behind.
    let now_s = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let future_s = i64::try_from(now_s).unwrap() + 3 * 3_600;
    let publish_ahead = async {
        for seq in 1.. {
            gateway.publish(&closed(future_s + seq as i64, seq)).await;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    assert!(!is_behind());
    tokio::select! {
        () = until("behind", is_behind) => {}
        () = publish_ahead => {}
    }
    assert!(gateway.metric("gateway_ingest_messages_total", &ahead) > before);
    // A bar of a publisher whose clock agrees.
    gateway.publish(&closed(1, 1)).await;
    until("ready", || gateway.service.readiness.is_ready()).await;
}
