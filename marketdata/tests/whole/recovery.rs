//! Restarts: bars go on as if nothing had happened.

use bus::BusConfig;
use testkit::nats::NatsServer;

use crate::deployment::{Deployment, INSTRUMENTS, sim_config};

/// Waits until a restart finds the state of every symbol.
async fn until_saved(deployment: &Deployment) {
    deployment
        .until("every symbol is saved", || async {
            let saved = deployment.bus.last_values("state.marketdata.>").await;
            saved.is_ok_and(|saved| saved.len() == INSTRUMENTS.len())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_marketdata_goes_on_exactly() {
    let mut deployment = Deployment::new(sim_config()).await;
    deployment.start(deployment.config());
    deployment.all_more_seconds(2).await;
    until_saved(&deployment).await;
    for _ in 0..2 {
        deployment.kill();
        let killed_ms = deployment.closed_until_ms("BTC-USDT");
        // The venue goes on without us.
        deployment
            .until("two seconds pass at the venue", || async {
                let stats = deployment.get("/sim/stats").await.expect("stats");
                stats["now_ms"].as_i64() > Some(killed_ms + 3_000)
            })
            .await;
        deployment.start(deployment.config());
        deployment.all_more_seconds(4).await;
        for (venue, native, symbol) in INSTRUMENTS {
            deployment.check_truth(venue, native, symbol).await;
        }
    }
    deployment.seen(|seen| {
        // Only the minute and second in which the first run joined are partial.
        for (_, _, symbol) in INSTRUMENTS {
            assert!(seen.count_quality(symbol, "partial") <= 1, "{symbol}");
            assert_eq!(seen.count_quality(symbol, "gap"), 0, "{symbol}");
        }
        for seqs in seen.seqs.values() {
            assert!(seqs.is_sorted(), "epochs rise, and sequences within them");
        }
    });
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_marketdata_goes_on_exactly() {
    let mut deployment = Deployment::new(sim_config()).await;
    deployment.start(deployment.config());
    deployment.all_more_seconds(2).await;
    deployment.stop().await;
    deployment.start(deployment.config());
    deployment.all_more_seconds(4).await;
    for (venue, native, symbol) in INSTRUMENTS {
        deployment.check_truth(venue, native, symbol).await;
    }
    deployment.stop().await;
    assert!(
        !deployment
            .bus
            .last_values("closed.>")
            .await
            .expect("a bus")
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marketdata_with_other_timeframes_goes_on_exactly_in_those_that_stayed() {
    let mut deployment = Deployment::new(sim_config()).await;
    deployment.start(deployment.config());
    deployment.all_more_seconds(2).await;
    deployment.stop().await;
    let mut config = deployment.config();
    config.timeframes = "1s,5s,1m".parse().expect("valid");
    deployment.start(config);
    deployment
        .until_seen("a whole bar of the new timeframe", |seen| {
            let is_whole = |symbol: &str| {
                let topic = format!("kline:5s:{symbol}");
                let bars = seen.closed.iter().filter(|((of, _), _)| *of == topic);
                bars.clone().any(|(_, bar)| bar["quality"] == "complete")
            };
            INSTRUMENTS.iter().all(|(_, _, symbol)| is_whole(symbol))
        })
        .await;
    for (venue, native, symbol) in INSTRUMENTS {
        deployment.check_truth(venue, native, symbol).await;
    }
    deployment.seen(|seen| {
        for (_, _, symbol) in INSTRUMENTS {
            let partial = |timeframe: &str| {
                let topic = format!("kline:{timeframe}:{symbol}");
                let bars = seen.closed.iter().filter(|((of, _), _)| *of == topic);
                bars.filter(|(_, bar)| bar["quality"] == "partial").count()
            };
            // That in which the first run joined, and that which was open at the change.
            assert!(partial("1s") <= 1 && partial("5s") <= 1, "{symbol}");
        }
    });
    deployment.stop().await;
    let refused = deployment.bus.last_values("state.refused.>").await;
    assert!(refused.expect("a bus").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_bars_survive_a_restart_of_nats() {
    let mut server = NatsServer::start().expect("a nats-server");
    let config = BusConfig {
        bus: server.url().parse().expect("an address"),
        ..BusConfig::default()
    };
    let bus = bus::connect(&config, &service::streams())
        .await
        .expect("it is there");
    let mut deployment = Deployment::on(bus, sim_config()).await;
    deployment.start(deployment.config());
    deployment.all_more_seconds(2).await;
    server.kill();
    let stats = deployment.get("/sim/stats").await.expect("stats");
    let killed_ms = stats["now_ms"].as_i64().expect("a time");
    deployment
        .until("three seconds pass at the venue", || async {
            let stats = deployment.get("/sim/stats").await.expect("stats");
            stats["now_ms"].as_i64() > Some(killed_ms + 3_000)
        })
        .await;
    assert!(!deployment.is_ready());
    server.restart().expect("it starts again");
    deployment.all_more_seconds(3).await;
    for (venue, native, symbol) in INSTRUMENTS {
        deployment.check_truth(venue, native, symbol).await;
    }
    // And a killed marketdata finds its state on the restarted server.
    until_saved(&deployment).await;
    deployment.kill();
    deployment.start(deployment.config());
    deployment.all_more_seconds(3).await;
    for (venue, native, symbol) in INSTRUMENTS {
        deployment.check_truth(venue, native, symbol).await;
    }
    deployment.seen(|seen| {
        for (_, _, symbol) in INSTRUMENTS {
            assert!(seen.count_quality(symbol, "partial") <= 1, "{symbol}");
        }
    });
    deployment.stop().await;
}
