//! What goes on by itself after the NATS server was away.

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, BusConfig, BusError, Claim, ConsumerSpec, Headers, LeaseKey, Renewal, Start};
use bytes::Bytes;
use testkit::nats::{NatsServer, NatsServerOptions};

use crate::setup::{connect, payload, server, text, until, within};

async fn start() -> Option<(NatsServer, Arc<dyn Bus>)> {
    let server = server(NatsServerOptions::default())?;
    let bus = connect(&server, BusConfig::default()).await;
    Some((server, bus))
}

async fn restart(server: &mut NatsServer, bus: &Arc<dyn Bus>) {
    server.kill();
    until("the connection is lost", || !bus.is_connected()).await;
    server.restart().expect("the server starts");
    until("the connection is back", || bus.is_connected()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumer_waits_out_a_crash_of_the_server_and_loses_nothing() {
    let Some((mut server, bus)) = start().await else {
        return;
    };
    let spec = ConsumerSpec {
        name: "history".to_owned(),
        pattern: "closed.>".to_owned(),
        start: Start::Oldest,
        in_flight_max: 8,
        ack_wait: Duration::from_secs(1),
    };
    let mut consumer = bus.streams().consume(&spec).await.expect("connected");
    let reading = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.last() != Some(&299) {
            match consumer.next().await {
                Ok(taken) => {
                    // What cannot be acknowledged now is given out again.
                    if taken.ack().await.is_ok() {
                        seen.push(text(&taken.message).parse::<u32>().expect("a number"));
                    }
                }
                Err(error) => {
                    assert!(error.is_retryable(), "{error}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        seen
    });
    for number in 0..300 {
        // Each its own subject, as none is then pushed out by the depth.
        bus.publish_durable(&format!("closed.1m.{number:04}"), payload(number))
            .await
            .expect("stored after the outage");
        if number == 100 {
            restart(&mut server, &bus).await;
        }
    }
    let mut seen = within("all messages", reading).await.expect("no panic");
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, (0..300).collect::<Vec<u32>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responder_answers_again_after_a_reconnect() {
    let Some((mut server, bus)) = start().await else {
        return;
    };
    let mut responder = bus
        .requests()
        .serve("history.query", "history")
        .await
        .expect("connected");
    tokio::spawn(async move {
        while let Some(question) = responder.recv().await {
            let _ = question.answer(Headers::new(), payload("bars")).await;
        }
    });
    let ask = || {
        bus.requests().request(
            "history.query",
            Headers::new(),
            Bytes::new(),
            Duration::from_secs(1),
        )
    };
    assert!(ask().await.is_ok());
    server.kill();
    until("the connection is lost", || !bus.is_connected()).await;
    assert_eq!(ask().await.err(), Some(BusError::Disconnected));
    server.restart().expect("the server starts");
    let answer = within("an answer", async {
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert_eq!(text(&answer.await), "bars");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lease_is_neither_lost_nor_taken_while_the_server_is_away() {
    let Some((mut server, bus)) = start().await else {
        return;
    };
    let key = LeaseKey {
        subject: "state.epoch.binance-0".to_owned(),
        beat_subject: "beat.binance-0".to_owned(),
    };
    let claim = key.take(&bus, "a", None, 0).await;
    let Ok(Claim::Taken(lease)) = claim else {
        panic!("nobody else tries: {claim:?}");
    };
    server.kill();
    until("the connection is lost", || !bus.is_connected()).await;
    let unknown = lease.renew().await;
    assert!(matches!(unknown, Renewal::Unknown(_)), "{unknown:?}");
    let claim = key.take(&bus, "b", Some(lease.holding()), 0).await;
    assert!(claim.is_err_and(|error| error.is_retryable()));
    server.restart().expect("the server starts");
    until("the connection is back", || bus.is_connected()).await;
    within("an answer", async {
        loop {
            match lease.renew().await {
                Renewal::Held => return,
                Renewal::Lost(to) => panic!("nobody took it: {to:?}"),
                Renewal::Unknown(error) => assert!(error.is_retryable(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
