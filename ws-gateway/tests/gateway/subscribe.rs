//! Subscribing, snapshots and updates.

use serde_json::{Value, json};
use ws_gateway::Config;

use crate::support::{closed, forming, start};

#[tokio::test]
async fn the_snapshot_comes_in_the_frame_after_the_ack_and_updates_follow() {
    let gateway = start(Config::default()).await.ready().await;
    gateway.publish(&forming(1, 1)).await;
    gateway.publish(&forming(1, 1).of("C-D")).await;
    gateway.knows(&forming(1, 1).of("C-D")).await;
    let mut client = gateway.connect().await;
    let ack = client
        .subscribe(&["kline:1s:A-B", "kline:1s:C-D", "kline:1s:X-Y"])
        .await;
    assert_eq!(
        ack,
        json!({"op":"ack","id":1,"topics":["kline:1s:A-B","kline:1s:C-D","kline:1s:X-Y"],"pending":["kline:1s:X-Y"]})
    );
    let snapshot = client.frame().await;
    let topics: Vec<_> = snapshot.iter().map(|bar| &bar["topic"]).collect();
    assert_eq!(topics, ["kline:1s:A-B", "kline:1s:C-D"]);
    gateway.publish(&forming(1, 2)).await;
    let update = client.object().await;
    assert_eq!(
        (&update["seq"], &update["topic"]),
        (&json!(2), &json!("kline:1s:A-B"))
    );
    // A topic that was pending starts when it appears.
    gateway.publish(&forming(1, 1).of("X-Y")).await;
    assert_eq!(client.object().await["topic"], "kline:1s:X-Y");
}

/// Venues come back after 400 s: each of seven symbols gets 400 bars and then a revision of each.
#[tokio::test]
async fn repairs_of_any_length_reach_every_client_that_reads() {
    const BARS: i64 = 400;
    const SYMBOLS: [&str; 7] = ["A-B", "C-D", "E-F", "G-H", "I-J", "K-L", "M-N"];
    let gateway = start(Config::default()).await.ready().await;
    let mut clients = Vec::new();
    for options in [r#""#, r#","closed_only":true"#, r#","max_rate":20"#] {
        let mut client = gateway.connect().await;
        client
            .send(&format!(
                r#"{{"op":"sub","topics":["kline:1s:*"]{options}}}"#
            ))
            .await;
        client.frame().await;
        clients.push(client);
    }
    let mut seq = 0;
    for rev in 0..2 {
        for index in 0..BARS {
            seq += 1;
            for symbol in SYMBOLS {
                let bar = closed(index, seq).of(symbol).revised(rev);
                gateway.publish_closed(&bar).await;
            }
        }
    }
    for client in &mut clients {
        let mut healed = std::collections::BTreeSet::new();
        while healed.len() < SYMBOLS.len() * BARS as usize {
            let bar = client.object().await;
            assert_eq!(bar.get("skipped"), None, "{bar}");
            if bar["rev"] == 1 {
                let topic = bar["topic"].as_str().expect("a topic").to_owned();
                assert!(healed.insert((topic, bar["start_ms"].as_i64())), "{bar}");
            }
        }
    }
}

#[tokio::test]
async fn a_burst_comes_as_one_frame_with_closed_bars_in_order() {
    let config = Config {
        settle_ms: 300,
        linger_ms: 60_000,
        ..Config::default()
    };
    let gateway = start(config).await.ready().await;
    let mut client = gateway.connect().await;
    client.subscribe(&["kline:1s:*"]).await;
    for index in 0..5 {
        gateway.publish(&forming(index, index as u64 * 2 + 1)).await;
        gateway
            .publish_closed(&closed(index, index as u64 * 2 + 2))
            .await;
    }
    gateway.publish(&forming(5, 11)).await;
    gateway.publish(&forming(5, 12)).await;
    let frame = client.frame().await;
    let seqs: Vec<_> = frame
        .iter()
        .map(|bar| bar["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, [2, 4, 6, 8, 10, 12]);
    assert!(frame.iter().all(|bar| bar.get("skipped").is_none()));
}

#[tokio::test]
async fn a_handshake_can_subscribe() {
    let gateway = start(Config::default()).await.ready().await;
    gateway.publish_closed(&closed(1, 1)).await;
    gateway.publish(&forming(2, 2)).await;
    gateway.knows(&forming(2, 2)).await;
    let mut client = gateway
        .connect_to("/ws?topics=kline:1s:A-B,bad&closed_only=true")
        .await;
    let error = client.object().await;
    assert_eq!(
        (&error["code"], &error["topics"]),
        (&json!("bad_topic"), &json!(["bad"]))
    );
    assert_eq!(
        client.object().await,
        json!({"op":"ack","topics":["kline:1s:A-B"]})
    );
    assert_eq!(client.object().await["seq"], 1);
    gateway.publish(&forming(2, 3)).await;
    gateway.publish_closed(&closed(2, 4)).await;
    assert_eq!(client.object().await["seq"], 4);
}

#[tokio::test]
async fn unsub_list_ping_and_auth_are_answered_with_the_id_as_sent() {
    let gateway = start(Config::default()).await.ready().await;
    gateway.publish(&forming(1, 1)).await;
    gateway.knows(&forming(1, 1)).await;
    let mut client = gateway.connect().await;
    client.subscribe(&["kline:1s:A-B"]).await;
    client.frame().await;
    client.send(r#"{"op":"ping","id":"a-1"}"#).await;
    assert_eq!(client.object().await, json!({"op":"pong","id":"a-1"}));
    client.send(r#"{"op":"ping"}"#).await;
    assert_eq!(client.object().await, json!({"op":"pong"}));
    client.send(r#"{"op":"list","id":1763697600000}"#).await;
    assert_eq!(
        client.object().await,
        json!({"op":"list","id":1_763_697_600_000_u64,"subscriptions":["kline:1s:A-B"],"topics":["kline:1s:A-B"]})
    );
    client.send(r#"{"op":"auth","token":"secret"}"#).await;
    let answer = client.object().await;
    assert_eq!(answer["code"], "auth_not_required");
    assert!(!answer.to_string().contains("secret"));
    client
        .send(r#"{"op":"unsub","id":null,"topics":["kline:1s:A-B","kline:1s:*"]}"#)
        .await;
    assert_eq!(
        client.object().await,
        json!({"op":"ack","id":null,"topics":["kline:1s:A-B"],"not_subscribed":["kline:1s:*"]})
    );
    // Nothing of it comes any more: the next answer is the next frame.
    gateway.publish(&forming(1, 2)).await;
    gateway.knows(&forming(1, 2)).await;
    client.send(r#"{"op":"list"}"#).await;
    assert_eq!(
        client.object().await["subscriptions"],
        Value::from(Vec::<Value>::new())
    );
}

#[tokio::test]
async fn a_boundary_is_marked_after_its_last_bar() {
    let gateway = start(Config::default()).await.ready().await;
    let mut client = gateway.connect().await;
    // The mark's topic is there before the bars' are.
    client.subscribe(&["boundary:1s", "kline:1s:*"]).await;
    let mut seen = Vec::new();
    for index in 0..2 {
        for symbol in ["A-B", "C-D", "E-F"] {
            gateway
                .publish(&closed(index, index as u64 + 1).of(symbol))
                .await;
        }
        gateway.publish_mark("1s", (index + 1) * 1_000, 3).await;
        loop {
            let object = client.object().await;
            let is_mark = object["op"] == "boundary";
            seen.push((object["end_ms"].as_i64().unwrap(), is_mark));
            if is_mark {
                break;
            }
        }
    }
    let bars = |end_ms| {
        [
            (end_ms, false),
            (end_ms, false),
            (end_ms, false),
            (end_ms, true),
        ]
    };
    assert_eq!(seen, [bars(1_000), bars(2_000)].concat());
}
