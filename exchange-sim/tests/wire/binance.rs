//! Binance over the wire.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Sim, generated, manual};
use exchange_sim::Config;

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
async fn rest_pages_cover_every_trade_once() {
    let sim = Sim::start(Config {
        history_minutes: 3,
        ..Config::default()
    })
    .await;
    let page = sim
        .get("/sim/trades?venue=binance&symbol=ETH-USDT&limit=1")
        .await;
    let (first, last) = (
        page.body["first_id"].as_u64().expect("an id"),
        page.body["last_id"].as_u64().expect("an id"),
    );
    let (mut from_id, mut next) = (0, first);
    while next <= last {
        let page = sim
            .get(&format!(
                "/api/v3/historicalTrades?symbol=ETHUSDT&fromId={from_id}&limit=700"
            ))
            .await;
        for row in page.rows() {
            assert_eq!(row["id"], next);
            next += 1;
        }
        from_id = next;
    }
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn klines_answer_by_the_documented_rules() {
    let sim = Sim::start(generated()).await;
    let earliest = sim
        .get("/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime=0&limit=1")
        .await;
    let start_ms = earliest.rows()[0][0].as_i64().expect("a time");
    assert_eq!(earliest.rows().len(), 1);
    let all = sim.get("/api/v3/klines?symbol=BTCUSDT&interval=1m").await;
    assert_eq!(all.rows()[0], earliest.rows()[0]);
    assert!(all.rows().len() >= 5);
    let two = sim
        .get(&format!(
            "/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={}&endTime={}",
            start_ms + 1,
            start_ms + 120_000
        ))
        .await;
    let starts: Vec<i64> = two
        .rows()
        .iter()
        .filter_map(|row| row[0].as_i64())
        .collect();
    assert_eq!(starts, [start_ms + 60_000, start_ms + 120_000]);
    for (path, status, code) in [
        ("/api/v3/klines?symbol=NOPE&interval=1m", 400, -1121),
        ("/api/v3/klines?symbol=BTCUSDT&interval=7m", 400, -1120),
        ("/api/v3/klines?interval=1m", 400, -1102),
        (
            "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=x",
            400,
            -1100,
        ),
        (
            "/api/v3/aggTrades?symbol=BTCUSDT&fromId=1&startTime=1",
            400,
            -1128,
        ),
    ] {
        let answer = sim.get(path).await;
        assert_eq!(
            (answer.status, answer.body["code"].as_i64()),
            (status, Some(code)),
            "{path}"
        );
    }
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exchange_info_has_what_the_clients_read() {
    let sim = Sim::start(manual()).await;
    let info = sim
        .get("/api/v3/exchangeInfo?symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D")
        .await
        .body;
    assert_eq!(info["symbols"].as_array().map(Vec::len), Some(2));
    let symbol = &info["symbols"][0];
    assert_eq!(symbol["filters"][0]["filterType"], "PRICE_FILTER");
    assert_eq!(symbol["filters"][0]["tickSize"], "0.01000000");
    for key in [
        "baseAsset",
        "quoteAsset",
        "status",
        "orderTypes",
        "quotePrecision",
        "baseAssetPrecision",
        "permissionSets",
    ] {
        assert!(!symbol[key].is_null(), "{key}");
    }
    assert_eq!(sim.get("/api/v3/ping").await.body, json!({}));
    assert!(sim.get("/sapi/v1/asset/tradeFee").await.rows().len() >= 8);
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_weight_of_a_minute_runs_out() {
    let sim = Sim::start(manual()).await;
    for _ in 0..240 {
        assert_eq!(
            sim.get("/api/v3/historicalTrades?symbol=BTCUSDT")
                .await
                .status,
            200
        );
    }
    let refused = sim.get("/api/v3/historicalTrades?symbol=BTCUSDT").await;
    assert_eq!(
        (refused.status, refused.body["code"].as_i64()),
        (429, Some(-1003))
    );
    assert!(
        refused
            .header("retry-after")
            .parse::<u64>()
            .is_ok_and(|seconds| seconds > 0)
    );
    assert_eq!(
        sim.get("/products").await.status,
        200,
        "the other venues are not concerned"
    );
    sim.stop().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn the_used_weight_is_told_with_and_without_limits() {
    for rate_limits in [true, false] {
        let sim = Sim::start(Config {
            rate_limits,
            ..manual()
        })
        .await;
        sim.get("/api/v3/exchangeInfo").await;
        let answer = sim.get("/api/v3/aggTrades?symbol=BTCUSDT").await;
        assert_eq!(answer.header("X-MBX-USED-WEIGHT-1M"), "24");
        sim.stop().await;
    }
}

/// An answer to bytes that no client library would send.
async fn raw(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("a connection");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("a request is sent");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("an answer until the end");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_symbols_may_come_with_their_quotation_marks() {
    let sim = Sim::start(manual()).await;
    sim.trade("binance", "BTCUSDT", &["7"]).await;
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n");
    let path = r#"/api/v3/ticker/price?symbols=["BTCUSDT","ETHUSDT"]"#;
    let answer = raw(sim.port, &ask(path)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.ends_with(r#"[{"price":"7.00000000","symbol":"BTCUSDT"}]"#),
        "{answer}"
    );
    let path = r#"/api/v3/exchangeInfo?symbols=["BTCUSDT"]"#;
    let answer = raw(sim.port, &ask(path)).await;
    assert!(answer.contains(r#""symbol":"BTCUSDT""#), "{answer}");
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browsers_preflight_is_permitted() {
    let sim = Sim::start(manual()).await;
    for path in [
        "/api/v3/klines",
        "/products",
        "/api/v5/market/trades",
        "/sim/faults",
    ] {
        let request = format!(
            "OPTIONS {path} HTTP/1.1\r\nHost: sim\r\nOrigin: http://a\r\nAccess-Control-Request-Method: GET\r\n\
             Access-Control-Request-Headers: x-mbx-time-unit\r\nConnection: close\r\n\r\n"
        );
        let answer = raw(sim.port, &request).await.to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 204"), "{answer}");
        for header in [
            "access-control-allow-origin: *",
            "access-control-allow-methods: get, post, delete, options",
            "access-control-allow-headers: x-mbx-time-unit",
        ] {
            assert!(answer.contains(header), "{answer}");
        }
    }
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tickers_of_a_day_and_of_a_window_are_sums_of_their_minutes() {
    let sim = Sim::start(generated()).await;
    for path in [
        "/api/v3/ticker?symbol=BTCUSDT&windowSize=2m",
        "/api/v3/ticker/tradingDay?symbol=BTCUSDT&type=MINI",
    ] {
        let row = sim.get(path).await;
        assert_eq!(row.status, 200, "{}", row.body);
        let open_ms = row.body["openTime"].as_i64().expect("a time");
        assert_eq!(open_ms % 60_000, 0);
        let klines = sim
            .get(&format!(
                "/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={open_ms}&limit=1000"
            ))
            .await;
        let first = &klines.rows()[0];
        assert_eq!(row.body["openPrice"], first[1]);
        let id = |key: &str| row.body[key].as_u64().expect("an id");
        assert_eq!(
            row.body["count"].as_u64(),
            Some(id("lastId") - id("firstId") + 1)
        );
        assert_eq!(row.body.get("priceChange").is_none(), path.contains("MINI"));
    }
    assert_eq!(sim.get("/api/v3/ticker").await.status, 400);
    let wrong = sim.get("/api/v3/ticker?symbol=BTCUSDT&windowSize=8d").await;
    assert_eq!(wrong.body["code"], -1130);
    let rules = sim.get("/api/v3/executionRules?symbol=BTCUSDT").await;
    assert_eq!(
        rules.body["symbolRules"][0]["rules"][0]["ruleType"],
        "PRICE_RANGE"
    );
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_rest_knows_a_thousand_minutes_and_a_busy_market_fewer() {
    let slow = Config {
        rate: 0.01,
        ..Config::default()
    };
    assert_eq!(slow.history_minutes, 1_000);
    for (history_trades_max, rows) in [(slow.history_trades_max, 1_000), (100, 11)] {
        let sim = Sim::start(Config {
            history_trades_max,
            ..slow.clone()
        })
        .await;
        let klines = sim
            .get("/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1000")
            .await;
        // Of quiet minutes the bars are flat; the first ones need a trade.
        let count = klines.rows().len();
        assert!(count <= rows && count > rows / 2, "{count} rows");
        sim.stop().await;
    }
}
