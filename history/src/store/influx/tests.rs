//! Rows as text and as points, and back.

use market_core::{
    AggressorSide, Amount, BarRow, IdSpan, Price, Quality, Quantity, Timeframe, Trade,
};
use proptest::prelude::*;

use super::merge::{Changes, Stored};
use super::point::{put_bar, put_mark, put_trade, trade_ns};
use super::question::{form, name, quoted};
use super::{answer, point};
use crate::store::row_text::{bar_text, parse_bar, parse_trade, trade_text};
use crate::store::{BarSeries, Instrument};

const DECIMAL_MAX: i128 = (1 << 96) - 1;

fn price() -> impl Strategy<Value = Price> {
    (1..=DECIMAL_MAX, 0u32..=28).prop_filter_map("a decimal", |(mantissa, scale)| {
        Price::from_parts(mantissa, scale)
    })
}

fn amount() -> impl Strategy<Value = Amount> {
    (0..=i128::MAX, 0u32..=56, any::<bool>()).prop_map(|(mantissa, scale, is_rounded)| {
        match is_rounded {
            true => Amount::from_rounded_parts(mantissa, scale),
            false => Amount::from_parts(mantissa, scale),
        }
    })
}

fn quality() -> impl Strategy<Value = Quality> {
    prop_oneof![
        Just(Quality::Complete),
        Just(Quality::Gap),
        Just(Quality::Backfilled),
        Just(Quality::Partial),
        Just(Quality::Filled),
    ]
}

prop_compose! {
    fn bars()(
        (open, high, low, close) in (price(), price(), price(), price()),
        volume in amount(),
        (quote_volume, taker_buy_volume, taker_buy_quote_volume) in
            (prop::option::of(amount()), prop::option::of(amount()), prop::option::of(amount())),
        count in any::<Option<u64>>(),
        ids in prop::option::of((any::<u64>(), any::<u64>())),
        (event_ms, received_us) in any::<(Option<i64>, Option<i64>)>(),
        (rev, is_imported, known_ms) in any::<(u32, bool, i64)>(),
        quality in quality(),
    ) -> BarRow {
        BarRow {
            start_ms: 60_000, open, high, low, close, volume, quote_volume, taker_buy_volume,
            taker_buy_quote_volume, count, ids: ids.map(|(first, last)| IdSpan { first, last }),
            event_ms, received_us, rev, quality, is_imported, known_ms,
        }
    }
}

proptest! {
    #[test]
    fn a_bar_comes_back_exactly_from_its_text(row in bars()) {
        let read = parse_bar(row.start_ms, &bar_text(&row)).expect("own text");
        prop_assert_eq!(read, row);
        let exact = |row: &BarRow| [
            Some(row.volume), row.quote_volume, row.taker_buy_volume, row.taker_buy_quote_volume,
        ].map(|sum| sum.map(Amount::is_exact));
        prop_assert_eq!(exact(&read), exact(&row));
    }

    #[test]
    fn a_trade_comes_back_exactly_from_its_text(
        ids in any::<(u64, u64)>(), price in price(), quantity in price(), is_buy in any::<bool>(),
        received_us in any::<i64>(),
    ) {
        let (mantissa, scale) = quantity.parts();
        let trade = Trade {
            first_id: ids.0.min(ids.1), last_id: ids.0.max(ids.1), event_ms: 7, price,
            quantity: Quantity::from_parts(mantissa, scale).expect("as a price"),
            aggressor_side: if is_buy { AggressorSide::Buy } else { AggressorSide::Sell },
            received_us,
        };
        prop_assert_eq!(parse_trade(7, &trade_text(&trade)), Some(trade));
    }

    #[test]
    fn text_that_is_no_row_is_none(text in ".{0,80}", row in bars(), cut in 0usize..400) {
        let _ = parse_bar(0, &text);
        let _ = parse_trade(0, &text);
        let whole = bar_text(&row);
        let cut = cut.min(whole.len() - 1);
        if whole[..cut].matches(',').count() < 17 {
            prop_assert_eq!(parse_bar(0, &whole[..cut]), None);
        }
    }

    #[test]
    fn a_revision_is_never_lost_and_writing_it_again_changes_nothing(
        rows in prop::collection::vec((0u32..3, any::<bool>(), 0i64..4, 1i128..4), 1..8),
        at in any::<prop::sample::Index>(),
    ) {
        let rows: Vec<BarRow> = rows.into_iter().map(|(rev, is_imported, known_ms, cents)| BarRow {
            rev, is_imported, known_ms,
            ..BarRow::flat(0, Price::from_parts(cents, 2).expect("above zero"), 0)
        }).collect();
        let mut stored = Stored::default();
        let (first, second) = rows.split_at(at.index(rows.len()));
        for part in [first, second, &rows] {
            let changes = stored.with(part);
            apply(&mut stored, changes);
        }
        prop_assert_eq!(stored.with(&rows), Changes::default());
        let mut all: Vec<BarRow> = stored.places.values().copied().collect();
        all.extend(stored.current);
        let current = BarRow::current(&crate::store::revisions::distinct(rows.clone()));
        prop_assert!(current.is_some());
        for row in crate::store::revisions::distinct(rows.clone()) {
            prop_assert!(all.contains(&row), "{:?}", row);
        }
        // Of one rank, any order.
        let texts = |rows| {
            let rows = crate::store::revisions::distinct(rows);
            let mut texts: Vec<String> = rows.iter().map(bar_text).collect();
            texts.sort();
            texts
        };
        prop_assert_eq!(texts(all), texts(rows));
    }
}

fn apply(stored: &mut Stored, changes: Changes) {
    stored.places.extend(changes.superseded);
    stored.current = changes.current.or(stored.current);
}

fn instrument(exchange: &str) -> Instrument {
    Instrument {
        exchange: exchange.into(),
        symbol: "OKX:BTC-USDT".parse().expect("a symbol"),
    }
}

#[test]
fn what_separates_tags_and_fields_is_escaped() {
    let price = Price::from_parts(5_000_010, 2).expect("above zero");
    let series = BarSeries {
        instrument: instrument("a b,c=d"),
        timeframe: Timeframe::MINUTE,
    };
    let mut line = String::new();
    put_bar(&mut line, "m", &series, &BarRow::flat(60_000, price, 5), 3);
    assert_eq!(
        line,
        "m,exchange=a\\ b\\,c\\=d,interval=1m,symbol=OKX:BTC-USDT row=\"1,50000.1,50000.1,50000.1,50000.1,0,0,0,0,0,,,,,0,filled,0,5\",known_ms=5i,rev=0i,open=50000.1,high=50000.1,low=50000.1,close=50000.1,volume=0 60000000003\n"
    );
    let mut line = String::new();
    put_mark(&mut line, "import:a \"b\\c", 7, 9);
    assert_eq!(
        line,
        "klinecast_watermarks stream=\"import:a \\\"b\\\\c\",position=\"7\" 9\n"
    );
    assert_eq!(quoted("a'b\\c\nd"), "'a\\'b\\\\c\\nd'");
    assert_eq!(name("a\"b"), "\"a\\\"b\"");
    assert_eq!(form("a='b' AND c"), "q=a%3D%27b%27+AND+c");
}

#[test]
fn trades_of_a_millisecond_have_places_by_their_ids() {
    let trade = Trade {
        first_id: 3_000_007,
        last_id: 3_000_008,
        event_ms: 1_709_078_400_123,
        price: Price::from_parts(1, 0).expect("above zero"),
        quantity: Quantity::from_parts(25, 1).expect("above zero"),
        aggressor_side: AggressorSide::Sell,
        received_us: 55,
    };
    assert_eq!(trade_ns(&trade), 1_709_078_400_123_000_007);
    let mut line = String::new();
    put_trade(&mut line, &instrument("okx"), &trade);
    assert_eq!(
        line,
        "market_trades,exchange=okx,symbol=OKX:BTC-USDT row=\"1,3000007,3000008,1,2.5,sell,55\",price=1,quantity=2.5 1709078400123000007\n"
    );
}

#[test]
fn a_venue_that_cannot_be_a_tag_is_refused() {
    for exchange in ["", "a\nb", "a\\", &"x".repeat(129)] {
        assert!(point::check_names(&instrument(exchange)).is_err());
    }
    point::check_names(&instrument("a b,c=d")).expect("escaped");
}

#[test]
fn answers_are_read_and_others_are_errors() {
    let body = br#"{"results":[{"statement_id":0,"series":[{"name":"m","tags":{"exchange":"a"},"columns":["time","row"],"values":[[1709078400123000007,"x"],[2,null]],"partial":true}]},{"statement_id":1,"error":"why"},{"statement_id":2}]}"#;
    let answers = answer::statements(body).expect("an answer");
    let [first, second, third] = answers.as_slice() else {
        panic!("{answers:?}");
    };
    assert!(first.is_cut() && !third.is_cut());
    assert_eq!(second.error.as_deref(), Some("why"));
    assert_eq!(first.first_time(), Some(1_709_078_400_123_000_007));
    let texts: Vec<_> = first.series[0].texts("row").collect();
    assert_eq!(texts, [(1_709_078_400_123_000_007, "x")]);
    assert_eq!(first.series[0].texts("other").count(), 0);
    for body in [
        b"" as &[u8],
        b"[]",
        b"{\"error\":\"no\"}",
        b"{\"results\":[{\"series\":1}]}",
        b"{\"results\":",
    ] {
        assert!(answer::statements(body).is_err());
    }
}
