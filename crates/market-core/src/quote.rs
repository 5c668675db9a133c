//! The best bid and ask of a market, and its last 24 hours, as a venue reported them.

use crate::value::amount::Amount;
use crate::value::clock::{UnixMicros, UnixMillis};
use crate::value::price::{Price, Quantity};

/// A price with the quantity that is offered or asked for at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PriceLevel {
    /// In the quote currency.
    pub price: Price,
    /// In the base currency.
    pub quantity: Quantity,
}

impl PriceLevel {
    /// A level of a venue's texts; `None` if the price or the quantity is zero: then there is none.
    ///
    /// # Errors
    /// If one of them is no decimal number.
    pub fn parse(
        price: &str,
        quantity: &str,
    ) -> Result<Option<Self>, crate::value::price::ParseDecimalError> {
        use crate::value::price::ParseDecimalError;
        match (Price::parse(price), Quantity::parse(quantity)) {
            (Ok(price), Ok(quantity)) => Ok(Some(Self { price, quantity })),
            (Err(ParseDecimalError::Zero), Ok(_) | Err(ParseDecimalError::Zero))
            | (Ok(_), Err(ParseDecimalError::Zero)) => Ok(None),
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }
}

/// The best bid and ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quote {
    /// The highest bid; `None` if there is none.
    pub bid: Option<PriceLevel>,
    /// The lowest ask; `None` if there is none.
    pub ask: Option<PriceLevel>,
    /// The venue's number of this state of its book, if it has one.
    pub update_id: Option<u64>,
    /// When the venue sent it, if it says so.
    pub event_ms: Option<UnixMillis>,
    /// When its frame was received, by this host's clock.
    pub received_us: UnixMicros,
}

/// The last 24 hours of a market, as its venue counts them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticker {
    /// The price 24 hours ago; `None` if there was no trade.
    pub open: Option<Price>,
    /// The highest price; `None` if there was no trade.
    pub high: Option<Price>,
    /// The lowest price; `None` if there was no trade.
    pub low: Option<Price>,
    /// The price of the last trade.
    pub last: Price,
    /// The quantity of the last trade, if the venue names it.
    pub last_quantity: Option<Quantity>,
    /// The volume in the base currency.
    pub volume: Amount,
    /// The volume in the quote currency, if the venue names it.
    pub quote_volume: Option<Amount>,
    /// The number of trades, if the venue names it.
    pub count: Option<u64>,
    /// The venue's ids of the first and the last trade, if it names them.
    pub ids: Option<(u64, u64)>,
    /// The highest bid, if the venue names it.
    pub bid: Option<Price>,
    /// Its quantity.
    pub bid_quantity: Option<Quantity>,
    /// The lowest ask, if the venue names it.
    pub ask: Option<Price>,
    /// Its quantity.
    pub ask_quantity: Option<Quantity>,
    /// When the venue sent it, if it says so.
    pub event_ms: Option<UnixMillis>,
    /// When its frame was received, by this host's clock.
    pub received_us: UnixMicros,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_of_nothing_is_none_and_one_of_no_number_is_an_error() {
        assert!(PriceLevel::parse("61837.63", "0.5").is_ok_and(|level| level.is_some()));
        for (price, quantity) in [("0.00", "0"), ("61837.63", "0"), ("0", "1")] {
            assert_eq!(PriceLevel::parse(price, quantity), Ok(None), "{price}");
        }
        for (price, quantity) in [("", "1"), ("1", "x"), ("-1", "0"), ("0", "1e5")] {
            assert!(PriceLevel::parse(price, quantity).is_err(), "{price}");
        }
    }
}
