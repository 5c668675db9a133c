//! Trades from a venue's values.

use market_core::{AggressorSide, Price, Quantity, Trade, UnixMicros, UnixMillis};

/// Highest trade id accepted, so that counting from it cannot overflow.
const TRADE_ID_MAX: u64 = i64::MAX as u64;
/// Latest event time accepted: the end of the year 9999.
const EVENT_MS_MAX: UnixMillis = 253_402_300_799_999;

/// A trade from the venue's values.
///
/// # Errors
/// Which of them no trade can have.
#[inline]
pub fn trade_of(
    (first_id, last_id): (u64, u64),
    event_ms: UnixMillis,
    price: &str,
    quantity: &str,
    aggressor_side: AggressorSide,
    received_us: UnixMicros,
) -> Result<Trade, &'static str> {
    if first_id > last_id || last_id > TRADE_ID_MAX {
        return Err("ids");
    }
    if !(0..=EVENT_MS_MAX).contains(&event_ms) {
        return Err("time of a trade");
    }
    let (Ok(price), Ok(quantity)) = (Price::parse(price), Quantity::parse(quantity)) else {
        return Err("price or quantity");
    };
    Ok(Trade {
        first_id,
        last_id,
        event_ms,
        price,
        quantity,
        aggressor_side,
        received_us,
    })
}
