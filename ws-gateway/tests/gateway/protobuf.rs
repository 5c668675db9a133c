//! The subprotocol `klinecast.protobuf.v1`, as far as it can be told without the schema: frames,
//! and what is in them as bytes. `protobuf/tests.rs` reads messages by the schema, and
//! `tests/clients.rs` with Google's own library.

use serde_json::json;
use ws_gateway::Config;

use crate::support::raw::{RawFrame, deflate};
use crate::support::{Bar, forming, start};

const PROTOBUF: &str = "Sec-WebSocket-Protocol: other.v1, klinecast.protobuf.v1\r\n";
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

/// A bar with all of its fields, so that the schema can say it.
fn whole(bar: &Bar) -> String {
    let json = String::from_utf8(bar.payload().to_vec()).unwrap();
    json.replace(
        "\"volume\":\"1\"",
        r#""volume":"1","quote_volume":"2.50","taker_buy_volume":"0","taker_buy_quote_volume":"0","count":1,"first_id":"8","last_id":"9","event_ms":5,"received_us":6"#,
    )
}

fn holds(frame: &RawFrame, text: &str) -> bool {
    let content = frame.content();
    content
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

#[tokio::test]
async fn a_subprotocol_is_chosen_if_one_is_known() {
    let gateway = start(Config::default()).await.ready().await;
    for (asked, chosen) in [
        ("klinecast.json.v1", Some("klinecast.json.v1")),
        ("klinecast.protobuf.v1", Some("klinecast.protobuf.v1")),
        (
            "x, klinecast.json.v1, klinecast.protobuf.v1",
            Some("klinecast.json.v1"),
        ),
        ("klinecast.json.v2", None),
    ] {
        let headers = format!("Sec-WebSocket-Protocol: {asked}\r\n");
        let mut client = gateway.connect_raw("/ws", &headers).await;
        assert_eq!(client.header("sec-websocket-protocol"), chosen, "{asked}");
        client.send(0x81, b"{\"op\":\"ping\"}").await;
        let is_binary = chosen == Some("klinecast.protobuf.v1");
        assert_eq!(client.next().await.opcode(), if is_binary { 2 } else { 1 });
    }
    let mut client = gateway.connect_raw("/ws", "").await;
    assert_eq!(client.header("sec-websocket-protocol"), None);
    client.send(0x82, b"\x2a\x00").await;
    assert_eq!(
        client.next().await.close_code(),
        1003,
        "binary without the subprotocol"
    );
}

#[tokio::test]
async fn bars_come_as_messages_and_everything_else_too() {
    let gateway = start(Config::default()).await.ready().await;
    for headers in [PROTOBUF.to_owned(), format!("{PROTOBUF}{OFFER}")] {
        let mut client = gateway.connect_raw("/ws", &headers).await;
        // A binary request: `Request { id: "7", ping: {} }`.
        client.send(0x82, b"\x0a\x017\x2a\x00").await;
        // `Batch { messages: [{ pong: { id: "7" } }] }`.
        assert_eq!(client.next().await.payload, b"\x0a\x05\x32\x03\x0a\x017");
        client.send(0x82, b"nonsense").await;
        assert!(holds(&client.next().await, "bad_request"));
        let topics = json!({"op": "sub", "topics": ["kline:1s:*", "system:>"]}).to_string();
        client.send(0x81, topics.as_bytes()).await;
        assert!(holds(&client.next().await, "kline:1s:*"), "the ack");
        let bar = forming(1, 1).of(if headers.len() > PROTOBUF.len() {
            "Z-Z"
        } else {
            "A-B"
        });
        gateway
            .bus
            .publish(&bar.subject(), whole(&bar).into())
            .await
            .unwrap();
        let mut frame = client.next().await;
        while !holds(&frame, &bar.topic()) {
            frame = client.next().await;
        }
        assert_eq!(frame.opcode(), 2);
        assert!(
            holds(&frame, "2.50") && !holds(&frame, "\"open\""),
            "{frame:?}"
        );
        let status = json!({"topic": "system:feed:sim", "of": bar.symbol}).to_string();
        let message = status.clone().into();
        gateway
            .bus
            .publish("system.feed.sim", message)
            .await
            .unwrap();
        let mut frame = client.next().await;
        while !holds(&frame, &status) {
            frame = client.next().await;
        }
    }
}

#[tokio::test]
async fn a_compressed_binary_request_is_understood() {
    let gateway = start(Config::default()).await.ready().await;
    let mut client = gateway
        .connect_raw("/ws", &format!("{PROTOBUF}{OFFER}"))
        .await;
    client.send(0xc2, &deflate(b"\x0a\x018\x2a\x00")).await;
    assert_eq!(client.next().await.payload, b"\x0a\x05\x32\x03\x0a\x018");
}
