//! Trades, symbols, the newest price and completeness.

use history::BarRow;
use history::store::TradeStore;
use market_core::{AggressorSide, BarState, Price, Quantity, Trade};
use serde_json::{Value, json};
use service::wall_clock_ms;
use testkit::wait::{holds, until};

use crate::server::{START_MS, Server, minutes, row};

fn trade(id: u64) -> Trade {
    Trade {
        first_id: id,
        last_id: id,
        event_ms: START_MS + (id / 3).cast_signed(),
        price: Price::parse("61837.63").expect("a price"),
        quantity: Quantity::parse("0.02").expect("a quantity"),
        aggressor_side: AggressorSide::Buy,
        received_us: START_MS * 1_000,
    }
}

#[tokio::test]
async fn trades_come_in_pages_with_their_ids_and_the_day_says_which_are_missing() {
    let server = Server::with_minutes(1_440).await;
    let instrument = minutes("coinbase", "BTC-USD").instrument;
    let trades: Vec<Trade> = (1..=1_000).filter(|id| *id != 500).map(trade).collect();
    let store = server.history.store.clone();
    let batch = vec![(instrument, trades)];
    let stored =
        tokio::task::spawn_blocking(move || TradeStore::append_trades(&*store, &batch, None));
    stored.await.expect("no panic").expect("stored");
    for order in ["asc", "desc"] {
        let mut ids: Vec<u64> = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!(
                "/api/v1/trades?symbol=BTC-USD&limit=300&from={START_MS}&order={order}{cursor}"
            );
            let page = server.get(&path).await;
            let trades = page["trades"].as_array().expect("trades");
            let id = |trade: &Value| trade["first_id"].as_str().expect("an id").to_owned();
            ids.extend(
                trades
                    .iter()
                    .map(|trade| id(trade).parse::<u64>().expect("a number")),
            );
            let Some(next) = page["next"].as_str() else {
                break;
            };
            cursor = format!("&cursor={next}");
        }
        let mut expected: Vec<u64> = (1..=1_000).filter(|id| *id != 500).collect();
        if order == "desc" {
            expected.reverse();
        }
        assert_eq!(ids, expected, "{order}");
    }
    let day = server
        .get("/api/v1/completeness?symbol=BTC-USD&day=2024-02-28")
        .await;
    assert_eq!(
        day["missing"],
        json!([{"first_id": "500", "last_id": "500"}])
    );
    assert_eq!(day["bars"], 1_440);
    assert_eq!(day["bars_incomplete"], 0);
    server.stop().await;
}

#[tokio::test]
async fn symbols_are_listed_with_what_is_stored_of_them() {
    let server = Server::with_minutes(10).await;
    server.store(&minutes("okx", "OKX:BTC-USDT"), 5..7).await;
    let symbols = server.get("/api/v1/symbols").await;
    let minute = 60_000;
    let expected = json!({"symbols": [
        {"exchange": "coinbase", "symbol": "BTC-USD", "topic_symbol": "BTC-USD", "widths": [
            {"width": "1m", "first_ms": START_MS, "last_end_ms": START_MS + 10 * minute},
        ]},
        {"exchange": "okx", "symbol": "BTC-USDT", "topic_symbol": "OKX:BTC-USDT", "widths": [
            {"width": "1m", "first_ms": START_MS + 5 * minute, "last_end_ms": START_MS + 7 * minute},
        ]},
    ]});
    assert_eq!(symbols, expected);
    let symbols = server.get("/api/v1/symbols?exchange=okx").await;
    assert_eq!(symbols["symbols"].as_array().map(Vec::len), Some(1));
    // Both names of a symbol are understood.
    for query in [
        "symbol=BTC-USDT",
        "symbol=BTC-USDT&exchange=okx",
        "symbol=OKX:BTC-USDT",
    ] {
        let page = server.get(&format!("/api/v1/bars?{query}")).await;
        assert_eq!(page["symbol"], "OKX:BTC-USDT", "{query}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_newest_price_is_of_the_bus_or_else_of_the_store() {
    let server = Server::with_minutes(10).await;
    let path = "/api/v1/tick/coinbase/BTC-USD";
    let tick = server.get(path).await;
    assert_eq!(tick["price"], row(9).close.to_string());
    assert_eq!(tick["is_live"], false);
    let series = minutes("coinbase", "BTC-USD");
    // A bar of 2024 forms for ever if nobody follows the symbol any more.
    let now_ms = wall_clock_ms();
    let now = BarRow {
        start_ms: now_ms - now_ms.rem_euclid(60_000),
        event_ms: Some(now_ms),
        ..row(11)
    };
    for (bar, is_live) in [(row(10), false), (now, true)] {
        server.publish(&series, &bar, BarState::Forming).await;
        until("the newest price", async || {
            let tick = server.get(path).await;
            let is_it = tick["price"] == bar.close.to_string() && tick["is_live"] == is_live;
            holds(is_it, || tick.to_string())
        })
        .await;
    }
    let unknown = server.answer("/api/v1/tick/coinbase/XRP-USD").await;
    assert_eq!(unknown.status(), 404);
    server.stop().await;
}
