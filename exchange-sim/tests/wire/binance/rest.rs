//! Binance's REST answers.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

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
