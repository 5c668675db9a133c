//! Too much of what is right.

use loadtest::client::Client;
use loadtest::raw::{PING, PONG, RawSocket, TEXT, frame};
use loadtest::wait::{holds, until};
use serde_json::json;

use super::siege::Siege;

#[tokio::test(flavor = "multi_thread")]
async fn floods_are_closed_with_4002() {
    let Some(siege) = Siege::start(&[]).await else {
        return;
    };
    let sub = json!({"op": "sub", "topics": ["kline:1s:*", "kline:5s:*"]}).to_string();
    let unsub = json!({"op": "unsub", "topics": ["kline:1s:*", "kline:5s:*"]}).to_string();
    let wildcards: Vec<String> = (0..50)
        .map(|number| format!("kline:*:S{number}-USD"))
        .collect();
    let wildcards = json!({"op": "sub", "topics": wildcards}).to_string();
    let kinds = [
        frame(PING, b"are you there?"),
        frame(PONG, b"nobody asked"),
        frame(TEXT, br#"{"op":"list"}"#),
        frame(TEXT, br#"{"op":"ping"}"#),
        frame(TEXT, b"not json"),
        frame(TEXT, wildcards.as_bytes()),
        [frame(TEXT, sub.as_bytes()), frame(TEXT, unsub.as_bytes())].concat(),
    ];
    let mut floods = Vec::new();
    for number in 0..10 * kinds.len() {
        let bytes = kinds[number % kinds.len()].clone();
        let address = siege.address();
        floods.push(tokio::spawn(async move {
            let mut socket = RawSocket::open(address).await;
            socket.flood(&bytes).await;
        }));
    }
    let count = floods.len();
    for flood in floods {
        flood.await.expect("a flood ends when it is closed");
    }
    siege.until_evicted("message_rate", 4002, count).await;
    siege.lift(count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_that_come_and_go_and_huge_ones_leave_nothing_behind() {
    // As fast as they are answered.
    let Some(siege) = Siege::start(&["--message-rate", "0"]).await else {
        return;
    };
    let sets = siege.count("gateway_topic_sets", &[]).await;
    let mut clients = Vec::new();
    for number in 0..10 {
        let url = siege.gateway().url();
        clients.push(tokio::spawn(async move {
            let mut client = Client::connect(&url).await;
            for round in 0..100 {
                let topics = json!([format!("kline:1s:S{number}-{round}"), "kline:>"]);
                for op in ["sub", "unsub"] {
                    let request = json!({"op": op, "id": round, "topics": topics});
                    client.send(&request.to_string()).await;
                    client.answer("ack").await;
                }
            }
            // Names as long as a message may be, and thousands of them.
            for (request, code) in [
                (
                    json!({"op": "sub", "topics": ["kline:1s:".to_owned() + &"A".repeat(60_000)]}),
                    "bad_topic",
                ),
                (
                    json!({"op": "sub", "topics": vec!["*:*:*"; 5_000]}),
                    "too_many_topics",
                ),
                (
                    json!({"op": "sub", "topics": vec![">"; 10_000]}),
                    "too_many_topics",
                ),
                (
                    json!({"op": "sub", "topics": [vec!["a"; 1_000].join(":")]}),
                    "bad_topic",
                ),
            ] {
                client.send(&request.to_string()).await;
                assert_eq!(client.answer("error").await["code"], code);
            }
            client
        }));
    }
    for client in clients {
        let mut client = client.await.expect("every request is answered");
        client.send(r#"{"op":"list"}"#).await;
        let list = client.answer("list").await;
        assert_eq!(list["subscriptions"], json!([]));
        // What was only asked for is no topic.
        let topics = list["topics"].as_array().expect("a list");
        assert!(
            topics.iter().all(|topic| !topic.to_string().contains(":S")),
            "{list}"
        );
    }
    until("no set of topics is left behind", async || {
        let left = siege.count("gateway_topic_sets", &[]).await;
        holds(left <= sets, || format!("{left}, {sets} before"))
    })
    .await;
    siege.lift(10).await;
}
