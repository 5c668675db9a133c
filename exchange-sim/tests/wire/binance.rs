//! Binance over the wire.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Sim, generated, manual};
use exchange_sim::Config;

mod rest;

#[tokio::test(flavor = "multi_thread")]
async fn a_trade_reaches_every_path_in_its_format() {
    let sim = Sim::start(manual()).await;
    let mut raw = sim.connect("/ws/btcusdt@trade").await;
    let mut numbered = sim.connect("/ws/0").await;
    numbered
        .send(r#"{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":"c0ffee-1"}"#)
        .await;
    assert_eq!(numbered.text().await, r#"{"result":null,"id":"c0ffee-1"}"#);
    let mut combined = sim
        .connect("/stream?streams=ethusdt@trade/btcusdt@aggTrade&timeUnit=MICROSECOND")
        .await;
    // An answered request shows that the streams before it are subscribed.
    for socket in [&mut raw, &mut combined] {
        socket
            .send(r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#)
            .await;
        assert_eq!(socket.json().await["id"], 1);
    }
    let trade = json!({"venue": "binance", "symbol": "BTCUSDT", "price": "91234.56", "quantity": "0.002", "side": "sell",
                       "event_ms": 1_795_000_000_123i64});
    assert_eq!(sim.post("/sim/trade", trade).await.body["id"], 1);
    for socket in [&mut raw, &mut numbered] {
        let mut frame = socket.json().await;
        assert!(frame["E"].as_i64() >= Some(1_795_000_000_123));
        frame["E"] = json!(0);
        let expected = json!({"e": "trade", "E": 0, "s": "BTCUSDT", "t": 1, "p": "91234.56000000", "q": "0.00200000",
                              "T": 1_795_000_000_123i64, "m": true, "M": true});
        assert_eq!(frame, expected);
    }
    let frame = combined.json().await;
    assert_eq!(frame["stream"], "btcusdt@aggTrade");
    assert_eq!(frame["data"]["T"], 1_795_000_000_123_000i64);
    assert_eq!(
        (&frame["data"]["f"], &frame["data"]["l"]),
        (&json!(1), &json!(1))
    );
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_streams_carry_the_tape_without_a_gap() {
    let sim = Sim::start(generated()).await;
    let mut socket = sim
        .connect("/stream?streams=btcusdt@trade/btcusdt@aggTrade")
        .await;
    let (mut trades, mut aggregates): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    while trades.len() < 60 {
        let mut frame = socket.json().await;
        let data = frame["data"].take();
        if frame["stream"] == "btcusdt@trade" {
            trades.push(data)
        } else {
            aggregates.push(data)
        }
    }
    let first_id = trades[0]["t"].as_u64().expect("an id");
    let rest = sim
        .get(&format!(
            "/api/v3/historicalTrades?symbol=BTCUSDT&fromId={first_id}&limit=1000"
        ))
        .await;
    for (trade, row) in trades.iter().zip(rest.rows()) {
        assert_eq!(trade["t"], row["id"]);
        assert_eq!(
            (&trade["p"], &trade["q"], &trade["T"], &trade["m"]),
            (
                &row["price"],
                &row["qty"],
                &row["time"],
                &row["isBuyerMaker"]
            )
        );
    }
    let first = aggregates[0]["a"].as_u64().expect("an id");
    let rest = sim
        .get(&format!(
            "/api/v3/aggTrades?symbol=BTCUSDT&fromId={first}&limit=1000"
        ))
        .await;
    for (aggregate, row) in aggregates.iter().zip(rest.rows()) {
        for key in ["a", "p", "q", "f", "l", "T", "m"] {
            assert_eq!(aggregate[key], row[key], "{key}");
        }
    }
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_kline_is_the_row_that_rest_gives() {
    let sim = Sim::start(generated()).await;
    let mut socket = sim.connect("/ws/ethusdt@kline_1s").await;
    let mut last_forming = BTreeMap::new();
    for _ in 0..3 {
        let kline = loop {
            let event = socket.json().await;
            let kline = event["k"].clone();
            if kline["x"] == true {
                break kline;
            }
            last_forming.insert(kline["t"].as_i64(), kline);
        };
        let row = sim
            .get(&format!(
                "/api/v3/klines?symbol=ETHUSDT&interval=1s&startTime={}&limit=1",
                kline["t"]
            ))
            .await;
        let expected: Vec<&Value> = ["t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B"]
            .map(|key| &kline[key])
            .to_vec();
        assert_eq!(
            row.rows()[0]
                .as_array()
                .map(|row| row.iter().collect::<Vec<_>>()),
            Some(expected)
        );
    }
    assert!(!last_forming.is_empty(), "no forming kline was sent");
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_book_kept_by_the_documented_rules_is_the_one_of_the_next_snapshot() {
    let sim = Sim::start(generated()).await;
    let mut socket = sim.connect("/ws/btcusdt@depth@100ms").await;
    let first = socket.json().await;
    let snapshot = sim
        .get("/api/v3/depth?symbol=BTCUSDT&limit=1000")
        .await
        .body;
    let mut local = snapshot["lastUpdateId"].as_u64().expect("an id");
    let mut bids = levels(&snapshot["bids"]);
    let mut pending = Some(first);
    for _ in 0..20 {
        let event = match pending.take() {
            Some(event) => event,
            None => socket.json().await,
        };
        let (from, to) = (
            event["U"].as_u64().expect("an id"),
            event["u"].as_u64().expect("an id"),
        );
        if to <= local {
            continue;
        }
        assert!(
            from <= local + 1,
            "the update leaves a gap: {from} after {local}"
        );
        bids.extend(levels(&event["b"]));
        bids.retain(|_, quantity| quantity != "0.00000000");
        local = to;
        let ask = event["a"].as_array().expect("levels");
        assert!(!ask.is_empty());
    }
    // The partial stream and REST show the same book whenever their ids agree.
    loop {
        let snapshot = sim.get("/api/v3/depth?symbol=BTCUSDT&limit=20").await.body;
        let id = snapshot["lastUpdateId"].as_u64().expect("an id");
        while local < id {
            let event = socket.json().await;
            local = event["u"].as_u64().expect("an id");
            bids.extend(levels(&event["b"]));
            bids.retain(|_, quantity| quantity != "0.00000000");
        }
        if local == id {
            let best: BTreeMap<String, String> = bids
                .iter()
                .rev()
                .take(20)
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            assert_eq!(best, levels(&snapshot["bids"]));
            break;
        }
    }
    sim.stop().await;
}

fn levels(side: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    side.as_array()
        .expect("levels")
        .iter()
        .map(|level| (text(&level[0]), text(&level[1])))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_pings_and_cuts_at_the_end_of_a_day() {
    let sim = Sim::start(Config {
        binance_ping_ms: 100,
        binance_connection_ms: 600,
        ..manual()
    })
    .await;
    let mut socket = sim.connect("/ws").await;
    assert!(matches!(socket.message().await, Some(Message::Ping(_))));
    assert_eq!(socket.close_code().await, Some(1001));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_is_answered() {
    let sim = Sim::start(manual()).await;
    let mut socket = sim.connect("/ws/btcusdt@trade").await;
    assert_eq!(socket.close().await, Some(1000));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sixth_message_in_a_second_ends_the_connection() {
    let sim = Sim::start(manual()).await;
    let mut socket = sim.connect("/ws").await;
    for _ in 0..6 {
        socket
            .send(r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#)
            .await;
    }
    assert_eq!(socket.close_code().await, Some(1008));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_keep_up_is_dropped_and_others_are_not() {
    let sim = Sim::start(Config {
        client_frames_max: 100,
        ..manual()
    })
    .await;
    let mut flooded = sim.connect("/ws/btcusdt@trade").await;
    let mut other = sim.connect("/ws/ethusdt@trade").await;
    sim.until_stats("both are subscribed", |stats| {
        let connections = stats["venues"]["binance"]["connections"]
            .as_array()
            .expect("connections");
        connections
            .iter()
            .filter(|connection| connection["subscriptions"] == 1)
            .count()
            == 2
    })
    .await;
    sim.trade("binance", "BTCUSDT", &["91000"; 20_000]).await;
    assert_eq!(flooded.close_code().await, None);
    sim.trade("binance", "ETHUSDT", &["3000"]).await;
    assert_eq!(other.json().await["p"], "3000.00000000");
    sim.stop().await;
}
