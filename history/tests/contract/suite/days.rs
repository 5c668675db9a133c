//! What a day has and lacks.

use history::completeness;

use super::*;

fn day_of(store: &(impl TradeStore + BarStore)) -> completeness::Completeness {
    let day = completeness::of_day(
        store,
        &instrument("BTC-USD"),
        Timeframe::MINUTE,
        START_MS + 5,
        None,
    );
    day.expect("read")
}

pub(crate) fn a_day_says_which_trades_it_lacks_and_what_its_bars_hold(subject: &impl Subject) {
    let (store, name, series) = (subject.open(), instrument("BTC-USD"), minutes("BTC-USD"));
    let span = |first, last| IdSpan { first, last };
    let store_trades = |ids: Span<u64>, at: UnixMillis| {
        let rows = ids.map(|id| trade(id, at)).collect();
        store
            .append_trades(&[(name.clone(), rows)], None)
            .expect("appended");
    };
    assert_eq!(
        (day_of(&store).held, day_of(&store).missing),
        (vec![], vec![])
    );
    // The day before ends with 4, the day after begins with 40.
    store_trades(0..5, START_MS - 1);
    store_trades(20..25, START_MS + HOUR_MS);
    store_trades(10..15, START_MS + 2 * HOUR_MS);
    store_trades(15..17, START_MS);
    store_trades(40..41, START_MS + DAY_MS);
    let day = day_of(&store);
    assert_eq!(day.day_ms, START_MS);
    assert_eq!(day.held, [span(10, 16), span(20, 24)]);
    assert_eq!(day.missing, [span(5, 9), span(17, 19), span(25, 39)]);
    store_trades(5..10, START_MS);
    store_trades(17..20, START_MS + HOUR_MS);
    store_trades(25..40, START_MS + DAY_MS - 1);
    let day = day_of(&store);
    assert_eq!((day.held, day.missing), (vec![span(5, 39)], vec![]));

    append(
        &store,
        &series,
        &[bar(START_MS, 0, 0), bar(START_MS + MINUTE_MS, 0, 0)],
    );
    let before = day_of(&store);
    assert_eq!((before.bars, before.bars_incomplete), (2, 0));
    store.compact().expect("compacted");
    assert_eq!(day_of(&store), before);
    let gap = BarRow {
        quality: Quality::Gap,
        ..bar(START_MS, 1, 1)
    };
    append(&store, &series, &[gap]);
    let after = day_of(&store);
    assert_eq!((after.bars, after.bars_incomplete), (2, 1));
    assert_ne!(after.bars_checksum, before.bars_checksum);
}

pub(crate) fn a_day_with_very_many_gaps_lists_a_bounded_number(subject: &impl Subject) {
    let (store, name) = (subject.open(), instrument("BTC-USD"));
    let count = completeness::SPANS_MAX as u64 + 100;
    let rows = (0..count).map(|id| trade(id * 2, START_MS)).collect();
    store
        .append_trades(&[(name, rows)], None)
        .expect("appended");
    let day = day_of(&store);
    assert_eq!(
        (day.held.len(), day.held_more),
        (completeness::SPANS_MAX, 100)
    );
    assert_eq!(
        (day.missing.len(), day.missing_more),
        (completeness::SPANS_MAX, 99)
    );
}

pub(crate) fn a_healed_gap_is_another_cause_and_the_one_before_is_known_as_of_its_time(
    subject: &impl Subject,
) {
    let (store, series) = (subject.open(), minutes("BTC-USD"));
    let at = |minute: i64| START_MS + minute * MINUTE_MS;
    let quality = |minute: i64, rev: u32, quality| BarRow {
        quality,
        ..bar(at(minute), rev, at(minute) + i64::from(rev))
    };
    let rows = [
        quality(-1, 0, Quality::Complete),
        quality(0, 0, Quality::Gap),
        quality(1, 0, Quality::Gap),
        quality(9, 0, Quality::Complete),
    ];
    append(&store, &series, &rows);
    let causes = |as_of_ms: Option<UnixMillis>| {
        let name = instrument("BTC-USD");
        let day = completeness::of_day(&store, &name, Timeframe::MINUTE, START_MS, as_of_ms);
        let causes = day.expect("read").causes.into_iter();
        let causes = causes.map(|span| {
            let minute = |ms: UnixMillis| (ms - START_MS) / MINUTE_MS;
            (
                minute(span.from_ms),
                minute(span.to_ms),
                span.cause.as_str(),
            )
        });
        causes.collect::<Vec<_>>()
    };
    let missing = (2, 9, "missing");
    assert_eq!(causes(None), [(0, 2, "gap"), missing]);
    let healed = BarRow {
        known_ms: at(100),
        ..quality(0, 1, Quality::Backfilled)
    };
    append(&store, &series, &[healed]);
    for _ in 0..2 {
        assert_eq!(causes(None), [(0, 1, "backfilled"), (1, 2, "gap"), missing]);
        assert_eq!(causes(Some(at(99))), [(0, 2, "gap"), missing]);
        store.compact().expect("compacted");
    }
}
