//! Bars do not depend on the order of arrival, and wide ones are the fold of narrow ones.

use std::collections::BTreeMap;

use market_core::{Fold, Pipeline, PipelineConfig, Quality, Timeframe, TimeframeSet, Trade};
use proptest::prelude::*;

use crate::driver::{Driver, NOON, trade};

#[test]
fn weeks_and_months_are_the_fold_of_days() {
    let timeframes: TimeframeSet = "1h,1d,1w,1M".parse().expect("set");
    let mut pipeline = Pipeline::new(&PipelineConfig {
        timeframes: timeframes.clone(),
        ..PipelineConfig::default()
    });
    pipeline.feed_up(NOON - 3_600_000);
    let mut driver = Driver {
        pipeline,
        now: NOON,
        out: Vec::new(),
    };
    let trades: Vec<Trade> = (1..=300)
        .map(|id| trade(id, NOON + id as i64 * 17_777_777, 10_000 + id * 37 % 500))
        .collect();
    for trade in &trades {
        driver.at(trade.event_ms).offer(trade);
    }
    driver.at(NOON + 120 * 86_400_000);
    let effective = driver.effective();
    let expected = oracle(&trades, &timeframes);
    for (key, fold) in &expected {
        assert_eq!(effective[key].fold.as_ref(), Some(fold), "{key:?}");
    }
    assert_eq!(
        effective.values().filter(|bar| bar.fold.is_some()).count(),
        expected.len()
    );
}

/// Bars by definition: every trade of the interval, in order of time and id.
pub(crate) fn oracle(
    trades: &[Trade],
    timeframes: &TimeframeSet,
) -> BTreeMap<(Timeframe, i64), Fold> {
    let mut sorted = trades.to_vec();
    sorted.sort_by_key(|trade| (trade.event_ms, trade.first_id));
    let mut bars: BTreeMap<(Timeframe, i64), Fold> = BTreeMap::new();
    for &timeframe in timeframes.as_slice() {
        for trade in &sorted {
            let key = (timeframe, timeframe.start_of(trade.event_ms));
            let single = Fold::of(trade);
            bars.entry(key)
                .and_modify(|fold| {
                    fold.close = trade.price;
                    fold.high = fold.high.max(trade.price);
                    fold.low = fold.low.min(trade.price);
                    let mut merged = *fold;
                    merged.merge(&single);
                    assert_eq!((merged.open, merged.close), (fold.open, fold.close));
                    *fold = merged;
                })
                .or_insert(single);
        }
    }
    bars
}

pub(crate) fn tape() -> impl Strategy<Value = Vec<Trade>> {
    proptest::collection::vec((0i64..2_500, 1u64..2_000), 1..80).prop_map(|steps| {
        let mut at = NOON - 30_000;
        let mut trades = Vec::new();
        for (index, (step, cents)) in steps.into_iter().enumerate() {
            at += step;
            trades.push(trade(1_000 + index as u64, at, 10_000 + cents));
        }
        trades
    })
}

proptest! {
    #[test]
    fn any_arrival_order_within_the_window_gives_the_same_bars(trades in tape(), delays in proptest::collection::vec(0i64..2_000, 80), repeats in any::<u64>()) {
        let timeframes: TimeframeSet = "1s,2s,3s,15s,1m,3m".parse().expect("set");
        let config = PipelineConfig { timeframes: timeframes.clone(), ..PipelineConfig::default() };
        let mut arrivals: Vec<(i64, Trade)> = trades.iter().zip(&delays).map(|(trade, delay)| (trade.event_ms + delay, *trade)).collect();
        for (index, trade) in trades.iter().enumerate() {
            if repeats >> (index % 64) & 1 == 1 {
                arrivals.push((trade.event_ms + 1_999, *trade));
            }
        }
        arrivals.sort_by_key(|(at, _)| *at);
        let mut pipeline = Pipeline::new(&config);
        pipeline.feed_up(arrivals[0].0 - 60_000);
        let mut driver = Driver { pipeline, now: 0, out: Vec::new() };
        for (at, trade) in &arrivals {
            driver.at(*at).offer(trade);
        }
        driver.at(NOON + 500_000);
        let counts = *driver.pipeline.counts();
        prop_assert_eq!(counts.in_bar, trades.len() as u64);
        prop_assert_eq!(counts.offered(), arrivals.len() as u64);
        let mut effective = driver.effective();
        for (key, fold) in oracle(&trades, &timeframes) {
            let bar = effective.remove(&key).expect("every interval with trades has a bar");
            prop_assert_eq!(bar.fold, Some(fold), "{:?}", key);
            prop_assert_eq!(bar.rev, 0);
            prop_assert_ne!(bar.quality, Quality::Gap);
            prop_assert!(fold.low <= fold.open.min(fold.close) && fold.open.max(fold.close) <= fold.high);
        }
        prop_assert!(effective.values().all(|bar| bar.fold.is_none()));
    }

    #[test]
    fn higher_timeframes_equal_the_fold_of_the_lower(trades in tape(), late in proptest::collection::vec(0i64..20_000, 80)) {
        let mut arrivals: Vec<(i64, Trade)> = trades.iter().zip(&late).map(|(trade, delay)| (trade.event_ms + delay, *trade)).collect();
        // What is late from before the first bar is in no bar at all.
        arrivals[0].0 = trades[0].event_ms;
        arrivals.sort_by_key(|(at, _)| *at);
        let timeframes: TimeframeSet = "1s,5s,1m,2m".parse().expect("set");
        let mut pipeline = Pipeline::new(&PipelineConfig { timeframes, ..PipelineConfig::default() });
        pipeline.feed_up(NOON - 3_600_000);
        let mut driver = Driver { pipeline, now: NOON, out: Vec::new() };
        for (at, trade) in &arrivals {
            driver.at(*at).offer(trade);
        }
        driver.at(NOON + 500_000);
        let effective = driver.effective();
        for (lower, higher) in [("1s", "5s"), ("5s", "1m"), ("1m", "2m")] {
            let (lower, higher): (Timeframe, Timeframe) = (lower.parse().expect("timeframe"), higher.parse().expect("timeframe"));
            for bar in effective.values().filter(|bar| bar.timeframe == higher && bar.fold.is_some()) {
                let mut fold: Option<Fold> = None;
                for part in effective.values().filter(|part| part.timeframe == lower && bar.start_ms <= part.start_ms && part.end_ms <= bar.end_ms) {
                    if let Some(part) = part.fold {
                        fold = Some(fold.map_or(part, |mut fold| { fold.merge(&part); fold }));
                    }
                }
                prop_assert_eq!(bar.fold, fold);
            }
        }
        let counts = driver.pipeline.counts();
        prop_assert_eq!(counts.in_bar + counts.late, trades.len() as u64);
    }
}
