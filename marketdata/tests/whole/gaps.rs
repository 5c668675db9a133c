//! Missing trades: refetched before their bars close, or marked and healed.

use crate::deployment::{Deployment, INSTRUMENTS, sim_config};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_refetched_before_its_bars_close() {
    let mut deployment = Deployment::new(sim_config()).await;
    deployment.start(deployment.config());
    deployment.all_more_seconds(1).await;
    for (venue, native, _) in INSTRUMENTS {
        deployment
            .fault(&format!("gap,venue={venue},symbol={native},count=5"))
            .await;
    }
    for (_, _, symbol) in INSTRUMENTS {
        deployment
            .until_seen("the gap is filled", |seen| {
                seen.gaps
                    .iter()
                    .any(|gap| gap["symbol"] == symbol && gap["state"] == "filled")
            })
            .await;
    }
    deployment.all_more_seconds(3).await;
    for (venue, native, symbol) in INSTRUMENTS {
        deployment.check_truth(venue, native, symbol).await;
    }
    deployment.seen(|seen| {
        assert_eq!((seen.revisions, seen.count_gaps("lost")), (0, 0));
        for (_, _, symbol) in INSTRUMENTS {
            assert_eq!(seen.count_quality(symbol, "gap"), 0);
        }
    });
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_connection_leaves_the_bars_of_an_undisturbed_run() {
    let mut deployment = Deployment::new(sim_config()).await;
    deployment.start(deployment.config());
    deployment.all_more_seconds(1).await;
    // Longer than bars wait, so that some close with the gap and are healed afterwards.
    for (venue, _, _) in INSTRUMENTS {
        deployment.fault(&format!("cut,venue={venue},for=8s")).await;
    }
    deployment
        .until_seen("the bars are marked while the trades are missing", |seen| {
            INSTRUMENTS
                .iter()
                .all(|(_, _, symbol)| seen.count_quality(symbol, "gap") > 0)
        })
        .await;
    deployment.seen(|seen| {
        for (venue, _, _) in INSTRUMENTS {
            assert!(
                seen.statuses
                    .iter()
                    .any(|status| status["exchange"] == venue && status["state"] == "reconnecting"),
                "{venue}"
            );
        }
    });
    for (venue, native, symbol) in INSTRUMENTS {
        deployment
            .until_seen("the marks are gone", |seen| {
                seen.count_quality(symbol, "gap") == 0
                    && seen.count_quality(symbol, "backfilled") > 0
            })
            .await;
        deployment.more_seconds(symbol, 2).await;
        deployment.check_truth(venue, native, symbol).await;
    }
    deployment.seen(|seen| assert_eq!(seen.count_gaps("lost"), 0));
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_venue_that_asks_for_fewer_requests_is_obeyed_and_asked_again() {
    let mut deployment = Deployment::new(sim_config()).await;
    deployment.start(deployment.config());
    deployment.all_more_seconds(1).await;
    for (venue, native, _) in INSTRUMENTS {
        deployment
            .fault(&format!("rest_429,venue={venue},count=1,retry_after=1"))
            .await;
        deployment
            .fault(&format!("rest_500,venue={venue},count=1"))
            .await;
        deployment
            .fault(&format!("gap,venue={venue},symbol={native},count=3"))
            .await;
    }
    for (_, _, symbol) in INSTRUMENTS {
        deployment
            .until_seen("the gap is filled", |seen| {
                seen.gaps
                    .iter()
                    .any(|gap| gap["symbol"] == symbol && gap["state"] == "filled")
            })
            .await;
    }
    deployment.all_more_seconds(2).await;
    for (venue, native, symbol) in INSTRUMENTS {
        deployment.check_truth(venue, native, symbol).await;
    }
    deployment.seen(|seen| assert_eq!(seen.count_gaps("lost"), 0));
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_wider_than_a_backfill_may_be_is_lost_and_says_so() {
    let mut deployment = Deployment::new(sim_config()).await;
    let mut config = deployment.config();
    config.backfill_trades_max = 5;
    // A question about the silence would bring the trades before the next one shows the gap.
    config.symbol_silence_ms = 600_000;
    deployment.start(config);
    deployment.more_seconds("BTC-USDT", 1).await;
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
    deployment.stop().await;
}
