//! Warm start, loss and reconnect of the bus.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bus::{Bus, BusConfig, BusError, MemoryBus, Message, Subscription};
use bytes::Bytes;
use ws_gateway::Config;

use crate::support::{closed, forming, start_on, until};

/// A memory bus whose connection and retained messages can be taken away.
struct Fickle {
    inner: MemoryBus,
    is_connected: AtomicBool,
    withholds: AtomicBool,
    last_values_asked: Mutex<Vec<String>>,
}

impl Fickle {
    fn new(inner: MemoryBus) -> Arc<Self> {
        Arc::new(Self {
            inner,
            is_connected: AtomicBool::new(true),
            withholds: AtomicBool::new(false),
            last_values_asked: Mutex::default(),
        })
    }
}

#[async_trait]
impl Bus for Fickle {
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        self.inner.publish(subject, payload).await
    }

    async fn publish_durable(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        self.inner.publish_durable(subject, payload).await
    }

    async fn subscribe(&self, pattern: &str) -> Result<Subscription, BusError> {
        self.inner.subscribe(pattern).await
    }

    async fn last_values(&self, pattern: &str) -> Result<Vec<Message>, BusError> {
        self.last_values_asked
            .lock()
            .unwrap()
            .push(pattern.to_owned());
        if self.withholds.load(Ordering::Acquire) {
            return Err(BusError::Disconnected);
        }
        self.inner.last_values(pattern).await
    }

    async fn flush(&self) -> Result<(), BusError> {
        self.inner.flush().await
    }

    async fn drain(&self) -> Result<(), BusError> {
        self.inner.drain().await
    }

    fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Acquire)
    }
}

#[tokio::test]
async fn a_new_gateway_has_the_last_bars_of_every_topic() {
    let bus = Arc::new(MemoryBus::with_defaults());
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
    let frame = client.frame().await;
    assert_eq!((frame.len(), frame[0]["seq"].as_u64()), (2, Some(41)));
    assert_eq!(frame[1]["state"], "live");
    // Whoever knows nothing of the epoch gets all closed bars that are held.
    let mut client = gateway.connect().await;
    client
        .send(r#"{"op":"sub","topics":["kline:1s:A-B"],"since":{"epoch":0,"seq":{"kline:1s:A-B":0}}}"#)
        .await;
    assert_eq!(client.object().await["not_resumed"][0], "kline:1s:A-B");
    assert_eq!(client.frame().await.len(), 33);
}

#[tokio::test]
async fn a_gateway_is_ready_only_when_warm_and_connected() {
    let bus = Fickle::new(MemoryBus::with_defaults());
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
    let config = BusConfig {
        bus_buffer_messages: 8,
        ..BusConfig::default()
    };
    let bus = Fickle::new(MemoryBus::new(&config).unwrap());
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

#[tokio::test]
async fn what_is_stored_only_after_a_resync_still_reaches_clients() {
    let config = BusConfig {
        bus_buffer_messages: 8,
        ..BusConfig::default()
    };
    let bus = Fickle::new(MemoryBus::new(&config).unwrap());
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
    let gateway = start_on(Config::default(), Arc::new(MemoryBus::with_defaults()))
        .await
        .ready()
        .await;
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
