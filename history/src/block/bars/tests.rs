use market_core::{BarRow, Price, Timeframe};

use super::*;

/// Bars with holes between them, and prices at one scale or at several.
fn rows(count: i64, is_wide: bool) -> Vec<BarRow> {
    let row = |index: i64| {
        let scale = if is_wide && index % 3 == 0 { 18 } else { 2 };
        let price = Price::from_parts(i128::from(index) * 7 + 100, scale).expect("above zero");
        let ids = IdSpan {
            first: index.unsigned_abs() * 5,
            last: index.unsigned_abs() * 5 + 3,
        };
        BarRow {
            volume: Amount::from_parts(i128::from(index * index % 97), 3),
            count: Some(4),
            ids: (index % 5 != 0).then_some(ids),
            quality: Quality::Complete,
            ..BarRow::flat((index + index / 100) * 60_000, price, index)
        }
    };
    (0..count).map(row).collect()
}

#[test]
fn some_bars_of_a_block_are_those_of_the_whole_block() {
    // Short columns are stored plainly, and long ones are packed in batches of 256.
    for (count, is_wide) in [(10, false), (1_000, false), (1_000, true)] {
        let rows = rows(count, is_wide);
        let block = encode_bars(Timeframe::MINUTE, &rows).expect("storable");
        for wanted in [
            0..0,
            0..1,
            3..4,
            5..10,
            255..256,
            255..257,
            256..512,
            700..999,
            999..1_000,
        ] {
            if wanted.end > rows.len() {
                continue;
            }
            let mut some = Vec::new();
            let span = wanted.clone();
            decode_some_bars(Timeframe::MINUTE, &block, |_| span, &mut some).expect("sound");
            assert_eq!(some, rows[wanted.clone()], "{wanted:?} of {count}");
        }
    }
}
