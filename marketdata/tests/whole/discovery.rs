//! Instruments that patterns mean, listings and delistings.

use std::collections::BTreeSet;

use marketdata::discovery::pattern::Wish;
use marketdata::{Config, Control};

use crate::deployment::{Deployment, sim_config};

fn config(deployment: &Deployment, instruments: &str) -> Config {
    let mut config = deployment.config();
    config.instruments = Wish::parse_list(instruments).expect("valid");
    config.discovery.discovery_interval_ms = 1_000;
    config.listing_interval_ms = 500;
    config.timeframes = "1s".parse().expect("valid");
    config.gap_hold_ms = 1_000;
    config.proof_hold_ms = 1_000;
    config
}

async fn owned(control: &Control) -> BTreeSet<String> {
    // While a new plan begins, nobody answers.
    let all = control.see().await;
    all.map(|all| all.owned.into_iter().collect())
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listed_market_is_followed_and_a_delisted_one_ends_and_the_others_miss_no_bar() {
    let mut deployment = Deployment::new(sim_config()).await;
    deployment
        .fault("delist,venue=coinbase,symbol=ETH-USD,for=600s")
        .await;
    let control = Control::default();
    let wishes = "okx:OKX:BTC-USDT,coinbase:*-USD:exclude=SOL-*";
    deployment.start_controlled(config(&deployment, wishes), control.clone());
    deployment.more_seconds("BTC-USD", 2).await;
    deployment.more_seconds("OKX:BTC-USDT", 1).await;
    deployment.seen(|seen| assert!(!seen.seqs.contains_key("kline:1s:ETH-USD")));

    deployment.no_faults().await;
    deployment.more_seconds("ETH-USD", 3).await;
    deployment.more_seconds("BTC-USD", 2).await;
    let all = [
        ("coinbase", "BTC-USD", "BTC-USD"),
        ("coinbase", "ETH-USD", "ETH-USD"),
        ("okx", "BTC-USDT", "OKX:BTC-USDT"),
    ];
    for (venue, native, symbol) in all {
        deployment.check_truth(venue, native, symbol).await;
    }
    deployment.seen(|seen| {
        assert!(
            !seen.seqs.contains_key("kline:1s:SOL-USD"),
            "it is excluded"
        );
        for (_, _, symbol) in all {
            assert_eq!(seen.count_quality(symbol, "gap"), 0, "{symbol}");
        }
    });

    let traded_until_ms = deployment.closed_until_ms("ETH-USD");
    deployment
        .fault("delist,venue=coinbase,symbol=ETH-USD,for=600s")
        .await;
    deployment
        .until_seen("clients are told which symbol is gone", |seen| {
            let mut newest_first = seen.statuses.iter().rev();
            let status = newest_first.find(|status| status["exchange"] == "coinbase");
            status.is_some_and(|status| status["unknown"] == serde_json::json!(["ETH-USD"]))
        })
        .await;
    deployment
        .until("it is followed no more", || async {
            !owned(&control).await.contains("coinbase:ETH-USD")
        })
        .await;
    assert!(deployment.closed_until_ms("ETH-USD") >= traded_until_ms);
    deployment
        .until("its lease is released", || async {
            let subject = "closed.lease.coinbase.ETH-USD";
            let lease = deployment.bus.last_values(subject).await;
            let lease = lease.expect("the bus is there");
            let lease: serde_json::Value =
                serde_json::from_slice(&lease.last().expect("a lease").payload).expect("JSON");
            lease["holder"].is_null()
        })
        .await;
    deployment.more_seconds("BTC-USD", 2).await;
    deployment
        .check_truth("coinbase", "BTC-USD", "BTC-USD")
        .await;
    deployment.check_doubles();
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_rank_at_different_moments_follow_the_same_and_a_silent_venue_changes_nothing()
 {
    let mut deployment = Deployment::new(sim_config()).await;
    let (first, second) = (Control::default(), Control::default());
    let wishes = "binance:*-USDT:top=3:exclude=SHIB-USDT,okx:OKX:*-USDT:top=1";
    // The first program sees another order than the second.
    deployment
        .fault("delist,venue=binance,symbol=BTCUSDT,for=600s")
        .await;
    deployment.start_controlled(config(&deployment, wishes), first.clone());
    deployment
        .until("the first follows its ranks", || async {
            owned(&first).await.len() >= 4
        })
        .await;
    deployment.no_faults().await;
    deployment.start_beside(config(&deployment, wishes), second.clone());
    deployment
        .until("both follow the same", || async {
            let (first, second) = (owned(&first).await, owned(&second).await);
            first == second && first.contains("binance:BTC-USDT") && first.len() <= 6
        })
        .await;
    let followed = owned(&first).await;
    let failed = |stats: &serde_json::Value| stats["venues"]["binance"]["requests"].as_u64();
    deployment
        .fault("rest_500,venue=binance,path=exchangeInfo,for=600s")
        .await;
    let before = failed(&deployment.get("/sim/stats").await.expect("stats"));
    deployment
        .until("both have asked again", || async {
            let now = failed(&deployment.get("/sim/stats").await.expect("stats"));
            now >= before.map(|before| before + 6)
        })
        .await;
    assert_eq!(owned(&first).await, followed);
    assert_eq!(owned(&second).await, followed);
    deployment.more_seconds("BTC-USDT", 2).await;
    deployment
        .check_truth("binance", "BTCUSDT", "BTC-USDT")
        .await;
    deployment.check_doubles();
    deployment.stop().await;
    deployment.swap();
    deployment.stop().await;
}
