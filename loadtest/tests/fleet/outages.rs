//! Each part of the fleet is lost and comes back; the bars are those of an undisturbed run.

use loadtest::client::Client;
use loadtest::fleet::{Fleet, FleetConfig, is_required, topics};
use loadtest::follower::{Follower, Seen};
use loadtest::program::arguments;
use loadtest::truth::Trade;
use loadtest::wait::{holds, until};
use serde_json::json;

mod exchanges;

/// Clients behind nginx: two for each gateway.
async fn followers(fleet: &Fleet) -> Vec<Follower> {
    let topics = topics();
    let followers: Vec<Follower> = (0..6).map(|_| fleet.follow()).collect();
    for follower in &followers {
        follower
            .until("two closed bars of every topic", |seen| {
                topics.iter().all(|topic| {
                    seen.topics
                        .get(topic)
                        .is_some_and(|topic| topic.closed.len() >= 2)
                })
            })
            .await;
    }
    followers
}

/// Waits until every follower has bars that closed well after all it has now.
pub(crate) async fn until_later(followers: &[Follower], later_ms: i64) {
    let topics = topics();
    let newest = followers
        .iter()
        .map(|follower| follower.closed_until_ms(&topics))
        .max();
    for follower in followers {
        follower
            .until_closed(&topics, newest.expect("there are followers") + later_ms)
            .await;
    }
}

/// Whether tests that take minutes are wanted.
pub(crate) fn is_slow_wanted() -> bool {
    let is_wanted = is_required("KLINECAST_SLOW");
    if !is_wanted {
        println!("skipped: set KLINECAST_SLOW=1 for tests that take minutes");
    }
    is_wanted
}

/// Waits until the market has gone on for so long.
async fn until_traded(fleet: &Fleet, for_ms: i64) {
    let newest_ms = async || {
        let trades = fleet.simulator.trades("binance", "BTCUSDT").await;
        trades.last().map_or(0, Trade::event_ms)
    };
    let target_ms = newest_ms().await + for_ms;
    until("the market goes on", async || {
        let newest_ms = newest_ms().await;
        holds(newest_ms >= target_ms, || newest_ms.to_string())
    })
    .await;
}

/// No closed bar is missing but those that the client was told of.
#[track_caller]
pub(crate) fn check_nothing_lost_silently(seen: &Seen) {
    for (topic, seen) in &seen.topics {
        let holes = seen.holes();
        assert!(
            holes.len() as u64 <= seen.skipped,
            "{topic} lacks {holes:?}, and was told of {}",
            seen.skipped
        );
    }
}

/// Nothing at all is missing, and nobody was told that something was.
#[track_caller]
pub(crate) fn check_nothing_lost(seen: &Seen) {
    for (topic, seen) in &seen.topics {
        let told = &seen.told;
        assert_eq!(seen.holes(), [] as [i64; 0], "{topic}, told: {told:?}");
        assert_eq!((seen.skipped, seen.not_resumed), (0, 0), "{topic}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_restarted_in_mid_stream_loses_no_closed_bar_silently() {
    let Some(mut fleet) = Fleet::start(FleetConfig::default()).await else {
        return;
    };
    let followers = followers(&fleet).await;
    fleet.nats.restart().expect("NATS starts again");
    for gateway in &fleet.gateways {
        gateway
            .program
            .until_metric("gateway_resyncs_total", &["reason=\"reconnected\""], 1.0)
            .await;
        gateway.program.until_ready().await;
    }
    until_later(&followers, 6_000).await;
    for follower in &followers {
        fleet.until_true(follower, false).await;
        follower.seen(|seen| {
            assert_eq!(
                seen.connects, 1,
                "a client need not notice: {:?}",
                seen.closes
            );
            check_nothing_lost_silently(seen);
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_that_is_away_for_seconds_loses_no_closed_bar_silently() {
    let Some(mut fleet) = Fleet::start(FleetConfig::default()).await else {
        return;
    };
    let followers = followers(&fleet).await;
    fleet.nats.kill();
    for gateway in &fleet.gateways {
        until("the gateway is not ready", async || {
            let (status, text) = gateway.program.page("/readyz").await?;
            holds(status == 503 && text.contains("bus"), || text)
        })
        .await;
    }
    // Seconds pass in which nobody can publish, and the market goes on.
    until_traded(&fleet, 4_000).await;
    fleet.nats.restart().expect("NATS starts again");
    for gateway in &fleet.gateways {
        gateway.program.until_ready().await;
    }
    until_later(&followers, 8_000).await;
    for follower in &followers {
        fleet.until_true(follower, false).await;
        follower.seen(check_nothing_lost_silently);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bars_that_late_trades_revise_while_nats_is_away_are_true_afterwards() {
    let Some(mut fleet) = Fleet::start(FleetConfig::default()).await else {
        return;
    };
    let followers = followers(&fleet).await;
    // One trade in several comes after its bar has closed.
    fleet
        .simulator
        .fault(json!({"kind": "late", "count": 1, "delay_ms": 1_500, "every_ms": 100}))
        .await;
    fleet.nats.kill();
    until_traded(&fleet, 3_000).await;
    fleet.nats.restart().expect("NATS starts again");
    for gateway in &fleet.gateways {
        gateway.program.until_ready().await;
    }
    fleet.simulator.end_faults().await;
    until_later(&followers, 6_000).await;
    for follower in &followers {
        fleet.until_true(follower, true).await;
        follower.seen(check_nothing_lost_silently);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_killed_gateway_go_on_at_the_others_without_a_missing_bar() {
    let Some(mut fleet) = Fleet::start(FleetConfig::default()).await else {
        return;
    };
    let followers = followers(&fleet).await;
    assert_eq!(fleet.gateways[0].sessions().await, 2.0);
    fleet.gateways[0].program.process.kill();
    until("its two clients are at the others", async || {
        let moved = followers
            .iter()
            .filter(|follower| follower.seen(|seen| seen.connects == 2))
            .count();
        holds(moved == 2, || format!("{moved} have moved"))
    })
    .await;
    until_later(&followers, 6_000).await;
    for follower in &followers {
        let comparison = fleet.until_true(follower, false).await;
        assert_eq!(comparison.backfilled, 0, "nothing was wrong with the bars");
        follower.seen(|seen| {
            assert!(matches!(seen.closes[..], [] | [1006]), "{:?}", seen.closes);
            check_nothing_lost(seen);
        });
    }
    // Back again, it takes its share.
    fleet.gateways[0].program.restart().await;
    fleet.gateways[0].program.until_ready().await;
    // nginx tries it again some seconds after it failed, so clients come until it has one.
    let mut late = Vec::new();
    until("a new client is there", async || {
        late.push(Client::connect(&fleet.nginx().url()).await);
        let sessions = fleet.gateways[0].sessions().await;
        holds(sessions > 0.0, || {
            format!("{} clients are elsewhere", late.len())
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_a_drained_gateway_hear_1012_and_go_on_without_a_missing_bar() {
    let config = FleetConfig {
        gateway: arguments(&["--drain-ms", "500"]),
        ..FleetConfig::default()
    };
    let Some(mut fleet) = Fleet::start(config).await else {
        return;
    };
    let followers = followers(&fleet).await;
    let drained = &mut fleet.gateways[1].program.process;
    drained.signal("TERM");
    let status = drained.until_ended().await;
    assert!(status.success(), "{status}");
    until("its two clients are at the others", async || {
        let moved = followers
            .iter()
            .filter(|follower| follower.seen(|seen| seen.connects == 2))
            .count();
        holds(moved == 2, || format!("{moved} have moved"))
    })
    .await;
    until_later(&followers, 4_000).await;
    for follower in &followers {
        fleet.until_true(follower, false).await;
        follower.seen(|seen| {
            assert!(matches!(seen.closes[..], [] | [1012]), "{:?}", seen.closes);
            check_nothing_lost(seen);
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_marketdata_goes_on_as_if_it_had_not_been() {
    let Some(mut fleet) = Fleet::start(FleetConfig::default()).await else {
        return;
    };
    let followers = followers(&fleet).await;
    let epoch_of =
        |follower: &Follower| follower.seen(|seen| seen.topics["kline:1s:BTC-USD"].last.0);
    let before = epoch_of(&followers[0]);
    fleet.marketdata.restart().await;
    fleet.marketdata.until_ready().await;
    until_later(&followers, 8_000).await;
    for follower in &followers {
        fleet.until_true(follower, false).await;
        assert!(
            epoch_of(follower) > before,
            "the epoch rises with a restart"
        );
        follower.seen(|seen| {
            assert_eq!(seen.connects, 1);
            check_nothing_lost(seen);
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marketdata_killed_again_and_again_leaves_no_trace_in_the_bars() {
    let Some(mut fleet) = Fleet::start(FleetConfig::default()).await else {
        return;
    };
    let followers = followers(&fleet).await;
    let epoch_of = |seen: &Seen| seen.topics["kline:1s:BTC-USD"].last.0;
    for _ in 0..5 {
        let before = followers[0].seen(epoch_of);
        fleet.marketdata.restart().await;
        // Some bars are forming then, and some may just be closing.
        followers[0]
            .until("a bar of the new run", |seen| epoch_of(seen) > before)
            .await;
    }
    until_later(&followers, 6_000).await;
    for follower in &followers {
        fleet.until_true(follower, false).await;
        follower.seen(check_nothing_lost);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_that_hangs_for_seconds_loses_no_closed_bar_silently() {
    let Some(fleet) = Fleet::start(FleetConfig::default()).await else {
        return;
    };
    let followers = followers(&fleet).await;
    fleet.nats.suspend();
    until_traded(&fleet, 5_000).await;
    fleet.nats.resume();
    until_later(&followers, 8_000).await;
    for follower in &followers {
        fleet.until_true(follower, false).await;
        follower.seen(check_nothing_lost_silently);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_that_is_away_for_longer_than_it_retains_bars_loses_none_silently() {
    if !is_slow_wanted() {
        return;
    }
    let Some(mut fleet) = Fleet::start(FleetConfig::default()).await else {
        return;
    };
    let followers = followers(&fleet).await;
    fleet.nats.kill();
    until_traded(&fleet, 45_000).await;
    fleet.nats.restart().expect("NATS starts again");
    until_later(&followers, 8_000).await;
    for follower in &followers {
        fleet.until_true(follower, true).await;
        follower.seen(check_nothing_lost_silently);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marketdata_that_is_away_for_a_minute_heals_what_it_missed() {
    if !is_slow_wanted() {
        return;
    }
    let Some(mut fleet) = Fleet::start(FleetConfig::default()).await else {
        return;
    };
    let followers = followers(&fleet).await;
    fleet.marketdata.process.kill();
    until_traded(&fleet, 60_000).await;
    fleet.marketdata.restart().await;
    fleet.marketdata.until_ready().await;
    until_later(&followers, 70_000).await;
    for follower in &followers {
        let told: u64 = follower.seen(|seen| seen.topics.values().map(|topic| topic.skipped).sum());
        let comparison = fleet.until_true(follower, told > 0).await;
        println!("{comparison:?}, told of {told}");
        follower.seen(check_nothing_lost_silently);
    }
}
