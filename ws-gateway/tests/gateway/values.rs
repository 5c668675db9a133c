//! Quotes and tickers to clients: the newest value of each symbol.

use bytes::Bytes;
use market_core::wire::{JsonMessage, QuoteMessage, Stamp, TickerMessage};
use market_core::{Amount, Price, PriceLevel, Quote, Ticker, channel, subject};
use serde_json::{Value, json};
use ws_gateway::Config;

use crate::support::{Gateway, start, until};

fn quote(symbol: &str, epoch: u64, seq: u64) -> Bytes {
    let quote = Quote {
        bid: PriceLevel::parse(&(60_000 + seq).to_string(), "3.5").unwrap(),
        ask: PriceLevel::parse("70000", "1").unwrap(),
        update_id: Some(500 + seq),
        event_ms: None,
        received_us: 1_723_161_255_350_000,
    };
    let stamp = Stamp {
        seq,
        epoch,
        published_us: 1_723_161_255_350_999,
    };
    QuoteMessage::new("binance", &symbol.parse().unwrap(), &quote, stamp).encode()
}

async fn publish(gateway: &Gateway, symbol: &str, epoch: u64, seq: u64) {
    let subject = subject::of_symbol(&channel::QUOTE, "binance", &symbol.parse().unwrap());
    let payload = quote(symbol, epoch, seq);
    gateway.bus.publish(&subject, payload).await.unwrap();
}

fn since(epoch: u64, seq: u64) -> Value {
    json!({"op": "sub", "topics": ["quote:A-B"], "since": {"epoch": epoch, "seq": {"quote:A-B": seq}}})
}

#[tokio::test]
async fn the_newest_quote_comes_to_a_client_that_subscribes_later_and_an_older_one_never() {
    let gateway = start(Config::default()).await.ready().await;
    // The bus keeps it until the gateway wants it.
    publish(&gateway, "A-B", 7, 4).await;
    let mut client = gateway.connect().await;
    client.subscribe(&["quote:*"]).await;
    let first = client.object().await;
    assert_eq!(
        (&first["topic"], &first["bid"], &first["seq"]),
        (&json!("quote:A-B"), &json!("60004"), &json!(4))
    );
    let stale = || gateway.metric("gateway_ingest_messages_total", &["stale"]);
    let before = stale();
    publish(&gateway, "A-B", 7, 3).await;
    publish(&gateway, "A-B", 6, 9).await;
    until("older ones are left out", || stale() == before + 2.0).await;
    publish(&gateway, "A-B", 8, 1).await;
    assert_eq!(client.object().await["bid"], "60001");
    // A client that has the newest gets nothing again; one of another epoch gets it.
    let mut same = gateway.connect().await;
    same.send(&since(8, 1).to_string()).await;
    assert_eq!(same.object().await.get("not_resumed"), None);
    let mut other = gateway.connect().await;
    other.send(&since(7, 900).to_string()).await;
    assert_eq!(other.object().await["op"], "ack");
    assert_eq!(other.object().await["bid"], "60001");
    publish(&gateway, "A-B", 8, 2).await;
    assert_eq!(same.object().await["seq"], 2);
}

#[tokio::test]
async fn clients_of_binance_get_quotes_and_tickers_as_events() {
    let gateway = start(Config::default()).await.ready().await;
    publish(&gateway, "BTC-USDT", 7, 4).await;
    let symbol = "BTC-USDT".parse().unwrap();
    let ticker = Ticker {
        open: Price::parse("60000").ok(),
        high: Price::parse("62500.5").ok(),
        low: Price::parse("59000").ok(),
        last: Price::parse("61500").unwrap(),
        last_quantity: None,
        volume: Amount::parse("2").unwrap(),
        quote_volume: Amount::parse("122000.5"),
        count: Some(3),
        ids: Some((41, 43)),
        bid: None,
        bid_quantity: None,
        ask: None,
        ask_quantity: None,
        event_ms: Some(1_723_161_254_087),
        received_us: 1_723_161_254_087_891,
    };
    let stamp = Stamp {
        seq: 1,
        epoch: 7,
        published_us: 1_723_161_254_088_000,
    };
    let payload = TickerMessage::new("binance", &symbol, &ticker, stamp).encode();
    let name = subject::of_symbol(&channel::TICKER, "binance", &symbol);
    gateway.bus.publish(&name, payload).await.unwrap();
    let mut client = gateway.connect_to("/binance/ws/btcusdt@bookTicker").await;
    assert_eq!(
        client.object().await,
        json!({"u": 504, "s": "BTCUSDT", "b": "60004", "B": "3.5", "a": "70000", "A": "1"})
    );
    let mut client = gateway
        .connect_to("/binance/stream?streams=btcusdt@ticker")
        .await;
    let event = client.object().await;
    assert_eq!(event["stream"], "btcusdt@ticker");
    assert_eq!(
        (
            &event["data"]["e"],
            &event["data"]["p"],
            &event["data"]["P"]
        ),
        (&json!("24hrTicker"), &json!("1500"), &json!("2.500"))
    );
}
