//! The average price of the last minutes as the event of a stream.

use super::decimal::{quotient, text};
use super::minute::Minute;
use crate::value::amount::Amount;

/// The minutes of an average, the forming one included, as in `/api/v3/avgPrice`.
pub const AVERAGE_MINUTES: usize = 5;

/// The event of a stream, of minutes by their start:
/// `{"e":"avgPrice","E":1693907033000,"s":"BTCUSDT","i":"5m","w":"25776.86000000","T":1693907032213}`.
/// `None` without minutes.
///
/// Without trades, or if the venue does not say the quote volume, the average is the last price.
#[must_use]
pub fn average_event(minutes: &[&Minute]) -> Option<String> {
    let last = minutes.last()?;
    let (mut volume, mut quote_volume) = (Amount::ZERO, Some(Amount::ZERO));
    for minute in minutes {
        volume.add(minute.bar.volume);
        quote_volume = quote_volume
            .zip(minute.bar.quote_volume)
            .map(|(mut sum, next)| {
                sum.add(next);
                sum
            });
    }
    let average = quote_volume.and_then(|sum| quotient(sum.parts(), volume.parts(), 8));
    let average = average.map_or_else(|| last.bar.close.to_string(), text);
    let traded_ms = minutes.iter().rev().find_map(|minute| minute.event_ms);
    Some(format!(
        r#"{{"e":"avgPrice","E":{},"s":"{}","i":"{AVERAGE_MINUTES}m","w":"{average}","T":{}}}"#,
        last.published_ms(),
        last.name,
        traded_ms.unwrap_or(last.bar.start_ms),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(start_ms: i64, volume: &str, quote_volume: &str) -> Minute {
        let json = format!(
            r#"{{"topic":"kline:1m:BTC-USDT","symbol":"BTC-USDT","start_ms":{start_ms},"open":"61000","high":"61001","low":"60999","close":"61000.5","volume":"{volume}","quote_volume":{quote_volume},"count":1,"state":"forming","event_ms":{},"published_us":{}}}"#,
            start_ms + 7,
            (start_ms + 9) * 1_000,
        );
        Minute::read(json.as_bytes()).expect("a bar")
    }

    #[track_caller]
    fn check(minutes: &[&Minute], average: &str) {
        let expected = format!(
            r#"{{"e":"avgPrice","E":60009,"s":"BTCUSDT","i":"5m","w":"{average}","T":60007}}"#
        );
        assert_eq!(average_event(minutes), Some(expected));
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
        assert_eq!(average_event(&[]), None);
        assert_eq!(Minute::read(br#"{"symbol":"BTC-USDT","close":"x"}"#), None);
    }
}
