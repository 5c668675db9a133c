//! Scripted faults, seen by the clients.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Sim, Socket, manual};
use exchange_sim::{Config, FaultKind, FaultSpec, Venue};

async fn binance_trades(sim: &Sim) -> Socket {
    let mut socket = sim.connect("/ws/btcusdt@trade").await;
    socket
        .send(r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#)
        .await;
    assert_eq!(socket.json().await["result"], json!(["btcusdt@trade"]));
    socket
}

async fn ids(socket: &mut Socket, count: usize) -> Vec<u64> {
    let mut ids = Vec::new();
    while ids.len() < count {
        ids.extend(socket.json().await["t"].as_u64());
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_missing_on_the_stream_and_there_in_rest() {
    let sim = Sim::start(manual()).await;
    let mut socket = binance_trades(&sim).await;
    sim.trade("binance", "BTCUSDT", &["1"]).await;
    sim.fault(json!({"kind": "gap", "venue": "binance", "symbol": "btc-usdt", "count": 2}))
        .await;
    sim.trade("binance", "BTCUSDT", &["2", "3", "4"]).await;
    assert_eq!(ids(&mut socket, 2).await, [1, 4]);
    let rest = sim
        .get("/api/v3/historicalTrades?symbol=BTCUSDT&fromId=1")
        .await;
    assert_eq!(
        rest.rows()
            .iter()
            .filter_map(|row| row["id"].as_u64())
            .collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    let faults = sim.get("/sim/faults").await;
    assert_eq!(
        (&faults.body[0]["hits"], &faults.body[0]["done"]),
        (&json!(2), &json!(true))
    );
    sim.stop().await;
}

/// The next change of a book: its first number and its last one.
async fn change(socket: &mut Socket) -> (u64, u64) {
    let frame = socket.json_until(|frame| frame["U"].is_u64()).await;
    (
        frame["U"].as_u64().expect("a number"),
        frame["u"].as_u64().expect("a number"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_book_are_lost_come_twice_and_come_late_and_the_truth_has_each_book() {
    let sim = Sim::start(manual()).await;
    sim.trade("binance", "BTCUSDT", &["1"]).await;
    let mut socket = sim.connect("/ws/btcusdt@depth@100ms").await;
    socket
        .send(r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#)
        .await;
    assert_eq!(socket.json().await["id"], 1);
    let fault = |kind: &'static str| json!({"kind": kind, "venue": "binance", "symbol": "BTCUSDT"});
    sim.trade("binance", "BTCUSDT", &["2"]).await;
    let (_, first) = change(&mut socket).await;
    sim.fault(fault("book_duplicate")).await;
    sim.trade("binance", "BTCUSDT", &["3"]).await;
    let twice = (change(&mut socket).await, change(&mut socket).await);
    assert_eq!(twice.0, twice.1);
    assert_eq!(twice.0.0, first + 1);
    sim.fault(fault("book_gap")).await;
    sim.trade("binance", "BTCUSDT", &["4"]).await;
    sim.until_struck(2).await;
    sim.trade("binance", "BTCUSDT", &["5"]).await;
    let after = change(&mut socket).await;
    assert!(after.0 > twice.0.1 + 1, "{after:?} after {twice:?}");
    sim.fault(fault("book_malformed")).await;
    sim.trade("binance", "BTCUSDT", &["6"]).await;
    let text = socket.text().await;
    assert!(serde_json::from_str::<Value>(&text).is_err(), "{text}");
    let mut late = fault("book_late");
    // Long enough for the next change on a busy machine.
    late["delay_ms"] = json!(6_000);
    sim.fault(late).await;
    sim.trade("binance", "BTCUSDT", &["7"]).await;
    sim.until_struck(4).await;
    sim.trade("binance", "BTCUSDT", &["8"]).await;
    let (newer, older) = (change(&mut socket).await, change(&mut socket).await);
    assert!(newer.0 > older.1, "{newer:?} before {older:?}");
    let truth = sim
        .get("/sim/books?venue=binance&symbol=BTCUSDT&limit=9&depth=1")
        .await;
    let books = truth.body["books"].as_array().expect("books");
    assert_eq!(books[0]["update_id"], json!(newer.1));
    let known = |id: u64| books.iter().any(|book| book["update_id"] == id);
    assert!(known(first) && known(older.1), "{books:?}");
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trades_come_twice_late_and_in_another_order() {
    let sim = Sim::start(manual()).await;
    let mut socket = binance_trades(&sim).await;
    sim.fault(json!({"kind": "duplicate", "venue": "binance"}))
        .await;
    sim.trade("binance", "BTCUSDT", &["1", "2"]).await;
    assert_eq!(ids(&mut socket, 3).await, [1, 1, 2]);
    sim.fault(json!({"kind": "late", "delay_ms": 200})).await;
    sim.trade("binance", "BTCUSDT", &["3", "4"]).await;
    assert_eq!(ids(&mut socket, 2).await, [4, 3]);
    sim.fault(json!({"kind": "reorder", "delay_ms": 300})).await;
    sim.trade("binance", "BTCUSDT", &["5"; 50]).await;
    let shuffled = ids(&mut socket, 50).await;
    let mut sorted = shuffled.clone();
    sorted.sort_unstable();
    assert_ne!(shuffled, sorted);
    assert_eq!(sorted, (5..55).collect::<Vec<u64>>());
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_frame_takes_a_trade_s_place() {
    let sim = Sim::start(manual()).await;
    let mut socket = binance_trades(&sim).await;
    sim.fault(json!({"kind": "malformed"})).await;
    sim.trade("binance", "BTCUSDT", &["1", "2"]).await;
    assert!(serde_json::from_str::<Value>(&socket.text().await).is_err());
    assert_eq!(ids(&mut socket, 1).await, [2]);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_symbol_leaves_the_heartbeats_and_the_others_alive() {
    let sim = Sim::start(manual()).await;
    sim.trade("coinbase", "BTC-USD", &["1"]).await;
    let mut socket = sim.connect("/").await;
    socket.send(json!({"type": "subscribe", "product_ids": ["BTC-USD", "ETH-USD"], "channels": ["matches", "heartbeat"]}).to_string()).await;
    socket
        .json_until(|frame| frame["type"] == "last_match")
        .await;
    sim.fault(json!({"kind": "silence", "venue": "coinbase", "symbol": "BTC-USD", "lie": true}))
        .await;
    sim.trade("coinbase", "BTC-USD", &["2"]).await;
    sim.trade("coinbase", "ETH-USD", &["3"]).await;
    let matched = socket.json_until(|frame| frame["type"] == "match").await;
    assert_eq!(matched["product_id"], "ETH-USD");
    let heartbeat = socket
        .json_until(|frame| frame["type"] == "heartbeat" && frame["product_id"] == "BTC-USD")
        .await;
    assert_eq!(heartbeat["last_trade_id"], 0, "the heartbeat should lie");
    sim.delete("/sim/faults").await;
    sim.trade("coinbase", "BTC-USD", &["4"]).await;
    let matched = socket.json_until(|frame| frame["type"] == "match").await;
    assert_eq!(matched["trade_id"], 3);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_dropped_with_and_without_a_close() {
    let sim = Sim::start(manual()).await;
    let mut first = binance_trades(&sim).await;
    sim.fault(json!({"kind": "disconnect", "venue": "binance"}))
        .await;
    assert_eq!(first.close_code().await, None);
    let mut second = binance_trades(&sim).await;
    sim.fault(json!({"kind": "disconnect", "code": 1011})).await;
    assert_eq!(second.close_code().await, Some(1011));
    sim.until_stats("nobody is connected", |stats| {
        stats["venues"]["binance"]["connections"] == json!([])
    })
    .await;
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_refuses_its_venue_until_it_is_over() {
    let sim = Sim::start(manual()).await;
    let mut socket = binance_trades(&sim).await;
    sim.fault(json!({"kind": "cut", "venue": "binance", "for_ms": 3_600_000}))
        .await;
    assert_eq!(socket.close_code().await, None);
    assert!(sim.try_connect("/ws/btcusdt@trade").await.is_err());
    assert!(sim.try_get("/api/v3/time").await.is_err());
    assert_eq!(sim.get("/time").await.status, 200);
    sim.delete("/sim/faults").await;
    let mut socket = binance_trades(&sim).await;
    sim.trade("binance", "BTCUSDT", &["1"]).await;
    assert_eq!(ids(&mut socket, 1).await, [1]);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_are_announced_before_the_close() {
    let sim = Sim::start(manual()).await;
    let mut raw = binance_trades(&sim).await;
    let mut combined = sim.connect("/stream?streams=btcusdt@trade").await;
    let mut okx = sim.connect("/ws/v5/public").await;
    sim.until_stats("all are connected", |stats| {
        let count = |venue: &str| {
            stats["venues"][venue]["connections"]
                .as_array()
                .map_or(0, Vec::len)
        };
        count("binance") == 2 && count("okx") == 1
    })
    .await;
    sim.fault(
        json!([{"kind": "server_shutdown", "delay_ms": 50}, {"kind": "notice", "delay_ms": 50}]),
    )
    .await;
    assert_eq!(raw.json().await["e"], "serverShutdown");
    let event = combined.json().await;
    assert_eq!(
        (&event["stream"], &event["data"]["e"]),
        (&json!("!serverShutdown"), &json!("serverShutdown"))
    );
    let notice = okx.json().await;
    assert_eq!(
        (&notice["event"], &notice["code"]),
        (&json!("notice"), &json!("64008"))
    );
    for socket in [&mut raw, &mut combined, &mut okx] {
        assert_eq!(socket.close_code().await, Some(1001));
    }
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_fails_as_the_venues_word_it() {
    let sim = Sim::start(manual()).await;
    for (kind, path, status, body) in [
        ("rest_429", "/api/v3/time", 429, json!(-1003)),
        ("rest_418", "/api/v3/time", 418, json!(-1003)),
        ("rest_500", "/api/v3/time", 500, json!(-1001)),
        ("rest_403", "/api/v3/time", 403, json!(-1015)),
        ("rest_451", "/api/v3/time", 451, json!(0)),
        ("rest_429", "/api/v5/public/time", 429, json!("50011")),
    ] {
        sim.fault(json!({"kind": kind, "retry_after": 7, "count": 1}))
            .await;
        let answer = sim.get(path).await;
        assert_eq!((answer.status, &answer.body["code"]), (status, &body));
        let retry_after = if [429, 418].contains(&status) {
            "7"
        } else {
            ""
        };
        assert_eq!(answer.header("retry-after"), retry_after);
        assert_eq!(sim.get(path).await.status, 200);
    }
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_frames_and_slow_answers_arrive_late_but_whole() {
    let sim = Sim::start(manual()).await;
    let mut socket = binance_trades(&sim).await;
    sim.fault(json!([{"kind": "slow", "venue": "binance", "delay_ms": 300}, {"kind": "rest_slow", "venue": "coinbase", "delay_ms": 200, "count": 1}]))
        .await;
    let started = std::time::Instant::now();
    sim.trade("binance", "BTCUSDT", &["1", "2", "3"]).await;
    assert_eq!(ids(&mut socket, 3).await, [1, 2, 3]);
    assert!(started.elapsed() >= Duration::from_millis(300));
    let started = std::time::Instant::now();
    assert_eq!(sim.get("/time").await.status, 200);
    assert!(started.elapsed() >= Duration::from_millis(200));
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_configuration_are_set_from_the_start() {
    let gap = FaultSpec {
        venue: Some(Venue::Binance),
        count: Some(1),
        ..FaultSpec::new(FaultKind::Gap)
    };
    let sim = Sim::start(Config {
        faults: vec![gap],
        ..manual()
    })
    .await;
    let mut socket = binance_trades(&sim).await;
    sim.trade("binance", "BTCUSDT", &["1", "2"]).await;
    assert_eq!(ids(&mut socket, 1).await, [2]);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_connection_is_late_and_keeps_its_rate() {
    let sim = Sim::start(manual()).await;
    let mut socket = binance_trades(&sim).await;
    sim.fault(json!({"kind": "slow", "venue": "binance", "delay_ms": 1_000}))
        .await;
    sim.trade("binance", "BTCUSDT", &["1"; 300]).await;
    let all = tokio::time::timeout(Duration::from_secs(60), ids(&mut socket, 300)).await;
    let all = all.expect("the frames wait side by side, not one after the other");
    assert_eq!(all, (1..=300).collect::<Vec<u64>>());
    // Once the fault is lifted, what still waits goes first.
    sim.trade("binance", "BTCUSDT", &["2"]).await;
    sim.delete("/sim/faults").await;
    sim.trade("binance", "BTCUSDT", &["3"]).await;
    assert_eq!(ids(&mut socket, 2).await, [301, 302]);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delisted_symbol_is_unknown_until_it_is_listed_again() {
    let sim = Sim::start(manual()).await;
    let mut socket = binance_trades(&sim).await;
    for (venue, symbol) in [
        ("binance", "BTCUSDT"),
        ("coinbase", "BTC-USD"),
        ("okx", "BTC-USDT"),
    ] {
        sim.trade(venue, symbol, &["1"]).await;
        sim.fault(json!({"kind": "delist", "venue": venue, "symbol": symbol}))
            .await;
    }
    assert_eq!(ids(&mut socket, 1).await, [1]);
    sim.trade("binance", "BTCUSDT", &["2"]).await;

    let gone = sim.get("/api/v3/klines?symbol=BTCUSDT&interval=1m").await;
    assert_eq!((gone.status, &gone.body["code"]), (400, &json!(-1121)));
    assert_eq!(sim.get("/products/BTC-USD/trades").await.status, 404);
    let gone = sim.get("/api/v5/market/trades?instId=BTC-USDT").await;
    assert_eq!(gone.body["code"], "51001");
    let listed = |list: &Value, key: &str, symbol: &str| {
        let rows = list.as_array().expect("rows");
        rows.iter().any(|row| row[key] == symbol)
    };
    let products = sim.get("/products").await.body;
    assert!(!listed(&products, "id", "BTC-USD") && listed(&products, "id", "ETH-USD"));
    let info = sim.get("/api/v3/exchangeInfo").await.body;
    assert!(!listed(&info["symbols"], "symbol", "BTCUSDT"));

    let mut coinbase = sim.connect("/").await;
    let subscribe = json!({"type": "subscribe", "product_ids": ["ETH-USD", "BTC-USD"], "channels": ["matches"]});
    coinbase.send(subscribe.to_string()).await;
    let refusal = coinbase.json().await;
    assert_eq!(
        (&refusal["type"], &refusal["reason"]),
        (&json!("error"), &json!("BTC-USD is not a valid product"))
    );
    let mut okx = sim.connect("/ws/v5/public").await;
    okx.send(
        json!({"op": "subscribe", "args": [{"channel": "trades", "instId": "BTC-USDT"}]})
            .to_string(),
    )
    .await;
    assert_eq!(okx.json().await["code"], "60018");

    sim.delete("/sim/faults").await;
    sim.trade("binance", "BTCUSDT", &["3"]).await;
    assert_eq!(ids(&mut socket, 1).await, [3]);
    coinbase.send(subscribe.to_string()).await;
    assert_eq!(coinbase.json().await["type"], "subscriptions");
    assert!(listed(&sim.get("/products").await.body, "id", "BTC-USD"));
    sim.stop().await;
}
