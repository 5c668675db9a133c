//! Many symbols: what a restart costs at the venue, and whether it loses anything.

use std::collections::HashMap;

use marketdata::discovery::pattern::Wish;

use crate::deployment::Deployment;
use crate::seen::Seen;

const SYMBOLS: usize = 1_000;
/// What Binance allows in a minute.
const WEIGHT_MAX: u64 = 6_000;

/// Symbols whose closed bars do not have each trade id from the first bar's to the last one's.
fn with_holes(seen: &Seen) -> Vec<String> {
    let mut next_id: HashMap<&str, u64> = HashMap::new();
    let mut holes = Vec::new();
    for ((topic, _), bar) in &seen.closed {
        let (Some(first), Some(last)) = (bar["first_id"].as_u64(), bar["last_id"].as_u64()) else {
            continue;
        };
        let is_whole = bar["count"].as_u64() == Some(last - first + 1)
            && next_id
                .get(topic.as_str())
                .is_none_or(|&next| next == first);
        if !is_whole {
            holes.push(format!("{topic} {bar}"));
        }
        next_id.insert(topic, last + 1);
    }
    holes
}

async fn used_weight(deployment: &Deployment) -> u64 {
    let answer = reqwest::get(format!("{}/api/v3/ping", deployment.base))
        .await
        .expect("an answer");
    let used = answer.headers()["x-mbx-used-weight-1m"].to_str();
    used.expect("text").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_a_thousand_symbols_loses_no_trade_and_stays_within_the_venues_weight() {
    let sim_config = exchange_sim::Config {
        rate: 0.5,
        symbols: 3 * SYMBOLS,
        history_minutes: 1,
        ..exchange_sim::Config::default()
    };
    let mut deployment = Deployment::new(sim_config).await;
    let listed = deployment.get("/sim/symbols").await.expect("symbols");
    let listed = listed.as_array().expect("a list");
    let of_binance = listed.iter().filter(|row| row["venue"] == "binance");
    let specs: Vec<Wish> = of_binance
        .map(|row| {
            let [base, quote] = ["base", "quote"].map(|part| row[part].as_str().expect("text"));
            format!("binance:{base}-{quote}")
                .parse()
                .expect("an instrument")
        })
        .take(SYMBOLS)
        .collect();
    assert_eq!(specs.len(), SYMBOLS);
    let mut config = deployment.config();
    config.instruments = specs;
    config.timeframes = "5s".parse().expect("valid");
    config.publish_trades = false;
    config.forming_interval_ms = 5_000;
    config.checkpoint_interval_ms = 1_000;
    config.symbol_silence_ms = 60_000;
    config.reconcile_interval_ms = 0;
    let closed_topics = |seen: &Seen| {
        let mut topics: Vec<&String> = seen.closed.keys().map(|(topic, _)| topic).collect();
        topics.dedup();
        topics.len()
    };
    deployment.start(config.clone());
    deployment
        .until_seen("most symbols have closed a bar", |seen| {
            closed_topics(seen) > SYMBOLS * 9 / 10
        })
        .await;
    deployment.kill();
    let gaps_before = deployment.seen(|seen| seen.gaps.len());
    let newest_ms = deployment.seen(|seen| {
        let starts = seen.closed.keys().map(|&(_, start_ms)| start_ms);
        starts.max().expect("a bar")
    });
    deployment
        .until("some seconds pass at the venue", || async {
            let stats = deployment.get("/sim/stats").await.expect("stats");
            stats["now_ms"].as_i64() > Some(newest_ms + 15_000)
        })
        .await;
    deployment.start(config);
    let until_ms = newest_ms + 30_000;
    deployment
        .until_seen("the bars of the restart have no holes", |seen| {
            let mut newest: HashMap<&str, i64> = HashMap::new();
            for (topic, start_ms) in seen.closed.keys() {
                newest.insert(topic, *start_ms);
            }
            newest.values().all(|&start_ms| start_ms >= until_ms) && with_holes(seen).is_empty()
        })
        .await;
    deployment.seen(|seen| {
        let lost = seen.gaps[gaps_before..].iter();
        assert_eq!(lost.filter(|gap| gap["state"] == "lost").count(), 0);
    });
    let used = used_weight(&deployment).await;
    assert!(used <= WEIGHT_MAX, "{used}");
    println!("weight used: {used}");
    deployment.stop().await;
}
