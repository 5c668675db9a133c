//! Clients that misbehave, and one beside them that does not.

mod siege;

mod floods;
mod frames;
mod handshakes;
mod readers;

use loadtest::client::{Client, Dial, Got};
use loadtest::fleet::{Fleet, FleetConfig, Gateway, topics};
use loadtest::follower::Follower;
use loadtest::program::arguments;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

/// A close code arrives, and is counted.
async fn check_close(gateway: &Gateway, message: Message, code: u16) {
    let label = format!("code=\"{code}\"");
    let labels = [label.as_str(), "by=\"gateway\""];
    let before = gateway
        .program
        .metric("gateway_closes_total", &labels)
        .await;
    let mut client = Client::connect(&gateway.url()).await;
    // The close may come before all is sent.
    let _ = client.try_send(message).await;
    assert_eq!(client.close_code().await, code);
    gateway
        .program
        .until_metric("gateway_closes_total", &labels, before + 1.0)
        .await;
}

async fn error_of(gateway: &Gateway, request: &Value) -> String {
    let mut client = Client::connect(&gateway.url()).await;
    client.send(&request.to_string()).await;
    let error = client.answer("error").await;
    // The connection is none the worse for it.
    client.send(r#"{"op":"ping"}"#).await;
    client.answer("pong").await;
    error["code"].as_str().expect("a code").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_clients_get_their_code_are_counted_and_disturb_nobody() {
    let config = FleetConfig {
        gateway: arguments(&[
            "--handshake-ms",
            "1000",
            "--write-deadline-ms",
            "1000",
            "--send-buffer-bytes",
            "4096",
        ]),
        has_no_nginx: true,
        ..FleetConfig::default()
    };
    let Some(fleet) = Fleet::start(config).await else {
        return;
    };
    let gateway = &fleet.gateways[0];
    let neighbour = Follower::start(gateway.url(), topics());

    // Never reads: its buffers fill, and it is let go. It must not hold up the others below.
    let mut mute = Dial {
        receive_buffer: Some(4_096),
        ..Dial::default()
    }
    .connect(&gateway.url())
    .await
    .expect("a handshake");
    mute.send(&json!({"op": "sub", "topics": ["kline:>", "system:>"]}).to_string())
        .await;

    // Half a handshake: answered or cut after the time for it.
    let mut half = TcpStream::connect(gateway.address)
        .await
        .expect("a connection");
    half.write_all(b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: webs")
        .await
        .expect("a few bytes");

    check_close(gateway, Message::text("x".repeat(100_000)), 1009).await;
    check_close(gateway, Message::binary(vec![1, 2, 3]), 1003).await;
    let invalid = Frame::message(vec![b'{', 0xff, 0xfe], OpCode::Data(Data::Text), true);
    check_close(gateway, Message::Frame(invalid), 1007).await;
    // A continuation of nothing.
    let stray = Frame::message(b"{}".to_vec(), OpCode::Data(Data::Continue), true);
    check_close(gateway, Message::Frame(stray), 1002).await;
    // A ping in fragments.
    let mut ping = Frame::ping(b"x".to_vec());
    ping.header_mut().is_final = false;
    check_close(gateway, Message::Frame(ping), 1002).await;

    // 10,000 topics: by name it is too big a message, by lists too many topics.
    let names: Vec<String> = (0..10_000)
        .map(|number| format!("kline:1s:S{number}-USD"))
        .collect();
    check_close(
        gateway,
        Message::text(json!({"op": "sub", "topics": names}).to_string()),
        1009,
    )
    .await;
    let symbols: Vec<String> = (0..2_500).map(|number| format!("S{number}-USD")).collect();
    let channels = ["kline_1s", "kline_1m", "kline_1h", "kline_1d"];
    let product = json!({"op": "sub", "channels": channels, "symbols": symbols});
    assert_eq!(error_of(gateway, &product).await, "too_many_topics");
    let wildcards: Vec<String> = (0..60)
        .map(|number| format!("kline:*:S{number}-USD"))
        .collect();
    assert_eq!(
        error_of(gateway, &json!({"op": "sub", "topics": wildcards})).await,
        "too_many_topics"
    );
    assert_eq!(
        error_of(gateway, &json!({"op": "drop table"})).await,
        "unknown_op"
    );
    assert_eq!(error_of(gateway, &json!(["sub"])).await, "invalid_json");
    assert_eq!(
        error_of(gateway, &json!({"op": "sub", "topics": ["kline:1s"]})).await,
        "bad_topic"
    );
    assert!(
        gateway
            .program
            .metric("gateway_request_errors_total", &[])
            .await
            >= 5.0
    );

    // In fragments, with a ping between them: nothing wrong with that.
    let mut client = Client::connect(&gateway.url()).await;
    let request = json!({"op": "sub", "id": 9, "topics": ["kline:1s:BTC-USD"]}).to_string();
    let (first, rest) = request.split_at(10);
    let (second, third) = rest.split_at(10);
    let fragment = |text: &str, code, is_last| {
        Frame::message(text.as_bytes().to_vec(), OpCode::Data(code), is_last)
    };
    client.send_frame(fragment(first, Data::Text, false)).await;
    client
        .send_frame(fragment(second, Data::Continue, false))
        .await;
    client.send_frame(Frame::ping(b"still here".to_vec())).await;
    client
        .send_frame(fragment(third, Data::Continue, true))
        .await;
    assert_eq!(client.answer("ack").await["id"], 9);

    // Too many messages.
    let mut chatty = Client::connect(&gateway.url()).await;
    while chatty
        .try_send(Message::text(r#"{"op":"ping"}"#))
        .await
        .is_ok()
    {
        if chatty_has_closed(&mut chatty).await {
            break;
        }
    }
    gateway
        .program
        .until_metric("gateway_closes_total", &["code=\"4002\""], 1.0)
        .await;

    let mut answer = Vec::new();
    let read = timeout(loadtest::wait::DEADLINE, half.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "half a handshake is ended");
    gateway
        .program
        .until_metric(
            "gateway_handshake_failures_total",
            &["reason=\"timeout\""],
            1.0,
        )
        .await;
    gateway
        .program
        .until_metric(
            "gateway_evictions_total",
            &["reason=\"slow_consumer\""],
            1.0,
        )
        .await;
    drop(mute);

    // The neighbour has noticed nothing.
    neighbour
        .until("three closed bars of every topic", |seen| {
            let has = |topic: &String| {
                seen.topics
                    .get(topic)
                    .is_some_and(|topic| topic.closed.len() >= 3)
            };
            topics().iter().all(has)
        })
        .await;
    fleet.until_true(&neighbour, false).await;
    neighbour.seen(|seen| {
        assert_eq!((seen.connects, seen.others.len()), (1, 0));
        for (topic, seen) in &seen.topics {
            assert_eq!(
                (seen.holes(), seen.skipped, seen.disordered),
                (Vec::new(), 0, 0),
                "{topic}"
            );
        }
    });
    // Only the well-behaved are left.
    drop(client);
    drop(chatty);
    let sessions = loadtest::wait::until("one session is left", async || {
        let sessions = gateway.sessions().await;
        loadtest::wait::holds(sessions <= 1.0, || sessions.to_string())
    });
    sessions.await;
}

/// Whether what came with the last ping was a close.
async fn chatty_has_closed(client: &mut Client) -> bool {
    match client.next().await {
        Got::Frame(_) => false,
        Got::Closed(code, _) => {
            assert_eq!(code, 4002);
            true
        }
        Got::Lost => true,
    }
}
