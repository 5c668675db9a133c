//! Two marketdata with the same symbols: one publishes, the other is its standby, and one of them
//! dies.

use loadtest::fleet::{Fleet, FleetConfig, INSTRUMENTS, topics};
use loadtest::program::Program;

use crate::outages::{check_nothing_lost, until_later};

/// Which of the two dies.
enum Killed {
    Older,
    Newer,
}

/// Waits until a marketdata publishes every instrument.
pub(crate) async fn until_it_publishes(marketdata: &Program) {
    marketdata
        .until_metric("marketdata_instruments_held", &[], INSTRUMENTS.len() as f64)
        .await;
}

/// Waits until another one publishes every instrument of a marketdata.
pub(crate) async fn until_it_is_a_standby(marketdata: &Program) {
    marketdata
        .until_metric(
            "marketdata_instruments_standby",
            &[],
            INSTRUMENTS.len() as f64,
        )
        .await;
}

async fn kill_one_of_two(killed: Killed) {
    let config = FleetConfig {
        has_no_nginx: true,
        ..FleetConfig::default()
    };
    let Some(mut fleet) = Fleet::start(config).await else {
        return;
    };
    let followers = fleet.follow_each_gateway();
    until_later(&followers, 2_000).await;
    let mut other = fleet.start_marketdata().await;
    other.until_ready().await;
    until_it_publishes(&fleet.marketdata).await;
    until_it_is_a_standby(&other).await;
    until_later(&followers, 3_000).await;
    let (dead, living) = match killed {
        Killed::Older => (&mut fleet.marketdata, &other),
        Killed::Newer => (&mut other, &fleet.marketdata),
    };
    dead.process.kill();
    until_it_publishes(living).await;
    // Forming bars go on, for every topic.
    for follower in &followers {
        follower.until_more_forming(&topics(), 10).await;
    }
    until_later(&followers, 6_000).await;
    for follower in &followers {
        fleet.until_true(follower, false).await;
        follower.seen(|seen| {
            assert_eq!(seen.connects, 1, "{:?}", seen.closes);
            check_nothing_lost(seen);
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newer_of_two_publishers_of_the_same_symbols_is_killed_and_clients_have_the_true_bars()
{
    kill_one_of_two(Killed::Newer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_of_two_publishers_of_the_same_symbols_is_killed_and_clients_have_the_true_bars()
{
    kill_one_of_two(Killed::Older).await;
}
