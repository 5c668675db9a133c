//! Order books to clients: the newest one of each symbol, whole in each message.

use bytes::Bytes;
use market_core::wire::{BookMessage, JsonMessage, Stamp};
use market_core::{BookFault, BookTop, PriceLevel, channel, subject};
use serde_json::{Value, json};
use ws_gateway::Config;

use crate::support::{Gateway, start, until};

fn level(price: u64) -> PriceLevel {
    let level = PriceLevel::parse(&price.to_string(), "0.5").unwrap();
    level.unwrap()
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
    let gateway = start(Config::default()).await.ready().await;
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
async fn clients_of_binance_get_twenty_levels_of_a_book_as_events() {
    let gateway = start(Config::default()).await.ready().await;
    publish(&gateway, "BTC-USDT", 7, 40, None).await;
    let asks: Vec<Value> = (41..=60)
        .map(|price| json!([price.to_string(), "0.5"]))
        .collect();
    let event = json!({"lastUpdateId": 540, "bids": [["40", "0.5"], ["39", "0.5"]], "asks": asks});
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
        json!({"lastUpdateId": 41, "bids": [], "asks": []})
    );
}
