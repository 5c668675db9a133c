//! Those who do not read, and those who are not there any more.

use std::time::Duration;

use loadtest::raw::{RawSocket, TEXT, TEXT_BEGIN, frame};
use serde_json::json;

use super::siege::Siege;

const NARROW: u32 = 4_096;

#[tokio::test(flavor = "multi_thread")]
async fn those_who_never_read_are_evicted_and_cost_no_memory() {
    let siege = Siege::start(&[
        "--write-deadline-ms",
        "1000",
        "--send-buffer-bytes",
        "4096",
        // A list counts as ten messages.
        "--message-rate",
        "300",
        "--message-burst",
        "600",
    ]);
    let Some(siege) = siege.await else {
        return;
    };
    // Half of them read no bars, the other half no answers.
    let all = json!({"op": "sub", "topics": ["kline:>", "system:>"]}).to_string();
    let list = frame(TEXT, br#"{"op":"list"}"#);
    let mut mute = Vec::new();
    let mut asking = Vec::new();
    for number in 0..100 {
        let socket = RawSocket::connect_narrow(siege.address(), Some(NARROW)).await;
        let mut socket = socket.shake().await;
        if number % 2 == 0 {
            socket
                .send(&frame(TEXT, all.as_bytes()))
                .await
                .expect("a request");
            mute.push(socket);
            continue;
        }
        let list = list.clone();
        asking.push(tokio::spawn(async move {
            // Below the message rate. Its questions are not read either once answers wait.
            while socket.send(&list).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(70)).await;
            }
        }));
    }
    siege.until_evicted("slow_consumer", 4000, 100).await;
    for task in asking {
        task.await.expect("who asks on is cut off");
    }
    assert_eq!(siege.count("gateway_stalled_sessions", &[]).await, 0.0);
    drop(mute);
    siege.lift(100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_of_whom_nothing_whole_is_heard_are_closed_as_idle() {
    let Some(siege) = Siege::start(&[
        "--idle-ms",
        "10000",
        "--ping-interval-ms",
        "2000",
        "--first-message-ms",
        "3000",
    ])
    .await
    else {
        return;
    };
    let mut gone = Vec::new();
    let mut dribbling = Vec::new();
    let mut wordless = Vec::new();
    for _ in 0..20 {
        // Has vanished: nothing is published of what it waits for, and pings come back from nobody.
        let mut socket = RawSocket::open(siege.address()).await;
        let request = br#"{"op":"sub","topics":["kline:1s:NOBODY-USD"]}"#;
        socket.send(&frame(TEXT, request)).await.expect("a request");
        gone.push(socket);
        // A byte of a message now and then, which never ends.
        let mut socket = RawSocket::open(siege.address()).await;
        socket.send(&frame(TEXT, request)).await.expect("a request");
        let long = frame(TEXT_BEGIN, &[b' '; 60_000]);
        dribbling.push(tokio::spawn(async move {
            for byte in long {
                if socket.send(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }));
        // Has never said anything.
        wordless.push(RawSocket::open(siege.address()).await);
    }
    for socket in &mut wordless {
        assert_eq!(socket.close_code().await, 4004);
    }
    siege
        .until_evicted("first_message", 4004, wordless.len())
        .await;
    for socket in &mut gone {
        assert_eq!(socket.close_code().await, 4001);
    }
    siege.until_evicted("idle", 4001, 40).await;
    for task in dribbling {
        task.await.expect("a dribble ends when it is closed");
    }
    drop((gone, wordless));
    siege.lift(60).await;
}
