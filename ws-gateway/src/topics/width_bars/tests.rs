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
        quote_volume: one,
        taker_buy_volume: Amount::ZERO,
        taker_buy_quote_volume: Amount::ZERO,
        count: 1,
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
            (folded.row.start_ms / MINUTE_MS, folded.row.count, is_closed)
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
    let revised = bars.closed(1, part(9, 1, 50));
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

proptest! {
    /// In whatever order revisions come, the bars that were given out last are the folds of the
    /// parts, and each revision has a higher number.
    #[test]
    fn bars_are_the_folds_of_their_parts(
        steps in prop::collection::vec((0i64..3, 0u32..200, any::<bool>()), 1..150),
    ) {
        let mut bars = bars();
        let mut truth: BTreeMap<i64, BarRow> = BTreeMap::new();
        let mut given: BTreeMap<i64, BarRow> = BTreeMap::new();
        let mut next = 0;
        for (back, price, is_forming) in steps {
            let folded = if is_forming {
                bars.forming(part(next, 0, price))
            } else if back > 0 && next > 0 {
                let index = (next - back).max(0);
                let rev = truth[&(index * MINUTE_MS)].rev + 1;
                let row = part(index, rev, price);
                truth.insert(row.start_ms, row);
                bars.closed(1, row)
            } else {
                let row = part(next, 0, price);
                truth.insert(row.start_ms, row);
                next += 1;
                bars.closed(1, row)
            };
            for bar in folded.iter().filter(|bar| bar.state == BarState::Closed) {
                let before = given.insert(bar.row.start_ms, bar.row);
                prop_assert!(before.is_none_or(|before| before.rev < bar.row.rev));
            }
        }
        let width: Width = "7m".parse().expect("a width");
        let mut fold = WidthFold::new(width, Timeframe::MINUTE).expect("made of minutes");
        let mut expected: Vec<BarRow> = truth.values().filter_map(|row| fold.push(row)).collect();
        expected.extend(fold.finish(next * MINUTE_MS));
        let got: Vec<BarRow> = given.into_values().collect();
        prop_assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(&expected) {
            prop_assert!(BarRow { rev: expected.rev, ..*got }.says_the_same(expected), "{got:?} {expected:?}");
        }
    }
}
