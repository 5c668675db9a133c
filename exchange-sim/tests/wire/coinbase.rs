//! Coinbase Exchange over the wire.

use serde_json::{Value, json};

use crate::harness::{Sim, generated, manual};
use exchange_sim::Config;

fn subscribe(channels: &[&str]) -> String {
    json!({"type": "subscribe", "product_ids": ["BTC-USD"], "channels": channels}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_begins_with_the_last_match() {
    let sim = Sim::start(manual()).await;
    sim.trade("coinbase", "BTC-USD", &["91000.5", "91001"])
        .await;
    let mut socket = sim.connect("/").await;
    socket.send(subscribe(&["matches", "heartbeat"])).await;
    let ack = socket.json().await;
    assert_eq!(ack["type"], "subscriptions");
    assert_eq!(ack["channels"][0]["product_ids"], json!(["BTC-USD"]));
    let last = socket.json().await;
    assert_eq!(
        (&last["type"], &last["trade_id"], &last["price"]),
        (&json!("last_match"), &json!(2), &json!("91001"))
    );
    let heartbeat = socket
        .json_until(|frame| frame["type"] == "heartbeat")
        .await;
    assert_eq!(heartbeat["last_trade_id"], 2);
    sim.trade("coinbase", "BTC-USD", &["91002.25"]).await;
    let matched = socket.json_until(|frame| frame["type"] == "match").await;
    // The taker bought, so the maker sold.
    assert_eq!(
        (&matched["trade_id"], &matched["side"], &matched["size"]),
        (&json!(3), &json!("sell"), &json!("1"))
    );
    assert!(matched["sequence"].as_u64() > last["sequence"].as_u64());
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_matches_carry_the_tape_without_a_gap() {
    let sim = Sim::start(generated()).await;
    let mut socket = sim.connect("/").await;
    socket.send(subscribe(&["matches"])).await;
    socket
        .json_until(|frame| frame["type"] == "last_match")
        .await;
    let mut matches = Vec::new();
    while matches.len() < 40 {
        matches.push(socket.json().await);
    }
    let last = matches[39]["trade_id"].as_u64().expect("an id");
    let page = sim
        .get(&format!(
            "/products/BTC-USD/trades?after={}&limit=40",
            last + 1
        ))
        .await;
    for (matched, row) in matches.iter().zip(page.rows().iter().rev()) {
        for key in ["trade_id", "side", "size", "price", "time"] {
            assert_eq!(matched[key], row[key], "{key}");
        }
    }
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_cover_every_trade_once() {
    let sim = Sim::start(Config {
        rate_limits: false,
        history_minutes: 4,
        ..Config::default()
    })
    .await;
    let newest = sim.get("/products/BTC-USD/trades?limit=1").await;
    let mut after = newest.rows()[0]["trade_id"].as_u64().expect("an id") + 1;
    let first = sim
        .get("/sim/trades?venue=coinbase&symbol=BTC-USD&limit=0")
        .await
        .body["first_id"]
        .as_u64()
        .expect("an id");
    let mut next = after - 1;
    loop {
        let page = sim
            .get(&format!("/products/BTC-USD/trades?after={after}&limit=300"))
            .await;
        if page.rows().is_empty() {
            break;
        }
        assert_eq!(
            page.header("cb-before"),
            page.rows()[0]["trade_id"].to_string()
        );
        for row in page.rows() {
            assert_eq!(row["trade_id"], next);
            next -= 1;
        }
        after = page.header("cb-after").parse().expect("a cursor");
    }
    assert_eq!(next + 1, first);
    let newer = sim
        .get(&format!("/products/BTC-USD/trades?before={}", first + 10))
        .await;
    assert!(
        newer
            .rows()
            .iter()
            .all(|row| row["trade_id"].as_u64() > Some(first + 10))
    );
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_subscribe_is_closed() {
    let sim = Sim::start(Config {
        coinbase_subscribe_ms: 50,
        ..manual()
    })
    .await;
    assert_eq!(sim.connect("/").await.close_code().await, Some(1008));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn candles_are_the_traded_bars_newest_first() {
    let sim = Sim::start(manual()).await;
    for (event_ms, price) in [
        (1_795_000_020_000i64, "10"),
        (1_795_000_021_000, "12"),
        (1_795_000_200_000, "11"),
    ] {
        let trade = json!({"venue": "coinbase", "symbol": "ETH-USD", "price": price, "quantity": "0.5", "side": "buy", "event_ms": event_ms});
        assert_eq!(sim.post("/sim/trade", trade).await.status, 200);
    }
    let candles = sim
        .get("/products/ETH-USD/candles?granularity=60&start=1795000000&end=1795000260")
        .await;
    // Between them are two empty minutes, which are absent.
    assert_eq!(
        candles.body,
        json!([
            [1_795_000_200, 11, 11, 11, 11, 0.5],
            [1_795_000_020, 10, 12, 10, 12, 1]
        ])
    );
    let too_many = sim
        .get("/products/ETH-USD/candles?granularity=60&start=1795000000&end=1795100000")
        .await;
    assert_eq!(too_many.status, 400);
    assert_eq!(
        sim.get("/products/NO-USD/trades").await.body,
        json!({"message": "NotFound"})
    );
    let ids: Vec<Value> = sim
        .get("/products")
        .await
        .rows()
        .iter()
        .map(|product| product["id"].clone())
        .collect();
    assert_eq!(ids[0], "BTC-USD");
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spark_lines_are_prices_by_the_hour_newest_first() {
    let sim = Sim::start(manual()).await;
    sim.trade("coinbase", "BTC-USD", &["91000.5"]).await;
    let lines = sim.get("/products/spark-lines").await.body;
    let line = lines["BTC-USD"].as_array().expect("points");
    assert_eq!(line[0][1], 91000.5);
    assert_eq!(line[0][0].as_i64().map(|start| start % 3_600), Some(0));
    assert!(lines["ETH-USD"].as_array().is_some_and(Vec::is_empty));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_advanced_trade_are_told_where_they_are() {
    let sim = Sim::start(manual()).await;
    let answer = sim.get("/api/v3/brokerage/market/products").await;
    assert_eq!(answer.status, 404);
    let message = answer.body["message"].as_str().unwrap_or_default();
    assert!(message.contains("not Advanced Trade"), "{message}");
    let mut socket = sim.connect("/").await;
    socket
        .send(r#"{"type":"subscribe","product_ids":["BTC-USD"],"channel":"market_trades"}"#)
        .await;
    let error = socket.json().await;
    let reason = error["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("not Advanced Trade"), "{reason}");
    sim.stop().await;
}
