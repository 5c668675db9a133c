//! Order books to clients: the newest one of each symbol, whole in each message.

use bytes::Bytes;
use market_core::wire::{BookMessage, JsonMessage, Stamp};
use market_core::{BookFault, BookTop, PriceLevel, channel, subject};
use serde_json::{Value, json};
use testkit::mint::{Issuer, KeyFile, key_set};
use ws_gateway::{AuthConfig, AuthMode, Config, TokenConfig};

use crate::support::{Gateway, start, until};

fn level(price: u64) -> PriceLevel {
    let level = PriceLevel::parse(&price.to_string(), "0.5").unwrap();
    level.unwrap()
}

/// Books are of 2024, and they are not old.
fn config() -> Config {
    Config {
        book_silence_ms: u64::from(u32::MAX) * 1_000,
        ..Config::default()
    }
}

fn book(symbol: &str, epoch: u64, seq: u64, fault: Option<BookFault>) -> Bytes {
    let book = BookTop {
        update_id: Some(500 + seq),
        bids: vec![level(seq), level(seq - 1)],
        asks: (1..=30).map(|above| level(seq + above)).collect(),
        event_ms: None,
        received_us: 1_723_161_255_350_000,
    };
    let stamp = Stamp {
        seq,
        epoch,
        published_us: 1_723_161_255_350_999,
    };
    let symbol = symbol.parse().unwrap();
    BookMessage::new("binance", &symbol, fault.map_or(Ok(&book), Err), stamp).encode()
}

async fn publish(gateway: &Gateway, symbol: &str, epoch: u64, seq: u64, fault: Option<BookFault>) {
    let subject = subject::of_symbol(&channel::BOOK, "binance", &symbol.parse().unwrap());
    let payload = book(symbol, epoch, seq, fault);
    gateway.bus.publish(&subject, payload).await.unwrap();
}

#[tokio::test]
async fn a_client_has_the_newest_book_whenever_it_subscribes_and_knows_at_once_that_it_is_lost() {
    let gateway = start(config()).await.ready().await;
    // The bus keeps it until the gateway wants it.
    publish(&gateway, "A-B", 7, 40, None).await;
    let mut client = gateway.connect().await;
    client.subscribe(&["book:*"]).await;
    let first = client.object().await;
    assert_eq!(
        (&first["topic"], &first["state"], &first["seq"]),
        (&json!("book:A-B"), &json!("valid"), &json!(40))
    );
    assert_eq!(first["bids"], json!([["40", "0.5"], ["39", "0.5"]]));
    assert_eq!(first["asks"].as_array().map(Vec::len), Some(30));
    publish(&gateway, "A-B", 7, 41, Some(BookFault::Hole)).await;
    let lost = client.object().await;
    assert_eq!(
        (&lost["state"], &lost["reason"], &lost["bids"]),
        (&json!("invalid"), &json!("hole"), &json!([]))
    );
    // An older book never comes back.
    let stale = || gateway.metric("gateway_ingest_messages_total", &["stale"]);
    let before = stale();
    publish(&gateway, "A-B", 7, 39, None).await;
    publish(&gateway, "A-B", 6, 90, None).await;
    until("older ones are left out", || stale() == before + 2.0).await;
    publish(&gateway, "A-B", 8, 5, None).await;
    assert_eq!(client.object().await["update_id"], "505");
    // A client that has the newest gets nothing again, and one that lacks it gets it whole.
    let since = |epoch: u64, seq: u64| json!({"op": "sub", "topics": ["book:A-B"], "since": {"epoch": epoch, "seq": {"book:A-B": seq}}});
    let mut same = gateway.connect().await;
    same.send(&since(8, 5).to_string()).await;
    assert_eq!(same.object().await.get("not_resumed"), None);
    let mut behind = gateway.connect().await;
    behind.send(&since(7, 40).to_string()).await;
    assert_eq!(behind.object().await["op"], "ack");
    assert_eq!(behind.object().await["update_id"], "505");
    publish(&gateway, "A-B", 8, 6, None).await;
    for client in [&mut same, &mut behind, &mut client] {
        assert_eq!(client.object().await["update_id"], "506");
    }
}

#[tokio::test]
async fn a_client_may_take_a_book_to_a_depth_and_as_changes() {
    let gateway = start(config()).await.ready().await;
    publish(&gateway, "A-B", 7, 40, None).await;
    let mut asked = gateway.connect().await;
    asked
        .send(r#"{"op":"sub","topics":["book:A-B"],"depth":5,"changes":true}"#)
        .await;
    assert_eq!(asked.object().await["op"], "ack");
    let mut opened = gateway
        .connect_to("/ws?topics=book:A-B&depth=5&changes=true")
        .await;
    assert_eq!(opened.object().await["op"], "ack");
    for client in [&mut asked, &mut opened] {
        let whole = client.object().await;
        assert_eq!((&whole["seq"], whole.get("prev_seq")), (&json!(40), None));
        assert_eq!(whole["asks"].as_array().map(Vec::len), Some(5));
    }
    publish(&gateway, "A-B", 7, 41, None).await;
    for client in [&mut asked, &mut opened] {
        let changes = client.object().await;
        assert_eq!(
            (&changes["seq"], &changes["prev_seq"], &changes["depth"]),
            (&json!(41), &json!(40), &json!(5))
        );
        assert_eq!(changes["bids"], json!([["41", "0.5"], ["39", "0"]]));
        assert_eq!(changes["asks"], json!([["41", "0"], ["46", "0.5"]]));
        let text = "41:0.5,40:0.5,42:0.5,43:0.5,44:0.5,45:0.5,46:0.5,";
        let mut crc = flate2::Crc::new();
        crc.update(text.as_bytes());
        assert_eq!(changes["checksum"], json!(crc.sum()));
    }
    // What was lost is whole when it comes back.
    publish(&gateway, "A-B", 7, 42, Some(BookFault::Hole)).await;
    assert_eq!(asked.object().await["state"], "invalid");
    publish(&gateway, "A-B", 7, 43, None).await;
    assert_eq!(asked.object().await.get("prev_seq"), None);
    asked
        .send(r#"{"op":"sub","topics":["book:A-B"],"depth":7}"#)
        .await;
    assert_eq!(asked.object().await["code"], "bad_option");
}

#[tokio::test]
async fn clients_of_binance_get_twenty_levels_of_a_book_as_events() {
    let gateway = start(config()).await.ready().await;
    publish(&gateway, "BTC-USDT", 7, 40, None).await;
    let asks: Vec<Value> = (41..=60)
        .map(|price| json!([price.to_string(), "0.5"]))
        .collect();
    let event = json!({"lastUpdateId": 87, "bids": [["40", "0.5"], ["39", "0.5"]], "asks": asks});
    let mut client = gateway
        .connect_to("/binance/ws/btcusdt@depth20@100ms")
        .await;
    assert_eq!(client.object().await, event);
    let mut client = gateway
        .connect_to("/binance/stream?streams=btcusdt@depth20@100ms")
        .await;
    let combined = client.object().await;
    assert_eq!(combined["stream"], "btcusdt@depth20@100ms");
    assert_eq!(combined["data"], event);
    publish(&gateway, "BTC-USDT", 7, 41, Some(BookFault::Crossed)).await;
    let lost = client.object().await;
    assert_eq!(
        lost["data"],
        json!({"lastUpdateId": 89, "bids": [], "asks": []})
    );
}

#[tokio::test]
async fn a_book_whose_publisher_is_silent_is_said_to_be_invalid_until_it_is_heard_again() {
    let silence_ms = 300;
    let gateway = start(Config {
        book_silence_ms: silence_ms,
        ..Config::default()
    })
    .await
    .ready()
    .await;
    let mut client = gateway.connect().await;
    client.subscribe(&["book:A-B"]).await;
    publish(&gateway, "A-B", 7, 40, None).await;
    let mut last = client.object().await;
    // On a busy machine, the first message may be that of the silence.
    if last["state"] == "valid" {
        assert_eq!(last["update_id"], "540");
        last = client.object().await;
    }
    assert_eq!(
        (
            &last["state"],
            &last["reason"],
            &last["bids"],
            &last["asks"]
        ),
        (&json!("invalid"), &json!("silent"), &json!([]), &json!([]))
    );
    let silent = || gateway.metric("gateway_books_silent_total", &[]);
    until("it is counted", || silent() >= 1.0).await;
    // A client that comes later does not get the old book either, nor does one that had it.
    let since = json!({"op": "sub", "topics": ["book:A-B"], "since": {"epoch": 7, "seq": {"book:A-B": 40}}});
    let mut resumed = gateway.connect().await;
    resumed.send(&since.to_string()).await;
    assert_eq!(resumed.object().await["op"], "ack");
    assert_eq!(resumed.object().await["reason"], "silent");
    let mut late = gateway.connect().await;
    late.subscribe(&["book:A-B"]).await;
    assert_eq!(late.object().await["reason"], "silent");
    // The next message of the publisher has the number that the gateway has used.
    publish(&gateway, "A-B", 7, 41, None).await;
    for client in [&mut client, &mut late, &mut resumed] {
        let heard = client.object().await;
        let is_next = heard["update_id"] == "541" || heard["reason"] == "silent";
        assert!(is_next && heard["seq"].as_u64() >= Some(41), "{heard}");
    }
}

#[tokio::test]
async fn a_book_that_the_bus_retains_of_a_publisher_that_ended_long_ago_is_said_to_be_invalid() {
    let gateway = start(Config::default()).await.ready().await;
    // It is of 2024, and the bus keeps it until the gateway wants it.
    publish(&gateway, "A-B", 7, 40, None).await;
    let mut client = gateway.connect().await;
    client.subscribe(&["book:*"]).await;
    let first = client.object().await;
    assert_eq!(
        (&first["state"], &first["reason"], &first["seq"]),
        (&json!("invalid"), &json!("silent"), &json!(41))
    );
    // The publisher is there again, with a new epoch.
    publish(&gateway, "A-B", 8, 3, None).await;
    assert_eq!(client.object().await["update_id"], "503");
}

#[tokio::test]
async fn clients_of_binance_get_the_changes_of_a_book_with_numbers_that_adjoin() {
    let gateway = start(config()).await.ready().await;
    publish(&gateway, "BTC-USDT", 7, 40, None).await;
    let path = "/binance/stream?streams=btcusdt@depth@100ms/btcusdt@depth5@100ms";
    let mut client = gateway.connect_to(path).await;
    let (mut last, mut levels, mut changes) = (None::<u64>, None, Value::Null);
    for seq in 40..=45 {
        if seq > 40 {
            let fault = (seq == 43).then_some(BookFault::Hole);
            publish(&gateway, "BTC-USDT", 7, seq, fault).await;
        }
        let number = Some(7 + 2 * seq);
        while last != number || levels != number {
            let mut event = client.object().await;
            let data = event["data"].take();
            if event["stream"] == "btcusdt@depth5@100ms" {
                levels = data["lastUpdateId"].as_u64();
                let asks = if seq == 43 { 0 } else { 5 };
                assert_eq!(data["asks"].as_array().map(Vec::len), Some(asks));
                continue;
            }
            let kind = (&data["e"], &data["s"]);
            assert_eq!(kind, (&json!("depthUpdate"), &json!("BTCUSDT")));
            if let Some(last) = last {
                assert_eq!(data["U"], json!(last + 1), "{data}");
            }
            last = data["u"].as_u64();
            changes = data["b"].clone();
        }
        if seq == 43 {
            assert_eq!(
                changes,
                json!([["42", "0.00000000"], ["41", "0.00000000"]]),
                "it is empty"
            );
        }
    }
    // A session that comes later has the same events.
    let mut later = gateway.connect_to("/binance/ws/btcusdt@depth@100ms").await;
    let first = later.object().await;
    assert_eq!((&first["U"], &first["u"]), (&json!(88), &json!(97)));
    publish(&gateway, "BTC-USDT", 7, 50, None).await;
    assert_eq!(
        later.object().await["U"],
        json!(7 + 2 * 50),
        "what was lost shows"
    );
    let made = gateway.metric("gateway_binance_streams", &[]);
    assert!(made >= 2.0, "{made}");
}

#[tokio::test]
async fn a_token_permits_the_streams_of_the_topics_that_it_permits() {
    let issuer = Issuer::eddsa("first");
    let jwks = KeyFile::new(key_set(&[&issuer]));
    let tokens = TokenConfig {
        auth_mode: AuthMode::Required,
        auth_jwks_file: jwks.path(),
        ..TokenConfig::default()
    };
    let auth = AuthConfig {
        tokens,
        ..AuthConfig::default()
    };
    let gateway = start(Config { auth, ..config() }).await.ready().await;
    publish(&gateway, "BTC-USDT", 7, 40, None).await;
    let token = issuer.permit(&["book:BTC-USDT"], 600);
    let path = format!("/binance/ws?token={token}");
    let mut client = gateway.connect_to(&path).await;
    for (stream, code) in [
        ("btcusdt@depth", None),
        ("ethusdt@depth5", Some(2)),
        ("!miniTicker@arr", Some(2)),
        ("btcusdt@miniTicker", Some(2)),
    ] {
        let request = json!({"method": "SUBSCRIBE", "params": [stream], "id": stream});
        client.send(&request.to_string()).await;
        let answer = loop {
            let object = client.object().await;
            if object["id"] == stream {
                break object;
            }
        };
        assert_eq!(answer["code"].as_i64(), code, "{answer}");
    }
}
