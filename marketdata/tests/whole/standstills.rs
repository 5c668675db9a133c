//! Programs that stand still: no bar is invented for the time that nobody looked.

use std::time::Duration;

use crate::deployment::{Deployment, INSTRUMENTS, sim_config};

async fn check(deployment: &Deployment) {
    for (venue, native, symbol) in INSTRUMENTS {
        deployment.check_truth(venue, native, symbol).await;
        let count = deployment.check_no_lies(venue, native, symbol).await;
        assert!(count > 5, "{symbol}: {count}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marketdata_that_stood_still_publishes_no_invented_bar() {
    let mut deployment = Deployment::new(sim_config()).await;
    deployment.start(deployment.config());
    deployment.all_more_seconds(3).await;
    for seconds in [3, 5, 9] {
        deployment
            .freeze_marketdata(Duration::from_secs(seconds))
            .await;
        deployment.all_more_seconds(3).await;
    }
    check(&deployment).await;
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_silence_of_a_venue_that_stood_still_is_not_taken_for_a_quiet_market() {
    let mut deployment = Deployment::new(sim_config()).await;
    deployment.start(deployment.config());
    deployment.all_more_seconds(3).await;
    for seconds in [3, 12] {
        deployment.freeze_venues(Duration::from_secs(seconds)).await;
        deployment.all_more_seconds(3).await;
    }
    check(&deployment).await;
    deployment.stop().await;
}
