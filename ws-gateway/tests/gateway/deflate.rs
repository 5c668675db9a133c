//! permessage-deflate, seen by a client that speaks it by hand and with another implementation.

use serde_json::json;
use ws_gateway::{Config, Switch};

use crate::support::raw::deflate;
use crate::support::{closed, forming, start, until};

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
const EXTENSIONS: &str = "sec-websocket-extensions";
const TEXT: u8 = 0x81;
const COMPRESSED: u8 = 0xc1;

#[tokio::test]
async fn updates_and_snapshots_are_compressed_for_who_offers_it_and_for_nobody_else() {
    let gateway = start(Config::default()).await.ready().await;
    gateway.publish(&closed(1, 1).padded(500)).await;
    gateway.knows(&closed(1, 1)).await;
    let offers = [
        ("", None),
        (
            OFFER,
            Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
        ),
        (
            "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n",
            Some(
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9",
            ),
        ),
        (
            "Sec-WebSocket-Extensions: permessage-deflate; speed=9\r\n",
            None,
        ),
    ];
    // Alone with its set of topics, and with others.
    for members in [1, 12] {
        let mut clients = Vec::new();
        for (headers, answer) in &offers {
            for _ in 0..members {
                let mut client = gateway.connect_raw("/ws?topics=kline:1s:*", headers).await;
                assert_eq!(client.header(EXTENSIONS), *answer);
                let ack = client.next().await;
                assert_eq!((ack.first, &ack.objects()[0]["op"]), (TEXT, &json!("ack")));
                let snapshot = client.next().await;
                assert_eq!(snapshot.is_compressed(), answer.is_some());
                assert_eq!(snapshot.objects()[0]["topic"], "kline:1s:A-B");
                clients.push((client, answer.is_some()));
            }
        }
        for round in 0..3 {
            let seq = 100 * members + round;
            gateway.publish(&forming(10_000, seq).padded(500)).await;
            let other = forming(10_000, seq).of("C-D").padded(300);
            gateway.publish(&other).await;
            for (client, is_compressed) in &mut clients {
                let mut seen = Vec::new();
                while seen.len() < 2 {
                    let frame = client.next().await;
                    assert_eq!(frame.is_compressed(), *is_compressed);
                    let full = frame.content().len();
                    assert!(!*is_compressed || frame.payload.len() < full);
                    seen.extend(frame.objects());
                }
                assert!(seen.iter().all(|bar| bar["seq"] == seq), "{seen:?}");
                assert_ne!(seen[0]["topic"], seen[1]["topic"]);
            }
        }
    }
    let compressed = gateway.metric("gateway_compressed_frames_total", &[]);
    let [sent, plain] = ["sent", "uncompressed"]
        .map(|name| gateway.metric(&format!("gateway_{name}_bytes_total"), &[]));
    assert!(
        compressed > 0.0 && sent < plain,
        "{compressed} {sent} {plain}"
    );
}

#[tokio::test]
async fn compression_can_be_turned_off() {
    let config = Config {
        compression: Switch::Off,
        ..Config::default()
    };
    let gateway = start(config).await.ready().await;
    let mut client = gateway.connect_raw("/ws", OFFER).await;
    assert_eq!(client.header(EXTENSIONS), None);
    client
        .send(COMPRESSED, &deflate(b"{\"op\":\"ping\"}"))
        .await;
    assert_eq!(client.next().await.close_code(), 1002);
}

#[tokio::test]
async fn compressed_requests_are_understood_whole_or_in_fragments() {
    let gateway = start(Config::default()).await.ready().await;
    let mut client = gateway.connect_raw("/ws", OFFER).await;
    client
        .send(COMPRESSED, &deflate(b"{\"op\":\"ping\",\"id\":1}"))
        .await;
    assert_eq!(client.next().await.objects(), [json!({"op":"pong","id":1})]);
    let message = deflate(b"{\"op\":\"ping\",\"id\":2}");
    let (head, tail) = message.split_at(4);
    client.send(0x41, head).await;
    client.send(0x89, b"").await;
    client.send(0x00, b"").await;
    client.send(0x80, tail).await;
    assert_eq!(client.next().await.first, 0x8a, "a pong in between");
    assert_eq!(client.next().await.objects(), [json!({"op":"pong","id":2})]);
    client.send(TEXT, b"{\"op\":\"ping\",\"id\":3}").await;
    assert_eq!(client.next().await.objects(), [json!({"op":"pong","id":3})]);
}

#[tokio::test]
async fn wrong_or_oversized_compressed_messages_are_closed_with_their_codes() {
    let gateway = start(Config::default()).await.ready().await;
    let bomb = deflate(&vec![b' '; 8 << 20]);
    assert!(bomb.len() < 16_384);
    let invalid_utf8 = deflate(&[b'{', 0xff]);
    for (first, payload, code) in [
        (COMPRESSED, &bomb[..], 1009),
        (COMPRESSED, b"{\"op\":\"ping\"}", 1002),
        (COMPRESSED, &invalid_utf8, 1007),
        (0xc2, &deflate(b"{}"), 1003),
        // The first bit on a continuation and on a control frame, and the second.
        (0xc0, b"", 1002),
        (0xc9, b"", 1002),
        (0xa1, b"{}", 1002),
    ] {
        let mut client = gateway.connect_raw("/ws", OFFER).await;
        client.send(first, payload).await;
        assert_eq!(client.next().await.close_code(), code, "{first:x}");
    }
    let mut client = gateway.connect_raw("/ws", "").await;
    client
        .send(COMPRESSED, &deflate(b"{\"op\":\"ping\"}"))
        .await;
    assert_eq!(client.next().await.close_code(), 1002, "not negotiated");
}

#[tokio::test]
async fn a_length_that_would_wrap_is_refused_and_the_session_leaves() {
    let gateway = start(Config::default()).await.ready().await;
    let sessions = || gateway.metric("gateway_sessions", &[]);
    let before = sessions();
    for (length, code) in [(u64::MAX, 1002), (u64::MAX >> 1, 1009), (1 << 32, 1009)] {
        let mut client = gateway.connect_raw("/ws", OFFER).await;
        // One byte of a compressed message, and a part of it that is as long as it says.
        client.send(0x41, &[0]).await;
        let header = [&[0x00, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat();
        client.send_bytes(&header).await;
        assert_eq!(client.next().await.close_code(), code, "{length:x}");
    }
    until("the sessions have ended", || sessions() == before).await;
}
