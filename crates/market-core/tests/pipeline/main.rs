//! The pipeline as its driver sees it: trades, ticks, outages in; bars, requests, gap events out.

use std::collections::BTreeMap;

use market_core::pipeline::BackfillOutcome;
use market_core::{
    Bar, BarState, Fold, GapEventState, Offered, Pipeline, PipelineConfig, Quality, Timeframe,
    TimeframeSet, Trade,
};
use proptest::prelude::*;

mod clocks;
mod doubts;
mod driver;
mod frames;
mod losses;
mod memory;
mod outages;

use driver::{Driver, NOON, trade};

fn revs(bars: &[Bar]) -> Vec<(i64, u32)> {
    bars.iter()
        .map(|bar| ((bar.start_ms - NOON) / 1_000, bar.rev))
        .collect()
}

#[test]
fn bar_of_a_silent_market_closes_two_seconds_after_its_end() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 500, 10_000));
    assert!(driver.at(NOON + 3_000).bars(Timeframe::SECOND).is_empty());
    let bars = driver.at(NOON + 3_001).bars(Timeframe::SECOND);
    assert_eq!(
        (bars.len(), bars[0].state, bars[0].quality),
        (1, BarState::Closed, Quality::Complete)
    );
}

#[test]
fn silence_yields_flat_bars_that_say_so() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 500, 10_000));
    let bars = driver.at(NOON + 6_001).bars(Timeframe::SECOND);
    assert_eq!(revs(&bars), [(0, 0), (1, 0), (2, 0), (3, 0)]);
    assert_eq!(bars[3].quality, Quality::Filled);
    assert_eq!(
        bars[3]
            .ohlc()
            .map(|prices| prices.map(|price| price.to_string())),
        Some(["100"; 4].map(String::from))
    );
}

#[test]
fn trade_two_seconds_late_is_on_time_and_one_millisecond_later_it_is_a_revision() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 500, 10_000));
    driver.offer(&trade(3, NOON + 1_500, 10_100));
    driver.at(NOON + 3_000);
    assert_eq!(driver.offer(&trade(2, NOON + 999, 10_200)), Offered::InBar);

    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 500, 10_000));
    driver.offer(&trade(3, NOON + 1_500, 10_100));
    let gap_hold = PipelineConfig::default().gap_hold_ms;
    driver.at(NOON + 1_500).at(NOON + 3_001);
    // The missing id 2 may belong to the bar, so the bar waits, but not for ever.
    assert!(driver.bars(Timeframe::SECOND).is_empty());
    driver.at(NOON + 1_500 + gap_hold + 1);
    assert_eq!(driver.bars(Timeframe::SECOND)[0].quality, Quality::Gap);
    assert!(matches!(
        driver.offer(&trade(2, NOON + 999, 10_200)),
        Offered::Late { .. }
    ));
    driver.at(NOON + 1_500 + gap_hold + 2);
    let effective = driver.effective();
    let bar = effective[&(Timeframe::SECOND, NOON)];
    assert_eq!(
        (bar.rev, bar.quality, bar.fold.map(|fold| fold.count)),
        (1, Quality::Backfilled, Some(2))
    );
    let next = effective[&(Timeframe::SECOND, NOON + 1_000)];
    assert_eq!(
        next.fold.map(|fold| fold.high.to_string()),
        Some("101".into()),
        "the next bar is untouched"
    );
}

#[test]
fn late_trade_revises_every_timeframe_that_has_closed_and_the_flat_bars_after_it() {
    let mut driver = Driver::new();
    driver.offer(&trade(10, NOON + 58_500, 10_000));
    driver.at(NOON + 65_000);
    // An id below the first one ever seen, adjoining it: overtaken while the feed was joined.
    assert!(matches!(
        driver.offer(&trade(9, NOON + 58_600, 10_300)),
        Offered::Late { lateness_ms: 4_400 }
    ));
    driver.at(NOON + 65_050);
    let effective = driver.effective();
    assert_eq!(effective[&(Timeframe::SECOND, NOON + 58_000)].rev, 1);
    assert_eq!(effective[&(Timeframe::MINUTE, NOON)].rev, 1);
    let flat = effective[&(Timeframe::SECOND, NOON + 60_000)];
    assert_eq!((flat.rev, flat.quality), (1, Quality::Filled));
    assert_eq!(
        flat.previous_close.map(|price| price.to_string()),
        Some("103".into())
    );
    let forming: Vec<_> = driver
        .forming()
        .iter()
        .map(|bar| (bar.timeframe, bar.fold.map(|fold| fold.count)))
        .collect();
    assert_eq!(
        forming,
        [(Timeframe::HOUR, Some(2)), (Timeframe::DAY, Some(2))]
    );
}

#[test]
fn trade_beyond_the_horizon_is_in_the_bars_that_still_have_their_time() {
    let mut driver = Driver::new();
    driver.offer(&trade(10, NOON + 500, 10_000));
    driver.at(NOON + 912_000);
    driver.offer(&trade(11, NOON + 912_000, 10_000));
    driver.at(NOON + 1_000_000);
    let bars_before = driver.out.len();
    assert!(matches!(
        driver.offer(&trade(9, NOON + 600, 10_000)),
        Offered::Late { .. }
    ));
    driver.at(NOON + 1_000_000);
    assert_eq!(driver.out.len(), bars_before, "the closed ones are final");
    let forming = driver.forming();
    let counts: Vec<_> = forming
        .iter()
        .map(|bar| bar.fold.map(|fold| fold.count))
        .collect();
    assert_eq!(counts, [Some(3), Some(3)], "hour and day");
}

#[test]
fn trade_beyond_the_horizon_of_all_bars_is_counted_and_changes_nothing() {
    let mut driver = Driver::of("1s,1m");
    driver.offer(&trade(10, NOON + 500, 10_000));
    driver.at(NOON + 1_500_000);
    driver.offer(&trade(11, NOON + 1_500_000, 10_000));
    driver.at(NOON + 1_520_000);
    let bars_before = driver.out.len();
    assert!(matches!(
        driver.offer(&trade(9, NOON + 600, 10_000)),
        Offered::BeyondHorizon { .. }
    ));
    driver.at(NOON + 1_520_000);
    assert_eq!(
        (driver.out.len(), driver.pipeline.counts().beyond_horizon),
        (bars_before, 1)
    );
}

#[test]
fn trade_on_a_boundary_opens_the_new_bar() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 999, 10_000));
    driver.offer(&trade(2, NOON + 1_000, 10_500));
    let bars = driver.at(NOON + 4_001).bars(Timeframe::SECOND);
    assert_eq!(
        bars[0].fold.map(|fold| fold.close.to_string()),
        Some("100".into())
    );
    assert_eq!(
        bars[1].fold.map(|fold| fold.open.to_string()),
        Some("105".into())
    );
}

#[test]
fn bar_joined_midway_is_partial_and_the_next_is_complete() {
    let mut pipeline = Pipeline::new(&PipelineConfig::default());
    pipeline.feed_up(NOON + 20_000);
    let mut driver = Driver {
        pipeline,
        now: NOON,
        out: Vec::new(),
    };
    driver.offer(&trade(1, NOON + 25_500, 10_000));
    driver
        .at(NOON + 60_500)
        .offer(&trade(2, NOON + 60_500, 10_000));
    driver.at(NOON + 125_000);
    let qualities: Vec<_> = driver
        .bars(Timeframe::MINUTE)
        .iter()
        .map(|bar| bar.quality)
        .collect();
    assert_eq!(qualities, [Quality::Partial, Quality::Complete]);
}

#[test]
fn gap_is_refetched_before_the_bar_closes_and_leaves_no_mark() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 100, 10_000));
    driver.at(NOON + 400).offer(&trade(4, NOON + 400, 10_000));
    assert!(
        driver.at(NOON + 600).requests().is_empty(),
        "it may be mere disorder"
    );
    let request = driver.at(NOON + 800).requests()[0];
    assert_eq!((request.first_id, request.last_id), (2, Some(3)));
    for id in [2, 3] {
        driver.fetched(&trade(id, NOON + 100 * id as i64, 10_000));
    }
    driver.ended(request.id, BackfillOutcome::Done);
    let bars = driver.at(NOON + 3_001).bars(Timeframe::SECOND);
    assert_eq!(
        (
            bars[0].quality,
            bars[0].rev,
            bars[0].fold.map(|fold| fold.count)
        ),
        (Quality::Complete, 0, Some(4))
    );
    assert_eq!(
        driver.gap_states(),
        [GapEventState::Open, GapEventState::Filled]
    );
}

#[test]
fn trades_that_were_given_up_are_refetched_once_the_venue_is_known_to_have_them() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 100, 10_000));
    driver.offer(&trade(4, NOON + 400, 10_000));
    driver.at(NOON + 500);
    // Half of the gap comes; the rest is nowhere to be had, and is lost.
    driver.at(NOON + 1_000);
    driver.offer(&trade(2, NOON + 200, 10_100));
    let asked = driver.requests()[0].id;
    driver.ended(asked, BackfillOutcome::Failed);
    driver.at(NOON + 400_000);
    driver.at(NOON + 400_100);
    assert_eq!(
        driver.gap_states(),
        [GapEventState::Open, GapEventState::Lost]
    );
    driver.offer(&trade(5, driver.now, 10_000));
    driver.pipeline.refetch(NOON, NOON + 60_000, driver.now);
    let before = driver.requests().len();
    driver.at(NOON + 400_200);
    let request = driver.requests()[before];
    // Only what is still missing.
    assert_eq!((request.first_id, request.last_id), (3, Some(3)));
    // No other bar waits for it.
    driver.at(NOON + 403_001);
    let seconds = driver.bars(Timeframe::SECOND);
    assert!(seconds.iter().any(|bar| bar.start_ms == NOON + 400_000));
    for id in [2, 3] {
        let fetched = trade(id, NOON + 100 * id as i64, 10_100);
        driver.fetched(&fetched);
    }
    driver.ended(request.id, BackfillOutcome::Done);
    driver.at(NOON + 403_100);
    let healed = driver.effective()[&(Timeframe::SECOND, NOON)];
    assert_eq!(
        (healed.quality, healed.fold.map(|fold| fold.count)),
        (Quality::Backfilled, Some(4))
    );
    assert_eq!(driver.gap_states().last(), Some(&GapEventState::Filled));
    // Where nothing was given up, the newest trades are asked for.
    driver.pipeline.refetch(NOON, NOON + 60_000, driver.now);
    driver.at(NOON + 403_200);
    let newest = driver.requests().pop().map(|request| request.last_id);
    assert_eq!(newest, Some(None));
}

#[test]
fn trades_that_nobody_has_leave_a_gap_in_every_timeframe() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 100, 10_000));
    driver.offer(&trade(4, NOON + 400, 10_000));
    let mut answered = 0;
    for step in 0..600 {
        driver.at(NOON + 500 + step * 100);
        for request in driver.requests().split_off(answered) {
            answered += 1;
            driver.ended(request.id, BackfillOutcome::Done);
        }
    }
    assert_eq!(
        driver.gap_states(),
        [GapEventState::Open, GapEventState::Lost]
    );
    assert!(
        answered > 1,
        "a young gap is asked for again, for archives lag"
    );
    driver.at(NOON + 3_700_000);
    let effective = driver.effective();
    for timeframe in [Timeframe::SECOND, Timeframe::MINUTE, Timeframe::HOUR] {
        assert_eq!(
            effective[&(timeframe, NOON)].quality,
            Quality::Gap,
            "{timeframe}"
        );
    }
    assert_eq!(
        effective[&(Timeframe::MINUTE, NOON + 60_000)].quality,
        Quality::Filled
    );
}

#[test]
fn short_outage_is_healed_before_bars_close() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 100, 10_000));
    driver.pipeline.feed_down(NOON + 200);
    assert!(
        driver.at(NOON + 5_000).out.is_empty(),
        "bars wait for the feed"
    );
    driver.pipeline.feed_up(NOON + 5_000);
    let request = driver.at(NOON + 5_010).requests()[0];
    assert_eq!((request.first_id, request.last_id), (2, None));
    driver.fetched(&trade(2, NOON + 2_100, 10_100));
    driver.ended(request.id, BackfillOutcome::Done);
    let bars = driver.at(NOON + 5_020).bars(Timeframe::SECOND);
    let qualities: Vec<_> = bars.iter().map(|bar| (bar.rev, bar.quality)).collect();
    assert_eq!(
        qualities,
        [
            (0, Quality::Complete),
            (0, Quality::Filled),
            (0, Quality::Complete)
        ]
    );
    assert!(driver.gap_states().is_empty());
}

#[test]
fn long_outage_closes_bars_with_a_gap_and_revises_them_after_it() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 100, 10_000));
    driver.pipeline.feed_down(NOON + 200);
    for step in 1..=600 {
        driver.at(NOON + step * 100);
    }
    assert!(
        driver
            .bars(Timeframe::SECOND)
            .iter()
            .all(|bar| bar.quality == Quality::Gap)
    );
    driver.pipeline.feed_up(NOON + 60_000);
    driver.at(NOON + 60_050);
    driver.offer(&trade(4, NOON + 60_060, 10_000));
    let request = *driver.at(NOON + 60_500).requests().last().expect("asked");
    assert_eq!((request.first_id, request.last_id), (2, Some(3)));
    for id in [2, 3] {
        let missed = trade(id, NOON + 10_000 * id as i64, 10_000);
        driver.fetched(&missed);
    }
    driver.ended(request.id, BackfillOutcome::Done);
    driver.at(NOON + 64_000);
    let effective = driver.effective();
    let bar = effective[&(Timeframe::SECOND, NOON + 20_000)];
    assert_eq!(
        (bar.rev, bar.quality, bar.fold.map(|fold| fold.count)),
        (1, Quality::Backfilled, Some(1))
    );
    assert!(effective.values().all(|bar| bar.quality != Quality::Gap));
    assert_eq!(
        effective[&(Timeframe::MINUTE, NOON)]
            .fold
            .map(|fold| fold.count),
        Some(3)
    );
    assert_eq!(
        driver.gap_states(),
        [GapEventState::Open, GapEventState::Filled]
    );
}

#[test]
fn bars_wait_a_second_for_a_suspicion_and_in_full_once_trades_are_known_to_be_missing() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 100, 10_000));
    let closed_until = |driver: &Driver| {
        let seconds = driver.bars(Timeframe::SECOND);
        seconds.iter().map(|bar| bar.start_ms).max().expect("a bar")
    };
    driver.run_to(NOON + 30_000);
    driver.pipeline.suspect(NOON + 30_000);
    // REST does not answer. A second closes when 2 s after its end are over.
    driver.run_to(NOON + 30_950);
    assert_eq!(closed_until(&driver), NOON + 26_000);
    driver.run_to(NOON + 32_500);
    assert_eq!(closed_until(&driver), NOON + 29_000);
    // The stream shows that trades are missing.
    driver.offer(&trade(9, NOON + 32_400, 10_900));
    driver.run_to(NOON + 40_000);
    assert_eq!(closed_until(&driver), NOON + 29_000);
    driver.run_to(NOON + 45_000);
    assert_eq!(closed_until(&driver), NOON + 41_000);
    let (quality, _) = driver
        .bar(Timeframe::SECOND, NOON + 31_000)
        .expect("closed");
    assert_eq!(quality, Quality::Gap);
}

#[test]
fn suspicious_silence_is_asked_about_and_closes_nothing_wrongly() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 100, 10_000));
    driver.at(NOON + 30_000);
    driver.pipeline.suspect(NOON + 30_000);
    let request = driver.at(NOON + 30_010).requests()[0];
    assert_eq!((request.first_id, request.last_id), (2, None));
    driver.fetched(&trade(2, NOON + 10_100, 10_900));
    driver.ended(request.id, BackfillOutcome::Done);
    driver.at(NOON + 30_020);
    let effective = driver.effective();
    let zombie = effective[&(Timeframe::SECOND, NOON + 10_000)];
    assert_eq!((zombie.rev, zombie.quality), (1, Quality::Backfilled));
    let after = effective[&(Timeframe::SECOND, NOON + 20_000)];
    assert_eq!(
        after.previous_close.map(|price| price.to_string()),
        Some("109".into())
    );
}

#[test]
fn restart_from_a_checkpoint_goes_on_exactly() {
    let trades: Vec<Trade> = (1..=400)
        .map(|id| trade(id, NOON + id as i64 * 333, 10_000 + id * 37 % 500))
        .collect();
    let mut undisturbed = Driver::new();
    for trade in &trades {
        undisturbed.at(trade.event_ms).offer(trade);
    }
    undisturbed.at(NOON + 200_000);

    let mut driver = Driver::new();
    for trade in &trades[..150] {
        driver.at(trade.event_ms).offer(trade);
    }
    let checkpoint = driver.pipeline.checkpoint().expect("small").encode("");
    // It ran on for a while after the checkpoint, then was killed, and came back 40 s later.
    for trade in &trades[150..170] {
        driver.at(trade.event_ms).offer(trade);
    }
    let mut before = driver.effective();
    let restored =
        Pipeline::restore(&PipelineConfig::default(), "", &checkpoint).expect("own checkpoint");
    let mut driver = Driver {
        pipeline: restored,
        now: trades[280].event_ms,
        out: Vec::new(),
    };
    driver.pipeline.feed_up(driver.now);
    let request = driver.at(driver.now + 10).requests()[0];
    assert_eq!((request.first_id, request.last_id), (151, None));
    for trade in &trades[150..281] {
        driver.fetched(trade);
    }
    driver.ended(request.id, BackfillOutcome::Done);
    for trade in &trades[281..] {
        driver.at(trade.event_ms).offer(trade);
    }
    driver.at(NOON + 200_000);
    before.extend(driver.effective());
    assert_eq!(before, undisturbed.effective());
}

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
