//! Folded bars equal the bars of the trades in them.

use std::collections::BTreeMap;

use market_core::{
    AggressorSide, Bar, BarRow, BarState, Fold, Price, Quality, Quantity, Timeframe, Trade,
    UnixMillis, Width, WidthFold,
};
use proptest::prelude::*;

/// 2024-02-01T00:00Z.
const START_MS: i64 = 1_706_745_600_000;

fn timeframe(text: &str) -> Timeframe {
    text.parse().expect("a timeframe")
}

fn width(text: &str) -> Width {
    text.parse().expect("a width")
}

/// Trades with ids in the order of their times, as a venue gives them.
fn trades(range_ms: i64) -> impl Strategy<Value = Vec<Trade>> {
    let trade = (0..range_ms, 1i64..99_999, 1i64..999, 0u64..3, any::<bool>());
    prop::collection::vec(trade, 1..200).prop_map(|mut trades| {
        trades.sort_unstable();
        let mut next_id = 1_000;
        let trades = trades
            .into_iter()
            .map(|(at, price, quantity, more, is_buy)| {
                let (first_id, last_id) = (next_id, next_id + more);
                next_id = last_id + 1;
                Trade {
                    first_id,
                    last_id,
                    event_ms: START_MS + at,
                    price: Price::from_parts(price.into(), 2).expect("above zero"),
                    quantity: Quantity::from_parts(quantity.into(), 3).expect("above zero"),
                    aggressor_side: if is_buy {
                        AggressorSide::Buy
                    } else {
                        AggressorSide::Sell
                    },
                    received_us: (START_MS + at) * 1_000 + 777,
                }
            });
        trades.collect()
    })
}

/// The bars of trades by window, without flat ones.
fn bars_of(
    trades: &[Trade],
    start_of: impl Fn(UnixMillis) -> UnixMillis,
) -> BTreeMap<UnixMillis, Fold> {
    let mut folds: BTreeMap<UnixMillis, Fold> = BTreeMap::new();
    for trade in trades {
        let fold = Fold::of(trade);
        folds
            .entry(start_of(trade.event_ms))
            .and_modify(|sum| sum.merge(&fold))
            .or_insert(fold);
    }
    folds
}

fn row(start_ms: UnixMillis, fold: Option<Fold>, previous: Option<Price>) -> BarRow {
    let bar = Bar {
        timeframe: Timeframe::MINUTE,
        start_ms,
        end_ms: start_ms,
        fold,
        previous_close: previous,
        state: BarState::Closed,
        rev: 0,
        quality: if fold.is_some() {
            Quality::Complete
        } else {
            Quality::Filled
        },
    };
    BarRow::of(&bar, 0).expect("closed, with a price")
}

fn rows_of(trades: &[Trade], source: Timeframe) -> Vec<BarRow> {
    let folds = bars_of(trades, |at| source.start_of(at));
    let rows = folds.into_iter();
    rows.map(|(start_ms, fold)| row(start_ms, Some(fold), None))
        .collect()
}

/// Puts a flat bar wherever no trade happened.
fn with_flat_bars(rows: &[BarRow], source: Timeframe) -> Vec<BarRow> {
    let mut all: Vec<BarRow> = Vec::new();
    for bar in rows {
        while let Some(last) = all.last()
            && source.end_of(last.start_ms) < bar.start_ms
        {
            let flat = row(source.end_of(last.start_ms), None, Some(last.close));
            all.push(flat);
        }
        all.push(*bar);
    }
    all
}

fn folded(rows: &[BarRow], width: Width, source: Timeframe) -> Vec<BarRow> {
    let mut fold = WidthFold::new(width, source).expect("whole bars");
    let mut all: Vec<BarRow> = rows.iter().filter_map(|row| fold.push(row)).collect();
    let last_ms = rows.last().expect("not empty").start_ms;
    all.extend(fold.finish(width.end_of(width.start_of(last_ms))));
    all
}

/// What a row says of its trades.
fn content(row: &BarRow) -> BarRow {
    BarRow {
        quality: Quality::Complete,
        ..*row
    }
}

const DAY_MS: i64 = 86_400_000;

proptest! {
    #[test]
    fn bars_of_any_width_equal_the_fold_of_their_trades(trades in trades(70 * DAY_MS), index in 0usize..9, is_flat_stored in any::<bool>()) {
        let (text, source) = [
            ("7m", "1m"), ("15m", "1m"), ("4h", "1h"), ("36h", "1h"), ("3d", "1d"),
            ("1w", "1d"), ("2w", "1d"), ("1M", "1d"), ("2M", "1h"),
        ][index];
        let (width, source) = (width(text), timeframe(source));
        let mut rows = rows_of(&trades, source);
        if is_flat_stored && text != "7m" && text != "15m" {
            rows = with_flat_bars(&rows, source);
        }
        let bars = folded(&rows, width, source);
        let traded = bars.iter().filter(|bar| bar.count > Some(0)).map(content);
        let expected = bars_of(&trades, |at| width.start_of(at));
        let expected = expected.into_iter().map(|(start_ms, fold)| row(start_ms, Some(fold), None));
        prop_assert_eq!(traded.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }

    #[test]
    fn folding_in_steps_gives_the_same_as_folding_at_once(trades in trades(40 * DAY_MS)) {
        let minutes = rows_of(&trades, Timeframe::MINUTE);
        let hours = folded(&minutes, width("1h"), Timeframe::MINUTE);
        let days = folded(&hours, width("1d"), Timeframe::HOUR);
        let once: Vec<_> = folded(&minutes, width("1w"), Timeframe::MINUTE).iter().map(content).collect();
        let steps: Vec<_> = folded(&days, width("1w"), Timeframe::DAY).iter().map(content).collect();
        prop_assert_eq!(steps, once);
    }
}

fn trade(id: u64, at: i64) -> Trade {
    Trade {
        first_id: id,
        last_id: id,
        event_ms: START_MS + at,
        price: Price::parse("5").expect("price"),
        quantity: Quantity::parse("1").expect("quantity"),
        aggressor_side: AggressorSide::Buy,
        received_us: 0,
    }
}

fn qualities(trades: &[Trade]) -> Vec<Quality> {
    let rows = rows_of(trades, Timeframe::MINUTE);
    let bars = folded(&rows, width("5m"), Timeframe::MINUTE);
    bars.iter().map(|bar| bar.quality).collect()
}

const MINUTE_MS: i64 = 60_000;

#[test]
fn a_hole_between_adjoining_ids_is_no_gap() {
    let at = |minute: i64| minute * MINUTE_MS;
    let trades = [trade(1, at(0)), trade(2, at(3)), trade(3, at(9))];
    assert_eq!(qualities(&trades), [Quality::Complete, Quality::Complete]);
}

#[test]
fn a_hole_with_missing_ids_is_a_gap_in_every_bar_that_it_touches() {
    let at = |minute: i64| minute * MINUTE_MS;
    let trades = [trade(1, at(0)), trade(7, at(8)), trade(8, at(9))];
    assert_eq!(qualities(&trades), [Quality::Gap, Quality::Gap]);
    let trades = [trade(1, at(0)), trade(7, at(3)), trade(8, at(4))];
    assert_eq!(qualities(&trades), [Quality::Gap]);
}

#[test]
fn the_first_bar_is_partial_if_its_window_began_before_what_is_stored() {
    let at = |minute: i64| minute * MINUTE_MS;
    let trades = [
        trade(1, at(2)),
        trade(2, at(4)),
        trade(3, at(5)),
        trade(4, at(9)),
    ];
    assert_eq!(qualities(&trades), [Quality::Partial, Quality::Complete]);
}

#[test]
fn a_window_that_has_not_ended_is_forming() {
    let mut fold = WidthFold::new(width("5m"), Timeframe::MINUTE).expect("whole bars");
    let rows = rows_of(&[trade(1, 0), trade(2, MINUTE_MS)], Timeframe::MINUTE);
    for row in &rows {
        assert_eq!(fold.push(row), None);
    }
    assert_eq!(fold.forming().and_then(|bar| bar.count), Some(2));
    assert_eq!(fold.finish(START_MS + 2 * MINUTE_MS), None);
}

#[test]
fn a_revision_of_a_part_raises_the_revision_of_the_whole() {
    let mut rows = rows_of(&[trade(1, 0), trade(2, MINUTE_MS)], Timeframe::MINUTE);
    let rev = |rows: &[BarRow]| folded(rows, width("5m"), Timeframe::MINUTE)[0].rev;
    rows[0].rev = 3;
    let before = rev(&rows);
    rows[1].rev = 1;
    assert!(rev(&rows) > before);
}
