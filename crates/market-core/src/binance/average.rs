//! The average price of the last minutes as the event of a stream.

use serde::Deserialize;

use super::decimal::{quotient, text};
use super::symbol::symbol_name;
use crate::value::amount::Amount;
use crate::value::clock::UnixMillis;
use crate::value::symbol::Symbol;

/// The minutes of an average, the forming one included, as in `/api/v3/avgPrice`.
pub const AVERAGE_MINUTES: usize = 5;

/// An encoded bar of a minute, as far as an average has it.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug)]
struct Encoded<'a> {
    symbol: Symbol,
    start_ms: UnixMillis,
    #[serde(borrow)]
    close: &'a str,
    #[serde(borrow)]
    volume: &'a str,
    #[serde(borrow)]
    quote_volume: Option<&'a str>,
    event_ms: Option<UnixMillis>,
    #[serde(default)]
    published_us: i64,
}

/// The sums of a minute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MinuteSums {
    /// First instant in it.
    pub start_ms: UnixMillis,
    /// The symbol's name.
    name: String,
    close: Amount,
    volume: Amount,
    quote_volume: Option<Amount>,
    event_ms: Option<UnixMillis>,
    published_us: i64,
}

impl MinuteSums {
    /// Reads an encoded bar; `None` if the payload is not a bar, or if its symbol has no name.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let bar: Encoded<'_> = serde_json::from_slice(payload).ok()?;
        let quote_volume = match bar.quote_volume {
            Some(sum) => Some(Amount::parse(sum)?),
            None => None,
        };
        Some(Self {
            start_ms: bar.start_ms,
            name: symbol_name(&bar.symbol)?,
            close: Amount::parse(bar.close)?,
            volume: Amount::parse(bar.volume)?,
            quote_volume,
            event_ms: bar.event_ms,
            published_us: bar.published_us,
        })
    }

    /// The event of a stream, of minutes by their start:
    /// `{"e":"avgPrice","E":1693907033000,"s":"BTCUSDT","i":"5m","w":"25776.86000000","T":1693907032213}`.
    /// `None` without minutes.
    ///
    /// Without trades, or if the venue does not say the quote volume, the average is the last price.
    #[must_use]
    pub fn event(minutes: &[&Self]) -> Option<String> {
        let last = minutes.last()?;
        let (mut volume, mut quote_volume) = (Amount::ZERO, Some(Amount::ZERO));
        for minute in minutes {
            volume.add(minute.volume);
            quote_volume = quote_volume
                .zip(minute.quote_volume)
                .map(|(mut sum, next)| {
                    sum.add(next);
                    sum
                });
        }
        let average = quote_volume.and_then(|sum| quotient(sum.parts(), volume.parts(), 8));
        let average = average.map_or_else(|| text(last.close.parts()), text);
        let traded_ms = minutes.iter().rev().find_map(|minute| minute.event_ms);
        Some(format!(
            r#"{{"e":"avgPrice","E":{},"s":"{}","i":"{AVERAGE_MINUTES}m","w":"{average}","T":{}}}"#,
            last.published_us.div_euclid(1_000),
            last.name,
            traded_ms.unwrap_or(last.start_ms),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(start_ms: i64, volume: &str, quote_volume: &str) -> MinuteSums {
        let json = format!(
            r#"{{"topic":"kline:1m:BTC-USDT","symbol":"BTC-USDT","start_ms":{start_ms},"close":"61000.5","volume":"{volume}","quote_volume":{quote_volume},"event_ms":{},"published_us":{}}}"#,
            start_ms + 7,
            (start_ms + 9) * 1_000,
        );
        MinuteSums::read(json.as_bytes()).expect("a bar")
    }

    #[track_caller]
    fn check(minutes: &[&MinuteSums], average: &str) {
        let expected = format!(
            r#"{{"e":"avgPrice","E":60009,"s":"BTCUSDT","i":"5m","w":"{average}","T":60007}}"#
        );
        assert_eq!(MinuteSums::event(minutes), Some(expected));
    }

    #[test]
    fn the_average_is_by_volume_or_the_last_price() {
        let first = minute(0, "3", "\"180000\"");
        check(
            &[&first, &minute(60_000, "1", "\"64000\"")],
            "61000.00000000",
        );
        check(&[&minute(60_000, "0", "\"0\"")], "61000.5");
        check(&[&first, &minute(60_000, "1", "null")], "61000.5");
        assert_eq!(MinuteSums::event(&[]), None);
        assert_eq!(
            MinuteSums::read(br#"{"symbol":"BTC-USDT","close":"x"}"#),
            None
        );
    }
}
