//! A closed bar as it is stored.

use bytes::Bytes;

use crate::bar::{Bar, BarState, Fold, Quality};
use crate::series::sequence::IdSpan;
use crate::topic::Topic;
use crate::value::amount::Amount;
use crate::value::clock::{UnixMicros, UnixMillis};
use crate::value::price::Price;
use crate::value::symbol::Symbol;
use crate::value::width::Width;
use crate::wire::bar::{self, BarMessage, Stamp};

/// One revision of a closed bar: the fields that the bus and the clients have, and what only the
/// store knows about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BarRow {
    /// First instant in the bar.
    pub start_ms: UnixMillis,
    /// Price of the earliest trade; of a flat bar, the close before.
    pub open: Price,
    /// Highest price.
    pub high: Price,
    /// Lowest price.
    pub low: Price,
    /// Price of the latest trade.
    pub close: Price,
    /// In the base currency.
    pub volume: Amount,
    /// In the quote currency.
    pub quote_volume: Amount,
    /// Quantity that takers bought, in the base currency.
    pub taker_buy_volume: Amount,
    /// Quantity that takers bought, in the quote currency.
    pub taker_buy_quote_volume: Amount,
    /// Number of trades.
    pub count: u64,
    /// Lowest and highest trade id; `None` in a flat bar, and where a venue does not say them.
    pub ids: Option<IdSpan>,
    /// Event time of the latest trade, if known.
    pub event_ms: Option<UnixMillis>,
    /// When the newest trade was received, if known.
    pub received_us: Option<UnixMicros>,
    /// Revision number.
    pub rev: u32,
    /// What is known about the bar's completeness.
    pub quality: Quality,
    /// It is the venue's own bar, and any bar that was made here replaces it.
    pub is_imported: bool,
    /// When this revision became known here.
    pub known_ms: UnixMillis,
}

impl BarRow {
    /// The row of a closed bar that became known at `known_ms`. `None` for a forming bar, and for
    /// one with neither trades nor a bar before it.
    #[must_use]
    pub fn of(bar: &Bar, known_ms: UnixMillis) -> Option<Self> {
        match bar.state {
            BarState::Closed => Self::of_any(bar, known_ms),
            BarState::Forming => None,
        }
    }

    /// The same of a forming bar, too.
    #[must_use]
    pub fn of_any(bar: &Bar, known_ms: UnixMillis) -> Option<Self> {
        let [open, high, low, close] = bar.ohlc()?;
        let fold = bar.fold.as_ref();
        let amount = |amount: Option<Amount>| amount.unwrap_or(Amount::ZERO);
        Some(Self {
            start_ms: bar.start_ms,
            open,
            high,
            low,
            close,
            volume: amount(fold.map(|fold| fold.volume)),
            quote_volume: amount(fold.map(|fold| fold.quote_volume)),
            taker_buy_volume: amount(fold.map(|fold| fold.taker_buy_volume)),
            taker_buy_quote_volume: amount(fold.map(|fold| fold.taker_buy_quote_volume)),
            count: fold.map_or(0, |fold| fold.count),
            ids: fold.map(|fold| IdSpan {
                first: fold.first_id,
                last: fold.last_id,
            }),
            event_ms: fold.map(Fold::event_ms),
            received_us: fold.map(|fold| fold.received_us),
            rev: bar.rev,
            quality: bar.quality,
            is_imported: false,
            known_ms,
        })
    }

    /// The row of a published bar, forming or closed, which became known when it was published.
    /// `None` if a field is not what a publisher writes.
    #[must_use]
    pub fn of_message(message: &BarMessage) -> Option<Self> {
        let price = |text: &str| Price::parse(text).ok();
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
            quote_volume: Amount::parse(&message.quote_volume)?,
            taker_buy_volume: Amount::parse(&message.taker_buy_volume)?,
            taker_buy_quote_volume: Amount::parse(&message.taker_buy_quote_volume)?,
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
        bar::encode_row(
            topic,
            exchange,
            symbol,
            width,
            self,
            BarState::Closed,
            stamp,
        )
    }

    /// Whether no trade happened.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        self.count == 0 && self.volume.is_zero()
    }

    /// The higher of two revisions of one bar replaces the other: a bar that was made here replaces
    /// an imported one, then the revision number counts, then the time at which it became known.
    #[must_use]
    pub fn rank(&self) -> (bool, u32, UnixMillis) {
        (!self.is_imported, self.rev, self.known_ms)
    }

    /// Whether two rows say the same, whenever they became known. The bus may deliver a bar twice.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        Self {
            known_ms: other.known_ms,
            ..*self
        } == *other
    }
}
