//! Stored bars, read from published ones and written as clients get them.

use bytes::Bytes;

use super::bar::{Stamp, encode_row};
use super::bar_message::BarMessage;
use crate::bar::BarState;
use crate::bar_row::BarRow;
use crate::series::sequence::IdSpan;
use crate::topic::Topic;
use crate::value::amount::Amount;
use crate::value::price::Price;
use crate::value::symbol::Symbol;
use crate::value::width::Width;

impl BarRow {
    /// The row of a published bar, forming or closed, which became known when it was published.
    /// `None` if a field is not what a publisher writes.
    #[must_use]
    pub fn of_message(message: &BarMessage) -> Option<Self> {
        let price = |text: &str| Price::parse(text).ok();
        // The outer `None` stands for a text that is no number.
        let sum = |text: &Option<String>| match text {
            Some(text) => Amount::parse(text).map(Some),
            None => Some(None),
        };
        let id = |text: &str| text.parse().ok();
        let ids = match (&message.first_id, &message.last_id) {
            (None, None) => None,
            (Some(first), Some(last)) => Some(IdSpan {
                first: id(first)?,
                last: id(last)?,
            }),
            _ => return None,
        };
        Some(Self {
            start_ms: message.start_ms,
            open: price(&message.open)?,
            high: price(&message.high)?,
            low: price(&message.low)?,
            close: price(&message.close)?,
            volume: Amount::parse(&message.volume)?,
            quote_volume: sum(&message.quote_volume)?,
            taker_buy_volume: sum(&message.taker_buy_volume)?,
            taker_buy_quote_volume: sum(&message.taker_buy_quote_volume)?,
            count: message.count,
            ids,
            event_ms: message.event_ms,
            received_us: message.received_us,
            rev: message.rev,
            quality: message.quality,
            is_imported: false,
            known_ms: message.published_us.div_euclid(1_000),
        })
    }

    /// A closed bar of the past as the JSON object that a client gets. It has no place in the live
    /// sequence: `seq` and `epoch` are 0, and it was published when it became known.
    #[must_use]
    pub fn encode(&self, topic: &Topic, exchange: &str, symbol: &Symbol, width: Width) -> Bytes {
        let stamp = Stamp {
            seq: 0,
            epoch: 0,
            published_us: self.known_ms.saturating_mul(1_000),
        };
        encode_row(
            topic,
            exchange,
            symbol,
            width,
            self,
            BarState::Closed,
            stamp,
        )
    }
}
