//! Trades that are missing for long, come late, or never.

use market_core::pipeline::BackfillOutcome;
use market_core::{GapEventState, Offered, Pipeline, PipelineConfig, Price, Quality, Quantity};
use market_core::{Output, Timeframe, Trade};

use crate::driver::{Driver, NOON, trade};

const DAY_MS: i64 = 86_400_000;

#[test]
fn an_old_first_trade_makes_no_flat_bars_before_the_join() {
    let mut pipeline = Pipeline::new(&PipelineConfig::default());
    pipeline.feed_up(NOON);
    let mut driver = Driver {
        pipeline,
        now: NOON,
        out: Vec::new(),
    };
    driver.offer(&trade(1, NOON - 3 * DAY_MS, 10_000));
    driver.offer(&trade(2, NOON + 500, 10_100));
    driver.at(NOON + 5_001);
    let seconds = driver.bars(Timeframe::SECOND);
    let starts: Vec<i64> = seconds
        .iter()
        .map(|bar| (bar.start_ms - NOON) / 1_000)
        .collect();
    assert_eq!(starts, [-3 * DAY_MS / 1_000, 0, 1, 2]);
    assert_eq!(
        seconds[1].previous_close.map(|price| price.to_string()),
        Some("100".into())
    );
    // A trade of the time between still has its bar.
    let mut between = trade(0, NOON - 100_000, 10_050);
    (between.first_id, between.last_id) = (0, 0);
    assert!(matches!(driver.offer(&between), Offered::Late { .. }));
    driver.at(NOON + 5_300);
    assert_eq!(
        driver.effective()[&(Timeframe::SECOND, NOON - 100_000)].rev,
        0,
        "nobody was told of a flat one"
    );
}

/// The seconds of a symbol whose last trade is so old when its feed begins, and whose first trade
/// after that has this id: starts, since the begin, and qualities.
fn first_seconds(age_s: i64, next_id: u64) -> Vec<(i64, Quality)> {
    let mut pipeline = Pipeline::new(&PipelineConfig::default());
    pipeline.feed_up(NOON + 400);
    let mut driver = Driver {
        pipeline,
        now: NOON + 400,
        out: Vec::new(),
    };
    driver.offer(&trade(1, NOON - age_s * 1_000, 10_000));
    driver.at(NOON + 450);
    driver.offer(&trade(next_id, NOON + 500, 10_100));
    driver.run_to(NOON + 60_000);
    let seconds = driver.effective().into_values();
    let seconds = seconds.filter(|bar| bar.timeframe == Timeframe::SECOND && bar.start_ms <= NOON);
    seconds
        .map(|bar| ((bar.start_ms - NOON) / 1_000, bar.quality))
        .collect()
}

#[test]
fn seconds_between_a_last_trade_and_the_join_are_flat_where_they_are_few() {
    use Quality::{Complete, Filled, Gap, Partial};
    let at_noon = [(0, Complete)];
    for age_s in [2, 17, 61] {
        let flat = (1 - age_s..0).map(|start_s| (start_s, Filled));
        let expected: Vec<_> = [(-age_s, Partial)]
            .into_iter()
            .chain(flat)
            .chain(at_noon)
            .collect();
        assert_eq!(first_seconds(age_s, 2), expected, "{age_s}");
    }
    assert_eq!(first_seconds(62, 2), [(-62, Partial), (0, Complete)]);
    // A trade between the two is missing.
    let lacking = first_seconds(5, 3);
    let all: Vec<_> = (-5..=0).map(|start_s| (start_s, Gap)).collect();
    assert_eq!(lacking, all);
}

#[test]
fn a_silence_of_days_after_the_first_trade_yields_the_newest_flat_bars_only() {
    let mut driver = Driver::of("1s,1m");
    driver.offer(&trade(1, NOON, 10_000));
    driver.at(NOON + 30 * DAY_MS);
    let seconds = driver.bars(Timeframe::SECOND);
    assert_eq!(
        seconds.len(),
        20_001,
        "the trade's bar and FILL_MAX flat ones"
    );
    assert!(
        driver.pipeline.kept_bars() < 10,
        "flat bars are kept as one"
    );
}

#[test]
fn an_outage_longer_than_the_give_up_time_is_asked_for_and_healed() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 100, 10_000));
    driver.pipeline.feed_down(NOON + 200);
    driver.run_to(NOON + 1_500_000);
    driver.pipeline.feed_up(driver.now);
    driver.at(driver.now + 10);
    // A live trade comes before REST has answered.
    let head = trade(9, driver.now, 10_000);
    driver.offer(&head);
    driver.run_to(NOON + 1_500_400);
    assert_eq!(driver.gap_states(), [GapEventState::Open]);
    let missed: Vec<Trade> = (2..9)
        .map(|id| trade(id, NOON + id as i64 * 150_000, 10_000))
        .collect();
    driver.answer(&missed);
    driver.run_to(NOON + 1_504_000);
    assert_eq!(
        driver.gap_states(),
        [GapEventState::Open, GapEventState::Filled]
    );
    let effective = driver.effective();
    assert!(effective.values().all(|bar| bar.quality != Quality::Gap));
    for missed in &missed {
        let start_ms = Timeframe::SECOND.start_of(missed.event_ms);
        let healed = driver.bar(Timeframe::SECOND, start_ms);
        assert_eq!(healed, Some((Quality::Backfilled, 1)), "{missed:?}");
    }
    let hour = driver.forming();
    assert_eq!(
        hour.last().and_then(|bar| bar.fold).map(|fold| fold.count),
        Some(9)
    );
}

#[test]
fn trades_that_were_given_up_are_taken_when_they_come_all_the_same() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 100, 10_000));
    driver.offer(&trade(4, NOON + 400, 10_000));
    driver.run_to(NOON + 400_000);
    assert_eq!(
        driver.gap_states(),
        [GapEventState::Open],
        "an answer is waited for"
    );
    driver.ended(driver.requests()[0].id, BackfillOutcome::Failed);
    driver.run_to(NOON + 400_100);
    assert_eq!(driver.gap_states().last(), Some(&GapEventState::Lost));
    for id in [2, 3] {
        let late = trade(id, NOON + 100 * id as i64, 10_000);
        assert!(matches!(driver.offer(&late), Offered::Late { .. }));
        assert_eq!(driver.offer(&late), Offered::Duplicate);
    }
    driver.run_to(NOON + 401_000);
    assert_eq!(driver.gap_states().last(), Some(&GapEventState::Filled));
    let healed = driver.bar(Timeframe::SECOND, NOON);
    assert_eq!(healed, Some((Quality::Backfilled, 4)));
}

#[test]
fn trades_fetched_before_the_venues_clock_is_known_are_taken() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 100, 10_000));
    driver.pipeline.feed_down(NOON + 200);
    // The process starts again on a host whose clock is 30 s behind.
    let checkpoint = driver.pipeline.checkpoint().expect("small").encode("");
    driver.pipeline =
        Pipeline::restore(&PipelineConfig::default(), "", &checkpoint).expect("own checkpoint");
    driver.now = NOON + 30_000;
    driver.pipeline.feed_up(driver.now);
    driver.at(NOON + 30_010);
    driver.answer(&[trade(2, NOON + 59_000, 10_000)]);
    assert_eq!(driver.pipeline.next_id(), Some(3));
    driver.run_to(NOON + 70_000);
    assert_eq!(
        driver.bar(Timeframe::MINUTE, NOON),
        Some((Quality::Complete, 2))
    );
}

#[test]
fn a_gap_that_the_venue_did_not_answer_for_is_asked_for_again_until_it_does() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 100, 10_000));
    driver.offer(&trade(4, NOON + 400, 10_000));
    let mut answered = 0;
    // REST refuses for 40 minutes, which is longer than the gap is tried for.
    while driver.now < NOON + 2_400_000 {
        driver.at(driver.now + 50);
        for request in driver.requests().split_off(answered) {
            answered += 1;
            driver.ended(request.id, BackfillOutcome::Failed);
        }
    }
    assert_eq!(
        driver.gap_states(),
        [GapEventState::Open, GapEventState::Lost],
        "told once"
    );
    assert!(answered < 40, "asked {answered} times, which is no flood");
    driver.run_to(NOON + 2_800_000);
    driver.answer(&[trade(2, NOON + 200, 10_000), trade(3, NOON + 300, 10_000)]);
    driver.run_to(NOON + 2_801_000);
    assert_eq!(driver.gap_states().last(), Some(&GapEventState::Filled));
    assert_eq!(
        driver.bar(Timeframe::SECOND, NOON),
        Some((Quality::Backfilled, 4))
    );
}

#[test]
fn a_bar_that_lacks_trades_never_says_complete_though_they_came_too_late_for_the_narrow_ones() {
    let mut driver = Driver::of("1s,1m,1h");
    driver.offer(&trade(1, NOON + 100, 10_000));
    driver.offer(&trade(10, NOON + 60_000, 10_000));
    // Nobody has them, so their seconds and minutes are not kept for them.
    let mut answered = 0;
    while driver.now < NOON + 1_500_000 {
        driver.at(driver.now + 500);
        for request in driver.requests().split_off(answered) {
            answered += 1;
            driver.ended(request.id, BackfillOutcome::Done);
        }
    }
    assert_eq!(driver.gap_states().last(), Some(&GapEventState::Lost));
    assert_eq!(driver.forming()[0].quality, Quality::Gap);
    for id in 2..9 {
        driver.fetched(&trade(id, NOON + 1_000 * id as i64, 10_000));
    }
    driver.run_to(NOON + 1_510_000);
    let hour = driver.forming()[0];
    assert_eq!(
        (hour.quality, hour.fold.map(|fold| fold.count)),
        (Quality::Gap, Some(9)),
        "id 9 is still missing"
    );
    driver.fetched(&trade(9, NOON + 9_000, 10_000));
    driver.run_to(NOON + 1_511_000);
    let hour = driver.forming()[0];
    assert_eq!(
        (hour.quality, hour.fold.map(|fold| fold.count)),
        (Quality::Complete, Some(10))
    );
}

#[test]
fn a_silence_that_ids_prove_to_be_a_gap_is_marked_however_long_it_was() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 100, 10_000));
    driver.run_to(NOON + 3_600_000);
    assert_eq!(
        driver.bar(Timeframe::SECOND, NOON + 60_000),
        Some((Quality::Filled, 0))
    );
    driver.offer(&trade(500, NOON + 3_600_000, 10_000));
    driver.run_to(NOON + 3_612_000);
    for start_ms in [NOON + 60_000, NOON + 3_000_000, NOON + 3_590_000] {
        let marked = driver.bar(Timeframe::SECOND, start_ms);
        assert_eq!(marked, Some((Quality::Gap, 0)), "{start_ms}");
    }
    assert_eq!(
        driver.bar(Timeframe::MINUTE, NOON + 600_000),
        Some((Quality::Gap, 0))
    );
}

#[test]
fn trades_shuffled_within_the_window_are_all_counted_however_many_ids_are_missing_at_once() {
    let mut driver = Driver::of("1s,1m");
    // 4,000 trades in 2 s, first those with even ids, then the others.
    let at = |id: u64| trade(id, NOON + id as i64 / 2, 10_000);
    driver.offer(&at(0));
    for id in (2..4_000).step_by(2).chain((1..4_000).step_by(2)) {
        driver.offer(&at(id));
    }
    assert_eq!(driver.pipeline.counts().in_bar, 4_000);
    driver.run_to(NOON + 10_000);
    assert_eq!(
        driver.bar(Timeframe::SECOND, NOON),
        Some((Quality::Complete, 2_000))
    );
}

#[test]
fn more_missing_spans_than_are_tracked_leave_gaps_and_lose_nothing_that_came() {
    let mut driver = Driver::of("1s,1m");
    let at = |id: u64| trade(id, NOON + id as i64 / 8, 10_000);
    driver.offer(&at(0));
    for id in (2..16_000).step_by(2) {
        assert_eq!(driver.offer(&at(id)), Offered::InBar);
    }
    driver.run_to(NOON + 400_000);
    let (quality, count) = driver.bar(Timeframe::MINUTE, NOON).expect("closed");
    assert_eq!((quality, count), (Quality::Gap, 8_000));
}

#[test]
fn more_lost_gaps_than_are_kept_never_count_as_filled() {
    let mut driver = Driver::of("1s,1m,1h");
    let mut damaged = Vec::new();
    for step in 0..1_500u64 {
        let at = NOON + step as i64 * 300;
        driver.run_to(at);
        driver.offer(&trade(2 * step, at, 10_000));
        damaged.push(Timeframe::SECOND.start_of(at));
    }
    let mut answered = 0;
    while driver.now < NOON + 470_000 {
        driver.at(driver.now + 50);
        for request in driver.requests().split_off(answered) {
            answered += 1;
            driver.ended(request.id, BackfillOutcome::Done);
        }
    }
    driver.run_to(NOON + 800_000);
    for start_ms in damaged {
        let (quality, _) = driver.bar(Timeframe::SECOND, start_ms).expect("closed");
        assert_eq!(quality, Quality::Gap, "{}", start_ms - NOON);
    }
    assert!(!driver.gap_states().contains(&GapEventState::Filled));
}

#[test]
fn revisions_of_a_bar_come_at_most_four_times_a_second_and_the_last_is_not_lost() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 100, 10_000));
    driver.run_to(NOON + 10_000);
    let before = driver.out.len();
    for id in 2..42 {
        driver.offer(&trade(id, NOON + 100 + id as i64, 10_000 + id));
        driver.run_to(driver.now + 50);
    }
    driver.run_to(driver.now + 1_000);
    let is_revision = |output: &&Output| matches!(output, Output::Bar(bar) if bar.start_ms == NOON && bar.timeframe == Timeframe::SECOND);
    let revisions = driver.out[before..].iter().filter(is_revision).count();
    assert!((2..=9).contains(&revisions), "{revisions} in two seconds");
    assert_eq!(
        driver.bar(Timeframe::SECOND, NOON),
        Some((Quality::Complete, 41))
    );
}

#[test]
fn a_young_gap_holds_back_only_the_revisions_that_it_touches() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 100, 10_000));
    driver.run_to(NOON + 20_000);
    driver.offer(&trade(2, NOON + 200, 10_000));
    driver.offer(&trade(3, NOON + 20_000, 10_000));
    // Another gap every second, which nobody fills.
    for step in 0..20u64 {
        let at = driver.now;
        driver.offer(&trade(10 + 10 * step, at, 10_000));
        driver.run_to(at + 1_000);
    }
    assert_eq!(
        driver.bar(Timeframe::SECOND, NOON),
        Some((Quality::Complete, 2))
    );
}

#[test]
fn a_flat_bar_that_said_gap_is_filled_once_the_gap_is_known_to_be_none() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 100, 10_000));
    driver.pipeline.feed_down(NOON + 200);
    driver.run_to(NOON + 20_000);
    assert_eq!(
        driver.bar(Timeframe::SECOND, NOON + 5_000),
        Some((Quality::Gap, 0))
    );
    driver.pipeline.feed_up(driver.now);
    driver.at(driver.now + 10);
    driver.answer(&[]);
    // After an outage the venue is asked twice.
    driver.run_to(NOON + 21_100);
    driver.answer(&[]);
    driver.run_to(NOON + 22_000);
    assert_eq!(
        driver.bar(Timeframe::SECOND, NOON + 5_000),
        Some((Quality::Filled, 0))
    );
}

#[test]
fn a_join_at_an_unknown_time_leaves_its_bar_partial() {
    let mut pipeline = Pipeline::new(&PipelineConfig::default());
    // This host's clock is 50 s behind, and no frame has told the venue's.
    pipeline.feed_up(NOON - 10_000);
    pipeline.forget_join_time();
    let mut driver = Driver {
        pipeline,
        now: NOON + 40_100,
        out: Vec::new(),
    };
    driver.offer(&trade(7, NOON + 40_100, 10_000));
    driver.run_to(NOON + 63_000);
    assert_eq!(
        driver.bar(Timeframe::MINUTE, NOON),
        Some((Quality::Partial, 1))
    );
}

#[test]
fn a_sum_of_more_than_38_digits_says_gap() {
    let mut driver = Driver::of("1s,1m");
    let mut wide = trade(1, NOON + 100, 10_000);
    wide.price = Price::parse("1234567890.123456789012345678").expect("price");
    wide.quantity = Quantity::parse("1000000000.000000000000000001").expect("quantity");
    driver.offer(&wide);
    driver.offer(&trade(2, NOON + 1_100, 10_000));
    driver.run_to(NOON + 65_000);
    assert_eq!(driver.bar(Timeframe::SECOND, NOON), Some((Quality::Gap, 1)));
    assert_eq!(driver.bar(Timeframe::MINUTE, NOON), Some((Quality::Gap, 2)));
    assert_eq!(
        driver.bar(Timeframe::SECOND, NOON + 1_000),
        Some((Quality::Complete, 1))
    );
}
