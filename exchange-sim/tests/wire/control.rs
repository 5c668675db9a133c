//! The simulator's own endpoints.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::harness::{Sim, generated, manual};

#[tokio::test(flavor = "multi_thread")]
async fn the_bars_of_the_truth_are_the_fold_of_its_trades() {
    let sim = Sim::start(generated()).await;
    let bars = sim
        .get("/sim/klines?venue=okx&symbol=BTC-USDT&interval=1m&limit=3")
        .await
        .body;
    let trades = sim
        .get("/sim/trades?venue=okx&symbol=BTC-USDT&limit=100000")
        .await
        .body;
    let trades = trades["trades"].as_array().expect("trades");
    let number = |value: &Value| {
        value
            .as_str()
            .and_then(|text| text.parse::<Decimal>().ok())
            .expect("a decimal")
    };
    for bar in bars["klines"].as_array().expect("bars") {
        let inside: Vec<&Value> = trades
            .iter()
            .filter(|trade| {
                (bar["start_ms"].as_i64()..bar["end_ms"].as_i64())
                    .contains(&trade["event_ms"].as_i64())
            })
            .collect();
        assert_eq!(bar["count"].as_u64(), Some(inside.len() as u64));
        assert_eq!(number(&bar["open"]), number(&inside[0]["price"]));
        assert_eq!(
            number(&bar["close"]),
            number(&inside[inside.len() - 1]["price"])
        );
        assert_eq!(
            Some(number(&bar["high"])),
            inside.iter().map(|trade| number(&trade["price"])).max()
        );
        assert_eq!(
            Some(number(&bar["low"])),
            inside.iter().map(|trade| number(&trade["price"])).min()
        );
        assert_eq!(
            number(&bar["volume"]),
            inside.iter().map(|trade| number(&trade["quantity"])).sum()
        );
        assert_eq!(
            number(&bar["quote_volume"]),
            inside
                .iter()
                .map(|trade| number(&trade["quantity"]) * number(&trade["price"]))
                .sum()
        );
    }
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_simulators_with_one_seed_agree() {
    let (one, two) = (Sim::start(generated()).await, Sim::start(generated()).await);
    let path = "/sim/klines?venue=binance&symbol=SOLUSDT&interval=1m&limit=3";
    let bars = one.get(path).await.body;
    let first_ms = bars["klines"][1]["start_ms"].as_i64().expect("a time");
    let again = two.get(&format!("{path}&from_ms={first_ms}")).await.body;
    assert_eq!(again["klines"][0], bars["klines"][1]);
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_placed_is_refused_with_its_reason() {
    let sim = Sim::start(manual()).await;
    let trade = |change: &[(&str, Value)]| {
        let mut trade = json!({"venue": "okx", "symbol": "BTC-USDT", "price": "1.5", "quantity": "2", "side": "buy", "id": 7});
        for (key, value) in change {
            trade[*key] = value.clone();
        }
        trade
    };
    for (change, reason) in [
        (("price", json!("-1")), "price is no positive decimal"),
        (("quantity", json!("0")), "quantity is no positive decimal"),
        (("symbol", json!("NO-USDT")), "okx does not list"),
        (("venue", json!("kraken")), "unknown variant"),
        (("sise", json!(1)), "unknown field"),
    ] {
        let answer = sim.post("/sim/trade", trade(&[change])).await;
        assert_eq!(answer.status, 400);
        assert!(
            answer.body["error"]
                .as_str()
                .is_some_and(|error| error.contains(reason)),
            "{}",
            answer.body
        );
    }
    assert_eq!(sim.post("/sim/trade", trade(&[])).await.body["id"], 7);
    assert_eq!(
        sim.post("/sim/trade", trade(&[])).await.status,
        400,
        "the id is taken"
    );
    assert_eq!(
        sim.post("/sim/faults", json!({"kind": "nonsense"}))
            .await
            .status,
        400
    );
    assert_eq!(sim.get("/sim/nothing").await.status, 404);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_trade_changes_the_bar_of_its_time() {
    let sim = Sim::start(manual()).await;
    for (event_ms, price) in [
        (1_795_000_020_000i64, "10"),
        (1_795_000_080_000, "20"),
        (1_795_000_050_000, "15"),
    ] {
        let trade = json!({"venue": "binance", "symbol": "BTCUSDT", "price": price, "quantity": "1", "side": "sell", "event_ms": event_ms});
        sim.post("/sim/trade", trade).await;
    }
    let bars = sim
        .get("/sim/klines?venue=binance&symbol=BTCUSDT")
        .await
        .body;
    let shape: Vec<(&Value, &Value)> = bars["klines"]
        .as_array()
        .expect("bars")
        .iter()
        .map(|bar| (&bar["close"], &bar["count"]))
        .collect();
    assert_eq!(
        shape,
        [(&json!("15"), &json!(2)), (&json!("20"), &json!(1))]
    );
    sim.stop().await;
}

fn placed(id: u64, price: &str) -> Value {
    json!({"venue": "binance", "symbol": "BTCUSDT", "price": price, "quantity": "1", "side": "buy", "id": id})
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_begin_anew_and_the_market_goes_on_from_there() {
    let sim = Sim::start(generated()).await;
    let mut socket = sim.connect("/ws/btcusdt@trade").await;
    let before = socket.json().await["t"].as_u64().expect("an id");
    assert!(before > 1_000);
    let mut trade = placed(1, "91000");
    trade["restart_ids"] = json!(true);
    assert_eq!(sim.post("/sim/trade", trade).await.status, 200);
    socket.json_until(|frame| frame["t"] == 1).await;
    for id in 2..30 {
        assert_eq!(socket.json().await["t"], id);
    }
    let rest = sim
        .get("/api/v3/historicalTrades?symbol=BTCUSDT&fromId=1&limit=20")
        .await;
    let ids: Vec<u64> = rest
        .rows()
        .iter()
        .filter_map(|row| row["id"].as_u64())
        .collect();
    assert_eq!(ids, (1..=20).collect::<Vec<u64>>());
    // By time, what was traded before is still there.
    let old = sim
        .get("/api/v3/aggTrades?symbol=BTCUSDT&startTime=0&limit=1")
        .await;
    assert!(old.rows()[0]["f"].as_u64() > Some(1_000));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trade_aside_is_sent_and_rest_does_not_have_it() {
    let sim = Sim::start(manual()).await;
    let mut socket = sim.connect("/ws/btcusdt@trade").await;
    socket
        .send(r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#)
        .await;
    socket.json().await;
    sim.post("/sim/trade", placed(7, "10")).await;
    // The same id with another price, and an id from nowhere.
    for id in [7, u64::MAX] {
        let mut aside = placed(id, "11");
        aside["tape"] = json!(false);
        assert_eq!(sim.post("/sim/trade", aside).await.status, 200);
    }
    sim.post("/sim/trade", placed(8, "12")).await;
    for (id, price) in [(7, 10), (7, 11), (u64::MAX, 11), (8, 12)] {
        let trade = socket.json().await;
        assert_eq!(
            (&trade["t"], &trade["p"]),
            (&json!(id), &json!(format!("{price}.00000000")))
        );
    }
    let rest = sim.get("/api/v3/trades?symbol=BTCUSDT").await;
    let prices: Vec<&Value> = rest.rows().iter().map(|row| &row["price"]).collect();
    assert_eq!(prices, ["10.00000000", "12.00000000"]);
    for wrong in [json!(null), json!(9)] {
        let mut trade = placed(1 << 60, "10");
        trade["event_ms"] = wrong.clone();
        assert_eq!(sim.post("/sim/trade", trade).await.status, 400, "{wrong}");
    }
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trade_of_any_time_leaves_the_rest_of_the_tape_where_it_is() {
    let sim = Sim::start(manual()).await;
    sim.post("/sim/trade", placed(1, "10")).await;
    for (id, event_ms) in [(2, 0), (3, 253_402_300_799_999i64), (4, 1)] {
        let mut trade = placed(id, "11");
        trade["event_ms"] = json!(event_ms);
        assert_eq!(sim.post("/sim/trade", trade).await.status, 200);
    }
    let mut beyond = placed(5, "11");
    beyond["event_ms"] = json!(i64::MAX);
    assert_eq!(sim.post("/sim/trade", beyond).await.status, 400);
    let rest = sim.get("/api/v3/trades?symbol=BTCUSDT").await;
    assert_eq!(rest.rows().len(), 4);
    // Bars are made up to now, and no more of them than are asked for.
    for query in ["fill=true&limit=3", "interval=1s&fill=true&limit=3"] {
        let bars = sim
            .get(&format!("/sim/klines?venue=binance&symbol=BTCUSDT&{query}"))
            .await;
        let starts: Vec<&Value> = bars.body["klines"]
            .as_array()
            .expect("bars")
            .iter()
            .map(|bar| &bar["start_ms"])
            .collect();
        assert_eq!(starts.len(), 3, "{query}");
        assert_eq!(starts[0], 0);
    }
    let klines = sim
        .get("/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=2")
        .await;
    assert_eq!(klines.rows().len(), 2);
    assert_eq!(sim.get("/api/v3/depth?symbol=BTCUSDT").await.status, 200);
    sim.stop().await;
}
