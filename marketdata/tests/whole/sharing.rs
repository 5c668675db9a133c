//! Programs that share the instruments that patterns find.

use std::collections::BTreeMap;

use marketdata::discovery::pattern::Wish;
use marketdata::{Config, Control};

use crate::deployment::{Deployment, INSTRUMENTS, sim_config};

/// Instruments of the simulator that the patterns mean.
const FOUND: usize = 14;

fn config(deployment: &Deployment) -> Config {
    let mut config = deployment.config();
    config.instruments =
        Wish::parse_list("binance:*-USDT,coinbase:*-USD,okx:OKX:*-USDT").expect("valid");
    config.share_instruments = true;
    config
}

/// How many instruments each program publishes.
async fn held(deployment: &Deployment) -> BTreeMap<String, usize> {
    let leases = deployment.bus.last_values("closed.lease.>").await;
    let mut holders = BTreeMap::new();
    // The newest of each comes last.
    for lease in leases.expect("the bus is there") {
        let content: serde_json::Value = serde_json::from_slice(&lease.payload).expect("JSON");
        holders.insert(lease.subject, content["holder"].as_str().map(str::to_owned));
    }
    let mut held = BTreeMap::new();
    for holder in holders.into_values().flatten() {
        *held.entry(holder).or_default() += 1;
    }
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_comes_gets_its_part_of_what_patterns_find_and_the_rest_when_the_other_dies()
{
    let mut deployment = Deployment::new(sim_config()).await;
    deployment.start(config(&deployment));
    deployment
        .until("the first publishes all", || async {
            held(&deployment).await.into_values().eq([FOUND])
        })
        .await;
    deployment.start_beside(config(&deployment), Control::default());
    deployment
        .until("the second has its part", || async {
            let held = held(&deployment).await;
            held.len() == 2 && held.values().sum::<usize>() == FOUND
        })
        .await;
    deployment.all_more_seconds(2).await;
    deployment.kill();
    deployment
        .until("the second publishes all", || async {
            held(&deployment).await.into_values().eq([FOUND])
        })
        .await;
    deployment.all_more_seconds(2).await;
    for (venue, native, symbol) in INSTRUMENTS {
        deployment.check_truth(venue, native, symbol).await;
    }
    deployment.check_doubles();
    deployment.swap();
    deployment.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_the_venues_do_not_reach_gets_no_part() {
    let mut deployment = Deployment::new(sim_config()).await;
    // Venues that refuse everything, so what is followed is written out.
    let away = Deployment::new(sim_config()).await;
    away.fault("cut,for=3600s").await;
    deployment.start(config(&deployment));
    deployment
        .until("the first publishes all", || async {
            held(&deployment).await.into_values().eq([FOUND])
        })
        .await;
    let control = Control::default();
    let cut_off = Config {
        sim: Some(away.base.parse().expect("an address")),
        share_instruments: true,
        ..deployment.config()
    };
    deployment.start_beside(cut_off, control.clone());
    deployment
        .until("the second follows all", || async {
            let all = control.see().await;
            all.is_ok_and(|all| all.owned.len() == INSTRUMENTS.len())
        })
        .await;
    // A program that has a feed has its part after ten seconds.
    deployment.more_seconds("BTC-USDT", 14).await;
    assert!(held(&deployment).await.into_values().eq([FOUND]));
    deployment.kill();
    deployment.swap();
    deployment.kill();
}
