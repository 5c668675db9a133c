//! Bars that the tests publish.

use std::sync::atomic::{AtomicU64, Ordering};

use bus::Bus;
use bytes::Bytes;
use history::store::{BarSeries, Instrument};
use market_core::wire::{Stamp, encode_bar};
use market_core::{
    AggressorSide, Bar, BarState, Fold, Price, Quality, Quantity, Timeframe, Topic, Trade,
    UnixMillis, subject,
};

static SEQUENCE: AtomicU64 = AtomicU64::new(1);

pub(crate) fn minutes(exchange: &str, symbol: &str) -> BarSeries {
    BarSeries {
        instrument: Instrument {
            exchange: exchange.into(),
            symbol: symbol.parse().expect("a symbol"),
        },
        timeframe: Timeframe::MINUTE,
    }
}

/// A bar of one trade, as marketdata encodes it.
pub(crate) fn encoded(
    series: &BarSeries,
    start_ms: UnixMillis,
    state: BarState,
    rev: u32,
) -> Bytes {
    let id = start_ms.cast_unsigned() + u64::from(rev);
    let trade = Trade {
        first_id: id,
        last_id: id,
        event_ms: start_ms,
        price: Price::from_parts(i128::from(id) + 1, 2).expect("above zero"),
        quantity: Quantity::from_parts(3, 1).expect("above zero"),
        aggressor_side: AggressorSide::Buy,
        received_us: start_ms * 1_000,
    };
    let bar = Bar {
        timeframe: series.timeframe,
        start_ms,
        end_ms: series.timeframe.end_of(start_ms),
        fold: Some(Fold::of(&trade)),
        previous_close: None,
        state,
        rev,
        quality: Quality::Complete,
    };
    let instrument = &series.instrument;
    let topic = Topic::bars(series.timeframe, &instrument.symbol);
    let stamp = Stamp {
        seq: SEQUENCE.fetch_add(1, Ordering::Relaxed),
        epoch: 1,
        published_us: 0,
    };
    let encoded = encode_bar(
        &topic,
        &instrument.exchange,
        &instrument.symbol,
        &bar,
        stamp,
    );
    encoded.expect("it has a trade")
}

/// Publishes a bar as marketdata does to clients.
pub(crate) async fn publish(
    bus: &dyn Bus,
    series: &BarSeries,
    start_ms: UnixMillis,
    state: BarState,
    rev: u32,
) -> Bytes {
    let payload = encoded(series, start_ms, state, rev);
    let subject = subject::bars(series.timeframe, &series.instrument.symbol);
    let published = bus.publish(&subject, payload.clone()).await;
    published.expect("published");
    payload
}
