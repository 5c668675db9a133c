//! Bars and trades with every mixture of scales, sizes and absent fields.

use std::ops::Range;

use history::BarRow;
use market_core::{AggressorSide, Amount, IdSpan, Price, Quality, Quantity, Trade};
use proptest::collection::vec;
use proptest::prelude::*;

/// Mostly small and of few scales, sometimes as long as a decimal can be.
fn parts() -> impl Strategy<Value = (i128, u32)> {
    prop_oneof![
        8 => (1i128..1_000_000_000, 0u32..9),
        1 => (1i128..9_000_000_000_000_000_000_000_000_000, 0u32..29),
    ]
}

fn price() -> impl Strategy<Value = Price> {
    parts().prop_map(|(mantissa, scale)| Price::from_parts(mantissa, scale).expect("above zero"))
}

fn quantity() -> impl Strategy<Value = Quantity> {
    parts().prop_map(|(mantissa, scale)| Quantity::from_parts(mantissa, scale).expect("above zero"))
}

fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![
        8 => (0i128..1_000_000_000_000, 0u32..17),
        1 => (0i128..i128::MAX, 0u32..57),
    ]
    .prop_map(|(mantissa, scale)| Amount::from_parts(mantissa, scale))
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

fn ids() -> impl Strategy<Value = IdSpan> {
    (0u64..u64::MAX / 2, 0u64..1_000_000).prop_map(|(first, more)| IdSpan {
        first,
        last: first + more,
    })
}

fn bar() -> impl Strategy<Value = BarRow> {
    let told = || prop::option::weighted(0.8, amount());
    let amounts = (amount(), told(), told(), told());
    let known = (
        prop::option::weighted(0.8, any::<u64>()),
        prop::option::of(ids()),
        prop::option::of(any::<i64>()),
        prop::option::of(any::<i64>()),
    );
    let about = (any::<u32>(), quality(), any::<bool>(), any::<i64>());
    let start_s = prop_oneof![
        8 => 1_723_161_255i64..1_723_164_255,
        1 => -1_000_000_000_000i64..1_000_000_000_000,
    ];
    (start_s, vec(price(), 4), amounts, known, about).prop_map(
        |(start_s, mut prices, amounts, known, about)| {
            prices.sort();
            BarRow {
                start_ms: start_s * 1_000,
                open: prices[1],
                high: prices[3],
                low: prices[0],
                close: prices[2],
                volume: amounts.0,
                quote_volume: amounts.1,
                taker_buy_volume: amounts.2,
                taker_buy_quote_volume: amounts.3,
                count: known.0,
                ids: known.1,
                event_ms: known.2,
                received_us: known.3,
                rev: about.0,
                quality: about.1,
                is_imported: about.2,
                known_ms: about.3,
            }
        },
    )
}

/// Bars in any order: a block does not judge that.
pub(crate) fn bars(count: Range<usize>) -> impl Strategy<Value = Vec<BarRow>> {
    vec(bar(), count)
}

/// Trades in any order.
pub(crate) fn trades(count: Range<usize>) -> impl Strategy<Value = Vec<Trade>> {
    let side = any::<bool>();
    // Any time, or one of few: then several trades in a row have the same.
    let event_ms = || prop_oneof![any::<i64>(), 0i64..3];
    let trade = (ids(), event_ms(), price(), quantity(), side, any::<i64>());
    let trade = trade.prop_map(
        |(ids, event_ms, price, quantity, is_buy, received_us)| Trade {
            first_id: ids.first,
            last_id: ids.last,
            event_ms,
            price,
            quantity,
            aggressor_side: if is_buy {
                AggressorSide::Buy
            } else {
                AggressorSide::Sell
            },
            received_us,
        },
    );
    vec(trade, count)
}
