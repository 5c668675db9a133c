use market_core::{Amount, Price, Quality};
use proptest::prelude::*;

use super::*;

const MINUTE_MS: i64 = 60_000;

fn part(index: i64, rev: u32, price: u32) -> BarRow {
    let price = Price::from_parts(i128::from(price) + 1, 2).expect("above zero");
    let one = Amount::from_parts(1, 0);
    BarRow {
        start_ms: index * MINUTE_MS,
        open: price,
        high: price,
        low: price,
        close: price,
        volume: one,
        quote_volume: Some(one),
        taker_buy_volume: Some(Amount::ZERO),
        taker_buy_quote_volume: Some(Amount::ZERO),
        count: Some(1),
        ids: None,
        event_ms: None,
        received_us: None,
        rev,
        quality: Quality::Complete,
        is_imported: false,
        known_ms: 0,
    }
}

fn bars() -> WidthBars {
    let width = "7m".parse().expect("a width");
    WidthBars::new(width, Timeframe::MINUTE).expect("made of minutes")
}

fn counts(folded: &[Folded]) -> Vec<(i64, u64, bool)> {
    folded
        .iter()
        .map(|folded| {
            let is_closed = folded.state == BarState::Closed;
            (
                folded.row.start_ms / MINUTE_MS,
                folded.row.count.unwrap_or_default(),
                is_closed,
            )
        })
        .collect()
}

#[test]
fn a_bar_grows_with_its_parts_and_closes_with_the_last() {
    let mut bars = bars();
    for index in 7..10 {
        bars.seed(1, part(index, 0, 5));
    }
    assert_eq!(counts(&bars.begin()), [(7, 3, false)]);
    assert_eq!(bars.missing(), None);
    assert_eq!(counts(&bars.forming(part(10, 0, 9))), [(7, 4, false)]);
    assert_eq!(counts(&bars.closed(1, part(10, 0, 9))), [(7, 4, false)]);
    assert!(bars.closed(1, part(10, 0, 9)).is_empty(), "a duplicate");
    assert_eq!(counts(&bars.closed(1, part(11, 0, 9))), [(7, 5, false)]);
    assert_eq!(counts(&bars.closed(1, part(12, 0, 9))), [(7, 6, false)]);
    assert_eq!(counts(&bars.closed(1, part(13, 0, 9))), [(7, 7, true)]);
    assert_eq!(counts(&bars.forming(part(14, 0, 9))), [(14, 1, false)]);
    // A part is revised, and so is the whole.
    assert!(bars.closed(1, part(9, 1, 50)).is_empty());
    let revised = bars.settle();
    assert_eq!(counts(&revised)[0], (7, 7, true));
    assert_eq!(
        (revised[0].row.rev, revised[0].row.high),
        (1, part(9, 0, 50).high)
    );
}

#[test]
fn what_is_missing_at_the_beginning_comes_from_history_or_is_said() {
    for is_there in [true, false] {
        let mut bars = bars();
        bars.seed(1, part(9, 0, 5));
        assert!(bars.begin().is_empty());
        assert!(bars.forming(part(10, 0, 5)).is_empty());
        let missing = bars.missing().expect("a time");
        assert_eq!(missing, (7 * MINUTE_MS, 9 * MINUTE_MS));
        let rows = [part(7, 0, 1), part(8, 0, 1)];
        let folded = bars.loaded(missing, is_there.then_some(&rows[..]));
        let (count, quality) = match is_there {
            true => (4, Quality::Complete),
            false => (2, Quality::Partial),
        };
        assert_eq!(counts(&folded), [(7, count, false)]);
        assert_eq!(folded[0].row.quality, quality);
        assert_eq!(bars.missing().is_none(), is_there, "asked again");
    }
}

#[test]
fn a_revision_of_an_old_part_revises_its_bar_with_the_parts_of_history() {
    let mut bars = bars();
    for index in 0..7 * 40 {
        bars.closed(1, part(index, 0, 5));
    }
    assert!(bars.closed(1, part(3, 2, 99)).is_empty());
    let missing = bars.missing().expect("a time");
    assert_eq!(missing, (0, 7 * MINUTE_MS));
    let rows: Vec<BarRow> = (0..7).map(|index| part(index, 0, 5)).collect();
    let folded = bars.loaded(missing, Some(&rows));
    assert_eq!(counts(&folded), [(0, 7, true)]);
    assert_eq!(
        (folded[0].row.rev, folded[0].row.high),
        (2, part(3, 0, 99).high)
    );
    assert_eq!(bars.missing(), None);
}

/// Its part has no number above that of the bar, which nobody remembers.
#[test]
fn a_part_that_comes_very_late_gives_its_bar_a_higher_number() {
    const LATE: i64 = 7;
    let mut bars = bars();
    let mut given = Vec::new();
    let rows_of = |(from_ms, to_ms): (i64, i64)| -> Vec<BarRow> {
        let indices = from_ms / MINUTE_MS..to_ms / MINUTE_MS;
        let known = indices.filter(|index| *index != LATE);
        known.map(|index| part(index, 0, 5)).collect()
    };
    for index in (0..7 * 70).filter(|index| *index != LATE) {
        given.extend(bars.closed(1, part(index, 0, 5)));
        while let Some(missing) = bars.missing() {
            given.extend(bars.loaded(missing, Some(&rows_of(missing))));
        }
    }
    let of_window = |folded: &[Folded]| -> Vec<(u64, u32)> {
        let bars = folded.iter().map(|folded| folded.row);
        bars.filter(|row| row.start_ms == LATE * MINUTE_MS)
            .map(|row| (row.count.unwrap_or_default(), row.rev))
            .collect()
    };
    let closed: Vec<Folded> = given
        .into_iter()
        .filter(|folded| folded.state == BarState::Closed)
        .collect();
    assert_eq!(of_window(&closed), [(6, 0)]);
    for (round, rev) in [(1, 0), (2, 1)] {
        assert!(bars.closed(1, part(LATE, rev, 5)).is_empty());
        let missing = bars.missing().expect("its other parts");
        let folded = bars.loaded(missing, Some(&rows_of(missing)));
        assert_eq!(of_window(&folded), [(7, round)]);
    }
}

#[test]
fn a_revision_waits_for_a_history_that_is_down() {
    let mut bars = bars();
    for index in 0..7 * 40 {
        bars.closed(1, part(index, 0, 5));
    }
    // However often it is revised.
    for rev in 1..1_000 {
        assert!(bars.closed(1, part(3, rev, 99)).is_empty());
    }
    let missing = bars.missing().expect("a time");
    assert!(bars.loaded(missing, None).is_empty());
    assert_eq!(bars.missing(), Some(missing), "asked again");
    let rows: Vec<BarRow> = (0..7).map(|index| part(index, 0, 5)).collect();
    let folded = bars.loaded(missing, Some(&rows));
    assert_eq!(counts(&folded), [(0, 7, true)]);
    assert_eq!(folded[0].row.rev, 999);
    // Beyond the bound they are given up, and counted.
    let mut bars = self::bars();
    for index in 1_000 * 7..1_040 * 7 {
        bars.closed(1, part(index, 0, 5));
    }
    for window in 0..100 {
        bars.closed(1, part(window * 7, 1, 5));
    }
    assert_eq!(bars.take_given_up(), 36);
}

#[test]
fn what_is_asked_of_history_for_old_bars_does_not_hold_up_the_newest() {
    let mut bars = bars();
    for index in [9, 30, 31] {
        bars.seed(1, part(index, 0, 5));
    }
    bars.begin();
    // The parts around it are not here.
    bars.closed(1, part(10, 1, 5));
    let newest = (28 * MINUTE_MS, 30 * MINUTE_MS);
    let old = (7 * MINUTE_MS, 14 * MINUTE_MS);
    assert_eq!(bars.missing(), Some(newest));
    bars.loaded(newest, None);
    // In turn, while history does not tell.
    assert_eq!(bars.missing(), Some(old));
    let rows: Vec<BarRow> = (7..14).map(|index| part(index, 0, 5)).collect();
    assert_eq!(counts(&bars.loaded(old, Some(&rows)))[0], (7, 7, true));
    assert_eq!(bars.missing(), Some(newest));
}

#[test]
fn a_closed_bar_with_a_hole_waits_until_history_says_whether_there_is_more() {
    // A live bar comes while older ones are still read from the bus, or some were lost.
    for (is_late, is_known) in [(true, false), (false, true), (false, false)] {
        let mut bars = bars();
        for index in 0..9 {
            bars.closed(1, part(index, 0, 5));
        }
        let folded = bars.closed(1, part(21, 0, 5));
        assert_eq!(
            counts(&folded),
            [(21, 1, false)],
            "not the one from minute 7"
        );
        let range = (7 * MINUTE_MS, 22 * MINUTE_MS);
        assert_eq!(bars.missing(), Some(range));
        // A history that is behind, or down, is asked again.
        for rows in [None, Some(&[][..]), Some(&[part(9, 0, 5)])] {
            assert!(bars.loaded(range, rows).is_empty());
            assert_eq!(bars.missing(), Some(range));
        }
        let folded = if is_late {
            for index in 9..14 {
                assert!(bars.closed(1, part(index, 0, 5)).is_empty());
            }
            bars.settle()
        } else {
            let until = if is_known { 14 } else { 10 };
            let rows: Vec<BarRow> = (7..until).chain([21]).map(|it| part(it, 0, 5)).collect();
            bars.loaded(range, Some(&rows))
        };
        let (count, quality) = match is_late || is_known {
            true => (7, Quality::Complete),
            // Nobody has them.
            false => (3, Quality::Gap),
        };
        let closed: Vec<_> = counts(&folded)
            .into_iter()
            .filter(|(_, _, it)| *it)
            .collect();
        assert_eq!(closed, [(7, count, true)]);
        assert_eq!((folded[0].row.rev, folded[0].row.quality), (0, quality));
        assert_eq!(bars.missing(), None);
    }
}

#[test]
fn a_closed_bar_with_a_hole_does_not_wait_for_ever_for_a_history_that_is_not_there() {
    let mut bars = bars();
    for index in (0..9).chain([21]) {
        bars.closed(1, part(index, 0, 5));
    }
    let mut folded = Vec::new();
    let mut questions = 0;
    while let Some(range) = bars.missing() {
        questions += 1;
        folded.extend(bars.loaded(range, None));
    }
    assert_eq!((questions, counts(&folded)[0]), (3, (7, 2, true)));
    assert_eq!(folded[0].row.quality, Quality::Gap);
}

#[test]
fn a_part_costs_the_same_however_wide_its_window_is() {
    for (width, wide) in [("2m", 2), ("60m", 60), ("1000m", 1_000)] {
        let width = width.parse().expect("a width");
        let mut bars = WidthBars::new(width, Timeframe::MINUTE).expect("made of minutes");
        for index in 0..4_000 {
            bars.forming(part(index, 0, 5));
            bars.closed(1, part(index, 0, 5));
        }
        // The forming bar and the closed one; with each of them, the forming bar of the window.
        let steps = bars.take_steps();
        assert!(steps <= 4_000 * 2, "{wide}: {steps} steps");
        // Many revisions at once cost one fold of their windows.
        for index in 2_000..3_000 {
            assert!(bars.closed(1, part(index, 1, 50)).is_empty());
        }
        bars.settle();
        let steps = bars.take_steps();
        assert!(steps <= 2 * (1_000 + 3 * wide), "{wide}: {steps} steps");
        assert!(bars.settle().is_empty());
    }
}

/// A part with trades of these ids, or without any.
fn numbered(index: i64, rev: u32, price: u32, ids: Option<(u64, u64)>) -> BarRow {
    let row = part(index, rev, price);
    match ids {
        Some((first, last)) => BarRow {
            count: Some(last - first + 1),
            ids: Some(market_core::IdSpan { first, last }),
            ..row
        },
        None => BarRow {
            count: Some(0),
            volume: Amount::ZERO,
            quote_volume: Some(Amount::ZERO),
            quality: Quality::Filled,
            ..row
        },
    }
}

/// What happens to a part.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// It closes after the others, with so many trades.
    Close(u64),
    /// It does not come now, and may never come; its trades are lost if it had any.
    Hole(u64),
    /// It is known as it forms.
    Form,
    /// One that came before is revised, or one that did not come comes late.
    Revise(usize),
    /// The gateway looks for what has changed.
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u64..3).prop_map(Step::Close),
        1 => (0u64..2).prop_map(Step::Hole),
        2 => Just(Step::Form),
        3 => (0usize..40).prop_map(Step::Revise),
        1 => Just(Step::Settle),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever comes, in whatever order: the bars that were given out last are the folds of the
    /// parts, also where parts are missing, and each revision has a higher number.
    #[test]
    fn bars_are_the_folds_of_their_parts(
        steps in prop::collection::vec((step(), 0u32..200), 1..400),
        width in prop::sample::select(vec!["2m", "3m", "7m", "60m"]),
    ) {
        let width: Width = width.parse().expect("a width");
        let mut bars = WidthBars::new(width, Timeframe::MINUTE).expect("made of minutes");
        // The parts that have come, and all that there are.
        let mut came: BTreeMap<i64, BarRow> = BTreeMap::new();
        let mut all: Vec<BarRow> = Vec::new();
        let mut given: BTreeMap<i64, BarRow> = BTreeMap::new();
        let mut next_id = 1;
        for (step, price) in std::iter::once((Step::Close(1), 7)).chain(steps) {
            let index = i64::try_from(all.len()).expect("few");
            let mut ids = |count: u64| {
                let first = next_id;
                next_id += count;
                (count > 0).then(|| (first, next_id - 1))
            };
            let mut folded = match step {
                Step::Close(count) => {
                    let row = numbered(index, 0, price, ids(count));
                    all.push(row);
                    came.insert(row.start_ms, row);
                    bars.closed(1, row)
                }
                Step::Hole(count) => {
                    all.push(numbered(index, 0, price, ids(count)));
                    Vec::new()
                }
                Step::Form => bars.forming(part(index, 0, price)),
                Step::Revise(back) => {
                    let at = all.len().saturating_sub(back + 1);
                    let held = all[at];
                    let rev = held.rev + u32::from(came.contains_key(&held.start_ms));
                    let ids = held.ids.map(|ids| (ids.first, ids.last));
                    let row = numbered(held.start_ms / MINUTE_MS, rev, price, ids);
                    all[at] = row;
                    came.insert(row.start_ms, row);
                    bars.closed(1, row)
                }
                Step::Settle => bars.settle(),
            };
            while let Some(range) = bars.missing() {
                let rows: Vec<BarRow> = came.range(range.0..range.1).map(|(_, row)| *row).collect();
                folded.extend(bars.loaded(range, Some(&rows)));
            }
            take(&mut given, &folded)?;
        }
        take(&mut given, &bars.settle())?;
        let mut fold = WidthFold::new(width, Timeframe::MINUTE).expect("made of minutes");
        let mut expected: Vec<BarRow> = came.values().filter_map(|row| fold.push(row)).collect();
        let last = came.last_key_value().expect("the first one");
        expected.extend(fold.finish(last.0 + MINUTE_MS));
        let got: Vec<BarRow> = given.into_values().collect();
        prop_assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(&expected) {
            prop_assert!(BarRow { rev: expected.rev, ..*got }.says_the_same(expected), "{got:?} {expected:?}");
        }
    }
}

/// Takes the closed bars that were given out: each revision must have a higher number.
fn take(given: &mut BTreeMap<i64, BarRow>, folded: &[Folded]) -> Result<(), TestCaseError> {
    for bar in folded.iter().filter(|bar| bar.state == BarState::Closed) {
        let before = given.insert(bar.row.start_ms, bar.row);
        prop_assert!(before.is_none_or(|before| before.rev < bar.row.rev));
    }
    Ok(())
}
