//! Bars that the tests publish.

use std::sync::atomic::{AtomicU64, Ordering};

use bus::Bus;
use bytes::Bytes;
use history::store::{BarSeries, Instrument};
use market_core::wire::{Stamp, encode_bar, encode_trade};
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
    of_quality(series, start_ms, state, rev, Quality::Complete)
}

/// The same, of any quality.
pub(crate) fn of_quality(
    series: &BarSeries,
    start_ms: UnixMillis,
    state: BarState,
    rev: u32,
    quality: Quality,
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
        quality,
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

/// Puts a bar into the journal, as marketdata does.
pub(crate) async fn journal(
    bus: &dyn Bus,
    series: &BarSeries,
    start_ms: UnixMillis,
    state: BarState,
    rev: u32,
) -> Bytes {
    let payload = encoded(series, start_ms, state, rev);
    publish_to_journal(bus, series, payload.clone()).await;
    payload
}

/// Puts anything into the journal.
pub(crate) async fn publish_to_journal(bus: &dyn Bus, series: &BarSeries, payload: Bytes) {
    let record = subject::closed_bars(series.timeframe, &series.instrument.symbol);
    let subject = subject::journal(&record).expect("a record of bars");
    let stored = bus.publish_durable(&subject, payload).await;
    stored.expect("stored");
}

/// Publishes a trade as marketdata does.
pub(crate) async fn publish_trade(bus: &dyn Bus, instrument: &Instrument, id: u64) -> Trade {
    let trade = Trade {
        first_id: id,
        last_id: id,
        event_ms: 1_700_000_000_000 + id.cast_signed(),
        price: Price::from_parts(i128::from(id), 2).expect("above zero"),
        quantity: Quantity::from_parts(7, 3).expect("above zero"),
        aggressor_side: AggressorSide::Sell,
        received_us: 1_700_000_000_000_000,
    };
    let (exchange, symbol) = (&instrument.exchange, &instrument.symbol);
    let payload = encode_trade(exchange, symbol, &trade);
    let subject = subject::trades(exchange, symbol);
    let published = bus.publish(&subject, payload).await;
    published.expect("published");
    trade
}
