//! Outages, suspicious silences and restarts: what is asked for, and when the stream has caught up.

use market_core::{
    BackfillOutcome, GapEventState, Pipeline, PipelineConfig, Quality, Timeframe, Trade,
};

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
