//! Bad input: a clear error or close code, and the others do not notice.

use std::sync::{Arc, Mutex, mpsc};

use axum::Router;
use axum::routing::get;
use bus::MemoryBus;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use ws_gateway::Config;

use crate::support::{Client, DEADLINE, forming, start, start_with};

#[tokio::test]
async fn what_is_no_request_gets_an_error_and_the_connection_stays() {
    let gateway = start(Config::default()).await.ready().await;
    let mut client = gateway.connect().await;
    for (text, code) in [
        ("", "invalid_json"),
        ("hello", "invalid_json"),
        ("{\"op\":\"ping\"}\n{\"op\":\"ping\"}", "invalid_json"),
        ("{\"connect\":{}}\n{\"subscribe\":{}}", "invalid_json"),
        ("[]", "invalid_json"),
        (r#"{"connect":{}}"#, "unknown_op"),
        (r#"{"op":"subscribe"}"#, "unknown_op"),
        (r#"{"op":"sub"}"#, "bad_request"),
        (r#"{"op":"sub","topics":[""]}"#, "bad_topic"),
        (r#"{"op":"sub","topics":["kline:7x:A-B"]}"#, "bad_topic"),
        (
            r#"{"op":"sub","topics":["a:b"],"max_rate":-1}"#,
            "bad_option",
        ),
        (r#"{"op":"unsub","topics":["x"]}"#, "bad_topic"),
    ] {
        client.send(text).await;
        let error = client.object().await;
        assert_eq!(
            (&error["op"], &error["code"]),
            (&json!("error"), &json!(code)),
            "{text}"
        );
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty())
        );
    }
    client.send(r#"{"op":"ping","id":1}"#).await;
    assert_eq!(client.object().await, json!({"op":"pong","id":1}));
}

#[tokio::test]
async fn binary_frames_are_closed_with_1003() {
    let gateway = start(Config::default()).await.ready().await;
    let mut client = gateway.connect().await;
    client
        .send_message(Message::Binary(vec![1, 2, 3].into()))
        .await;
    assert_eq!(client.close_code().await, 1003);
}

#[tokio::test]
async fn a_fragmented_request_is_put_together() {
    let gateway = start(Config::default()).await.ready().await;
    let mut client = gateway.connect().await;
    let part = |text: &'static str, data, is_final| {
        Message::Frame(Frame::message(text, OpCode::Data(data), is_final))
    };
    client
        .send_message(part("{\"op\":", Data::Text, false))
        .await;
    client.send_message(Message::Ping("x".into())).await;
    client
        .send_message(part("\"pi", Data::Continue, false))
        .await;
    client
        .send_message(part("ng\"}", Data::Continue, true))
        .await;
    assert_eq!(client.object().await, json!({"op":"pong"}));
}

/// Sends raw bytes after the handshake.
async fn send_raw(client: &mut Client, bytes: &[u8]) {
    let MaybeTlsStream::Plain(stream) = client.socket.get_mut() else {
        panic!("a plain connection");
    };
    stream.write_all(bytes).await.unwrap();
}

#[tokio::test]
async fn broken_frames_are_closed_with_their_code_and_others_do_not_notice() {
    let gateway = start(Config::default()).await.ready().await;
    let mut other = gateway.connect().await;
    other.subscribe(&["kline:1s:A-B"]).await;
    let cases: [(&[u8], u16); 7] = [
        // Invalid UTF-8.
        (&[0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28], 1007),
        // Not masked.
        (&[0x81, 0x02, b'h', b'i'], 1002),
        // A reserved bit.
        (&[0xc1, 0x80, 0, 0, 0, 0], 1002),
        // A reserved opcode.
        (&[0x83, 0x80, 0, 0, 0, 0], 1002),
        // A continuation of nothing.
        (&[0x80, 0x80, 0, 0, 0, 0], 1002),
        // A fragmented ping.
        (&[0x09, 0x80, 0, 0, 0, 0], 1002),
        // A frame of 2^62 bytes.
        (&[0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1009),
    ];
    for (bytes, code) in cases {
        let mut client = gateway.connect().await;
        send_raw(&mut client, bytes).await;
        assert_eq!(client.close_code().await, code, "{bytes:x?}");
    }
    gateway.publish(&forming(1, 1)).await;
    assert_eq!(other.object().await["seq"], 1);
}

#[tokio::test]
async fn subscribing_and_unsubscribing_all_the_time_leaves_nothing_behind() {
    let config = Config {
        message_rate: 0,
        ..Config::default()
    };
    let gateway = start(config).await.ready().await;
    gateway.publish(&forming(1, 1)).await;
    gateway.knows(&forming(1, 1)).await;
    let mut client = gateway.connect().await;
    for round in 0..200 {
        client
            .send(&format!(
                r#"{{"op":"sub","topics":["a:{round}","kline:1s:*"]}}"#
            ))
            .await;
        client
            .send(&format!(
                r#"{{"op":"unsub","topics":["a:{round}","kline:1s:*"]}}"#
            ))
            .await;
    }
    client.send(r#"{"op":"list","id":"end"}"#).await;
    loop {
        let object = client.object().await;
        if object["id"] == "end" {
            assert_eq!(object["subscriptions"], json!([]));
            // What was only asked for is no topic.
            assert_eq!(object["topics"], json!(["kline:1s:A-B"]));
            break;
        }
    }
}

/// What clients send is handled on threads of its own: however long that takes, bars go out.
#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "a handful of messages of this test"
)]
async fn bars_are_sent_while_every_connection_thread_is_busy() {
    let (entered, mut is_busy) = tokio::sync::mpsc::unbounded_channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let busy = move || {
        let (entered, released) = (entered.clone(), Arc::clone(&released));
        async move {
            entered.send(()).unwrap();
            // Until the test is over, without letting any other task have its turn.
            let _ = released.lock().unwrap().recv();
            "done"
        }
    };
    let config = Config {
        connection_threads: 1,
        ..Config::default()
    };
    let routes = Router::new().route("/busy", get(busy));
    let bus = Arc::new(MemoryBus::with_streams(&service::streams()));
    let gateway = start_with(config, bus, routes).await.ready().await;
    let mut client = gateway.connect().await;
    client.subscribe(&["kline:1s:*"]).await;
    gateway.publish(&forming(1, 1)).await;
    assert_eq!(client.object().await["seq"], 1);
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let request = b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request).await.unwrap();
    timeout(DEADLINE, is_busy.recv())
        .await
        .expect("it is asked");
    for seq in 2..20 {
        gateway.publish(&forming(1, seq)).await;
        assert_eq!(client.object().await["seq"], seq);
    }
    drop(release);
}
