//! What happens when the NATS server goes away, hangs and comes back.

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, BusConfig, BusError, Delivery, Subscription};
use bytes::Bytes;
use testkit::nats::{NatsServer, NatsServerOptions};

use crate::setup::{
    connect, last_values, metric, next, next_message, payload, recorder, server, until, within,
};

fn start() -> Option<NatsServer> {
    server(NatsServerOptions::default())
}

/// Receives until the reconnect is told.
async fn reconnected(subscription: &mut Subscription) {
    loop {
        match next(subscription).await {
            Some(Delivery::Reconnected) => return,
            Some(_) => {}
            None => panic!("the subscription ended"),
        }
    }
}

async fn disconnected(bus: &Arc<dyn Bus>) {
    until("the connection is lost", || !bus.is_connected()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_resume_after_a_restart_and_the_reconnect_is_told() {
    let Some(mut server) = start() else { return };
    recorder();
    let reconnects_before = metric("bus_reconnects_total");
    let publisher = connect(&server, BusConfig::default()).await;
    let receiver = connect(&server, BusConfig::default()).await;
    let mut first = receiver.subscribe("kline.>").await.expect("connected");
    let mut second = receiver.subscribe("market.>").await.expect("connected");
    let mut publisher_notice = publisher.subscribe("system.>").await.expect("connected");
    for round in 0..3 {
        server.kill();
        disconnected(&receiver).await;
        server.restart().expect("the server starts");
        reconnected(&mut first).await;
        reconnected(&mut second).await;
        reconnected(&mut publisher_notice).await;
        publisher
            .publish("kline.1m.A", payload(round))
            .await
            .expect("connected");
        publisher
            .publish("market.okx.A.trade", payload(round))
            .await
            .expect("connected");
        assert_eq!(
            next_message(&mut first).await,
            format!("kline.1m.A={round}")
        );
        assert_eq!(
            next_message(&mut second).await,
            format!("market.okx.A.trade={round}")
        );
        // The stream of kline lives in the server's memory: it was made again before the notice.
        publisher
            .publish_durable("kline.1m.A", payload("stored"))
            .await
            .expect("stored");
        assert_eq!(
            last_values(&receiver, "kline.>").await,
            ["kline.1m.A=stored"]
        );
        assert_eq!(next_message(&mut first).await, "kline.1m.A=stored");
    }
    assert!(metric("bus_reconnects_total") >= reconnects_before + 6.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durable_values_survive_a_restart_of_the_server() {
    let Some(mut server) = start() else { return };
    let bus = connect(&server, BusConfig::default()).await;
    let mut notice = bus.subscribe("system.>").await.expect("connected");
    for number in 0..3 {
        bus.publish_durable("closed.1m.A", payload(number))
            .await
            .expect("stored");
    }
    bus.publish_durable("state.marketdata.okx.A", payload("checkpoint"))
        .await
        .expect("stored");
    server.restart().expect("the server starts");
    reconnected(&mut notice).await;
    let expected = ["closed.1m.A=0", "closed.1m.A=1", "closed.1m.A=2"];
    assert_eq!(last_values(&bus, "closed.>").await, expected);
    let expected = ["state.marketdata.okx.A=checkpoint"];
    assert_eq!(last_values(&bus, "state.>").await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durable_publication_waits_out_an_outage() {
    let Some(mut server) = start() else { return };
    let bus = connect(&server, BusConfig::default()).await;
    server.kill();
    let publisher = Arc::clone(&bus);
    let publishing =
        tokio::spawn(async move { publisher.publish_durable("closed.1m.A", payload(7)).await });
    disconnected(&bus).await;
    assert!(!publishing.is_finished());
    server.restart().expect("the server starts");
    let published = within("the publication", publishing).await;
    assert_eq!(published.expect("no panic"), Ok(()));
    // A retry may have stored it twice.
    let values = last_values(&bus, "closed.>").await;
    assert_eq!(values.first().map(String::as_str), Some("closed.1m.A=7"));
}

/// Closed bars go out one after the other while the server crashes under them: none may be missing
/// afterwards, and their order holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durable_publications_around_crashes_are_all_stored_in_order() {
    let Some(mut server) = start() else { return };
    let bus = connect(&server, BusConfig::default()).await;
    let publisher = Arc::clone(&bus);
    let publishing = tokio::spawn(async move {
        for number in 0..600 {
            // Each its own subject, for none is then pushed out by the depth.
            publisher
                .publish_durable(&format!("closed.1m.{number:04}"), payload(number))
                .await
                .expect("stored after the outage");
        }
    });
    for _ in 0..2 {
        server.restart().expect("the server starts");
        until("the connection is back", || bus.is_connected()).await;
    }
    within("the publications", publishing)
        .await
        .expect("no panic");
    let mut values = last_values(&bus, "closed.1m.*").await;
    values.dedup();
    let expected: Vec<String> = (0..600)
        .map(|number| format!("closed.1m.{number:04}={number}"))
        .collect();
    assert_eq!(values, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durable_publication_gives_up_at_its_deadline() {
    let Some(mut server) = start() else { return };
    let config = BusConfig {
        bus_durable_deadline_ms: 200,
        ..BusConfig::default()
    };
    let bus = connect(&server, config).await;
    server.kill();
    let publishing = bus.publish_durable("closed.1m.A", payload(1));
    let error = within("the publication", publishing)
        .await
        .expect_err("no server");
    assert!(error.is_retryable(), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_fails_at_once_and_retryably_while_disconnected() {
    let Some(mut server) = start() else { return };
    let bus = connect(&server, BusConfig::default()).await;
    server.kill();
    disconnected(&bus).await;
    let error = bus.publish("kline.1m.A", payload(1)).await;
    assert_eq!(error, Err(BusError::Disconnected));
    assert!(BusError::Disconnected.is_retryable());
    assert_eq!(
        bus.subscribe("kline.>").await.err(),
        Some(BusError::Disconnected)
    );
    assert_eq!(
        bus.last_values("kline.>").await.err(),
        Some(BusError::Disconnected)
    );
    assert_eq!(bus.flush().await, Err(BusError::Disconnected));
    server.restart().expect("the server starts");
    until("the connection is back", || bus.is_connected()).await;
    assert_eq!(bus.publish("kline.1m.A", payload(1)).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publication_to_a_hung_server_waits_no_longer_than_its_deadline() {
    let Some(server) = start() else { return };
    let config = BusConfig {
        bus_publish_deadline_ms: 100,
        bus_request_deadline_ms: 500,
        ..BusConfig::default()
    };
    let bus = connect(&server, config).await;
    server.suspend();
    let large = Bytes::from(vec![b'x'; 32 * 1024]);
    let publishing = async {
        loop {
            if let Err(error) = bus.publish("market.okx.A.trade", large.clone()).await {
                return error;
            }
        }
    };
    let error = within("a refused publication", publishing).await;
    let expected = BusError::Timeout {
        action: "take a message",
        waited_ms: 100,
    };
    assert_eq!(error, expected);
    assert!(error.is_retryable());
    assert!(bus.flush().await.is_err_and(|error| error.is_retryable()));
    server.resume();
    within("a flush that works", async {
        while bus.flush().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_during_an_outage_ends_and_says_so() {
    let Some(mut server) = start() else { return };
    let bus = connect(&server, BusConfig::default()).await;
    let mut subscription = bus.subscribe("kline.>").await.expect("connected");
    bus.publish("kline.1m.A", payload(1))
        .await
        .expect("connected");
    bus.flush().await.expect("connected");
    server.kill();
    disconnected(&bus).await;
    let drained = within("drain", bus.drain()).await;
    assert_eq!(drained, Err(BusError::Disconnected));
    assert_eq!(next_message(&mut subscription).await, "kline.1m.A=1");
    assert_eq!(next(&mut subscription).await, None);
}
