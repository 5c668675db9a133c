//! What the rules know of a quote.

use market_core::wire::{JsonMessage, QuoteMessage};
use market_core::{Price, UnixMillis};

/// The best bid and ask of a symbol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SymbolQuote {
    /// The venue, in lower case.
    pub exchange: Box<str>,
    /// The highest bid.
    pub bid: Price,
    /// The lowest ask.
    pub ask: Price,
    /// When a publisher received it, by the publisher's clock.
    pub received_ms: UnixMillis,
}

/// Reads a quote; `None` inside if a side of it is missing: then there is no spread.
///
/// # Errors
/// Why it is none.
pub fn read_quote(payload: &[u8]) -> Result<Option<SymbolQuote>, String> {
    let message = QuoteMessage::read(payload).ok_or("not a quote")?;
    let (Some(bid), Some(ask)) = (&message.bid, &message.ask) else {
        return Ok(None);
    };
    let price = |text: &str| Price::parse(text).map_err(|error| format!("not a quote: {error}"));
    Ok(Some(SymbolQuote {
        bid: price(bid)?,
        ask: price(ask)?,
        received_ms: message.received_us / 1_000,
        exchange: message.exchange.into_boxed_str(),
    }))
}
