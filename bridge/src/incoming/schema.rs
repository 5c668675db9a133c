//! Bars and trades of the published schema of protobuf.

use client_frames::dialect::protobuf::schema;
use market_core::wire::{BarMessage, TradeMessage};
use market_core::{BarState, Quality};

/// `None` if its state, quality or interval is unknown.
pub(super) fn of_bar(bar: schema::Bar) -> Option<BarMessage> {
    let state = match schema::State::try_from(bar.state).ok()? {
        schema::State::Forming => BarState::Forming,
        schema::State::Closed => BarState::Closed,
        schema::State::Unspecified => return None,
    };
    let quality = match schema::Quality::try_from(bar.quality).ok()? {
        schema::Quality::Complete => Quality::Complete,
        schema::Quality::Gap => Quality::Gap,
        schema::Quality::Backfilled => Quality::Backfilled,
        schema::Quality::Partial => Quality::Partial,
        schema::Quality::Filled => Quality::Filled,
        schema::Quality::Unspecified => return None,
    };
    Some(BarMessage {
        topic: bar.topic,
        seq: bar.seq,
        epoch: bar.epoch,
        exchange: bar.exchange,
        symbol: bar.symbol,
        interval: bar.interval.parse().ok()?,
        start_ms: bar.start_ms,
        end_ms: bar.end_ms,
        open: bar.open,
        high: bar.high,
        low: bar.low,
        close: bar.close,
        volume: bar.volume,
        quote_volume: bar.quote_volume,
        taker_buy_volume: bar.taker_buy_volume,
        taker_buy_quote_volume: bar.taker_buy_quote_volume,
        count: bar.count,
        first_id: bar.first_id,
        last_id: bar.last_id,
        state,
        rev: bar.rev,
        quality,
        event_ms: bar.event_ms,
        received_us: bar.received_us,
        published_us: bar.published_us,
    })
}

/// An unknown side is empty.
pub(super) fn of_trade(trade: schema::Trade) -> TradeMessage {
    let side = match schema::Side::try_from(trade.aggressor_side) {
        Ok(schema::Side::Buy) => "buy",
        Ok(schema::Side::Sell) => "sell",
        _ => "",
    };
    TradeMessage {
        topic: Some(trade.topic),
        seq: Some(trade.seq),
        epoch: Some(trade.epoch),
        exchange: trade.exchange,
        symbol: trade.symbol,
        first_id: trade.first_id,
        last_id: trade.last_id,
        price: trade.price,
        quantity: trade.quantity,
        aggressor_side: side.to_owned(),
        event_ms: trade.event_ms,
        received_us: trade.received_us,
        published_us: Some(trade.published_us),
    }
}
