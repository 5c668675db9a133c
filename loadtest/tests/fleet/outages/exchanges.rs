//! The exchanges are away, or all of them misbehave.

use super::*;

/// Cuts every exchange for a time in which bars close, and compares afterwards.
async fn cut_the_exchanges(cut_ms: i64, marketdata: &[&str]) {
    let config = FleetConfig {
        marketdata: arguments(marketdata),
        ..FleetConfig::default()
    };
    let Some(fleet) = Fleet::start(config).await else {
        return;
    };
    let followers = followers(&fleet).await;
    fleet
        .simulator
        .fault(json!({"kind": "cut", "for_ms": cut_ms}))
        .await;
    for follower in &followers {
        follower
            .until("bars that say gap", |seen| {
                seen.topics.values().all(|topic| topic.gaps > 0)
            })
            .await;
        // What does not say so is still true.
        fleet.until_true(follower, true).await;
    }
    until("the exchanges are back", async || {
        let stats = fleet.simulator.stats().await;
        let is_back = |venue: &str| {
            stats["venues"][venue]["connections"]
                .as_array()
                .is_some_and(|it| !it.is_empty())
        };
        holds(
            ["binance", "coinbase", "okx"].into_iter().all(is_back),
            || stats["venues"].to_string(),
        )
    })
    .await;
    until_later(&followers, 8_000).await;
    for follower in &followers {
        // However many bars are repaired at once: all of them come, and whole.
        let comparison = fleet.until_true(follower, false).await;
        assert!(comparison.backfilled > 0, "{comparison:?}");
        follower.seen(check_nothing_lost);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_cut_for_seconds_leave_bars_that_say_gap_until_they_are_healed() {
    cut_the_exchanges(5_000, &["--gap-hold-ms", "1000"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_cut_for_a_minute_leave_bars_that_say_gap_until_they_are_healed() {
    if !is_slow_wanted() {
        return;
    }
    // As slow to try again as venues with a budget of attempts want it.
    let backoff = ["--backoff-base-ms", "500", "--backoff-max-ms", "5000"];
    cut_the_exchanges(60_000, &backoff).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marketdata_killed_while_the_exchanges_are_cut_heals_the_bars_that_said_gap() {
    let config = FleetConfig {
        marketdata: arguments(&["--gap-hold-ms", "1000"]),
        ..FleetConfig::default()
    };
    let Some(mut fleet) = Fleet::start(config).await else {
        return;
    };
    let followers = followers(&fleet).await;
    fleet
        .simulator
        .fault(json!({"kind": "cut", "for_ms": 3_600_000}))
        .await;
    for follower in &followers {
        follower
            .until("bars that say gap", |seen| {
                seen.topics.values().all(|topic| topic.gaps > 0)
            })
            .await;
    }
    fleet.marketdata.restart().await;
    fleet.simulator.end_faults().await;
    fleet.marketdata.until_ready().await;
    until_later(&followers, 6_000).await;
    for follower in &followers {
        let comparison = fleet.until_true(follower, false).await;
        assert!(comparison.backfilled > 0, "{comparison:?}");
        follower.seen(check_nothing_lost_silently);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_with_every_fault_at_once_still_gives_the_true_bars() {
    let Some(fleet) = Fleet::start(FleetConfig::default()).await else {
        return;
    };
    let followers = followers(&fleet).await;
    fleet
        .simulator
        .fault(json!([
            {"kind": "gap", "count": 3, "every_ms": 1_500},
            {"kind": "duplicate", "count": 5, "every_ms": 700},
            {"kind": "late", "count": 2, "delay_ms": 2_500, "every_ms": 1_100},
            {"kind": "reorder", "delay_ms": 400, "for_ms": 1_000, "every_ms": 2_000},
            {"kind": "malformed", "count": 1, "every_ms": 3_000},
            {"kind": "disconnect", "every_ms": 4_000},
            {"kind": "rest_500", "count": 1, "every_ms": 2_500},
        ]))
        .await;
    until_later(&followers, 12_000).await;
    fleet.simulator.end_faults().await;
    until_later(&followers, 6_000).await;
    for follower in &followers {
        fleet.until_true(follower, false).await;
        follower.seen(check_nothing_lost);
    }
}
