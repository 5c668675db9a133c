//! Clocks that are wrong, and what is lost or not because of them.

use market_core::pipeline::BackfillOutcome;
use market_core::{GapEventState, Offered, Origin, Pipeline, PipelineConfig, Quality, Timeframe};

use crate::driver::{Driver, NOON, trade};

const HOUR_MS: i64 = 3_600_000;

#[test]
fn what_rest_gave_before_the_clock_was_right_is_asked_for_again() {
    let mut driver = Driver::new();
    // The venue's clock is estimated two hours late, as of a trade that was old.
    driver.offer(&trade(1, NOON - 500, 10_000));
    driver.at(NOON);
    driver.pipeline.suspect(NOON);
    driver.at(NOON + 50);
    let missed = trade(2, NOON + 2 * HOUR_MS, 10_100);
    let request = driver.requests()[0];
    assert_eq!(driver.fetched(&missed), Offered::Future);
    driver.ended(request.id, BackfillOutcome::Done);
    driver.at(NOON + 2 * HOUR_MS + 50);
    assert_eq!(driver.requests().len(), 2, "it is not answered yet");
    driver.answer(&[missed]);
    driver.run_to(NOON + 2 * HOUR_MS + 5_000);
    assert_eq!(
        driver.bar(Timeframe::SECOND, NOON + 2 * HOUR_MS),
        Some((Quality::Complete, 1))
    );
}

#[test]
fn trades_are_lost_only_when_three_answers_have_lacked_them() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON - 500, 10_000));
    driver.at(NOON);
    driver.offer(&trade(3, NOON + 100, 10_000));
    driver.run_to(NOON + 500);
    // Nothing is asked for a minute: each answer comes that late.
    for answers in 1..=3 {
        assert!(!driver.gap_states().contains(&GapEventState::Lost));
        driver.run_to(driver.now + 60_000);
        driver.answer(&[]);
        assert_eq!(driver.requests().len(), answers);
        driver.run_to(driver.now + 5_000);
    }
    assert_eq!(driver.gap_states().last(), Some(&GapEventState::Lost));
}

#[test]
fn a_step_of_the_venues_clock_makes_no_gap_old() {
    let config = PipelineConfig::default();
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON - 500, 10_000));
    driver.at(NOON);
    driver.offer(&trade(3, NOON + 100, 10_000));
    driver.run_to(NOON + 500);
    // The estimate steps ahead, back, and ahead again, while two seconds pass.
    for step in 1..=40 {
        let steady_ms = NOON + 500 + step * 50;
        let stepped_ms = [config.gap_give_up_ms + 1, -30_000][(step % 2) as usize];
        driver
            .pipeline
            .tick(steady_ms + stepped_ms, steady_ms, &mut driver.out);
        if let Some(request) = driver.requests().last().copied()
            && driver.pipeline.awaits(request.id)
        {
            driver.ended(request.id, BackfillOutcome::Done);
        }
    }
    assert_eq!(driver.requests().len(), 2, "asked again after a second");
    assert_eq!(driver.gap_states(), [GapEventState::Open]);
}

#[test]
fn where_the_venues_clock_was_set_back_in_a_gap_all_times_of_it_say_gap() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 500, 10_000));
    driver.at(NOON + 900);
    driver.pipeline.feed_down(NOON + 900);
    driver.run_to(NOON + 40_000);
    driver.pipeline.feed_up(NOON + 40_000);
    // Trades 2 to 4 happened before the venue's clock was set back by half a minute.
    driver.offer(&trade(6, NOON + 10_200, 10_000));
    driver.at(NOON + 40_050);
    let come = [
        trade(2, NOON + 35_500, 10_000),
        trade(4, NOON + 37_500, 10_000),
        trade(5, NOON + 10_000, 10_000),
    ];
    while !driver.gap_states().contains(&GapEventState::Lost) {
        assert!(driver.now < NOON + HOUR_MS, "the answers end the gap");
        for request in driver.requests() {
            if driver.pipeline.awaits(request.id) {
                for trade in &come {
                    driver.fetched(trade);
                }
                driver.ended(request.id, BackfillOutcome::Done);
            }
        }
        driver.run_to(driver.now + 1_000);
    }
    // Trade 3 is in the bar of the 36th second, or next to it.
    let quality = |second: i64| {
        let bar = driver.bar(Timeframe::SECOND, NOON + second * 1_000);
        bar.map(|(quality, _)| quality)
    };
    assert_eq!([35, 36, 37].map(quality), [Some(Quality::Gap); 3]);
}

/// The feed is back after an outage in which the venue's clock was set back by half a minute.
fn back_after_the_clock_was_set_back() -> Driver {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 500, 10_000));
    driver.run_to(NOON + 39_500);
    driver.offer(&trade(2, NOON + 39_500, 10_000));
    driver.run_to(NOON + 40_000);
    driver.pipeline.feed_down(NOON + 40_000);
    driver.run_to(NOON + 45_000);
    driver.pipeline.feed_up(NOON + 45_000);
    driver.run_to(NOON + 45_050);
    driver
}

#[test]
fn where_the_venues_clock_was_set_back_in_an_outage_the_jump_after_it_marks_the_earlier_times() {
    let mut driver = back_after_the_clock_was_set_back();
    // Trades 3 to 5 happened before it, by the clock that was set back.
    driver.offer(&trade(6, NOON + 15_200, 10_000));
    while !driver.gap_states().contains(&GapEventState::Lost) {
        assert!(driver.now < NOON + HOUR_MS, "the answers end the gap");
        driver.run_to(driver.now + 1_000);
        for request in driver.requests() {
            if driver.pipeline.awaits(request.id) {
                driver.ended(request.id, BackfillOutcome::Done);
            }
        }
    }
    driver.run_to(driver.now + 1_000);
    let quality = |second: i64| {
        let bar = driver.bar(Timeframe::SECOND, NOON + second * 1_000);
        bar.map(|(quality, _)| quality)
    };
    assert_eq!([15, 16, 39].map(quality), [Some(Quality::Gap); 3]);
}

#[test]
fn where_the_venues_clock_was_set_back_in_an_outage_its_open_end_begins_with_the_newest_trade() {
    for origin in [Origin::Live, Origin::Backfill] {
        let mut driver = back_after_the_clock_was_set_back();
        let next = trade(3, NOON + 15_200, 10_000);
        let now = driver.now;
        driver.pipeline.offer(&next, origin, now, &mut driver.out);
        // REST does not say whether trades came after it.
        driver.run_to(NOON + 60_000);
        let quality = |second: i64| {
            let bar = driver.bar(Timeframe::SECOND, NOON + second * 1_000);
            bar.map(|(quality, _)| quality)
        };
        assert_eq!(
            [15, 16, 39].map(quality),
            [Some(Quality::Gap); 3],
            "{origin:?}"
        );
    }
}

#[test]
fn an_answer_to_what_was_asked_before_the_symbol_was_joined_anew_is_no_first_trade() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON - 500, 10_000));
    driver.offer(&trade(2, NOON - 400, 10_000));
    driver.at(NOON);
    let checkpoint = driver.pipeline.checkpoint().expect("small").encode("");
    let config = PipelineConfig::default();
    driver.pipeline = Pipeline::restore(&config, "", &checkpoint).expect("own checkpoint");
    let late_ms = NOON + config.checkpoint_age_max_ms + 1;
    driver.pipeline.feed_up(late_ms);
    driver.at(late_ms);
    assert_eq!(
        driver.fetched(&trade(2, NOON - 400, 10_000)),
        Offered::BeforeJoin
    );
    assert_eq!(
        driver.offer(&trade(9, late_ms, 10_000)),
        Offered::InBar,
        "the stream's trade is the first one"
    );
    assert_eq!(
        driver.fetched(&trade(1, NOON - 500, 10_000)),
        Offered::BeforeJoin
    );
}
