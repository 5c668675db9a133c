//! Deterministic simulation: the feeds of a few symbols, with a seeded adversary, on a virtual clock.
//!
//! The venue has a tape of trades. The pipeline sees them reordered, duplicated, and delayed within
//! and beyond the window. Feeds are cut and silent, for longer than any limit. REST gives overlapping
//! pages; it may fail, lag or lack trades, and the symbols share one budget of requests. The process
//! may be killed and restored from an old checkpoint. Both clocks may be wrong and may step. A wrong
//! id may come, ids may jump or start again, and the first trade may be days old. Whatever happens:
//! every bar equals the fold of the trades that came, every trade that REST has comes in the end, and
//! a bar that lacks a trade says so.
//!
//! `KLINECAST_SEEDS=20000` sets how many seeds run, `KLINECAST_SEED=17` replays one alone.

mod adversary;
mod feed;
mod judge;
mod tape;
mod world;

use market_core::{PipelineConfig, TimeframeSet};

use crate::adversary::Random;
use crate::feed::Feed;
use crate::judge::judge;
use crate::tape::{Tape, tape};
use crate::world::Budget;

const START_MS: i64 = 1_723_463_990_000;
const STEP_MS: i64 = 50;
const SEEDS: u64 = 4_000;

fn simulate(seed: u64) {
    let mut random = Random(seed);
    let timeframes: TimeframeSet = "1s,5s,1m".parse().expect("set");
    let config = PipelineConfig {
        timeframes: timeframes.clone(),
        gap_give_up_ms: 60_000,
        ..PipelineConfig::default()
    };
    // Outages may be longer than these, too.
    let config = if random.one_in(3) {
        PipelineConfig {
            late_horizon_ms: 120_000,
            checkpoint_age_max_ms: 200_000,
            ..config
        }
    } else {
        config
    };
    let symbols = if random.one_in(4) { 3 } else { 1 };
    let mut budget = Budget {
        per_s: [1_000, 3, 1][random.below(3) as usize],
        left: 0,
        second: 0,
    };
    let tapes: Vec<Tape> = (0..symbols).map(|_| tape(&mut random)).collect();
    let feeds = tapes
        .iter()
        .map(|tape| Feed::new(tape, &config, Random(random.next())));
    let mut feeds: Vec<Feed<'_>> = feeds.collect();
    let newest_ms = feeds.iter().map(|feed| feed.newest_ms).max();
    let newest_ms = newest_ms.unwrap_or_default();
    let end_ms = feeds.iter().map(Feed::end_ms).max().unwrap_or_default();
    let mut now_ms = START_MS - 25_000;
    while now_ms < end_ms {
        // Long after the last trade, nothing hangs on a twentieth of a second.
        let is_over = now_ms > newest_ms + 110_000;
        now_ms += if is_over { 5 * STEP_MS } else { STEP_MS };
        for feed in &mut feeds {
            feed.step(now_ms, &mut budget);
        }
    }
    for feed in &feeds {
        judge(&feed.run, &timeframes);
    }
}

#[test]
fn bars_equal_the_fold_of_all_trades_whatever_happens_on_the_way() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    if let Some(seed) = number("KLINECAST_SEED") {
        simulate(seed);
        return;
    }
    let seeds = number("KLINECAST_SEEDS").unwrap_or(SEEDS);
    let workers = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    let failed: Vec<u64> = std::thread::scope(|scope| {
        let run = |worker: u64| {
            let is_failure = |seed: &u64| std::panic::catch_unwind(|| simulate(*seed)).is_err();
            let of_worker = (worker..seeds).step_by(workers as usize);
            of_worker.filter(is_failure).collect::<Vec<_>>()
        };
        let workers: Vec<_> = (0..workers)
            .map(|worker| scope.spawn(move || run(worker)))
            .collect();
        let failed = workers.into_iter();
        failed
            .flat_map(|worker| worker.join().expect("panics are caught"))
            .collect()
    });
    assert!(
        failed.is_empty(),
        "seeds {failed:?} failed; replay one alone with KLINECAST_SEED={}",
        failed[0]
    );
}
