//! Two marketdata with the same instruments: one publishes, and the other takes over.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use marketdata::Control;
use serde_json::Value;

use crate::deployment::{Deployment, INSTRUMENTS, sim_config};
use crate::faulty_bus::{Fault, FaultyBus};

/// Two programs with the same flags, of which the first publishes everything.
async fn two() -> Deployment {
    let mut deployment = Deployment::new(sim_config()).await;
    deployment.start(deployment.config());
    deployment.all_more_seconds(3).await;
    deployment.start_beside(deployment.config(), Control::default());
    deployment
        .until("one publishes and the other is its standby", || async {
            deployment.is_first_holding_all()
        })
        .await;
    deployment.all_more_seconds(2).await;
    deployment
}

/// No bar is missing, none was published twice with other content, and the epochs rise.
async fn check(deployment: &Deployment) {
    for (venue, native, symbol) in INSTRUMENTS {
        deployment.check_truth(venue, native, symbol).await;
        deployment.check_no_lies(venue, native, symbol).await;
    }
    deployment.check_doubles();
    deployment.seen(|seen| {
        for (_, _, symbol) in INSTRUMENTS {
            assert!(seen.count_quality(symbol, "partial") <= 1, "{symbol}");
            let mut starts = seen
                .closed
                .keys()
                .filter(|(topic, _)| *topic == format!("kline:1s:{symbol}"));
            let first = starts.next().expect("a bar").1;
            let missing: Vec<i64> = (first..)
                .step_by(1_000)
                .zip(starts.map(|(_, start_ms)| *start_ms))
                .filter(|(expected, start_ms)| expected + 1_000 != *start_ms)
                .map(|(expected, _)| expected + 1_000)
                .collect();
            assert_eq!(missing.first(), None, "{symbol}");
        }
        for (topic, seqs) in &seen.seqs {
            assert!(
                seqs.is_sorted(),
                "{topic}: epochs rise, and sequences within them"
            );
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_publishes_nothing_and_spends_no_rounds_of_comparison() {
    let mut deployment = two().await;
    let epochs = || {
        deployment.seen(|seen| {
            let mut epochs: Vec<u64> = seen
                .seqs
                .values()
                .flat_map(|seqs| seqs.iter().map(|(epoch, _)| *epoch))
                .collect();
            epochs.sort_unstable();
            epochs.dedup();
            epochs.len()
        })
    };
    assert_eq!(epochs(), 1, "only one has published");
    deployment
        .until_seen("the feed's status tells of the standby", |seen| {
            seen.statuses
                .last()
                .is_some_and(|last| last["standbys"] == 1)
        })
        .await;
    deployment.seen(|seen| {
        let mut publishers: Vec<&str> = seen
            .statuses
            .iter()
            .filter_map(|status| status["publisher"].as_str())
            .collect();
        publishers.dedup();
        assert_eq!(publishers.len(), 1, "one reports the feeds");
        assert!(seen.statuses.iter().all(|status| status["rivals"] == 0));
        // Each end once.
        let mut ends: Vec<i64> = seen
            .marks
            .iter()
            .filter(|mark| mark.interval == "1s")
            .map(|mark| mark.end_ms)
            .collect();
        let all = ends.len();
        ends.dedup();
        assert_eq!(ends.len(), all, "one marks the boundaries");
    });
    check(&deployment).await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over_from_a_holder_that_was_killed_and_no_bar_is_missing() {
    let mut deployment = two().await;
    for _ in 0..2 {
        deployment.kill();
        deployment.swap();
        deployment.all_more_seconds(3).await;
        // The dead one comes back, as a standby.
        deployment.start_beside(deployment.config(), Control::default());
        deployment
            .until(
                "the survivor publishes and the new one is its standby",
                || async { deployment.is_first_holding_all() },
            )
            .await;
    }
    deployment.all_more_seconds(2).await;
    check(&deployment).await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_stood_still_is_the_standby_of_who_took_over() {
    let mut deployment = two().await;
    deployment.freeze_marketdata(Duration::from_secs(8)).await;
    deployment.swap();
    deployment
        .until("the other one publishes", || async {
            deployment.is_first_holding_all()
        })
        .await;
    deployment.all_more_seconds(3).await;
    // And back: the one that was frozen is as good as any.
    deployment.kill();
    deployment.swap();
    deployment.all_more_seconds(3).await;
    check(&deployment).await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_stops_hands_over_before_it_drains() {
    let mut deployment = two().await;
    let newest = INSTRUMENTS.map(|(_, _, symbol)| deployment.newest_epoch(symbol));
    deployment.stop().await;
    deployment.swap();
    for ((_, _, symbol), before) in INSTRUMENTS.iter().zip(newest) {
        deployment
            .until("the other one publishes", || async {
                deployment.newest_epoch(symbol) > before
            })
            .await;
    }
    deployment.all_more_seconds(3).await;
    check(&deployment).await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_does_not_know_fences_is_told_and_bars_are_not_sent_over_and_over() {
    let bus = FaultyBus::new();
    bus.set("closed.1s.", Some(Fault::Unfenced));
    let mut deployment = Deployment::on(Arc::<FaultyBus>::clone(&bus), sim_config()).await;
    deployment.start(deployment.config());
    deployment
        .until("it says what to do", || async {
            let mut unmet = deployment.unmet().into_iter();
            unmet.any(|unmet| {
                unmet.name == "leases" && unmet.why.contains("use nats-server 2.12 or later")
            })
        })
        .await;
    deployment.all_more_seconds(3).await;
    deployment.seen(|seen| {
        let bars = seen.all_closed.iter().filter(|bar| bar["interval"] == "1s");
        let firsts = bars.filter(|bar| bar["rev"] == 0).count();
        let starts = seen
            .closed
            .keys()
            .filter(|(topic, _)| topic.starts_with("kline:1s:"));
        assert_eq!(firsts, starts.count(), "each once");
    });
    bus.set("closed.1s.", None);
    deployment
        .until("a bus that stores under fences is enough", || async {
            let mut unmet = deployment.unmet().into_iter();
            !unmet.any(|unmet| unmet.name == "leases")
        })
        .await;
    deployment
        .until("what the bus refused is stored, too", || async {
            let kept = deployment.bus.last_values("closed.1s.>").await;
            let stored: HashSet<(String, i64)> = kept
                .expect("the bus is there")
                .iter()
                .map(|message| {
                    let bar: Value = serde_json::from_slice(&message.payload).expect("JSON");
                    let topic = bar["topic"].as_str().expect("a topic").to_owned();
                    (topic, bar["start_ms"].as_i64().expect("a time"))
                })
                .collect();
            deployment.seen(|seen| {
                let mut published = seen.closed.keys();
                published.all(|bar| !bar.0.starts_with("kline:1s:") || stored.contains(bar))
            })
        })
        .await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_the_bus_does_not_answer_for_holds_no_other_back() {
    let bus = FaultyBus::new();
    bus.set("closed.lease.binance.", Some(Fault::Unanswered));
    let mut deployment = Deployment::on(Arc::<FaultyBus>::clone(&bus), sim_config()).await;
    deployment.start(deployment.config());
    for (venue, _, symbol) in INSTRUMENTS {
        if venue != "binance" {
            deployment.more_seconds(symbol, 3).await;
        }
    }
    bus.set("closed.lease.binance.", None);
    deployment.all_more_seconds(2).await;
    deployment.stop().await;
}
