//! Rows as exact text: values separated by commas, behind the version of the format.
//!
//! The time of a row is that of its point. An unknown value is empty. `~` stands before a sum that
//! gave up decimal places.

use std::fmt::{Display, Write as _};
use std::str::{FromStr, Split};

use market_core::{
    AggressorSide, Amount, BarRow, IdSpan, Price, Quality, Quantity, Trade, UnixMillis,
};

const VERSION: &str = "1";

/// The most decimal places of a sum. A product of a price and a quantity has 56.
pub(crate) const PLACES_MAX: u32 = 64;

const QUALITIES: [(&str, Quality); 5] = [
    ("complete", Quality::Complete),
    ("gap", Quality::Gap),
    ("backfilled", Quality::Backfilled),
    ("partial", Quality::Partial),
    ("filled", Quality::Filled),
];

/// The text of a bar: version, open, high, low, close, the volume, that in the quote currency, both
/// of takers, count, first and last id, event time in ms, receive time in µs, revision, quality,
/// whether it was imported, and the time at which it became known in ms.
pub(crate) fn bar_text(row: &BarRow) -> String {
    let mut text = VERSION.to_owned();
    for price in [row.open, row.high, row.low, row.close] {
        put(&mut text, Some(price));
    }
    let sums = [
        Some(row.volume),
        row.quote_volume,
        row.taker_buy_volume,
        row.taker_buy_quote_volume,
    ];
    for sum in sums {
        match sum {
            Some(sum) if !sum.is_exact() => put(&mut text, Some(format_args!("~{sum}"))),
            sum => put(&mut text, sum),
        }
    }
    put(&mut text, row.count);
    put(&mut text, row.ids.map(|ids| ids.first));
    put(&mut text, row.ids.map(|ids| ids.last));
    put(&mut text, row.event_ms);
    put(&mut text, row.received_us);
    put(&mut text, Some(row.rev));
    let quality = QUALITIES.iter().find(|(_, known)| *known == row.quality);
    put(&mut text, quality.map(|(name, _)| name));
    put(&mut text, Some(u8::from(row.is_imported)));
    put(&mut text, Some(row.known_ms));
    text
}

/// The bar of a text; `None` if it is none.
pub(crate) fn parse_bar(start_ms: UnixMillis, text: &str) -> Option<BarRow> {
    let mut values = text.split(',');
    (values.next()? == VERSION).then_some(())?;
    let row = BarRow {
        start_ms,
        open: price(values.next()?)?,
        high: price(values.next()?)?,
        low: price(values.next()?)?,
        close: price(values.next()?)?,
        volume: sum(values.next()?)?,
        quote_volume: known(&mut values, sum)?,
        taker_buy_volume: known(&mut values, sum)?,
        taker_buy_quote_volume: known(&mut values, sum)?,
        count: known(&mut values, number)?,
        ids: match (known(&mut values, number)?, known(&mut values, number)?) {
            (Some(first), Some(last)) => Some(IdSpan { first, last }),
            (None, None) => None,
            _ => return None,
        },
        event_ms: known(&mut values, number)?,
        received_us: known(&mut values, number)?,
        rev: number(values.next()?)?,
        quality: {
            let name = values.next()?;
            QUALITIES.iter().find(|(known, _)| *known == name)?.1
        },
        is_imported: match values.next()? {
            "0" => false,
            "1" => true,
            _ => return None,
        },
        known_ms: number(values.next()?)?,
    };
    values.next().is_none().then_some(row)
}

/// The text of a trade: version, first and last id, price, quantity, the taker's side, and receive
/// time in µs.
pub(crate) fn trade_text(trade: &Trade) -> String {
    let mut text = VERSION.to_owned();
    put(&mut text, Some(trade.first_id));
    put(&mut text, Some(trade.last_id));
    put(&mut text, Some(trade.price));
    put(&mut text, Some(trade.quantity));
    let side = match trade.aggressor_side {
        AggressorSide::Buy => "buy",
        AggressorSide::Sell => "sell",
    };
    put(&mut text, Some(side));
    put(&mut text, Some(trade.received_us));
    text
}

/// The trade of a text; `None` if it is none.
pub(crate) fn parse_trade(event_ms: UnixMillis, text: &str) -> Option<Trade> {
    let mut values = text.split(',');
    (values.next()? == VERSION).then_some(())?;
    let trade = Trade {
        event_ms,
        first_id: number(values.next()?)?,
        last_id: number(values.next()?)?,
        price: price(values.next()?)?,
        quantity: {
            let (mantissa, scale) = decimal(values.next()?)?;
            Quantity::from_parts(mantissa, scale)?
        },
        aggressor_side: match values.next()? {
            "buy" => AggressorSide::Buy,
            "sell" => AggressorSide::Sell,
            _ => return None,
        },
        received_us: number(values.next()?)?,
    };
    (values.next().is_none() && trade.first_id <= trade.last_id).then_some(trade)
}

fn put(text: &mut String, value: Option<impl Display>) {
    text.push(',');
    if let Some(value) = value {
        // Writing to a string cannot fail.
        let _ = write!(text, "{value}");
    }
}

/// A value that may be empty.
fn known<T>(
    values: &mut Split<'_, char>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Option<Option<T>> {
    match values.next()? {
        "" => Some(None),
        text => parse(text).map(Some),
    }
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// Mantissa and scale of plain digits.
fn decimal(text: &str) -> Option<(i128, u32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let scale = u32::try_from(fraction.len()).ok()?;
    if whole.is_empty() || scale > PLACES_MAX || !digits(whole) || !digits(fraction) {
        return None;
    }
    let mantissa = match fraction {
        "" => whole.parse(),
        _ => format!("{whole}{fraction}").parse(),
    };
    Some((mantissa.ok()?, scale))
}

fn price(text: &str) -> Option<Price> {
    let (mantissa, scale) = decimal(text)?;
    Price::from_parts(mantissa, scale)
}

fn sum(text: &str) -> Option<Amount> {
    match text.strip_prefix('~') {
        Some(text) => {
            let (mantissa, scale) = decimal(text)?;
            Some(Amount::from_rounded_parts(mantissa, scale))
        }
        None => {
            let (mantissa, scale) = decimal(text)?;
            Some(Amount::from_parts(mantissa, scale))
        }
    }
}
