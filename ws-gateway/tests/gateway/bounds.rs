//! Every bound, and the close code or error that says so.

use std::time::Duration;

use serde_json::json;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use ws_gateway::Config;

use crate::support::{Gateway, Got, forming, start, until};

#[tokio::test]
async fn sessions_beyond_the_limit_are_closed_with_1013_and_a_freed_place_is_given_again() {
    let config = Config {
        sessions_max: 2,
        ..Config::default()
    };
    let gateway = start(config).await.ready().await;
    let mut first = gateway.connect().await;
    let _second = gateway.connect().await;
    let mut third = gateway.connect().await;
    let Got::Closed(1013, reason) = third.next().await else {
        panic!("a close with 1013");
    };
    assert!(reason.contains("try again later"));
    first.socket.close(None).await.unwrap();
    assert_eq!(first.close_code().await, 1005);
    // The place is free once the gateway has seen the end of the session.
    loop {
        let mut next = gateway.connect().await;
        next.send(r#"{"op":"ping"}"#).await;
        match next.next().await {
            Got::Frame(_) => break,
            Got::Closed(1013, _) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn connect_as(gateway: &Gateway, forwarded: &str) -> u16 {
    let mut request = gateway.url("/ws").into_client_request().unwrap();
    let value = forwarded.parse().unwrap();
    request.headers_mut().insert("x-forwarded-for", value);
    let mut client = gateway.connect_with(request).await;
    client.send(r#"{"op":"ping"}"#).await;
    let code = match client.next().await {
        Got::Frame(_) => 0,
        Got::Closed(code, _) => code,
        Got::Lost => 1006,
    };
    if code == 0 {
        // Kept for as long as the test runs.
        std::mem::forget(client);
    }
    code
}

#[tokio::test]
async fn sessions_per_address_count_the_address_that_a_trusted_proxy_forwards() {
    let config = Config {
        sessions_per_ip: Some(1),
        trusted_proxies: vec!["127.0.0.1".parse().unwrap()],
        ..Config::default()
    };
    let gateway = start(config).await.ready().await;
    assert_eq!(connect_as(&gateway, "198.51.100.1").await, 0);
    assert_eq!(connect_as(&gateway, "198.51.100.2").await, 0);
    assert_eq!(connect_as(&gateway, "198.51.100.1").await, 1013);
    // What stands in front, the client wrote itself.
    assert_eq!(connect_as(&gateway, "9.9.9.9, 198.51.100.2").await, 1013);
}

#[tokio::test]
async fn handshakes_count_for_the_address_that_a_trusted_proxy_forwards() {
    let config = Config {
        handshake_rate_per_ip: Some(1),
        trusted_proxies: vec!["127.0.0.1".parse().unwrap()],
        ..Config::default()
    };
    let gateway = start(config).await.ready().await;
    let connect = async |ip: &'static str| {
        let request = gateway.request("/ws", &[("x-forwarded-for", ip)]);
        let connected = tokio_tungstenite::connect_async(request).await;
        match connected {
            Ok(_) => 101,
            Err(Error::Http(answer)) => answer.status().as_u16(),
            Err(error) => panic!("{error}"),
        }
    };
    let mut statuses = Vec::new();
    // Two at once, and one more each second.
    for _ in 0..300 {
        statuses.push(connect("198.51.100.1").await);
    }
    assert_eq!(statuses[..2], [101, 101]);
    assert!(
        statuses.contains(&429),
        "a balancer takes 503 for a failed gateway"
    );
    assert!(statuses.iter().all(|status| matches!(status, 101 | 429)));
    assert_eq!(connect("198.51.100.2").await, 101);
}

#[tokio::test]
async fn an_address_forwarded_by_a_stranger_is_not_believed() {
    let config = Config {
        sessions_per_ip: Some(1),
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        ..Config::default()
    };
    let gateway = start(config).await.ready().await;
    assert_eq!(connect_as(&gateway, "198.51.100.1").await, 0);
    assert_eq!(connect_as(&gateway, "198.51.100.2").await, 1013);
}

#[tokio::test]
async fn too_many_messages_a_second_are_closed_with_4002() {
    let config = Config {
        message_rate: 1,
        message_burst: 5,
        ..Config::default()
    };
    let gateway = start(config).await.ready().await;
    let mut client = gateway.connect().await;
    for _ in 0..6 {
        client.send(r#"{"op":"ping"}"#).await;
    }
    for _ in 0..5 {
        assert_eq!(client.frame().await, [json!({"op":"pong"})]);
    }
    assert_eq!(client.close_code().await, 4002);
    let mut pinging = gateway.connect().await;
    for _ in 0..6 {
        pinging.send_message(Message::Ping("x".into())).await;
    }
    assert_eq!(pinging.close_code().await, 4002);
}

#[tokio::test]
async fn messages_and_frames_beyond_the_size_are_closed_with_1009() {
    let gateway = start(Config::default()).await.ready().await;
    let mut client = gateway.connect().await;
    let _ = client
        .send_message(Message::Text("x".repeat(64 * 1024 + 1).into()))
        .await;
    assert_eq!(client.close_code().await, 1009);
}

#[tokio::test]
async fn ten_thousand_topics_are_refused_and_wildcards_serve_instead() {
    let gateway = start(Config::default()).await.ready().await;
    gateway.publish(&forming(1, 1)).await;
    gateway.knows(&forming(1, 1)).await;
    let mut client = gateway.connect().await;
    let topics: Vec<_> = (0..10_000).map(|n| format!("system:{n}")).collect();
    client
        .send(&json!({"op":"sub","id":7,"topics":topics}).to_string())
        .await;
    assert_eq!(client.close_code().await, 1009);
    let mut client = gateway.connect().await;
    let topics: Vec<_> = (0..4_000).map(|n| format!("system:{n}")).collect();
    client
        .send(&json!({"op":"sub","id":7,"topics":topics}).to_string())
        .await;
    let error = client.object().await;
    assert_eq!(
        (&error["code"], &error["id"]),
        (&json!("too_many_topics"), &json!(7))
    );
    for part in 0..2 {
        let topics: Vec<_> = (0..1_000).map(|n| format!("system:{part}-{n}")).collect();
        client
            .send(&json!({"op":"sub","topics":topics}).to_string())
            .await;
        let answer = client.object().await;
        if part == 0 {
            assert_eq!(answer["pending"].as_array().unwrap().len(), 1_000);
        } else {
            assert_eq!(answer["code"], "too_many_subscriptions");
        }
    }
    client.send(r#"{"op":"ping"}"#).await;
    assert_eq!(client.object().await["op"], "pong");
}

#[tokio::test]
async fn wildcards_of_a_session_are_bounded_however_they_are_asked_for() {
    let config = Config {
        session_wildcards_max: 3,
        ..Config::default()
    };
    let gateway = start(config).await.ready().await;
    let mut client = gateway.connect_to("/ws?topics=kline:1s:*,kline:1m:*").await;
    assert_eq!(client.object().await["op"], "ack");
    for (request, code) in [
        (
            r#"{"op":"sub","topics":["system:a:*","system:b:*","system:c"]}"#,
            "too_many_subscriptions",
        ),
        (r#"{"op":"sub","topics":["system:a:*","system:c"]}"#, ""),
        // One that it has already is no more.
        (r#"{"op":"sub","topics":["system:a:*","system:e"]}"#, ""),
        (
            r#"{"op":"sub","topics":["system:b:*"]}"#,
            "too_many_subscriptions",
        ),
        (r#"{"op":"unsub","topics":["system:a:*"]}"#, ""),
        (r#"{"op":"sub","topics":["system:b:*"]}"#, ""),
    ] {
        client.send(request).await;
        let answer = client.object().await;
        assert_eq!(
            answer["code"].as_str().unwrap_or(""),
            code,
            "{request}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_session_that_asks_for_nothing_is_closed_with_4004() {
    let config = Config {
        first_message_ms: 100,
        ..Config::default()
    };
    let gateway = start(config).await.ready().await;
    let mut silent = gateway.connect().await;
    let mut subscribed = gateway.connect_to("/ws?topics=kline:1s:A-B").await;
    assert_eq!(silent.close_code().await, 4004);
    assert_eq!(subscribed.object().await["op"], "ack");
    gateway.publish(&forming(1, 1)).await;
    assert_eq!(subscribed.object().await["seq"], 1);
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_closed_with_4001() {
    let config = Config {
        ping_interval_ms: 100,
        idle_ms: 1_500,
        ..Config::default()
    };
    let gateway = start(config).await.ready().await;
    // Its library answers pings only while it is polled.
    let mut deaf = gateway.connect_to("/ws?topics=kline:1s:A-B").await;
    let mut alive = gateway.connect_to("/ws?topics=kline:1s:A-B").await;
    let before = gateway.metric("gateway_evictions_total", &["idle"]);
    let listening = tokio::spawn(async move {
        alive.object().await;
        alive.object().await
    });
    until("eviction", || {
        gateway.metric("gateway_evictions_total", &["idle"]) > before
    })
    .await;
    assert_eq!(deaf.close_code().await, 4001);
    gateway.publish(&forming(1, 1)).await;
    assert_eq!(listening.await.unwrap()["seq"], 1);
}

#[tokio::test]
async fn sessions_are_drained_with_1012_spread_over_the_window() {
    let config = Config {
        drain_ms: 2_000,
        ..Config::default()
    };
    let gateway = start(config).await.ready().await;
    let mut clients = Vec::new();
    for _ in 0..40 {
        let mut client = gateway.connect_to("/ws?topics=kline:1s:A-B").await;
        client.frame().await;
        clients.push(client);
    }
    gateway.service.shutdown.trigger();
    assert!(!gateway.service.readiness.is_ready());
    let start = std::time::Instant::now();
    let ends: Vec<_> = clients
        .into_iter()
        .map(|mut client| tokio::spawn(async move { (client.close_code().await, start.elapsed()) }))
        .collect();
    let mut times = Vec::new();
    for end in ends {
        let (code, at) = end.await.unwrap();
        assert_eq!(code, 1012);
        times.push(at);
    }
    times.sort();
    // Not all in the same half second; nothing is said of how late a busy machine is.
    assert!(
        times[39] - times[0] > Duration::from_millis(500),
        "{times:?}"
    );
    gateway.task.await.unwrap().unwrap();
    assert!(
        tokio::net::TcpStream::connect(gateway.address)
            .await
            .is_err()
    );
}
