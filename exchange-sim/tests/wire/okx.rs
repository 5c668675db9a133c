//! OKX over the wire.

use serde_json::json;

use crate::harness::{Sim, generated, manual};
use exchange_sim::Config;

fn subscribe(channel: &str) -> String {
    json!({"op": "subscribe", "args": [{"channel": channel, "instId": "BTC-USDT"}]}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_and_single_trades_are_the_same_tape() {
    let sim = Sim::start(generated()).await;
    let mut public = sim.connect("/ws/v5/public").await;
    let mut business = sim.connect("/ws/v5/business").await;
    public.send(subscribe("trades")).await;
    business.send(subscribe("trades-all")).await;
    for socket in [&mut public, &mut business] {
        let ack = socket.json().await;
        assert_eq!(ack["event"], "subscribe");
        assert_eq!(ack["connId"].as_str().map(str::len), Some(8));
    }
    let id = |row: &serde_json::Value| {
        row["tradeId"]
            .as_str()
            .and_then(|id| id.parse::<u64>().ok())
            .expect("an id")
    };
    let mut last = None;
    let mut several = false;
    for _ in 0..40 {
        let frame = public.json().await;
        let row = &frame["data"][0];
        let count: u64 = row["count"]
            .as_str()
            .and_then(|count| count.parse().ok())
            .expect("a count");
        if let Some(last) = last {
            assert_eq!(id(row), last + count);
        }
        several |= count > 1;
        last = Some(id(row));
    }
    assert!(several, "no aggregate has more than one trade");
    let first = id(&business.json().await["data"][0]);
    let mut ids = vec![first];
    while ids.len() < 60 {
        ids.push(id(&business.json().await["data"][0]));
    }
    assert_eq!(ids, (first..first + 60).collect::<Vec<_>>());
    let page = sim
        .get(&format!(
            "/api/v5/market/history-trades?instId=BTC-USDT&after={}&limit=60",
            first + 60
        ))
        .await;
    let rows: Vec<u64> = page.body["data"]
        .as_array()
        .expect("rows")
        .iter()
        .rev()
        .map(id)
        .collect();
    assert_eq!(rows, ids);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_pings_are_answered_and_silence_ends_the_connection() {
    let sim = Sim::start(Config {
        okx_idle_ms: 300,
        ..manual()
    })
    .await;
    let mut socket = sim.connect("/ws/v5/public").await;
    socket.send("ping").await;
    assert_eq!(socket.text().await, "pong");
    assert_eq!(socket.close_code().await, Some(4004));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_candle_is_the_row_that_rest_gives() {
    let sim = Sim::start(generated()).await;
    let mut socket = sim.connect("/ws/v5/business").await;
    socket.send(subscribe("candle1s")).await;
    let frame = socket.json_until(|frame| frame["data"][0][8] == "1").await;
    let row = &frame["data"][0];
    let after = row[0]
        .as_str()
        .and_then(|start| start.parse::<i64>().ok())
        .expect("a time")
        + 1;
    let rest = sim
        .get(&format!(
            "/api/v5/market/candles?instId=BTC-USDT&bar=1s&after={after}&limit=1"
        ))
        .await;
    assert_eq!(&rest.body["data"][0], row);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn books_begin_with_a_snapshot_and_chain_their_sequence() {
    let sim = Sim::start(generated()).await;
    let mut socket = sim.connect("/ws/v5/public").await;
    socket.send(subscribe("books")).await;
    let snapshot = socket
        .json_until(|frame| frame["action"] == "snapshot")
        .await;
    assert_eq!(snapshot["data"][0]["prevSeqId"], -1);
    let mut sequence = snapshot["data"][0]["seqId"].clone();
    for _ in 0..5 {
        let update = socket.json_until(|frame| frame["action"] == "update").await;
        assert_eq!(update["data"][0]["prevSeqId"], sequence);
        sequence = update["data"][0]["seqId"].clone();
    }
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_pages_by_id_and_by_time() {
    let sim = Sim::start(Config {
        rate_limits: false,
        history_minutes: 2,
        ..Config::default()
    })
    .await;
    let truth = sim
        .get("/sim/trades?venue=okx&symbol=ETH-USDT&limit=100000")
        .await
        .body;
    let truth: Vec<u64> = truth["trades"]
        .as_array()
        .expect("trades")
        .iter()
        .filter_map(|trade| trade["id"].as_u64())
        .collect();
    let mut after = truth[truth.len() - 1] + 1;
    let mut paged = Vec::new();
    loop {
        let page = sim
            .get(&format!(
                "/api/v5/market/history-trades?instId=ETH-USDT&type=1&after={after}&limit=100"
            ))
            .await
            .body;
        let ids: Vec<u64> = page["data"]
            .as_array()
            .expect("rows")
            .iter()
            .filter_map(|row| row["tradeId"].as_str()?.parse().ok())
            .collect();
        let Some(last) = ids.last() else { break };
        after = *last;
        paged.extend(ids);
    }
    paged.reverse();
    assert_eq!(paged, truth);
    let page = sim
        .get("/api/v5/market/history-trades?instId=ETH-USDT&type=2&after=1795000000")
        .await
        .body;
    assert_eq!(page["data"], json!([]));
    let unknown = sim.get("/api/v5/market/trades?instId=NO-USDT").await.body;
    assert_eq!(unknown["code"], "51001");
    let instruments = sim
        .get("/api/v5/public/instruments?instType=SPOT")
        .await
        .body;
    assert_eq!(instruments["data"][0]["instId"], "BTC-USDT");
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fourth_connection_in_a_second_is_refused() {
    let sim = Sim::start(manual()).await;
    let mut open = Vec::new();
    // On a machine so slow that a second holds fewer attempts, it takes a few more.
    for attempt in 0.. {
        match sim.try_connect("/ws/v5/public").await {
            Ok(socket) => open.push(socket),
            Err(_) => break,
        }
        assert!(attempt < 1_000, "no attempt is refused");
    }
    assert!(open.len() >= 3);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_begins_with_the_last_trade_however_old_it_is() {
    let sim = Sim::start(manual()).await;
    let trade = json!({"venue": "okx", "symbol": "LTC-BTC", "price": "0.001", "quantity": "1", "side": "buy", "id": 41, "event_ms": 1_795_000_000_000i64});
    assert_eq!(sim.post("/sim/trade", trade).await.status, 200);
    let mut socket = sim.connect("/ws/v5/public").await;
    socket
        .send(
            json!({"op": "subscribe", "args": [{"channel": "trades", "instId": "LTC-BTC"}]})
                .to_string(),
        )
        .await;
    assert_eq!(socket.json().await["event"], "subscribe");
    let pushed = socket.json().await;
    let row = &pushed["data"][0];
    assert_eq!(
        (&row["tradeId"], &row["ts"]),
        (&json!("41"), &json!("1795000000000"))
    );
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_and_volumes_are_those_of_the_spot_pairs() {
    let sim = Sim::start(manual()).await;
    sim.trade("okx", "BTC-USDT", &["91000.5", "91001"]).await;
    for query in ["quoteCcy=USDT", "instId=BTC-USDT"] {
        let answer = sim
            .get(&format!("/api/v5/market/index-tickers?{query}"))
            .await;
        let row = &answer.body["data"][0];
        assert_eq!(
            (&row["instId"], &row["idxPx"]),
            (&json!("BTC-USDT"), &json!("91001"))
        );
    }
    let none = sim.get("/api/v5/market/index-tickers").await;
    assert_eq!(none.body["code"], "50015");
    let volume = sim.get("/api/v5/market/platform-24-volume").await;
    assert_eq!(volume.body["data"][0]["volUsd"], "182001");
    sim.stop().await;
}
