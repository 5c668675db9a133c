//! Published bars against the venue's klines, in the running process.

use crate::deployment::{Deployment, sim_config};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trades_given_up_are_found_again_because_the_venues_klines_have_them() {
    let mut deployment = Deployment::new(sim_config()).await;
    let mut config = deployment.config();
    config.instruments.truncate(1);
    config.symbol_silence_ms = 600_000;
    config.gap_hold_ms = 500;
    config.gap_give_up_ms = 1_500;
    config.reconcile_interval_ms = 1_000;
    config.reconcile_timeframe = "1s".parse().expect("valid");
    deployment.start(config);
    deployment.more_seconds("BTC-USDT", 1).await;
    // The trades cannot be had for as long as they are tried for.
    deployment
        .fault("rest_500,venue=binance,path=Trades,for=600s")
        .await;
    deployment
        .fault("gap,venue=binance,symbol=BTCUSDT,count=20")
        .await;
    deployment
        .until_seen("the gap is lost", |seen| seen.count_gaps("lost") > 0)
        .await;
    deployment
        .until_seen("its bars say so", |seen| {
            seen.count_quality("BTC-USDT", "gap") > 0
        })
        .await;
    deployment.no_faults().await;
    deployment
        .until_seen("they are healed", |seen| {
            seen.count_quality("BTC-USDT", "gap") == 0
                && seen.count_quality("BTC-USDT", "backfilled") > 0
        })
        .await;
    deployment
        .check_truth("binance", "BTCUSDT", "BTC-USDT")
        .await;
    deployment.stop().await;
}
