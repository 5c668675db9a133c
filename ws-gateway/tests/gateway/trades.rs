//! Trades to clients: each in order, or a count of the skipped ones.

use bytes::Bytes;
use market_core::wire::{Stamp, encode_trade_entry};
use market_core::{AggressorSide, Price, Quantity, Topic, Trade, channel, subject};
use serde_json::{Value, json};
use ws_gateway::Config;

use crate::support::{Client, Gateway, forming, start, until};

fn payload(symbol: &str, epoch: u64, seq: u64) -> Bytes {
    let symbol = symbol.parse().unwrap();
    let topic = Topic::of_symbol(&channel::TRADE, &symbol);
    let trade = Trade {
        first_id: seq,
        last_id: seq,
        event_ms: 1_723_161_255_342,
        price: Price::parse("61837.63").unwrap(),
        quantity: Quantity::parse("0.02").unwrap(),
        aggressor_side: AggressorSide::Sell,
        received_us: 1_723_161_255_350_000,
    };
    let stamp = Stamp {
        seq,
        epoch,
        published_us: 1_723_161_255_350_999,
    };
    encode_trade_entry(&topic, "binance", &symbol, &trade, stamp)
}

async fn publish(gateway: &Gateway, symbol: &str, seq: u64) {
    let name = subject::trades("binance", &symbol.parse().unwrap());
    let payload = payload(symbol, 1, seq);
    gateway.bus.publish(&name, payload).await.unwrap();
}

/// Publishes one trade again and again until a client of the topic gets it: the gateway subscribes
/// to trades only now.
async fn begin(gateway: &Gateway, client: &mut Client, symbol: &str, seq: u64) -> Value {
    loop {
        publish(gateway, symbol, seq).await;
        let wait = std::time::Duration::from_millis(50);
        if let Ok(object) = tokio::time::timeout(wait, client.object()).await {
            return object;
        }
    }
}

fn seqs(objects: &[Value]) -> Vec<u64> {
    let numbers = objects.iter().map(|object| object["seq"].as_u64().unwrap());
    numbers.collect()
}

#[tokio::test]
async fn a_gateway_takes_trades_from_the_bus_once_a_client_wants_them() {
    let gateway = start(Config::default()).await.ready().await;
    publish(&gateway, "BTC-USDT", 1).await;
    gateway.publish(&forming(1, 1)).await;
    gateway.knows(&forming(1, 1)).await;
    let mut client = gateway.connect().await;
    client.send(r#"{"op":"list","id":1}"#).await;
    assert_eq!(client.object().await["topics"], json!(["kline:1s:A-B"]));
    let ack = client.subscribe(&["trade:BTC-USDT"]).await;
    assert_eq!(ack["pending"], json!(["trade:BTC-USDT"]));
    let first = begin(&gateway, &mut client, "BTC-USDT", 2).await;
    assert_eq!(first["first_id"], "2");
    assert_eq!(first["price"], "61837.63");
    assert_eq!(first["aggressor_side"], "sell");
    for seq in 3..=300 {
        publish(&gateway, "BTC-USDT", seq).await;
    }
    let mut got = vec![first];
    while got.len() < 299 {
        let object = client.object().await;
        assert_eq!(object.get("skipped"), None, "{object}");
        got.push(object);
    }
    assert_eq!(seqs(&got), (2..=300).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_plain_symbol_of_trades_has_a_second_name_and_wildcards_match_it() {
    let gateway = start(Config::default()).await.ready().await;
    let mut all = gateway.connect().await;
    all.subscribe(&["trade:*"]).await;
    begin(&gateway, &mut all, "BTC-USDT", 1).await;
    for request in [
        json!({"op": "sub", "topics": ["trade:BINANCE:BTC-USDT"]}),
        json!({"op": "sub", "topics": ["trade:BINANCE:*"]}),
        json!({"op": "sub", "channels": ["trade"], "symbols": ["BTC-USDT"], "exchanges": ["binance"]}),
        json!({"op": "sub", "channels": ["trade", "kline_1m"], "symbols": ["*"], "exchanges": ["binance"]}),
    ] {
        let mut client = gateway.connect().await;
        client.send(&request.to_string()).await;
        assert_eq!(client.object().await["op"], "ack", "{request}");
        let object = client.object().await;
        assert_eq!(object["topic"], "trade:BTC-USDT", "{request}");
    }
    let mut other = gateway.connect().await;
    let ack = other.subscribe(&["trade:OKX:*"]).await;
    assert_eq!(ack["pending"], json!(["trade:OKX:*"]));
}

#[tokio::test]
async fn a_client_resumes_trades_at_its_number_or_is_told_what_is_gone() {
    let config = Config {
        log_entries: 10,
        log_burst_max: 10,
        ..Config::default()
    };
    let gateway = start(config).await.ready().await;
    let mut watcher = gateway.connect().await;
    watcher.subscribe(&["trade:A-B"]).await;
    begin(&gateway, &mut watcher, "A-B", 1).await;
    // It would be told of skipped trades, too.
    watcher
        .send(r#"{"op":"unsub","topics":["trade:A-B"]}"#)
        .await;
    assert_eq!(watcher.object().await["op"], "ack");
    for seq in 2..=30 {
        publish(&gateway, "A-B", seq).await;
    }
    until("all trades are taken", || {
        gateway.metric("gateway_ingest_messages_total", &["taken"]) == 30.0
    })
    .await;
    let resume = |epoch: u64, seq: u64| json!({"op": "sub", "topics": ["trade:A-B"], "since": {"epoch": epoch, "seq": {"trade:A-B": seq}}});
    let mut client = gateway.connect().await;
    client.send(&resume(1, 25).to_string()).await;
    assert_eq!(client.object().await.get("not_resumed"), None);
    assert_eq!(seqs(&client.frame().await), [26, 27, 28, 29, 30]);
    let mut late = gateway.connect().await;
    late.send(&resume(1, 5).to_string()).await;
    assert_eq!(late.object().await.get("not_resumed"), None);
    let frame = late.frame().await;
    assert_eq!(seqs(&frame), (21..=30).collect::<Vec<_>>());
    assert_eq!(frame[0]["skipped"], 15);
    let mut stranger = gateway.connect().await;
    stranger.send(&resume(9, 5).to_string()).await;
    assert_eq!(stranger.object().await["not_resumed"], json!(["trade:A-B"]));
    until("the skipped are counted", || {
        gateway.metric("gateway_skipped_entries_total", &[]) == 15.0
    })
    .await;
}

#[tokio::test]
async fn trades_that_never_arrived_are_counted_for_the_client_and_the_operator() {
    let gateway = start(Config::default()).await.ready().await;
    let mut client = gateway.connect().await;
    client.subscribe(&["trade:A-B"]).await;
    begin(&gateway, &mut client, "A-B", 1).await;
    publish(&gateway, "A-B", 5).await;
    let object = client.object().await;
    assert_eq!((&object["seq"], &object["skipped"]), (&json!(5), &json!(3)));
    assert_eq!(gateway.metric("gateway_missed_entries_total", &[]), 3.0);
}

#[tokio::test]
async fn clients_of_binance_get_trades_as_events() {
    let gateway = start(Config::default()).await.ready().await;
    let mut client = gateway
        .connect_to("/binance/stream?streams=btcusdt@trade")
        .await;
    let event = begin(&gateway, &mut client, "BTC-USDT", 7).await;
    assert_eq!(
        event,
        json!({"stream": "btcusdt@trade", "data": {
            "e": "trade", "E": 1_723_161_255_350_i64, "s": "BTCUSDT", "t": 7, "p": "61837.63",
            "q": "0.02", "T": 1_723_161_255_342_i64, "m": true, "M": true,
        }})
    );
}

#[tokio::test]
async fn a_message_that_is_no_trade_of_its_topic_is_refused() {
    let gateway = start(Config::default()).await.ready().await;
    let mut client = gateway.connect().await;
    client.subscribe(&["trade:*"]).await;
    begin(&gateway, &mut client, "A-B", 1).await;
    let name = subject::trades("binance", &"A-B".parse().unwrap());
    let good = String::from_utf8(payload("A-B", 1, 2).to_vec()).unwrap();
    for (bad, outcome) in [
        (good.replace("trade:A-B", "trade:C-D"), "misplaced"),
        (
            good.replace("\"seq\":2", "\"seq\":18446744073709551615"),
            "implausible",
        ),
        (
            good.replace("\"epoch\":1", "\"epoch\":99999999999999999"),
            "implausible",
        ),
        (good.replace("\"epoch\":1", "\"epoch\":0"), "implausible"),
        (good.replace("\"seq\":2,", ""), "malformed"),
        (
            good.replace("\"seq\":2,", "\"seq\":2,\"op\":\"ack\","),
            "malformed",
        ),
        (good.replace("\"61837.63\"", "{}"), "malformed"),
    ] {
        let before = gateway.metric("gateway_ingest_messages_total", &[outcome]);
        gateway.bus.publish(&name, bad.into()).await.unwrap();
        until("it is refused", || {
            gateway.metric("gateway_ingest_messages_total", &[outcome]) > before
        })
        .await;
    }
    publish(&gateway, "A-B", 2).await;
    assert_eq!(client.object().await["seq"], 2);
}
