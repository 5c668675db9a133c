//! When bars close, and what late trades change in them.

use market_core::{Bar, BarState, Offered, Pipeline, PipelineConfig, Quality, Timeframe};

use crate::driver::{Driver, NOON, trade};

/// The start of each bar, in seconds after noon, and its revision.
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
fn a_bar_whose_first_seen_trade_is_at_its_start_lacks_trades_of_the_same_instant_and_is_partial() {
    let first_bar = |is_up: bool| {
        let mut pipeline = Pipeline::new(&PipelineConfig::default());
        if is_up {
            pipeline.feed_up(NOON - 20_000);
        }
        let mut driver = Driver {
            pipeline,
            now: NOON,
            out: Vec::new(),
        };
        // The trade with id 6 may have happened in the same millisecond.
        driver.offer(&trade(7, NOON, 10_000));
        driver
            .at(NOON + 60_500)
            .offer(&trade(8, NOON + 60_500, 10_000));
        driver.at(NOON + 125_000);
        driver.bars(Timeframe::MINUTE)[0].quality
    };
    assert_eq!(first_bar(false), Quality::Partial);
    // The subscription was there before: nothing of the bar was missed.
    assert_eq!(first_bar(true), Quality::Complete);
}
