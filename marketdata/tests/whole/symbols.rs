//! Symbols that a venue does not have, or not any more.

use exchange_sim::FaultSpec;
use marketdata::discovery::pattern::Wish;
use serde_json::Value;

use crate::deployment::{Deployment, sim_config};
use crate::seen::Seen;

fn instruments(list: &str) -> Vec<Wish> {
    Wish::parse_list(list).expect("valid")
}

/// The newest status of a venue's feed.
fn status<'a>(seen: &'a Seen, exchange: &str) -> &'a Value {
    let mut newest_first = seen.statuses.iter().rev();
    newest_first
        .find(|status| status["exchange"] == exchange)
        .unwrap_or(&Value::Null)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_product_that_coinbase_does_not_have_costs_no_other_its_feed() {
    let mut deployment = Deployment::new(sim_config()).await;
    let mut config = deployment.config();
    config.instruments =
        instruments("coinbase:BTC-USD,coinbase:FOO-USD,coinbase:ETH-USD,coinbase:BAR-USD");
    // Without the venue's list, so that the refusals alone tell.
    config.listing_interval_ms = 0;
    deployment.start(config);
    for seconds in [1, 3] {
        for symbol in ["BTC-USD", "ETH-USD"] {
            deployment.more_seconds(symbol, seconds).await;
        }
    }
    for (native, symbol) in [("BTC-USD", "BTC-USD"), ("ETH-USD", "ETH-USD")] {
        deployment.check_truth("coinbase", native, symbol).await;
    }
    deployment
        .until_seen("the feed names them", |seen| {
            let status = status(seen, "coinbase");
            status["state"] == "live"
                && status["refused"] == serde_json::json!(["FOO-USD", "BAR-USD"])
                && status["subscribed"] == 2
        })
        .await;
    let stats = deployment.get("/sim/stats").await.expect("stats");
    assert_eq!(stats["venues"]["coinbase"]["attempts"], 1);
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_symbol_that_no_venue_lists_is_told_by_name_in_the_feeds_status() {
    let mut deployment = Deployment::new(sim_config()).await;
    let mut config = deployment.config();
    // Binance acknowledges a subscription to anything.
    config.instruments = instruments(
        "binance:BTC-USDT,binance:NOPE-XYZ,okx:OKX:BTC-USDT,okx:OKX:NOPE-USDT,coinbase:BTC-USD,coinbase:NOPE-USD",
    );
    deployment.start(config);
    for (exchange, symbol) in [
        ("binance", "NOPE-XYZ"),
        ("okx", "OKX:NOPE-USDT"),
        ("coinbase", "NOPE-USD"),
    ] {
        deployment
            .until_seen("it is unknown", |seen| {
                let status = status(seen, exchange);
                status["unknown"] == serde_json::json!([symbol])
                    && status["unknown_count"] == 1
                    && status["subscribed"] == 1
            })
            .await;
    }
    deployment
        .until("it is ready", || async { deployment.is_ready() })
        .await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_symbols_that_cannot_be_had_changes_nothing() {
    let mut deployment = Deployment::new(sim_config()).await;
    let fault: FaultSpec = "rest_500,venue=binance,path=exchangeInfo,count=1000"
        .parse()
        .expect("a fault");
    deployment
        .post("/sim/faults", &serde_json::json!(fault))
        .await;
    let mut config = deployment.config();
    config.instruments = instruments("binance:BTC-USDT,binance:NOPE-XYZ");
    config.refused_retry_ms = 50;
    deployment.start(config);
    deployment.more_seconds("BTC-USDT", 1).await;
    deployment.more_seconds("BTC-USDT", 3).await;
    deployment.seen(|seen| {
        let status = status(seen, "binance");
        assert_eq!(status["state"], "live");
        assert_eq!(status["unknown_count"], 0);
    });
    deployment.no_faults().await;
    deployment
        .until_seen("the list comes in the end", |seen| {
            status(seen, "binance")["unknown"] == serde_json::json!(["NOPE-XYZ"])
        })
        .await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_of_nothing_but_refused_symbols_is_not_live_and_does_not_reconnect_in_a_loop() {
    let mut deployment = Deployment::new(sim_config()).await;
    let mut config = deployment.config();
    config.instruments = instruments("coinbase:FOO-USD,binance:BTC-USDT");
    deployment.start(config);
    deployment.more_seconds("BTC-USDT", 1).await;
    deployment.more_seconds("BTC-USDT", 8).await;
    deployment.seen(|seen| assert_eq!(status(seen, "coinbase")["state"], "reconnecting"));
    let stats = deployment.get("/sim/stats").await.expect("stats");
    // The venue closes a connection without subscriptions after 5 s.
    assert_eq!(stats["venues"]["coinbase"]["attempts"], 1);
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delisted_symbol_is_told_as_unknown_and_its_gap_ends_without_endless_requests() {
    let mut deployment = Deployment::new(sim_config()).await;
    let mut config = deployment.config();
    config.instruments = instruments("binance:BTC-USDT,binance:ETH-USDT");
    config.gap_give_up_ms = 600_000;
    config.reconcile_interval_ms = 0;
    config.listing_interval_ms = 0;
    config.gap_hold_ms = 1_000;
    deployment.start(config);
    for symbol in ["BTC-USDT", "ETH-USDT"] {
        deployment.more_seconds(symbol, 1).await;
    }
    deployment
        .fault("delist,venue=binance,symbol=ETHUSDT,for=300s")
        .await;
    // What happened to it while no connection was there cannot be known.
    deployment.fault("disconnect,venue=binance").await;
    deployment
        .until_seen("it is unknown, and its gap has ended", |seen| {
            let is_lost = |gap: &Value| gap["symbol"] == "ETH-USDT" && gap["state"] == "lost";
            status(seen, "binance")["unknown"] == serde_json::json!(["ETH-USDT"])
                && seen.gaps.iter().any(is_lost)
        })
        .await;
    deployment.more_seconds("BTC-USDT", 2).await;
    let requests = || async {
        let stats = deployment.get("/sim/stats").await.expect("stats");
        stats["venues"]["binance"]["requests"]
            .as_u64()
            .expect("a count")
    };
    let before = requests().await;
    deployment.more_seconds("BTC-USDT", 8).await;
    let asked = requests().await - before;
    assert!(asked <= 2, "{asked} requests for a symbol that is gone");
    deployment
        .check_truth("binance", "BTCUSDT", "BTC-USDT")
        .await;
    deployment.stop().await;
}
