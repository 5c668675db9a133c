//! Frames that break the protocol, and messages that never end.

use loadtest::raw::{CONTINUATION, RawSocket, TEXT_BEGIN, frame};

use super::siege::Siege;

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_break_the_protocol_are_closed_with_their_code() {
    let Some(siege) = Siege::start(&[]).await else {
        return;
    };
    let cases: [(&str, &[u8], u16); 10] = [
        ("no mask", &[0x81, 0x02, b'h', b'i'], 1002),
        ("a reserved bit", &[0xc1, 0x80, 0, 0, 0, 0], 1002),
        ("a reserved opcode", &[0x83, 0x80, 0, 0, 0, 0], 1002),
        ("a continuation of nothing", &[0x80, 0x80, 0, 0, 0, 0], 1002),
        ("a ping in fragments", &[0x09, 0x80, 0, 0, 0, 0], 1002),
        (
            "a text within a text",
            &[0x01, 0x81, 0, 0, 0, 0, b'{', 0x81, 0x81, 0, 0, 0, 0, b'{'],
            1002,
        ),
        ("a binary frame", &[0x82, 0x81, 0, 0, 0, 0, 1], 1003),
        ("no UTF-8", &[0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28], 1007),
        (
            "70,000 bytes",
            &[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0x11, 0x70],
            1009,
        ),
        (
            "2^62 bytes",
            &[0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            1009,
        ),
    ];
    for (name, bytes, code) in cases {
        // Many at once: what is announced is not held ready for.
        let mut sockets = Vec::new();
        for _ in 0..10 {
            let mut socket = RawSocket::open(siege.address()).await;
            socket.send(bytes).await.expect("connected");
            // A header whose length is in question needs its mask.
            let _ = socket.send(&[0; 4]).await;
            sockets.push(socket);
        }
        for socket in &mut sockets {
            assert_eq!(socket.close_code().await, code, "{name}");
        }
    }
    siege.until_evicted("protocol_error", 1002, 60).await;
    siege.until_evicted("unsupported_data", 1003, 10).await;
    siege.until_evicted("invalid_utf8", 1007, 10).await;
    siege.until_evicted("message_too_big", 1009, 20).await;
    siege.lift(100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_never_end_are_cut_off() {
    let Some(siege) = Siege::start(&[]).await else {
        return;
    };
    // Fragment after fragment: until the message is too long.
    let mut endless = Vec::new();
    // Nothing in any of them: the message would stay short forever.
    let mut empty = Vec::new();
    for _ in 0..8 {
        let address = siege.address();
        endless.push(tokio::spawn(async move {
            let mut socket = RawSocket::open(address).await;
            socket
                .send(&frame(TEXT_BEGIN, b" "))
                .await
                .expect("connected");
            socket
                .flood(&frame(CONTINUATION, &[b' '; 500]).repeat(10))
                .await;
        }));
        empty.push(tokio::spawn(async move {
            let mut socket = RawSocket::open(address).await;
            socket
                .send(&frame(TEXT_BEGIN, b""))
                .await
                .expect("connected");
            socket.flood(&frame(CONTINUATION, b"").repeat(1_000)).await;
        }));
    }
    for flood in endless.into_iter().chain(empty) {
        flood.await.expect("a flood ends when it is closed");
    }
    siege.until_evicted("message_too_big", 1009, 8).await;
    siege.until_evicted("message_rate", 4002, 8).await;
    siege.lift(16).await;
}
