//! The order of closed bars, where some of them wait and others are retained by the bus.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bus::{Bus, MemoryBus};
use ws_gateway::Config;

use crate::fickle_bus::Fickle;
use crate::support::{Client, Gateway, closed, start_on, until};

/// A gateway, and a client that has the first bar.
async fn gateway_and_client(bus: &Arc<Fickle>) -> (Gateway, Client) {
    let bus: Arc<dyn Bus> = bus.clone();
    let gateway = start_on(Config::default(), bus).await.ready().await;
    let mut client = gateway.connect().await;
    client.subscribe(&["kline:1s:*"]).await;
    gateway.publish_closed(&closed(0, 1)).await;
    assert_eq!(client.object().await["start_ms"], 0);
    (gateway, client)
}

/// The starts of the next bars in seconds, up to this one, without any that was missed.
async fn bars_upto(client: &mut Client, last: i64) -> Vec<i64> {
    let mut bars = Vec::new();
    while bars.last() != Some(&last) {
        let object = client.object().await;
        assert_eq!(object.get("skipped"), None, "{object}");
        bars.push(object["start_ms"].as_i64().unwrap() / 1_000);
    }
    bars
}

/// The newest message of a topic is retained as soon as it is published.
#[tokio::test]
async fn bars_that_wait_come_before_a_newer_one_that_the_bus_retains() {
    const LAST: i64 = 15;
    let bus = Fickle::new(MemoryBus::with_streams(&service::streams()));
    let (gateway, mut client) = gateway_and_client(&bus).await;
    // The gateway reads what is retained. Meanwhile its live messages wait, and bars come.
    bus.answers.send_replace(false);
    let asked = || bus.last_values_asked.lock().unwrap().len();
    let asked_before = asked();
    bus.inner.tell_reconnected();
    until("asked", || asked() > asked_before).await;
    for index in 1..=LAST {
        gateway
            .publish(&closed(index, index.unsigned_abs() + 1))
            .await;
    }
    bus.answers.send_replace(true);
    let bars = bars_upto(&mut client, LAST).await;
    assert_eq!(bars, (1..=LAST).collect::<Vec<_>>());
}

/// More bars wait than the bus retains of a topic.
#[tokio::test]
async fn bars_that_wait_come_before_the_retained_ones_that_follow_them() {
    const LAST: i64 = 45;
    let bus = Fickle::new(MemoryBus::with_streams(&service::streams()));
    let (gateway, mut client) = gateway_and_client(&bus).await;
    bus.withholds.store(true, Ordering::Release);
    let asked = || bus.last_values_asked.lock().unwrap().len();
    let asked_before = asked();
    bus.inner.tell_reconnected();
    until("asked in vain", || asked() > asked_before).await;
    for index in 1..=LAST {
        gateway
            .publish_closed(&closed(index, index.unsigned_abs() + 1))
            .await;
    }
    bus.withholds.store(false, Ordering::Release);
    let bars = bars_upto(&mut client, LAST).await;
    assert_eq!(bars, (1..=LAST).collect::<Vec<_>>());
}
