//! The behaviours that every store has.

use std::ops::Range as Span;
use std::sync::atomic::{AtomicBool, Ordering};

use history::BarRow;
use history::store::{
    BarSeries, BarStore, Catalog, Instrument, Kind, Order, Page, Range, Retention, SeriesInfo,
    StoreError, TradeStore, Watermark,
};
use market_core::{IdSpan, Quality, Timeframe, Trade, UnixMillis};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::Subject;
use crate::model::Model;
use crate::rows::{START_MS, bar, instrument, minutes, trade};

mod days;
mod imported;

pub(crate) use self::days::{
    a_day_says_which_trades_it_lacks_and_what_its_bars_hold,
    a_day_with_very_many_gaps_lists_a_bounded_number,
    a_healed_gap_is_another_cause_and_the_one_before_is_known_as_of_its_time,
};
pub(crate) use self::imported::{
    a_partial_bar_yields_to_the_whole_one_of_the_venue, an_imported_bar_yields_to_one_made_here,
};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

fn everything() -> Range {
    Range::new(0, i64::MAX, 100_000)
}

/// All rows of a range, page by page.
fn pages<T>(range: Range, mut read: impl FnMut(&Range) -> Result<Page<T>, StoreError>) -> Vec<T> {
    let (mut range, mut rows) = (range, Vec::new());
    loop {
        let page = read(&range).expect("a page");
        assert!(page.rows.len() <= range.limit, "{} rows", page.rows.len());
        assert!(page.next.is_none() || page.rows.len() == range.limit);
        rows.extend(page.rows);
        if page.next.is_none() {
            return rows;
        }
        range.cursor = page.next;
    }
}

fn bars(store: &impl BarStore, series: &BarSeries) -> Vec<BarRow> {
    store.bars(series, &everything()).expect("a page").rows
}

fn append(store: &impl BarStore, series: &BarSeries, rows: &[BarRow]) {
    let batch = [(series.clone(), rows.to_vec())];
    store.append_bars(&batch, None).expect("appended");
}

/// Random rows of three series over three months, with revisions, repetitions and imported bars,
/// between seals and restarts.
pub(crate) fn a_store_equals_its_model_after_any_appends(subject: &impl Subject) {
    for seed in 0..(4 / subject.divisor()).max(1) as u64 {
        let mut random = StdRng::seed_from_u64(seed);
        let series = ["BTC-USD", "ETH-USD", "SOL-USD"].map(|name| {
            let name = format!("{name}{seed}");
            minutes(&name)
        });
        let mut models = [Model::default(), Model::default(), Model::default()];
        let mut store = subject.open();
        for step in 0..300 / subject.divisor() {
            let mut batch = Vec::new();
            for (series, model) in series.iter().zip(&mut models) {
                let count = if random.random_bool(0.02) {
                    5_000
                } else {
                    random.random_range(0..4)
                };
                let first = START_MS + random.random_range(0..60i64) * DAY_MS / 2;
                let rows: Vec<_> = (0..count)
                    .map(|index| {
                        let start = first + index * random.random_range(1..3i64) * MINUTE_MS;
                        let known =
                            START_MS + i64::try_from(step).expect("small") * 1_000 + index % 1_000;
                        let mut row = bar(start, random.random_range(0..3), known);
                        row.is_imported = random.random_bool(0.2);
                        row
                    })
                    .collect();
                if count < 100 {
                    rows.iter().for_each(|row| model.append(*row));
                } else {
                    // The model is slow: a long stretch goes to a span of its own.
                    let rows = (0..count).map(|index| bar(index * MINUTE_MS, 0, 0));
                    let rows: Vec<_> = rows.collect();
                    batch.push((series.clone(), rows));
                    continue;
                }
                batch.push((series.clone(), rows));
            }
            store.append_bars(&batch, None).expect("appended");
            match random.random_range(0..40) {
                0 => store.compact().expect("compacted"),
                1 => {
                    drop(store);
                    store = subject.open();
                }
                _ => {}
            }
            if step % 20 == 0 {
                let index = random.random_range(0..series.len());
                compare(&store, &series[index], &models[index], &mut random);
            }
        }
        for (series, model) in series.iter().zip(&models) {
            compare(&store, series, model, &mut random);
        }
    }
}

fn compare(store: &impl BarStore, series: &BarSeries, model: &Model, random: &mut StdRng) {
    for _ in 0..4 {
        let from_ms = START_MS + random.random_range(0..30) * DAY_MS;
        let range = Range {
            limit: random.random_range(1..400),
            order: if random.random_bool(0.5) {
                Order::Ascending
            } else {
                Order::Descending
            },
            as_of_ms: random
                .random_bool(0.5)
                .then(|| START_MS + random.random_range(0..300_000)),
            ..Range::new(from_ms, from_ms + random.random_range(0..60) * DAY_MS, 0)
        };
        let rows = pages(range, |range| store.bars(series, range));
        assert_eq!(rows, model.rows(&range), "{range:?}");
        if let Some(row) = rows.first() {
            let revisions = store.bar_revisions(series, row.start_ms);
            let revisions = revisions.expect("revisions");
            assert_eq!(revisions, model.revisions(row.start_ms));
        }
    }
}

pub(crate) fn the_highest_revision_is_current_in_whatever_order_they_come(subject: &impl Subject) {
    let (store, series) = (subject.open(), minutes("BTC-USD"));
    let orders = [[0u32, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]];
    for (index, revs) in orders.iter().enumerate() {
        let start = START_MS + i64::try_from(index).expect("small") * MINUTE_MS;
        for rev in revs {
            append(
                &store,
                &series,
                &[bar(start, *rev, START_MS + i64::from(*rev))],
            );
            if index > 1 {
                store.compact().expect("compacted");
            }
        }
    }
    let rows = bars(&store, &series);
    let revs: Vec<u32> = rows.iter().map(|row| row.rev).collect();
    assert_eq!(revs, [2, 2, 2, 2]);
    let latest = store.latest_bar(&series).expect("a page");
    assert_eq!(latest, rows.last().copied());
}

pub(crate) fn an_earlier_state_is_read_as_of_its_time(subject: &impl Subject) {
    let (store, series) = (subject.open(), minutes("BTC-USD"));
    let known = |rev: u32| START_MS + HOUR_MS * i64::from(rev + 1);
    for rev in 0..3 {
        append(&store, &series, &[bar(START_MS, rev, known(rev))]);
        store.compact().expect("compacted");
    }
    let as_of = |at_ms: UnixMillis| {
        let range = Range {
            as_of_ms: Some(at_ms),
            ..everything()
        };
        let rows = store.bars(&series, &range).expect("a page").rows;
        rows.first().map(|row| row.rev)
    };
    assert_eq!(as_of(known(0) - 1), None);
    assert_eq!(as_of(known(0)), Some(0));
    assert_eq!(as_of(known(2) - 1), Some(1));
    assert_eq!(as_of(known(2)), Some(2));
}

pub(crate) fn rows_that_come_twice_are_stored_once(subject: &impl Subject) {
    let (store, series) = (subject.open(), minutes("BTC-USD"));
    let first = bar(START_MS, 0, START_MS + 5);
    let again = bar(START_MS, 0, START_MS + 90_000);
    append(&store, &series, &[first, first, again]);
    append(&store, &series, &[again]);
    store.compact().expect("compacted");
    append(&store, &series, &[again]);
    assert_eq!(bars(&store, &series), [first]);
    let revisions = store.bar_revisions(&series, START_MS);
    assert_eq!(revisions.expect("revisions"), [first]);

    let name = instrument("BTC-USD");
    for _ in 0..3 {
        let rows = vec![trade(1, START_MS), trade(2, START_MS)];
        let batch = [(name.clone(), rows)];
        store.append_trades(&batch, None).expect("appended");
        store.compact().expect("compacted");
    }
    assert_eq!(trades(&store, &name, 0..i64::MAX, 10).len(), 2);
}

fn trades(
    store: &impl TradeStore,
    name: &Instrument,
    span: Span<UnixMillis>,
    limit: usize,
) -> Vec<Trade> {
    let range = Range::new(span.start, span.end, limit);
    pages(range, |range| store.trades(name, range))
}

pub(crate) fn trades_of_one_millisecond_are_paged_without_loss(subject: &impl Subject) {
    let (store, name) = (subject.open(), instrument("BTC-USD"));
    let other = instrument("ETH-USD");
    // More in one millisecond than a block has, and some on both sides.
    let (middle_end, end) = (12_000 / subject.divisor(), 20_000 / subject.divisor());
    let all: Vec<Trade> = (0..end as u64)
        .map(|id| {
            let at = match id {
                0..100 => 0,
                100.. if id < middle_end as u64 => 1,
                _ => 2,
            };
            trade(id, START_MS + at)
        })
        .collect();
    for rows in all.chunks(777) {
        let batch = [
            (name.clone(), rows.to_vec()),
            (other.clone(), vec![rows[0]]),
        ];
        store.append_trades(&batch, None).expect("appended");
    }
    for _ in 0..2 {
        assert_eq!(trades(&store, &name, START_MS..START_MS + 3, 999), all);
        let middle = trades(&store, &name, START_MS + 1..START_MS + 2, 5_000);
        assert_eq!(middle, all[100..middle_end]);
        let backwards = Range {
            order: Order::Descending,
            ..Range::new(START_MS, START_MS + 3, 1_313)
        };
        let mut rows = pages(backwards, |range| store.trades(&name, range));
        rows.reverse();
        assert_eq!(rows, all);
        store.compact().expect("compacted");
    }
    assert_eq!(
        trades(&store, &other, 0..i64::MAX, 100).len(),
        all.len().div_ceil(777)
    );
}

pub(crate) fn a_watermark_is_kept_and_never_falls(subject: &impl Subject) {
    let store = subject.open();
    let mark = |position: u64| Watermark {
        stream: "closed".into(),
        position,
    };
    assert_eq!(store.watermark("closed").expect("read"), None);
    assert!(matches!(
        store.append_bars(&[], Some(&mark(1))),
        Err(StoreError::Empty)
    ));
    let series = minutes("BTC-USD");
    for (step, position) in [(0i64, 7u64), (40, 9), (1, 8)] {
        let batch = [(
            series.clone(),
            vec![bar(START_MS + step * DAY_MS, 0, START_MS)],
        )];
        let stored = store.append_bars(&batch, Some(&mark(position)));
        stored.expect("appended");
    }
    drop(store);
    let store = subject.open();
    assert_eq!(store.watermark("closed").expect("read"), Some(9));
    assert_eq!(store.watermark("other").expect("read"), None);
    store
        .append_bars(&[], Some(&mark(12)))
        .expect("without rows");
    assert_eq!(store.watermark("closed").expect("read"), Some(12));
    assert_eq!(store.watermarks("clo").expect("read"), [mark(12)]);
    assert_eq!(store.watermarks("other").expect("read"), []);
}

pub(crate) fn dropping_old_months_keeps_the_other_rows_and_the_watermarks(subject: &impl Subject) {
    let (store, series) = (subject.open(), minutes("BTC-USD"));
    let mark = Watermark {
        stream: "closed".into(),
        position: 77,
    };
    // February, with the watermark, and March.
    let rows = [bar(START_MS, 0, 0), bar(START_MS + 3 * DAY_MS, 0, 0)];
    append(&store, &series, &rows[1..]);
    let batch = [(series.clone(), vec![rows[0]])];
    store.append_bars(&batch, Some(&mark)).expect("appended");
    let name = instrument("BTC-USD");
    let batch = [(name.clone(), vec![trade(1, START_MS)])];
    store.append_trades(&batch, None).expect("appended");

    let kind = Kind::Bars(Timeframe::MINUTE);
    let march = 1_709_251_200_000;
    assert_eq!(store.drop_before(kind, march - 1).expect("dropped"), 0);
    assert_eq!(bars(&store, &series).len(), 2);
    assert_eq!(store.drop_before(kind, march).expect("dropped"), 1);
    assert_eq!(bars(&store, &series), rows[1..]);
    assert_eq!(store.watermark("closed").expect("read"), Some(77));
    assert_eq!(trades(&store, &name, 0..i64::MAX, 10).len(), 1);
    drop(store);
    let store = subject.open();
    assert_eq!(bars(&store, &series), rows[1..]);
    assert_eq!(store.watermark("closed").expect("read"), Some(77));
}

pub(crate) fn rows_that_cannot_be_stored_leave_nothing_behind(subject: &impl Subject) {
    let (store, series) = (subject.open(), minutes("BTC-USD"));
    let mark = Watermark {
        stream: "closed".into(),
        position: 1,
    };
    for start_ms in [START_MS + 1, -MINUTE_MS, i64::MAX, i64::MIN] {
        let rows = vec![BarRow {
            start_ms,
            ..bar(START_MS, 0, 0)
        }];
        let refused = store.append_bars(&[(series.clone(), rows)], Some(&mark));
        assert!(matches!(refused, Err(StoreError::Rows(_))), "{refused:?}");
    }
    assert_eq!(store.watermark("closed").expect("read"), None);
    assert_eq!(bars(&store, &series), []);
}

/// Each append has one bar of two series. A reader of one series sees an unbroken run, and the
/// other one is never behind what it saw.
pub(crate) fn readers_see_whole_appends_while_rows_are_written_and_sealed(subject: &impl Subject) {
    let (store, first, second) = (subject.open(), minutes("BTC-USD"), minutes("ETH-USD"));
    let steps = 1_000 / subject.divisor();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !is_done.load(Ordering::Acquire) || reads == 0 {
                let (seen, other) = (bars(&store, &first), bars(&store, &second));
                assert!(other.len() >= seen.len(), "{} {}", other.len(), seen.len());
                let starts = seen.iter().map(|row| row.start_ms);
                let expected = (0i64..).map(|step| START_MS + step * MINUTE_MS);
                assert!(
                    starts
                        .zip(expected)
                        .all(|(start, expected)| start == expected)
                );
                reads += 1;
            }
        });
        for step in 0..steps {
            let row = bar(
                START_MS + i64::try_from(step).expect("small") * MINUTE_MS,
                0,
                START_MS,
            );
            let batch = [(first.clone(), vec![row]), (second.clone(), vec![row])];
            store.append_bars(&batch, None).expect("appended");
        }
        is_done.store(true, Ordering::Release);
        reader.join().expect("the reader");
    });
    assert_eq!(bars(&store, &first).len(), steps);
}

pub(crate) fn a_catalog_says_what_is_stored(subject: &impl Subject) {
    let store = subject.open();
    assert_eq!(store.series().expect("series"), []);
    assert_eq!(store.traded().expect("instruments"), []);
    let (ether, bitcoin) = (minutes("ETH-USD"), minutes("BTC-USD"));
    // Over two months, with a late revision of the first bar and sealed blocks.
    let late = START_MS + 40 * DAY_MS;
    append(&store, &ether, &[bar(START_MS, 0, START_MS)]);
    append(&store, &bitcoin, &[bar(START_MS, 0, START_MS)]);
    append(&store, &bitcoin, &[bar(late, 0, late)]);
    store.compact().expect("compacted");
    append(&store, &bitcoin, &[bar(START_MS, 1, late)]);
    store.compact().expect("compacted");
    let hourly = BarSeries {
        timeframe: Timeframe::HOUR,
        ..bitcoin.clone()
    };
    append(&store, &hourly, &[bar(START_MS, 0, START_MS)]);
    let traded = instrument("SOL-USD");
    let trades = [(traded.clone(), vec![trade(1, START_MS)])];
    store.append_trades(&trades, None).expect("appended");
    drop(store);

    let store = subject.open();
    let info = |series: &BarSeries, last_end_ms| SeriesInfo {
        series: series.clone(),
        first_ms: START_MS,
        last_end_ms,
    };
    let expected = [
        info(&bitcoin, late + MINUTE_MS),
        info(&hourly, START_MS + HOUR_MS),
        info(&ether, START_MS + MINUTE_MS),
    ];
    assert_eq!(store.series().expect("series"), expected);
    assert_eq!(store.traded().expect("instruments"), [traded]);
    assert!(store.bytes().expect("a size") > 0);
}
