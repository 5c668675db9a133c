//! Trades that are hard to believe.

use market_core::{GapEventState, Offered, Output, Quality, Timeframe};

use crate::driver::{Driver, NOON, trade};

#[test]
fn ids_that_begin_anew_are_followed_after_three_trades() {
    let mut driver = Driver::of("1s,1m");
    driver.offer(&trade(1_000_000, NOON + 100, 10_000));
    driver.run_to(NOON + 30_000);
    for id in 1..=9 {
        let at = NOON + 30_000 + id as i64 * 1_000;
        driver.run_to(at);
        driver.offer(&trade(id, at, 10_000));
    }
    driver.run_to(NOON + 65_000);
    let counts = driver.pipeline.counts();
    assert_eq!((counts.implausible, counts.confirmed), (2, 2));
    // No trade is missing from its bar.
    for id in 1..=9 {
        let bar = driver.bar(Timeframe::SECOND, NOON + 30_000 + id * 1_000);
        assert_eq!(bar.map(|(_, count)| count), Some(1), "{id}");
    }
    // What happened while nobody knew is not said to be nothing.
    assert_eq!(
        driver.bar(Timeframe::SECOND, NOON + 20_000),
        Some((Quality::Gap, 0))
    );
    assert_eq!(
        driver.bar(Timeframe::MINUTE, NOON),
        Some((Quality::Gap, 10))
    );
    assert_eq!(
        driver.bar(Timeframe::SECOND, NOON + 36_000),
        Some((Quality::Complete, 1))
    );
    let restarts = driver.out.iter().filter(|output| {
        **output
            == Output::IdsRestarted {
                expected: 1_000_001,
                first_id: 1,
            }
    });
    assert_eq!(restarts.count(), 1);
    assert_eq!(driver.gap_states(), [GapEventState::Lost]);
}

#[test]
fn a_single_wrong_id_moves_nothing() {
    for wrong in [9_000_000_000_000_000_000, u64::MAX, u64::MAX - 1, 3] {
        let mut driver = Driver::new();
        driver.offer(&trade(1_000_000, NOON + 100, 10_000));
        driver.offer(&trade(1_000_001, NOON + 200, 10_000));
        assert_eq!(
            driver.offer(&trade(wrong, NOON + 300, 10_000)),
            Offered::Implausible,
            "{wrong}"
        );
        for id in 2..60 {
            let at = NOON + id as i64 * 1_000;
            driver.run_to(at);
            let offered = driver.offer(&trade(1_000_000 + id, at, 10_000));
            assert_eq!(offered, Offered::InBar, "{wrong}");
            if let Some(request) = driver.requests().first().copied() {
                driver.ended(request.id, market_core::BackfillOutcome::Done);
            }
        }
        driver.run_to(NOON + 70_000);
        assert_eq!(
            driver.bar(Timeframe::MINUTE, NOON),
            Some((Quality::Complete, 60)),
            "{wrong}"
        );
    }
}

#[test]
fn a_far_jump_is_taken_when_the_next_trade_confirms_it() {
    let mut driver = Driver::of("1s,1m");
    driver.offer(&trade(1, NOON + 100, 10_000));
    assert_eq!(
        driver.offer(&trade(50_000, NOON + 200, 10_000)),
        Offered::Implausible
    );
    assert_eq!(
        driver.offer(&trade(50_001, NOON + 300, 10_000)),
        Offered::InBar
    );
    assert_eq!(driver.pipeline.counts().confirmed, 1);
    driver.run_to(NOON + 5_000);
    let request = *driver.requests().last().expect("asked");
    assert_eq!((request.first_id, request.last_id), (2, Some(49_999)));
    driver.run_to(NOON + 20_000);
    assert_eq!(driver.bar(Timeframe::SECOND, NOON), Some((Quality::Gap, 3)));
}

#[test]
fn an_aggregate_of_too_many_trades_is_not_believed() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 100, 10_000));
    let mut wide = trade(2, NOON + 200, 10_000);
    wide.last_id = 9_000_000_000_000;
    assert_eq!(driver.offer(&wide), Offered::Implausible);
    wide.last_id = 1;
    assert_eq!(driver.offer(&wide), Offered::Implausible);
    assert_eq!(driver.offer(&trade(2, NOON + 200, 10_000)), Offered::InBar);
}

#[test]
fn a_duplicate_with_other_content_is_counted_as_a_conflict() {
    let mut driver = Driver::new();
    driver.offer(&trade(1, NOON + 100, 10_000));
    driver.offer(&trade(2, NOON + 200, 10_000));
    assert_eq!(
        driver.offer(&trade(1, NOON + 100, 10_000)),
        Offered::Duplicate
    );
    assert_eq!(
        driver.offer(&trade(1, NOON + 100, 10_001)),
        Offered::Conflict
    );
    let counts = driver.pipeline.counts();
    assert_eq!((counts.duplicate, counts.conflict), (1, 1));
}

#[test]
fn a_trade_from_the_future_is_refused_without_its_id_and_marks_its_bar() {
    let mut driver = Driver::of("1s,1m");
    driver.offer(&trade(1, NOON + 100, 10_000));
    driver.run_to(NOON + 5_000);
    let early = trade(2, NOON + 60_500, 10_000);
    let offer = |driver: &mut Driver| {
        let now = driver.now;
        driver
            .pipeline
            .offer(&early, market_core::Origin::Live, now, &mut driver.out)
    };
    assert_eq!(offer(&mut driver), Offered::Future);
    assert_eq!(driver.pipeline.next_id(), Some(2));
    // An outage that begins now begins after the newest trade that was taken.
    driver.pipeline.feed_down(driver.now);
    driver.run_to(NOON + 30_000);
    assert_eq!(
        driver.bar(Timeframe::SECOND, NOON + 10_000),
        Some((Quality::Gap, 0))
    );
    driver.pipeline.feed_up(driver.now);
    driver.at(driver.now + 10);
    driver.answer(&[]);
    // After an outage the venue is asked twice.
    driver.run_to(driver.now + 1_100);
    driver.answer(&[]);
    driver.run_to(NOON + 65_000);
    assert_eq!(
        driver.bar(Timeframe::SECOND, NOON + 60_000),
        Some((Quality::Gap, 0))
    );
    assert_eq!(
        driver.bar(Timeframe::SECOND, NOON + 61_000),
        Some((Quality::Filled, 0))
    );
    // It comes again when its time has come.
    assert!(matches!(offer(&mut driver), Offered::Late { .. }));
    driver.run_to(NOON + 66_000);
    assert_eq!(
        driver.bar(Timeframe::SECOND, NOON + 60_000),
        Some((Quality::Backfilled, 1))
    );
}

#[test]
fn the_forming_bar_is_that_of_the_present_though_a_trade_is_stamped_ahead() {
    let mut driver = Driver::of("1s,1m");
    driver.at(NOON + 500);
    driver.offer(&trade(1, NOON + 400, 10_000));
    driver.offer(&trade(2, NOON + 4_900, 20_000));
    driver.offer(&trade(3, NOON + 450, 10_000));
    driver.at(NOON + 550);
    let forming = driver.forming();
    assert_eq!(
        (forming[0].start_ms, forming[0].fold.map(|fold| fold.count)),
        (NOON, Some(2))
    );
}

#[test]
fn times_and_ids_at_their_limits_are_refused_without_a_panic() {
    let mut driver = Driver::of("1s,1w,1M");
    driver.offer(&trade(1, NOON + 100, 10_000));
    for event_ms in [i64::MIN, -1, i64::MAX, i64::MAX - 10_000] {
        for now in [NOON, i64::MAX - 100] {
            let extreme = trade(2, event_ms, 10_000);
            let offered =
                driver
                    .pipeline
                    .offer(&extreme, market_core::Origin::Live, now, &mut driver.out);
            assert!(
                matches!(offered, Offered::Implausible | Offered::Future),
                "{event_ms}: {offered:?}"
            );
        }
    }
    assert_eq!(driver.offer(&trade(2, NOON + 200, 10_000)), Offered::InBar);
}

#[test]
fn trades_that_come_again_after_the_venues_clock_was_set_back_are_counted_once() {
    let mut driver = Driver::of("1s,1m");
    let before: Vec<_> = (1..=5)
        .map(|id| trade(id, NOON + 40_000 + id as i64 * 100, 10_000))
        .collect();
    driver.run_to(NOON + 41_000);
    for trade in &before {
        assert_eq!(driver.offer(trade), Offered::InBar);
    }
    // The ids go on 30 s earlier, and a second socket brings all again.
    driver.offer(&trade(6, NOON + 11_000, 10_000));
    for trade in &before {
        assert_eq!(driver.offer(trade), Offered::Duplicate);
    }
    driver.run_to(NOON + 80_000);
    assert_eq!(
        driver.bar(Timeframe::MINUTE, NOON),
        Some((Quality::Complete, 6))
    );
}

#[test]
fn an_old_trade_whose_id_is_next_in_the_new_numbering_is_not_counted_again() {
    let mut driver = Driver::of("1s,1m");
    for id in 1..=100 {
        driver.offer(&trade(id, NOON + id as i64 * 10, 10_000));
    }
    driver.run_to(NOON + 10_000);
    for id in 1..=9 {
        driver.offer(&trade(id, NOON + 10_000 + id as i64 * 10, 10_000));
    }
    assert_eq!(driver.pipeline.next_id(), Some(10));
    let again = trade(10, NOON + 100, 10_000);
    assert_eq!(driver.offer(&again), Offered::BeforeJoin);
    assert_eq!(
        driver.offer(&trade(10, NOON + 10_100, 10_000)),
        Offered::InBar
    );
    driver.run_to(NOON + 70_000);
    assert_eq!(
        driver.bar(Timeframe::MINUTE, NOON),
        Some((Quality::Gap, 110))
    );
}

#[test]
fn a_trade_fetched_by_an_id_that_began_anew_is_counted_once_and_fills_no_gap() {
    let mut driver = Driver::of("1s,1m");
    for id in (1..=100).filter(|id| !(5..=7).contains(id)) {
        driver.offer(&trade(id, NOON + id as i64 * 10, 10_000));
    }
    // REST has started again before a live trade tells.
    driver.run_to(NOON + 2_000);
    let fetched = trade(5, NOON + 1_950, 10_000);
    driver.answer(&[fetched]);
    for id in 6..=9 {
        driver.run_to(NOON + 2_000 + id as i64 * 10);
        driver.offer(&trade(id, NOON + 2_000 + id as i64 * 10, 10_000));
    }
    for id in 10..=14 {
        driver.offer(&trade(id, NOON + 2_000 + id as i64 * 10, 10_000));
    }
    assert_eq!(driver.fetched(&fetched), Offered::Duplicate);
    driver.run_to(NOON + 70_000);
    assert_eq!(
        driver.bar(Timeframe::SECOND, NOON),
        Some((Quality::Gap, 96))
    );
    assert_eq!(
        driver.bar(Timeframe::MINUTE, NOON).map(|(_, count)| count),
        Some(97 + 10)
    );
}
