//! The broker's streams beside Klinecast's own.

use bus::BusConfig;
use bytes::Bytes;
use serde_json::json;
use testkit::nats::NatsServer;
use testkit::wait::{holds, until};

use crate::support::{Setup, has_nats};

fn config(url: &str, prefix: &str) -> BusConfig {
    BusConfig {
        bus: url.parse().expect("an address"),
        bus_prefix: prefix.to_owned(),
        ..BusConfig::default()
    }
}

#[tokio::test]
async fn events_are_in_both_klinecasts_stream_and_the_brokers_whichever_came_first() {
    if !has_nats() {
        return;
    }
    for klinecast_first in [true, false] {
        let server = NatsServer::start().expect("it starts");
        let url = server.url();
        let mut programs = None;
        if klinecast_first {
            programs = Some(
                bus::connect(&config(&url, ""), &service::streams())
                    .await
                    .expect("klinecast"),
            );
        }
        let mut setup = Setup::new(&["auto_start_nats: false"], &[]);
        setup.yaml.push_str(&format!("    nats_url: \"{url}\"\n"));
        let broker = setup.start().await;
        let programs = match programs {
            Some(programs) => programs,
            None => bus::connect(&config(&url, ""), &service::streams())
                .await
                .expect("klinecast"),
        };
        for number in 0..500 {
            let payload = Bytes::from(number.to_string());
            programs
                .publish("system.service.tests.counted", payload)
                .await
                .expect("published");
        }
        programs.flush().await.expect("flushed");
        let path =
            "/api/v1/streams/SYSTEM_EVENTS/messages?subject=system.service.tests.counted&from_seq=";
        let mut next = 1;
        let mut count = 0;
        until("all 500 events", async || {
            let page = broker.get(&format!("{path}{next}&limit=100")).await;
            for message in page["messages"].as_array().expect("messages") {
                assert_eq!(message["data"], count.to_string());
                count += 1;
            }
            next = page["next_seq"].as_u64().expect("a sequence");
            holds(count == 500, || count.to_string())
        })
        .await;
        let newest = programs
            .last_values("system.service.tests.counted")
            .await
            .expect("values");
        assert_eq!(newest.len(), 1);
        assert_eq!(newest[0].payload, Bytes::from("499"));
        // Klinecast's programs start beside the broker's streams, again and again.
        let again = bus::connect(&config(&url, ""), &service::streams()).await;
        assert!(again.is_ok());
    }
}

#[tokio::test]
async fn copies_go_on_after_a_restart_of_the_server_that_lost_its_streams_in_memory() {
    if !has_nats() {
        return;
    }
    let broker = Setup::new(&[], &[]).start().await;
    let (status, _) = broker.post("/api/v1/nats/restart", &json!({})).await;
    assert_eq!(status, 202);
    broker
        .until_info("a new server", |info| {
            info["restarts"] == 1 && info["status"] == "running"
        })
        .await;
    until("a copy of a new event", async || {
        let body = json!({"subject": "system.service.tests.after", "message": "x"});
        let (status, _) = broker.post("/api/v1/publish", &body).await;
        let path = "/api/v1/streams/SYSTEM_EVENTS/messages?subject=system.service.tests.after";
        let (found, page) = broker.ask(reqwest::Method::GET, path, None).await;
        holds(
            status == 200 && found == 200 && page["messages"][0]["seq"].is_u64(),
            || page.to_string(),
        )
    })
    .await;
}

#[tokio::test]
async fn with_a_prefix_or_without_klinecast_nothing_is_copied() {
    if !has_nats() {
        return;
    }
    for lines in [
        ["klinecast_prefix: \"kc.staging\""],
        ["klinecast_streams: false"],
    ] {
        let broker = Setup::new(&lines, &[]).start().await;
        let stream = broker.get("/api/v1/streams/SYSTEM_EVENTS").await;
        assert_eq!(
            stream["config"]["subjects"],
            json!(["system.>"]),
            "{lines:?}"
        );
        let answer = broker
            .publish("system.alert.warning.test", &json!({}))
            .await;
        assert_eq!(answer["stream"], "SYSTEM_EVENTS");
    }
}

#[tokio::test]
async fn klinecasts_own_streams_cannot_be_changed_over_http() {
    if !has_nats() {
        return;
    }
    let broker = Setup::new(&[], &[]).start().await;
    for (method, path, body) in [
        ("DELETE", "/api/v1/streams/CLOSED", json!({})),
        ("DELETE", "/api/v1/streams/CLOSED?dry_run=true", json!({})),
        ("POST", "/api/v1/streams/STATE/purge", json!({})),
        ("PUT", "/api/v1/streams/KLINE", json!({"max_msgs": 1})),
    ] {
        let method = method.parse().expect("a method");
        let (status, answer) = broker.ask(method, path, Some(&body)).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (409, &json!("own_stream")),
            "{path}: {answer}"
        );
    }
    let wide = json!({"name": "ALL", "subjects": [">"], "max_msgs": 1});
    let (status, answer) = broker.post("/api/v1/streams", &wide).await;
    assert_eq!(status, 400, "{answer}");
    let taken = json!({"name": "AGAIN", "subjects": ["market.x.>"], "max_msgs": 1});
    let (status, answer) = broker.post("/api/v1/streams", &taken).await;
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(status == 409 && message.contains("MARKET_DATA"), "{answer}");
}
