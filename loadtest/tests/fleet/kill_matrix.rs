//! Each process of a fleet that has two of everything is killed, stopped, started again or cut off,
//! alone or with another one, under load. scripts/kill-matrix.sh runs many seeds.

use loadtest::wait::holds;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::outages::is_slow_wanted;
use crate::takeover::number;

mod fault;
mod journal;
mod world;

use fault::{Fault, Kind, Target};
use world::World;

/// Runs of a seed, in one fleet.
const RUNS: u64 = 5;
/// The longest standstill or cut that is drawn, s.
const SECONDS_MAX: u64 = 12;

/// What runs where nobody names a seed: the publisher dies while a gateway is cut off. With
/// `KLINECAST_SLOW=1` also the publisher stands still while the leader of its stream dies, and history
/// ends while a gateway is cut off.
fn sample() -> Vec<Vec<Fault>> {
    let quick = vec![
        Fault::new(Target::Holder, Kind::Killed, 0, 500),
        Fault::new(Target::Gateway, Kind::Cut, 200, 1_500),
    ];
    if !is_slow_wanted() {
        return vec![quick];
    }
    vec![
        quick,
        vec![
            Fault::new(Target::Holder, Kind::Stopped, 0, 2_000),
            Fault::new(Target::NatsLeader, Kind::Killed, 500, 500),
        ],
        vec![
            Fault::new(Target::Gateway, Kind::Cut, 0, 1_500),
            Fault::new(Target::History, Kind::Killed, 200, 300),
        ],
    ]
}

/// `KLINECAST_SEED=7` draws the faults of that seed, `KLINECAST_RUNS=3` the first three of them.
fn runs() -> Vec<Vec<Fault>> {
    let Some(seed) = number("KLINECAST_SEED") else {
        return sample();
    };
    let runs = number("KLINECAST_RUNS").unwrap_or(RUNS);
    let seconds_max = number("KLINECAST_SECONDS_MAX").unwrap_or(SECONDS_MAX);
    println!(
        "repeat: scripts/kill-matrix.sh --seed {seed} --runs {runs} --seconds-max {seconds_max}"
    );
    let mut random = StdRng::seed_from_u64(seed);
    (0..runs)
        .map(|_| fault::draw(&mut random, seconds_max))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_stops_or_is_cut_off_alone_or_with_another_the_bars_are_true_and_told() {
    let Some(mut world) = World::start().await else {
        return;
    };
    for faults in runs() {
        let names: Vec<String> = faults.iter().map(Fault::name).collect();
        let times: Vec<String> = faults.iter().map(Fault::to_string).collect();
        println!("begins: {}", times.join(" + "));
        let outcome = world.meet(&faults).await;
        println!(
            "run: {} worst_ms={} best_ms={} whole_ms={} skipped={} missing={}",
            names.join("+"),
            outcome.worst.as_millis(),
            outcome.best.as_millis(),
            outcome.whole.as_millis(),
            outcome.skipped,
            outcome.missing
        );
    }
    world.check_stored().await;
}

#[test]
fn a_seed_always_draws_the_same_faults_and_pairs_have_two_targets() {
    let drawn = |seed| {
        let mut random = StdRng::seed_from_u64(seed);
        (0..200)
            .map(|_| fault::draw(&mut random, SECONDS_MAX))
            .collect::<Vec<_>>()
    };
    assert_eq!(drawn(7), drawn(7));
    assert_ne!(drawn(7), drawn(8));
    let pairs: Vec<_> = drawn(7)
        .into_iter()
        .filter(|faults| faults.len() == 2)
        .collect();
    holds((60..140).contains(&pairs.len()), || pairs.len().to_string()).expect("about half");
    assert!(pairs.iter().all(|pair| pair[0].target != pair[1].target));
}
