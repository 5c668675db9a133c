use proptest::prelude::*;

use super::*;

const HOLD_MS: i64 = 10_000;

fn boundaries(instruments: usize) -> Boundaries {
    let timeframes = "1s,1m".parse().expect("timeframes");
    Boundaries::new(&timeframes, instruments, HOLD_MS, "state.marks.0".into())
}

fn take_due(all: &Boundaries, now: i64, marks: &mut Vec<BoundaryMark>) {
    all.look(now);
    marks.extend(std::iter::from_fn(|| all.next_due()));
}

fn close(
    all: &Boundaries,
    instrument: InstrumentId,
    end_ms: i64,
    now: i64,
) -> Vec<(i64, u64, u64)> {
    let mut marks = Vec::new();
    all.closed(instrument, Timeframe::SECOND, end_ms, now);
    take_due(all, now, &mut marks);
    read(&marks)
}

fn read(marks: &[BoundaryMark]) -> Vec<(i64, u64, u64)> {
    let read = |mark: &BoundaryMark| (mark.end_ms, mark.bars, mark.missing);
    marks.iter().map(read).collect()
}

#[test]
fn the_mark_follows_the_last_symbols_bar() {
    let all = boundaries(3);
    all.begin(0, [1_000, 0].into_iter());
    all.begin(2, [1_000, 0].into_iter());
    assert_eq!(close(&all, 0, 2_000, 4_000), []);
    assert_eq!(close(&all, 2, 2_000, 4_010), [(2_000, 2, 0)]);
    // One that trades for the first time is waited for from its first bar on.
    all.begin(1, [3_000, 0].into_iter());
    assert_eq!(close(&all, 0, 3_000, 5_000), []);
    assert_eq!(close(&all, 2, 3_000, 5_010), [(3_000, 2, 0)]);
    assert_eq!(close(&all, 2, 4_000, 6_000), []);
    assert_eq!(close(&all, 0, 4_000, 6_000), []);
    assert_eq!(close(&all, 1, 4_000, 6_000), [(4_000, 3, 0)]);
}

#[test]
fn a_symbol_that_never_traded_holds_nothing_up() {
    let all = boundaries(2);
    assert_eq!(close(&all, 0, 2_000, 4_000), [(2_000, 1, 0)]);
    assert_eq!(close(&all, 0, 3_000, 5_000), [(3_000, 1, 0)]);
}

#[test]
fn a_held_symbol_holds_each_mark_up_no_longer_than_bars_wait_for_gaps() {
    let all = boundaries(2);
    all.begin(0, [0, 0].into_iter());
    all.begin(1, [0, 0].into_iter());
    assert_eq!(close(&all, 0, 1_000, 3_000), []);
    assert_eq!(close(&all, 0, 2_000, 4_000), []);
    let mut marks = Vec::new();
    let wait_ms = HOLD_MS + SLACK_MS;
    take_due(&all, 3_000 + wait_ms - 1, &mut marks);
    assert_eq!(read(&marks), []);
    take_due(&all, 3_000 + wait_ms, &mut marks);
    assert_eq!(read(&marks), [(1_000, 1, 1)]);
    take_due(&all, 4_000 + wait_ms, &mut marks);
    assert_eq!(read(&marks), [(1_000, 1, 1), (2_000, 1, 1)]);
    // It catches up: what was marked is not marked again.
    assert_eq!(close(&all, 1, 1_000, 20_000), []);
    assert_eq!(close(&all, 1, 2_000, 20_000), []);
    assert_eq!(close(&all, 1, 3_000, 20_000), []);
    assert_eq!(close(&all, 0, 3_000, 20_000), [(3_000, 2, 0)]);
}

#[test]
fn the_mark_of_an_interval_that_only_held_symbols_have_is_not_left_out() {
    let all = boundaries(3);
    all.begin(0, [1_000, 0].into_iter());
    all.begin(1, [1_000, 0].into_iter());
    // It trades for the first time while both others are held.
    all.begin(2, [3_000, 0].into_iter());
    assert_eq!(close(&all, 2, 4_000, 6_000), []);
    assert_eq!(close(&all, 2, 5_000, 7_000), []);
    for end_ms in [2_000, 3_000] {
        assert_eq!(close(&all, 0, end_ms, 8_000), []);
        assert_eq!(close(&all, 1, end_ms, 8_000), [(end_ms, 2, 0)]);
    }
    assert_eq!(close(&all, 0, 4_000, 8_000), []);
    assert_eq!(close(&all, 1, 4_000, 8_000), [(4_000, 3, 0)]);
}

#[test]
fn marks_that_came_before_a_restart_do_not_come_again() {
    let before = boundaries(1);
    for end_ms in [1_000, 2_000, 3_000] {
        assert_eq!(close(&before, 0, end_ms, 5_000), [(end_ms, 1, 0)]);
    }
    let after = boundaries(1);
    after.resume(&before.position(), 5_000);
    // Its checkpoint is older than its last bars.
    after.begin(0, [1_000, 0].into_iter());
    assert_eq!(close(&after, 0, 2_000, 6_000), []);
    assert_eq!(close(&after, 0, 3_000, 6_000), []);
    assert_eq!(close(&after, 0, 4_000, 6_000), [(4_000, 1, 0)]);
    // A position from the future would hold all marks back.
    let poisoned = boundaries(1);
    for position in [
        &br#"{"1s":9000000000000000000}"#[..],
        br#"{"1s":-1}"#,
        b"nonsense",
    ] {
        poisoned.resume(position, 5_000);
    }
    assert_eq!(close(&poisoned, 0, 2_000, 6_000), [(2_000, 1, 0)]);
}

#[test]
fn a_mark_waits_for_every_symbol_that_is_being_taken_over() {
    let all = boundaries(4);
    // Symbols of a takeover begin in portions.
    all.expect([0, 1, 2].into());
    all.begin(0, [1_000, 0].into_iter());
    assert_eq!(close(&all, 0, 2_000, 4_000), []);
    all.begin(1, [1_000, 0].into_iter());
    assert_eq!(close(&all, 1, 2_000, 4_000), [], "the third has not begun");
    all.begin(2, [1_000, 0].into_iter());
    assert_eq!(close(&all, 2, 2_000, 4_000), [(2_000, 3, 0)]);
    // One that never traded begins without a bar.
    all.expect([3].into());
    for instrument in 0..3 {
        assert_eq!(close(&all, instrument, 3_000, 5_000), []);
    }
    all.expect([].into());
    let mut marks = Vec::new();
    take_due(&all, 5_000, &mut marks);
    assert_eq!(read(&marks), [(3_000, 3, 0)]);
    // One whose records cannot be read is missing, and later marks wait for it, too.
    all.expect([3].into());
    for instrument in 0..3 {
        assert_eq!(close(&all, instrument, 4_000, 6_000), []);
    }
    assert_eq!(
        close(&all, 0, 5_000, 6_000 + HOLD_MS + SLACK_MS),
        [(4_000, 3, 1)]
    );
    // Another program has it.
    all.lose(3);
    assert_eq!(close(&all, 1, 5_000, 20_000), []);
    assert_eq!(close(&all, 2, 5_000, 20_000), [(5_000, 3, 0)]);
}

#[test]
fn the_first_mark_of_a_takeover_is_that_of_the_symbol_that_is_furthest_behind() {
    for marks_of_before in [None, Some(br#"{"1s":2000}"#)] {
        let all = boundaries(2);
        if let Some(marks) = marks_of_before {
            all.resume(marks, 60_000);
        }
        // The last holder has published the bar of the first one, and died.
        all.expect([0, 1].into());
        all.begin(0, [3_000, 0].into_iter());
        all.begin(1, [2_000, 0].into_iter());
        assert_eq!(close(&all, 1, 3_000, 5_000), [(3_000, 1, 0)]);
        assert_eq!(close(&all, 1, 4_000, 6_000), []);
        assert_eq!(close(&all, 0, 4_000, 6_000), [(4_000, 2, 0)]);
    }
    // It does not go back behind what was marked.
    let all = boundaries(2);
    all.resume(br#"{"1s":3000}"#, 60_000);
    all.expect([0, 1].into());
    all.begin(0, [3_000, 0].into_iter());
    all.begin(1, [1_000, 0].into_iter());
    assert_eq!(close(&all, 1, 2_000, 5_000), []);
    assert_eq!(close(&all, 1, 3_000, 5_000), []);
    assert_eq!(close(&all, 1, 4_000, 5_000), []);
    assert_eq!(close(&all, 0, 4_000, 6_000), [(4_000, 2, 0)]);
}

#[test]
fn an_old_last_trade_at_a_cold_start_brings_no_mark_of_its_time() {
    let all = boundaries(2);
    all.begin(0, [1_000_000, 0].into_iter());
    all.begin(1, [1_000, 0].into_iter());
    assert_eq!(close(&all, 1, 2_000, 1_001_000), []);
    assert_eq!(close(&all, 0, 1_001_000, 1_001_000), []);
    assert_eq!(
        close(&all, 1, 1_001_000, 1_001_000),
        [(1_001_000, 2, 0)],
        "both are through"
    );
}

#[test]
fn the_last_bar_of_a_symbol_that_was_handed_over_holds_no_later_mark_up() {
    let all = boundaries(2);
    for instrument in 0..2 {
        all.begin(instrument, [0, 0].into_iter());
    }
    all.leave(1);
    // It was on its way.
    assert_eq!(close(&all, 1, 1_000, 3_000), []);
    assert_eq!(close(&all, 0, 1_000, 3_000), [(1_000, 2, 0)]);
    assert_eq!(close(&all, 0, 2_000, 4_000), [(2_000, 1, 0)]);
    // It comes back.
    all.begin(1, [2_000, 0].into_iter());
    assert_eq!(close(&all, 0, 3_000, 5_000), []);
    assert_eq!(close(&all, 1, 3_000, 5_000), [(3_000, 2, 0)]);
}

#[test]
fn a_program_whose_last_lease_was_taken_marks_nothing_and_stores_no_position() {
    let all = boundaries(2);
    for instrument in 0..2 {
        all.begin(instrument, [0, 0].into_iter());
    }
    all.closed(0, Timeframe::SECOND, 1_000, 3_000);
    all.closed(1, Timeframe::SECOND, 1_000, 3_000);
    all.closed(0, Timeframe::SECOND, 2_000, 4_000);
    let right = all.state().right.clone();
    all.lose(0);
    assert!(right.holds(), "the other one is still ours");
    all.lose(1);
    assert!(!right.holds());
    let mut marks = Vec::new();
    take_due(&all, 60_000, &mut marks);
    assert_eq!(read(&marks), [], "its successor marks them");
    // And back: it continues after its successor.
    all.resume(br#"{"1s":9000}"#, 60_000);
    all.begin(0, [9_000, 0].into_iter());
    assert_eq!(close(&all, 0, 10_000, 60_000), [(10_000, 1, 0)]);
    assert!(all.state().right.holds());
}

#[tokio::test]
async fn a_program_in_doubt_about_its_leases_publishes_no_mark() {
    let bus = Arc::new(bus::MemoryBus::with_streams(&service::streams()));
    let mut marks = bus.subscribe("boundary.>").await.expect("a pattern");
    let all = Arc::new(boundaries(1));
    let lane = Arc::new(Lane::new(
        1,
        0,
        crate::publish::durable::EncodingTurn::default(),
    ));
    let validity = Arc::new(Validity::none());
    let stop = CancellationToken::new();
    all.begin(0, [0, 0].into_iter());
    all.closed(0, Timeframe::SECOND, 1_000, 3_000);
    let telling = Arc::clone(&all).tell(
        Arc::<bus::MemoryBus>::clone(&bus),
        lane,
        Arc::clone(&validity),
        stop.clone(),
    );
    tokio::pin!(telling);
    // It has looked, and waits.
    assert!(futures_util::poll!(&mut telling).is_pending());
    assert_eq!(marks.try_recv(), None);
    validity.set(i64::MAX);
    tokio::select! {
        () = &mut telling => panic!("it tells until it is stopped"),
        mark = marks.recv() => assert!(mark.is_some(), "it is not lost"),
    }
    stop.cancel();
    telling.await;
}

#[test]
fn a_skipped_silence_is_not_marked_second_by_second() {
    let all = boundaries(1);
    assert_eq!(close(&all, 0, 1_000, 0).len(), 1);
    let month_later = 30 * 86_400_000;
    assert_eq!(close(&all, 0, month_later, 0), [(month_later, 1, 0)]);
}

proptest! {
    /// In whatever order symbols close their bars, each end is marked once, in order, after
    /// the bar of every symbol that was not given up.
    #[test]
    fn marks_come_once_in_order_and_after_every_bar(
        turns in proptest::collection::vec((0usize..4, 1i64..400), 1..200),
    ) {
        let all = boundaries(4);
        for instrument in 0..4 {
            all.begin(instrument, [0, 0].into_iter());
        }
        let (mut now, mut marks, mut ends, mut seen) = (0, Vec::new(), [0; 4], 0);
        for (instrument, pause_ms) in turns {
            now += pause_ms;
            ends[instrument] += 1_000;
            take_due(&all, now, &mut marks);
            all.closed(instrument, Timeframe::SECOND, ends[instrument], now);
            take_due(&all, now, &mut marks);
            for mark in &marks[seen..] {
                prop_assert_eq!(mark.end_ms, 1_000 * (1 + seen as i64));
                seen += 1;
                let behind = ends.iter().filter(|&&end| end < mark.end_ms).count();
                prop_assert!(behind as u64 <= mark.missing);
                prop_assert_eq!(mark.bars + mark.missing, 4);
            }
        }
        let slowest = ends.iter().min().copied().unwrap_or(0) / 1_000;
        prop_assert!(seen as i64 >= slowest);
    }
}
