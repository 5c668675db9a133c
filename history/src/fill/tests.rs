use market_core::Timeframe;

use super::*;
use crate::filler::holes;
use crate::store::Instrument;

fn minutes() -> BarSeries {
    BarSeries {
        instrument: Instrument {
            exchange: "okx".into(),
            symbol: "BTC-USD".parse().expect("a symbol"),
        },
        timeframe: Timeframe::MINUTE,
    }
}

#[test]
fn holes_lie_between_stored_bars_and_new_ones() {
    let bar = |minute: i64| {
        let price = market_core::Price::parse("1").expect("a price");
        let bar = ArchiveBar {
            start_ms: minute * 60_000,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: market_core::Amount::ZERO,
            quote_volume: None,
            taker_buy_volume: None,
            taker_buy_quote_volume: None,
            count: None,
        };
        row(&bar, 0)
    };
    for (stored_end, starts, expected) in [
        (Some(5), vec![5, 6, 7], vec![]),
        // Revisions of stored bars.
        (Some(5), vec![1, 4, 5], vec![]),
        (Some(5), vec![7], vec![(5, 7)]),
        (Some(5), vec![9, 6, 2], vec![(5, 6), (7, 9)]),
        (Some(5), vec![], vec![]),
        // A new series.
        (None, vec![9, 6, 7], vec![(8, 9)]),
        (None, vec![], vec![]),
    ] {
        let rows: Vec<BarRow> = starts.iter().map(|minute| bar(*minute)).collect();
        let holes = holes(&minutes(), stored_end.map(|end| end * 60_000), &rows);
        let spans: Vec<_> = holes
            .iter()
            .map(|hole| (hole.from_ms / 60_000, hole.to_ms / 60_000))
            .collect();
        assert_eq!(spans, expected, "{starts:?}");
    }
}
