//! The end of an outage: when the stream has caught up, and not before.

use market_core::{GapEventState, Quality, Timeframe};

use crate::driver::{Driver, NOON, trade};

/// The venue stood still, and sends what it had to say in its order once it goes on, from the next
/// id or, where the connection is a new one, from a later one.
#[test]
fn a_stream_that_catches_up_after_an_outage_says_gap_of_what_it_has_not_come_to() {
    for jump in [0, 10] {
        catch_up(jump);
    }
}

fn catch_up(jump: u64) {
    let mut driver = Driver::of("1s");
    let mut id = 1_000_000;
    let mut next = |at: i64, jump: u64| {
        id += 1 + jump;
        trade(id, at, 10_000)
    };
    for second in 0..5 {
        driver.run_to(NOON + second * 1_000);
        driver.offer(&next(NOON + second * 1_000, 0));
    }
    driver.pipeline.feed_down(driver.now);
    driver.run_to(NOON + 30_000);
    driver.pipeline.feed_up(driver.now);
    let resumed_ms = NOON + 5_000 + 500 * jump as i64;
    // Ten seconds of trades come in each second, up to the present.
    for halves in 0..60 - jump as i64 {
        let at = resumed_ms + halves * 500;
        driver.run_to(driver.now + 50);
        let jump = if halves == 0 { jump } else { 0 };
        driver.offer(&next(at, jump));
    }
    driver.run_to(NOON + 34_000);
    let missing = (0..jump).map(|index| {
        let at = NOON + 5_000 + 500 * index as i64;
        trade(1_000_006 + index, at, 10_000)
    });
    for missing in missing {
        driver.fetched(&missing);
    }
    driver.run_to(NOON + 40_000);
    let last = driver.effective();
    let said = driver.bars(Timeframe::SECOND);
    for bar in said.iter().filter(|bar| bar.quality != Quality::Gap) {
        let whole = &last[&(Timeframe::SECOND, bar.start_ms)];
        assert_eq!(
            bar.fold.map_or(0, |fold| fold.count),
            whole.fold.map_or(0, |fold| fold.count),
            "{jump}: {bar:?}"
        );
    }
    // Once it has caught up, nothing is missing.
    let gaps = last.values().filter(|bar| bar.quality == Quality::Gap);
    assert_eq!(gaps.count(), 0, "{jump}");
    assert!(said.iter().any(|bar| bar.quality == Quality::Gap));
}

/// The venue is back and answers, but its archive does not have the outage yet.
#[test]
fn an_answer_right_after_an_outage_is_not_the_last_word_of_it() {
    let mut driver = Driver::of("1s");
    driver.offer(&trade(7, NOON, 10_000));
    driver.run_to(NOON + 1_000);
    driver.pipeline.feed_down(driver.now);
    driver.run_to(NOON + 30_000);
    driver.pipeline.feed_up(driver.now);
    driver.run_to(NOON + 30_100);
    driver.answer(&[]);
    driver.run_to(NOON + 33_000);
    let missed = trade(8, NOON + 9_000, 10_000);
    driver.answer(&[missed]);
    driver.run_to(NOON + 35_000);
    let said = driver.bars(Timeframe::SECOND);
    let said = said.iter().filter(|bar| bar.start_ms == NOON + 9_000);
    let said: Vec<_> = said.map(|bar| bar.quality).collect();
    assert_eq!(said, [Quality::Gap, Quality::Backfilled]);
    assert_eq!(
        driver.gap_states(),
        [GapEventState::Open, GapEventState::Filled]
    );
}
