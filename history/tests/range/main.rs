//! Pages of bars of any width equal the fold of all stored bars at once.

mod list;

use history::range::{self, BarPage, BarQuery, RangeError, StoredBars};
use history::store::{BarSeries, BarStore, Instrument, Order, SqliteOptions, SqliteStore};
use history::{BarRow, Width, WidthFold};
use market_core::{Amount, IdSpan, Price, Quality, Timeframe, UnixMillis};
use proptest::prelude::*;

use list::List;

/// 2024-02-28T00:00Z: two days before the end of a month.
const START_MS: UnixMillis = 1_709_078_400_000;
const MINUTE_MS: i64 = 60_000;

fn instrument() -> Instrument {
    Instrument {
        exchange: "coinbase".into(),
        symbol: "BTC-USD".parse().expect("a symbol"),
    }
}

fn series() -> BarSeries {
    BarSeries {
        instrument: instrument(),
        timeframe: Timeframe::MINUTE,
    }
}

fn width(text: &str) -> Width {
    text.parse().expect("a width")
}

fn flat(start_ms: UnixMillis, close: Price) -> BarRow {
    BarRow::flat(start_ms, close, 0)
}

/// The bar of one trade.
fn traded(start_ms: UnixMillis, id: u64) -> BarRow {
    let price = Price::from_parts(i128::from(id % 97) + 100, 2).expect("above zero");
    BarRow {
        volume: Amount::from_parts(i128::from(id % 7) + 1, 3),
        quote_volume: Some(Amount::from_parts(i128::from(id % 11) + 1, 5)),
        count: Some(1),
        ids: Some(IdSpan {
            first: id,
            last: id,
        }),
        event_ms: Some(start_ms + 1),
        received_us: Some(start_ms * 1_000),
        quality: Quality::Complete,
        ..flat(start_ms, price)
    }
}

/// What happens in a minute.
#[derive(Clone, Copy, Debug)]
enum Minute {
    Trades,
    Flat,
    /// Nothing is stored, and nothing was traded.
    Silent,
    /// Nothing is stored, and trades are missing.
    Lost,
    /// Nothing is stored for a long time.
    Away(i64),
}

fn minutes() -> impl Strategy<Value = Vec<Minute>> {
    let minute = prop_oneof![
        6 => Just(Minute::Trades),
        3 => Just(Minute::Flat),
        2 => Just(Minute::Silent),
        1 => Just(Minute::Lost),
        1 => (2i64..4_000).prop_map(Minute::Away),
    ];
    prop::collection::vec(minute, 1..250)
}

fn rows_of(minutes: &[Minute]) -> Vec<BarRow> {
    let (mut at, mut id) = (START_MS, 1_000);
    let mut rows: Vec<BarRow> = Vec::new();
    for minute in minutes {
        match minute {
            Minute::Trades => {
                rows.push(traded(at, id));
                id += 1;
            }
            Minute::Flat => rows.extend(rows.last().map(|last| flat(at, last.close))),
            Minute::Silent => {}
            Minute::Lost => id += 5,
            Minute::Away(more) => at += more * MINUTE_MS,
        }
        at += MINUTE_MS;
    }
    rows
}

/// All closed bars of a width, folded at once, with flat bars where ids prove that there was no
/// trade.
fn folded_at_once(rows: &[BarRow], width: Width) -> Vec<BarRow> {
    let mut fold = WidthFold::new(width, Timeframe::MINUTE).expect("whole bars");
    let mut bars: Vec<BarRow> = rows.iter().filter_map(|row| fold.push(row)).collect();
    let Some(newest) = rows.last() else {
        return bars;
    };
    bars.extend(fold.finish(newest.start_ms + MINUTE_MS));
    let mut last_traded: Option<&BarRow> = None;
    for (index, row) in rows.iter().enumerate() {
        let ids = last_traded.and_then(|last| last.ids).zip(row.ids);
        if ids.is_some_and(|(last, next)| last.last + 1 == next.first) {
            let before = &rows[index - 1];
            let mut at = width.end_of(width.start_of(before.start_ms));
            while at < width.start_of(row.start_ms) {
                // It became known with the bar after the hole.
                bars.push(BarRow {
                    known_ms: row.known_ms,
                    ..flat(at, before.close)
                });
                at = width.end_of(at);
            }
        }
        if row.count > Some(0) {
            last_traded = Some(row);
        }
    }
    bars.sort_by_key(|bar| bar.start_ms);
    bars
}

fn ask(list: &List, query: &BarQuery) -> Result<BarPage, RangeError> {
    let stored = StoredBars {
        timeframe: Timeframe::MINUTE,
        first_ms: START_MS,
    };
    range::bars(list, &[stored], query)
}

/// All pages of a range, with limits that change.
fn all_pages(list: &List, mut query: BarQuery, limits: &[usize]) -> Vec<BarRow> {
    let mut bars = Vec::new();
    for limit in limits.iter().cycle().take(100_000) {
        query.limit = *limit;
        let page = ask(list, &query).expect("a page");
        assert!(page.bars.len() <= *limit);
        bars.extend(page.bars);
        let Some(next) = page.next else {
            return bars;
        };
        // As a client sends it.
        query.cursor = Some(next.to_string().parse().expect("our own text"));
    }
    panic!("the pages do not end");
}

proptest! {
    #[test]
    fn pages_of_any_width_equal_the_fold_of_all_rows_at_once(
        minutes in minutes(),
        index in 0usize..9,
        limits in prop::collection::vec(1usize..40, 1..5),
        is_up in any::<bool>(),
        has_flat_bars in any::<bool>(),
        range in prop::option::of((-500i64..20_000, 0i64..20_000, -70_000i64..70_000)),
        known in prop::option::of((prop::collection::vec(0usize..250, 1..4), 0usize..250)),
    ) {
        let width = width(["1m", "2m", "7m", "15m", "1h", "7h", "1d", "1w", "1M"][index]);
        let mut rows = rows_of(&minutes);
        // A few bars became known late, and only those that became known later are asked for.
        let known_after_ms = known.map(|(late, after)| {
            for row in &mut rows {
                row.known_ms = 0;
            }
            for place in late {
                if let Some(row) = rows.get_mut(place) {
                    row.known_ms = 1 + i64::try_from(place).expect("few");
                }
            }
            i64::try_from(after).expect("few") / 2
        });
        let mut expected = folded_at_once(&rows, width);
        let (from_ms, to_ms) = match range {
            Some((from, more, shift)) => {
                let from_ms = START_MS + from * MINUTE_MS + shift;
                (Some(from_ms), Some(from_ms + more * MINUTE_MS))
            }
            None => (None, None),
        };
        expected.retain(|bar| {
            from_ms.is_none_or(|from| from <= bar.start_ms)
                && to_ms.is_none_or(|to| bar.start_ms < to)
                && (has_flat_bars || bar.quality != Quality::Filled)
                && known_after_ms.is_none_or(|after| after < bar.known_ms)
        });
        let order = if is_up { Order::Ascending } else { Order::Descending };
        if !is_up {
            expected.reverse();
        }
        let list = List::of(rows);
        let query = BarQuery {
            from_ms,
            to_ms,
            order,
            has_flat_bars,
            known_after_ms,
            ..BarQuery::newest(instrument(), width, 1)
        };
        prop_assert_eq!(all_pages(&list, query, &limits), expected);
    }

    #[test]
    fn no_question_takes_unbounded_work(
        minutes in minutes(),
        count in 1u32..=1_000,
        unit in 0usize..6,
        limit in 0usize..6_000,
        (from_ms, to_ms) in any::<(Option<i64>, Option<i64>)>(),
        (is_up, has_flat_bars) in any::<(bool, bool)>(),
        cursor in prop::option::of(any::<i64>()),
    ) {
        let text = format!("{count}{}", ["s", "m", "h", "d", "w", "M"][unit]);
        let order = if is_up { "asc" } else { "desc" };
        let cursor = cursor.map(|at| format!("v1.{text}.1m.{order}.{at}"));
        let query = BarQuery {
            from_ms,
            to_ms,
            order: if is_up { Order::Ascending } else { Order::Descending },
            has_flat_bars,
            cursor: cursor.map(|text| text.parse().expect("a cursor")),
            ..BarQuery::newest(instrument(), width(&text), limit)
        };
        let list = List::of(rows_of(&minutes));
        match ask(&list, &query) {
            Ok(page) => prop_assert!(page.bars.len() <= limit),
            Err(error) => {
                let is_said = matches!(
                    error,
                    RangeError::TooWide { .. } | RangeError::NoSource { .. } | RangeError::Cursor(_)
                );
                prop_assert!(is_said, "{error}");
            }
        }
        prop_assert!(list.calls() < 5_000, "{} calls", list.calls());
    }
}

#[test]
fn a_window_that_has_not_ended_is_not_in_a_page() {
    let rows = (0..8).map(|minute| traded(START_MS + minute * MINUTE_MS, 100 + minute as u64));
    let list = List::of(rows.collect());
    let page = ask(&list, &BarQuery::newest(instrument(), width("5m"), 10)).expect("a page");
    let starts: Vec<_> = page.bars.iter().map(|bar| bar.start_ms).collect();
    assert_eq!(starts, [START_MS]);
    assert_eq!(page.closed_until_ms, Some(START_MS + 5 * MINUTE_MS));
}

#[test]
fn a_page_as_of_an_earlier_time_has_the_bars_as_they_were_known() {
    let (first, mut late) = (traded(START_MS, 1), traded(START_MS, 1));
    late.rev = 1;
    late.known_ms = 5_000;
    late.volume = Amount::from_parts(9, 0);
    let list = List::of(vec![first, late]);
    let mut query = BarQuery::newest(instrument(), width("1m"), 10);
    assert_eq!(ask(&list, &query).expect("a page").bars, [late]);
    query.as_of_ms = Some(4_999);
    assert_eq!(ask(&list, &query).expect("a page").bars, [first]);
}

#[test]
fn the_source_reaches_back_as_far_as_the_question() {
    let timeframe = |text: &str| text.parse().expect("a timeframe");
    let stored = |text: &str, first_ms| StoredBars {
        timeframe: timeframe(text),
        first_ms,
    };
    let list = List::of(Vec::new());
    let source = |stored: &[StoredBars], text: &str, from_ms| {
        let query = BarQuery {
            from_ms,
            ..BarQuery::newest(instrument(), width(text), 10)
        };
        let page = range::bars(&list, stored, &query);
        page.map(|page| page.source.to_string())
    };
    // Bars of an hour are kept for longer than bars of a minute.
    let usual = [stored("1m", 5_000_000), stored("1h", 0)];
    assert_eq!(source(&usual, "4h", None).expect("a source"), "1h");
    assert_eq!(source(&usual, "15m", None).expect("a source"), "1m");
    // Bars of an hour were added later.
    let late = [stored("1m", 0), stored("1h", 5_000_000)];
    assert_eq!(source(&late, "4h", None).expect("a source"), "1m");
    assert_eq!(
        source(&late, "4h", Some(6_000_000)).expect("a source"),
        "1h"
    );
    assert_eq!(source(&late, "1h", None).expect("a source"), "1h");

    let error = source(&usual, "90s", None).expect_err("no seconds are stored");
    assert!(error.to_string().contains("1m, 1h"), "{error}");
    let error = source(&usual[..1], "12M", None).expect_err("half a million minutes");
    assert!(error.to_string().contains("narrower"), "{error}");
    let error = source(&[], "1m", None).expect_err("nothing is stored");
    assert!(matches!(error, RangeError::Unknown { .. }), "{error}");
}

#[test]
fn a_cursor_of_another_question_is_refused() {
    let rows = (0..9).map(|minute| traded(START_MS + minute * MINUTE_MS, 100 + minute as u64));
    let list = List::of(rows.collect());
    let mut query = BarQuery::newest(instrument(), width("1m"), 3);
    query.cursor = ask(&list, &query).expect("a page").next;
    assert!(query.cursor.is_some());
    let other = BarQuery {
        width: width("2m"),
        ..query.clone()
    };
    assert!(matches!(ask(&list, &other), Err(RangeError::Cursor(_))));
    query.order = Order::Ascending;
    assert!(matches!(ask(&list, &query), Err(RangeError::Cursor(_))));
    let unknown = "v1.1m.1s.asc.5".parse().expect("a cursor");
    query.cursor = Some(unknown);
    assert!(matches!(ask(&list, &query), Err(RangeError::Cursor(_))));
}

#[test]
fn the_stored_bars_of_a_store_on_disk_come_back_in_pages() {
    let directory = testkit::directory::Directory::new();
    let store = SqliteStore::open(directory.path(), SqliteOptions::default()).expect("a store");
    let rows: Vec<BarRow> = (0..10_000i64)
        .map(|minute| traded(START_MS + minute * MINUTE_MS, 100 + minute.unsigned_abs()))
        .collect();
    let batch = [(series(), rows.clone())];
    store.append_bars(&batch, None).expect("stored");
    let stored = [StoredBars {
        timeframe: Timeframe::MINUTE,
        first_ms: START_MS,
    }];
    let mut query = BarQuery {
        order: Order::Ascending,
        ..BarQuery::newest(instrument(), width("7m"), 100)
    };
    let mut bars = Vec::new();
    loop {
        let page = range::bars(&store, &stored, &query).expect("a page");
        bars.extend(page.bars);
        query.cursor = page.next;
        if query.cursor.is_none() {
            break;
        }
    }
    assert_eq!(bars, folded_at_once(&rows, width("7m")));
}
