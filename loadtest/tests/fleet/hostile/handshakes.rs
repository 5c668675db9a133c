//! Handshakes that do not end, and those that are none.

use std::time::Duration;

use loadtest::raw::{CONTINUATION, HANDSHAKE, RawSocket, TEXT, frame};

use super::siege::Siege;

/// Bytes that a server on another port would have liked, and how the answer begins. `None`: the
/// connection ends without one.
fn strangers() -> Vec<(&'static str, Vec<u8>, Option<&'static str>)> {
    let mut tls_hello = vec![
        0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03,
    ];
    tls_hello.resize(517, 0x5a);
    let long = format!(
        "GET /ws HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n",
        "c".repeat(20_000)
    );
    let many = format!("GET /ws HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1_000));
    let old = HANDSHAKE.replace("HTTP/1.1", "HTTP/1.0");
    vec![
        ("TLS", tls_hello, Some("HTTP/1.1 400")),
        (
            "HTTP/2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
            None,
        ),
        ("garbage", vec![0xff; 1_000], Some("HTTP/1.1 400")),
        ("a long header", long.into_bytes(), Some("HTTP/1.1 431")),
        ("many headers", many.into_bytes(), Some("HTTP/1.1 431")),
        ("HTTP/1.0", old.into_bytes(), Some("HTTP/1.0 505")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_do_not_end_or_are_none_end_in_time() {
    let Some(siege) = Siege::start(&["--handshake-ms", "2000", "--http-ms", "4000"]).await else {
        return;
    };
    let mut silent = Vec::new();
    let mut dribbling = Vec::new();
    for _ in 0..100 {
        silent.push(RawSocket::connect(siege.address()).await);
        let mut socket = RawSocket::connect(siege.address()).await;
        dribbling.push(tokio::spawn(async move {
            for byte in HANDSHAKE.bytes() {
                if socket.send(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            panic!("a handshake of 15 s is let in");
        }));
    }
    for (name, bytes, answer) in strangers() {
        let mut socket = RawSocket::connect(siege.address()).await;
        // It may be cut off before all is sent.
        let _ = socket.send(&bytes).await;
        let got = socket.until_end().await;
        assert!(
            answer.map_or(!got.contains(" 101 "), |answer| got.starts_with(answer)),
            "{name}: {got}"
        );
    }
    for socket in &mut silent {
        let got = socket.until_end().await;
        assert!(!got.contains(" 101 "), "{got}");
    }
    for task in dribbling {
        task.await.expect("a dribble ends when it is closed");
    }
    let timeouts = ["reason=\"timeout\""];
    siege
        .gateway()
        .program
        .until_metric("gateway_handshake_failures_total", &timeouts, 200.0)
        .await;
    siege.lift(200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_the_handshake_in_its_packet_is_taken_for_frames() {
    let Some(siege) = Siege::start(&[]).await else {
        return;
    };
    // A request before the answer of the handshake.
    let mut hasty = RawSocket::connect(siege.address()).await;
    let mut bytes = HANDSHAKE.as_bytes().to_vec();
    bytes.extend_from_slice(&frame(TEXT, br#"{"op":"ping","id":1}"#));
    hasty.send(&bytes).await.expect("connected");
    hasty.welcome().await;
    let (_, answer) = hasty.next().await.expect("an answer");
    assert_eq!(answer, br#"{"op":"pong","id":1}"#);
    // Another HTTP request is no frame.
    let mut second = RawSocket::connect(siege.address()).await;
    let twice = [HANDSHAKE, HANDSHAKE].concat();
    second.send(twice.as_bytes()).await.expect("connected");
    second.welcome().await;
    assert_eq!(second.close_code().await, 1002);
    // A byte at a time is slow, but right.
    let mut patient = RawSocket::open(siege.address()).await;
    let mut bytes = frame(0x01, br#"{"op":"#);
    bytes.extend_from_slice(&frame(0x80 | CONTINUATION, br#""ping"}"#));
    for byte in bytes {
        patient.send(&[byte]).await.expect("connected");
    }
    let (_, answer) = patient.next().await.expect("an answer");
    assert_eq!(answer, br#"{"op":"pong"}"#);
    drop((hasty, second, patient));
    siege.lift(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_come_and_go_leave_nothing_behind() {
    let Some(siege) = Siege::start(&["--handshake-ms", "1000"]).await else {
        return;
    };
    let request = br#"{"op":"sub","topics":["kline:>"]}"#;
    for round in 0..400 {
        let mut socket = RawSocket::connect(siege.address()).await;
        match round % 4 {
            // Gone before, within and after the handshake, and with a request on its way.
            0 => {}
            1 => {
                let _ = socket.send(&HANDSHAKE.as_bytes()[..60]).await;
            }
            2 => socket = socket.shake().await,
            _ => {
                socket = socket.shake().await;
                let _ = socket.send(&frame(TEXT, request)).await;
            }
        }
        if round % 8 < 4 {
            socket.reset();
        }
    }
    siege.lift(400).await;
}
