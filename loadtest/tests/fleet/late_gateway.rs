//! A gateway that comes when the others have been there for long.

use std::collections::HashSet;

use loadtest::client::Client;
use loadtest::fleet::{Fleet, FleetConfig, topics};
use loadtest::follower::Follower;
use loadtest::program::{Program, arguments};
use loadtest::wait::{holds, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_gateway_is_ready_only_when_it_has_a_snapshot_of_every_topic() {
    let Some(fleet) = Fleet::start(FleetConfig {
        has_no_nginx: true,
        ..FleetConfig::default()
    })
    .await
    else {
        return;
    };
    let topics = topics();
    let witness = Follower::start(fleet.gateways[0].url(), topics.clone());
    witness
        .until("closed bars of every topic", |seen| {
            topics.iter().all(|topic| {
                seen.topics
                    .get(topic)
                    .is_some_and(|topic| topic.closed.len() >= 2)
            })
        })
        .await;
    // Silence from here on: what the new gateway has, it has from what the bus retains.
    let closed_ms = witness.closed_until_ms(&topics);
    fleet.marketdata.process.signal("STOP");
    for _ in 0..3 {
        let gateway = fleet.start_gateway().await;
        gateway.program.until_ready().await;
        let mut client = Client::connect(&gateway.url()).await;
        let ack = client.subscribe(&topics).await;
        assert_eq!(ack.get("pending"), None, "{ack}");
        let snapshot = client.frame().await;
        let of: HashSet<&str> = snapshot
            .iter()
            .filter_map(|bar| bar["topic"].as_str())
            .collect();
        assert_eq!(of.len(), topics.len(), "{snapshot:?}");
    }
    // Also the closed bars of before it was there, for clients that come with `since`.
    let gateway = fleet.start_gateway().await;
    gateway.program.until_ready().await;
    let mut client = Client::connect(&gateway.url()).await;
    let seqs: serde_json::Map<String, serde_json::Value> = topics
        .iter()
        .map(|topic| (topic.clone(), 0.into()))
        .collect();
    let epoch = witness.seen(|seen| seen.topics[&topics[0]].last.0);
    let request =
        serde_json::json!({"op": "sub", "topics": topics, "since": {"epoch": epoch, "seq": seqs}});
    client.send(&request.to_string()).await;
    client.answer("ack").await;
    let resumed = client.frame().await;
    let closed = resumed
        .iter()
        .filter(|bar| bar["state"] == "closed" && bar["end_ms"].as_i64() <= Some(closed_ms));
    assert!(closed.count() >= topics.len() / 2, "{resumed:?}");
    fleet.marketdata.process.signal("CONT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_its_bus_is_not_ready() {
    let Some(mut nats) = loadtest::fleet::start_nats() else {
        return;
    };
    let url = nats.url();
    nats.kill();
    let gateway = Program::start(
        "ws-gateway",
        arguments(&["--listen", "127.0.0.1:0", "--bus", &url]),
    )
    .await;
    let (status, text) = gateway
        .page("/readyz")
        .await
        .expect("the admin side answers");
    assert_eq!(status, 503, "{text}");
    nats.restart().expect("NATS starts again");
    until("it is ready once the bus is there", async || {
        let (status, text) = gateway.page("/readyz").await?;
        holds(status == 200, || text)
    })
    .await;
}
