//! `/udf/`: what TradingView's library asks.

use market_core::BarState;
use serde_json::{Value, json};
use testkit::wait::{holds, until};

use crate::server::{START_MS, Server, minutes, row};

const START_S: i64 = START_MS / 1_000;

async fn times(server: &Server, query: String) -> Vec<i64> {
    let path = format!("/udf/history?symbol=COINBASE:BTC-USD&{query}");
    let answer = server.get(&path).await;
    assert_eq!(answer["s"], "ok", "{query}: {answer}");
    let times = answer["t"].as_array().expect("times");
    let times = times.iter().map(|time| time.as_i64().expect("seconds"));
    times.map(|time| (time - START_S) / 60).collect()
}

#[tokio::test]
async fn bars_are_columns_of_exact_numbers_in_seconds() {
    let server = Server::with_minutes(100).await;
    let path = format!(
        "/udf/history?symbol=COINBASE:BTC-USD&resolution=1&from={START_S}&to={}",
        START_S + 120
    );
    let text = server.answer(&path).await.text().await.expect("text");
    let expected = format!(
        r#"{{"s":"ok","t":[{START_S},{}],"o":[1,1.01],"h":[1.09,1.1],"l":[0.91,0.92],"c":[1.03,1.04],"v":[0.007,0.00707]}}"#,
        START_S + 60
    );
    assert_eq!(text, expected);
    server.stop().await;
}

#[tokio::test]
async fn the_number_of_bars_outranks_the_start_and_no_bar_is_of_the_future() {
    let server = Server::with_minutes(100).await;
    let to = START_S + 50 * 60;
    let found = times(
        &server,
        format!("resolution=1&from={}&to={to}&countback=5", to - 60),
    );
    assert_eq!(found.await, [45, 46, 47, 48, 49]);
    let from = to - 120;
    let found = times(&server, format!("resolution=1&from={from}&to={to}"));
    assert_eq!(found.await, [48, 49]);
    // The range reaches far into the future.
    let future = START_S + 1_000_000_000;
    let found = times(
        &server,
        format!("resolution=1&from={to}&to={future}&countback=2"),
    );
    assert_eq!(found.await, [98, 99]);
    // The forming bar is the last one.
    let series = minutes("coinbase", "BTC-USD");
    server.publish(&series, &row(100), BarState::Forming).await;
    until("the forming bar", async || {
        let found = times(
            &server,
            format!("resolution=1&from={to}&to={future}&countback=2"),
        )
        .await;
        holds(found == [99, 100], || format!("{found:?}"))
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_gap_names_the_older_bar_and_only_the_beginning_ends_the_scroll() {
    let server = Server::start().await;
    let series = minutes("coinbase", "BTC-USD");
    server.store(&series, 0..10).await;
    // Trades are missing in between, so no flat bars explain the gap.
    server.store(&series, 500..510).await;
    let (from, to) = (START_S + 100 * 60, START_S + 200 * 60);
    let path = format!("/udf/history?symbol=COINBASE:BTC-USD&resolution=1&from={from}&to={to}");
    let answer = server.get(&path).await;
    assert_eq!(
        answer,
        json!({"s": "no_data", "nextTime": START_S + 9 * 60})
    );
    let path = format!(
        "/udf/history?symbol=COINBASE:BTC-USD&resolution=1&from={}&to={START_S}&countback=300",
        START_S - 6_000
    );
    assert_eq!(server.get(&path).await, json!({"s": "no_data"}));
    server.stop().await;
}

#[tokio::test]
async fn symbols_are_found_and_described() {
    let server = Server::with_minutes(10).await;
    server.store(&minutes("binance", "BTC-USDT"), 0..10).await;
    let config = server.get("/udf/config").await;
    assert_eq!(config["supports_search"], true);
    let time = server.answer("/udf/time").await.text().await.expect("text");
    assert!(time.parse::<i64>().is_ok(), "{time}");
    for (name, ticker) in [
        ("COINBASE:BTC-USD", "COINBASE:BTC-USD"),
        ("BTC-USD", "COINBASE:BTC-USD"),
        ("BINANCE%3ABTCUSDT", "BINANCE:BTC-USDT"),
        ("btcusdt", "BINANCE:BTC-USDT"),
    ] {
        let info = server.get(&format!("/udf/symbols?symbol={name}")).await;
        assert_eq!(info["ticker"], ticker, "{name}");
        assert_eq!(info["pricescale"], 100);
        assert_eq!(info["has_seconds"], false);
        assert_eq!(info["supported_resolutions"][0], "1");
    }
    let found = server
        .get("/udf/search?query=btcusd&limit=30&type=&exchange=")
        .await;
    assert_eq!(found.as_array().map(Vec::len), Some(2), "{found}");
    let found = server.get("/udf/search?query=BTC&exchange=BINANCE").await;
    assert_eq!(found[0]["ticker"], "BINANCE:BTC-USDT");
    let unknown = server.answer("/udf/symbols?symbol=NONE").await;
    let unknown: Value = unknown.json().await.expect("JSON");
    assert_eq!(unknown["s"], "error");
    server.stop().await;
}

#[tokio::test]
async fn quotes_have_the_newest_price_and_the_change_since_the_day_before() {
    let server = Server::with_minutes(2 * 1_440 + 10).await;
    let quotes = server
        .get("/udf/quotes?symbols=COINBASE:BTC-USD,COINBASE:NONE-USD")
        .await;
    let quote = &quotes["d"][0]["v"];
    let newest = row(2 * 1_440 + 9).close;
    assert_eq!(quote["lp"].to_string(), newest.to_string());
    let before = row(2 * 1_440 - 1).close;
    assert_eq!(quote["prev_close_price"].to_string(), before.to_string());
    assert_eq!(
        quote["open_price"].to_string(),
        row(2 * 1_440).open.to_string()
    );
    assert_eq!(quotes["d"][1]["s"], "error");
    server.stop().await;
}
