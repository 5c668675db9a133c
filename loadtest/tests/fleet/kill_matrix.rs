//! Each process of a fleet that has two of everything is killed, stopped, started again or cut off,
//! alone or with another one, under load. scripts/kill-matrix.sh runs many seeds.

use loadtest::network::{self, Inside};
use loadtest::wait::holds;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::outages::is_slow_wanted;
use crate::takeover::number;

mod fault;
mod journal;
mod own;
mod programs;
mod world;

use fault::{Fault, Kind, Target};
use world::World;

const THIS: &str = "kill_matrix::whatever_dies_stops_or_is_cut_off_alone_or_with_another_the_bars_are_true_and_told";
/// Runs of a seed, in one fleet.
const RUNS: u64 = 5;
/// The longest standstill or cut that is drawn, s.
const SECONDS_MAX: u64 = 12;

/// What runs where nobody names a seed: the publisher and the broker die while a gateway is cut off, and
/// the standby has a wrong clock while the disk of history is full and alerts dies. With `KLINECAST_SLOW=1` also the publisher
/// stands still while the leader of its stream dies, history ends while a gateway is cut off, and the
/// packets of the stream's leader are dropped.
fn sample() -> Vec<Vec<Fault>> {
    let mut runs = vec![
        vec![
            Fault::new(Target::Holder, Kind::Killed, 0, 500),
            Fault::new(Target::Gateway, Kind::Dropped, 200, 1_500),
            Fault::new(Target::Broker, Kind::Killed, 0, 500),
        ],
        vec![
            Fault::new(Target::Standby, Kind::ClockSet(60), 0, 2_000),
            Fault::new(Target::History, Kind::Full, 200, 2_000),
            Fault::new(Target::Alerts, Kind::Killed, 0, 500),
        ],
    ];
    if is_slow_wanted() {
        runs.extend([
            vec![
                Fault::new(Target::Holder, Kind::Stopped, 0, 2_000),
                Fault::new(Target::NatsLeader, Kind::Killed, 500, 500),
            ],
            vec![
                Fault::new(Target::Gateway, Kind::Cut, 0, 1_500),
                Fault::new(Target::History, Kind::Killed, 200, 300),
            ],
            vec![Fault::new(Target::NatsLeader, Kind::Dropped, 0, 5_000)],
        ]);
    }
    runs
}

/// `KLINECAST_SEED=7` draws the faults of that seed, `KLINECAST_RUNS=3` the first three of them.
/// `KLINECAST_FAULTS` has the faults of each run as a report describes them, for what was found before
/// seeds drew other faults.
fn runs() -> Vec<Vec<Fault>> {
    if let Ok(text) = std::env::var("KLINECAST_FAULTS") {
        let runs: Vec<Vec<Value>> = serde_json::from_str(&text).expect("lists of faults");
        let faults = |run: &Vec<Value>| run.iter().map(Fault::of_json).collect();
        return runs.iter().map(faults).collect();
    }
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
    if tokio::task::block_in_place(|| network::enter(THIS)) == Inside::Done {
        return;
    }
    let Some(mut world) = World::start().await else {
        return;
    };
    for (index, mut faults) in runs().into_iter().enumerate() {
        let all = faults.len();
        faults.retain(|fault| world.can_meet(fault.kind));
        assert!(
            faults.len() == all || number("KLINECAST_SEED").is_none(),
            "this machine does not allow every fault of the seed: see above"
        );
        let described: Vec<Value> = faults.iter().map(Fault::json).collect();
        println!("begins: {}", json!({"run": index, "faults": described}));
        let outcome = world.meet(&faults).await;
        let described = json!({
            "run": index,
            "faults": described,
            "worst_ms": outcome.worst.as_millis(),
            "best_ms": outcome.best.as_millis(),
            "whole_ms": outcome.whole.as_millis(),
            "skipped": outcome.skipped,
            "missing": outcome.missing,
            "revisions": outcome.revisions,
        });
        println!("run: {described}");
    }
    world.check_stored().await;
    println!("stored: true and once");
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
    for fault in drawn(7).concat() {
        assert_eq!(Fault::of_json(&fault.json()), fault);
    }
    let pairs: Vec<_> = drawn(7)
        .into_iter()
        .filter(|faults| faults.len() == 2)
        .collect();
    holds((60..140).contains(&pairs.len()), || pairs.len().to_string()).expect("about half");
    assert!(pairs.iter().all(|pair| pair[0].target != pair[1].target));
}
