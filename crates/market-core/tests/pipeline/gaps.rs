//! Missing trade ids: refetched, given up, and found again.

use market_core::{BackfillOutcome, GapEventState, Quality, Timeframe};

use crate::driver::{Driver, NOON, trade};

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
