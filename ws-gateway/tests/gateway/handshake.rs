//! Handshakes that are none, and clients that never finish one.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use ws_gateway::Config;

use crate::support::{DEADLINE, Gateway, start, until};

/// Sends raw bytes and returns all that comes back until the end.
async fn exchange(gateway: &Gateway, request: &str) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(DEADLINE, stream.read_to_end(&mut answer))
        .await
        .expect("the connection ends");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn what_is_no_handshake_is_told_what_to_do() {
    let gateway = start(Config::default()).await.ready().await;
    let upgrade = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    for (headers, status, text) in [
        (String::new(), "426", "ws://"),
        (format!("{upgrade}{key}"), "426", "version 13"),
        (
            format!("{upgrade}{key}Sec-WebSocket-Version: 8\r\n"),
            "426",
            "version 13",
        ),
        (format!("{upgrade}{version}"), "400", "16 bytes"),
        (
            format!("{upgrade}{version}Sec-WebSocket-Key: x\r\n"),
            "400",
            "16 bytes",
        ),
    ] {
        // The last `Connection` header ends the connection after the answer.
        let request = format!("GET /ws HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n");
        let answer = exchange(&gateway, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
        assert!(answer.contains(text), "{answer}");
    }
    let post = "POST /ws HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert!(exchange(&gateway, post).await.starts_with("HTTP/1.1 405"));
    let page = exchange(
        &gateway,
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(page.starts_with("HTTP/1.1 200") && page.ends_with("page"));
    let metrics = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let unserved = exchange(&gateway, metrics).await;
    assert!(unserved.starts_with("HTTP/1.1 404"), "{unserved}");
    let (head, body) = unserved.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: application/json"), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["code"], "not_found");
    assert!(body["message"].as_str().unwrap().contains("/ws"));
    assert!(
        exchange(&gateway, "\x16\x03\x01 no http\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 400")
    );
}

#[tokio::test]
async fn a_handshake_that_stays_half_open_is_ended_and_counted() {
    let config = Config {
        handshake_ms: 200,
        ..Config::default()
    };
    let gateway = start(config).await.ready().await;
    let before = gateway.metric("gateway_handshake_failures_total", &["timeout"]);
    let answer = exchange(&gateway, "GET /ws HTTP/1.1\r\nHost:").await;
    assert!(!answer.contains("101"));
    // Nothing sent at all.
    exchange(&gateway, "").await;
    until("both counted", || {
        gateway.metric("gateway_handshake_failures_total", &["timeout"]) >= before + 2.0
    })
    .await;
}

#[tokio::test]
async fn headers_beyond_the_buffer_are_refused() {
    let gateway = start(Config::default()).await.ready().await;
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: x\r\nX-Big: {}\r\n\r\n",
        "x".repeat(20_000)
    );
    let answer = exchange(&gateway, &request).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
}

#[tokio::test]
async fn frames_that_come_with_the_handshake_are_read() {
    let gateway = start(Config::default()).await.ready().await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let mut bytes = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".to_vec();
    let ping = json!({"op": "ping"}).to_string();
    bytes.extend([0x81, 0x80 | ping.len() as u8, 0, 0, 0, 0]);
    bytes.extend(ping.as_bytes());
    stream.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    timeout(DEADLINE, async {
        while !answer.ends_with(br#"{"op":"pong"}"#) {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
        }
    })
    .await
    .expect("a pong");
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{text}");
}

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test]
async fn a_handshake_that_is_reset_gives_its_place_back_and_is_counted() {
    // 1,025 connections at once.
    let config = Config {
        sessions_max: 1,
        ..Config::default()
    };
    let gateway = start(config).await.ready().await;
    let connections = || gateway.metric("gateway_connections", &[]);
    let counted = || {
        gateway.metric("gateway_handshake_failures_total", &[])
            + gateway.metric("gateway_sessions_total", &[])
    };
    let before = (connections(), counted());
    let ping = [0x89, 0x80, 0, 0, 0, 0];
    for extra in [&ping[..], &[]] {
        for _ in 0..1_100 {
            let mut stream = TcpStream::connect(gateway.address).await.unwrap();
            // Dropping it resets the connection.
            let linger = Some(std::time::Duration::ZERO);
            socket2::SockRef::from(&stream).set_linger(linger).unwrap();
            let sent = [UPGRADE.as_bytes(), extra].concat();
            stream.write_all(&sent).await.unwrap();
        }
        until("all places are given back", || connections() == before.0).await;
    }
    assert_eq!(counted() - before.1, 2_200.0);
    let mut client = gateway.connect().await;
    client.send(r#"{"op":"ping"}"#).await;
    assert_eq!(client.object().await, json!({"op": "pong"}));
    gateway.service.shutdown.trigger();
    let drained = gateway.service.shutdown.drained(gateway.task).await;
    drained.expect("in time").unwrap().unwrap();
}

#[tokio::test]
async fn a_handshake_whose_answer_cannot_be_written_is_ended_after_its_time() {
    let config = Config {
        http_ms: 1_000,
        send_buffer_bytes: 4_096,
        ..Config::default()
    };
    let gateway = start(config).await.ready().await;
    let connections = || gateway.metric("gateway_connections", &[]);
    let before = connections();
    // Nobody reads the pages that are asked for first: between the fewest and the most of them
    // lie those that leave no room for the handshake's answer.
    let page = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut held = Vec::new();
    for pages in 1..150 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(2_048).unwrap();
        let mut stream = socket.connect(gateway.address).await.unwrap();
        let sent = page.repeat(pages) + UPGRADE;
        stream.write_all(sent.as_bytes()).await.unwrap();
        held.push(stream);
    }
    // Sessions that have begun end with the drain.
    gateway.service.shutdown.trigger();
    until("all places are given back", || connections() == before).await;
    let drained = gateway.service.shutdown.drained(gateway.task).await;
    drained.expect("in time").unwrap().unwrap();
}

async fn connect_from(gateway: &Gateway, ip: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{ip}:0").parse().unwrap()).unwrap();
    let connected = timeout(DEADLINE, socket.connect(gateway.address));
    connected.await.expect("in time").unwrap()
}

#[tokio::test]
async fn an_address_beyond_its_rate_leaves_the_rate_of_all_to_others() {
    // 64 connections at once, and one more each second.
    let config = Config {
        handshake_rate: 1,
        handshake_rate_per_ip: Some(1),
        ..Config::default()
    };
    let gateway = start(config).await.ready().await;
    let refused = || gateway.metric("gateway_handshake_failures_total", &["rate_per_ip"]);
    let before = refused();
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(connect_from(&gateway, "127.0.0.2").await);
    }
    for ip in ["127.0.0.3", "127.0.0.4"] {
        let mut stream = connect_from(&gateway, ip).await;
        stream.write_all(UPGRADE.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        timeout(DEADLINE, stream.read_exact(&mut answer))
            .await
            .expect("an answer in time")
            .unwrap();
        assert_eq!(&answer, b"HTTP/1.1 101");
    }
    assert!(refused() > before);
}
