//! The ticker of the last hour, of four hours or of a day as the event of a stream.

use super::decimal::{Parts, difference, quotient, text};
use super::minute::{MINUTE_MS, Minute, MinuteBar};
use crate::series::sequence::IdSpan;
use crate::value::amount::Amount;
use crate::value::clock::UnixMillis;
use crate::value::price::Price;

/// A window that ends now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TickerWindow {
    /// An hour.
    Hour,
    /// Four hours.
    FourHours,
    /// A day.
    Day,
}

impl TickerWindow {
    /// The window of a name: `1h`, `4h` or `1d`.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let all = [Self::Hour, Self::FourHours, Self::Day];
        all.into_iter().find(|window| window.name() == name)
    }

    /// Its name, as in `@ticker_1h`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::FourHours => "4h",
            Self::Day => "1d",
        }
    }

    /// Its minutes beside the forming one. It begins with a minute, as on Binance, so it is up to a
    /// minute wider than its name says.
    #[must_use]
    pub const fn minutes(self) -> usize {
        match self {
            Self::Hour => 60,
            Self::FourHours => 240,
            Self::Day => 1_440,
        }
    }

    /// The first instant of the window that ends in the minute that begins at `minute_ms`.
    #[must_use]
    pub const fn open_ms(self, minute_ms: UnixMillis) -> UnixMillis {
        minute_ms.saturating_sub(self.minutes() as i64 * MINUTE_MS)
    }

    /// The event of a stream: `{"e":"1hTicker","E":1672515782136,"s":"BNBBTC","p":"0.0015",…}`.
    /// `sums` are those of all bars of the window, of which `newest` is the last one.
    ///
    /// What the venue does not say is zero, and -1 for ids of trades.
    #[must_use]
    pub fn event(self, newest: &Minute, sums: &MinuteSums) -> String {
        let (open, close) = (sums.open.parts(), sums.close.parts());
        let change = difference(close, open);
        let percent = change
            .and_then(|(mantissa, scale)| quotient((mantissa.checked_mul(100)?, scale), open, 3));
        let average = sums
            .quote_volume
            .and_then(|quote| quotient(quote.parts(), sums.volume.parts(), 8));
        let or_zero = |parts: Option<Parts>| parts.map_or_else(|| "0".to_owned(), text);
        let id = |id: Option<u64>| id.map_or_else(|| "-1".to_owned(), |id| id.to_string());
        format!(
            concat!(
                r#"{{"e":"{window}Ticker","E":{event_ms},"s":"{name}","p":"{change}","P":"{percent}","#,
                r#""o":"{open}","h":"{high}","l":"{low}","c":"{close}","w":"{average}","v":"{volume}","#,
                r#""q":"{quote_volume}","O":{open_ms},"C":{event_ms},"F":{first_id},"L":{last_id},"n":{count}}}"#
            ),
            window = self.name(),
            event_ms = newest.published_ms(),
            name = newest.name,
            change = or_zero(change),
            percent = or_zero(percent),
            open = sums.open,
            high = sums.high,
            low = sums.low,
            close = sums.close,
            average = or_zero(average),
            volume = sums.volume,
            quote_volume = sums.quote_volume.unwrap_or(Amount::ZERO),
            open_ms = self.open_ms(newest.bar.start_ms),
            first_id = id(sums.ids.map(|ids| ids.first)),
            last_id = id(sums.ids.map(|ids| ids.last)),
            count = sums.count.unwrap_or(0),
        )
    }
}

/// The numbers of several bars that follow each other. What one of them does not say is unknown.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MinuteSums {
    open: Price,
    high: Price,
    low: Price,
    close: Price,
    volume: Amount,
    quote_volume: Option<Amount>,
    count: Option<u64>,
    ids: Option<IdSpan>,
}

impl MinuteSums {
    /// Those of one bar.
    #[must_use]
    pub fn of(bar: &MinuteBar) -> Self {
        Self {
            open: bar.open,
            high: bar.high,
            low: bar.low,
            close: bar.close,
            volume: bar.volume,
            quote_volume: bar.quote_volume,
            count: bar.count,
            ids: bar.ids,
        }
    }

    /// Adds a later bar.
    pub fn add(&mut self, later: &MinuteBar) {
        self.high = self.high.max(later.high);
        self.low = self.low.min(later.low);
        self.close = later.close;
        self.volume.add(later.volume);
        let quote_volumes = self.quote_volume.zip(later.quote_volume);
        self.quote_volume = quote_volumes.map(|(mut sum, next)| {
            sum.add(next);
            sum
        });
        let counts = self.count.zip(later.count);
        self.count = counts.map(|(sum, next)| sum.saturating_add(next));
        self.ids = match (self.ids, later.ids) {
            (Some(IdSpan { first, .. }), Some(IdSpan { last, .. })) => Some(IdSpan { first, last }),
            (earlier, later) => earlier.or(later),
        };
    }

    /// Those of several bars by their start; `None` without bars.
    #[must_use]
    pub fn of_all<'a>(bars: impl IntoIterator<Item = &'a MinuteBar>) -> Option<Self> {
        bars.into_iter().fold(None, |sums, bar| match sums {
            None => Some(Self::of(bar)),
            Some(mut sums) => {
                sums.add(bar);
                Some(sums)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn minute(at: i64, prices: [&str; 4], volume: &str, ids: Option<(u64, u64)>) -> Minute {
        let [open, high, low, close] = prices;
        let bar = json!({
            "topic": "kline:1m:BTC-USDT", "exchange": "binance", "symbol": "BTC-USDT",
            "start_ms": at * MINUTE_MS, "open": open, "high": high, "low": low, "close": close,
            "volume": volume, "quote_volume": if volume == "0" { "0" } else { "200" }, "count": ids.map_or(0, |(first, last)| last - first + 1),
            "first_id": ids.map(|(first, _)| first.to_string()), "last_id": ids.map(|(_, last)| last.to_string()),
            "state": "closed", "event_ms": null, "published_us": at * MINUTE_MS * 1_000 + 5_000_000,
        });
        Minute::read(bar.to_string().as_bytes()).expect("a bar")
    }

    #[test]
    fn an_event_has_the_sums_of_the_window_and_its_beginning() {
        let minutes = [
            minute(100, ["100", "110", "99", "105"], "2", Some((7, 9))),
            minute(101, ["105", "105", "105", "105"], "0", None),
            minute(
                102,
                ["105", "106.5", "98.5", "102.5"],
                "1.5",
                Some((10, 10)),
            ),
        ];
        let sums = MinuteSums::of_all(minutes.iter().map(|minute| &minute.bar)).expect("bars");
        let event = TickerWindow::Hour.event(&minutes[2], &sums);
        let event: Value = serde_json::from_str(&event).expect("JSON");
        assert_eq!(
            event,
            json!({
                "e": "1hTicker", "E": 6_125_000, "s": "BTCUSDT", "p": "2.5", "P": "2.500",
                "o": "100", "h": "110", "l": "98.5", "c": "102.5", "w": "114.28571428",
                "v": "3.5", "q": "400", "O": 42 * MINUTE_MS, "C": 6_125_000, "F": 7, "L": 10, "n": 4,
            })
        );
    }

    #[test]
    fn what_a_venue_does_not_say_is_zero_or_minus_one() {
        let mut minute = minute(0, ["1", "1", "1", "1"], "0", None);
        (minute.bar.quote_volume, minute.bar.count) = (None, None);
        let event = TickerWindow::Day.event(&minute, &MinuteSums::of(&minute.bar));
        let event: Value = serde_json::from_str(&event).expect("JSON");
        let fields = ["q", "w", "n", "F", "L"].map(|name| event[name].clone());
        assert_eq!(
            fields,
            [json!("0"), json!("0"), json!(0), json!(-1), json!(-1)]
        );
        assert_eq!(MinuteSums::of_all([]), None);
    }

    #[test]
    fn windows_have_the_names_of_binance() {
        for (name, minutes) in [("1h", 60), ("4h", 240), ("1d", 1_440)] {
            let window = TickerWindow::of_name(name).expect("a window");
            assert_eq!((window.name(), window.minutes()), (name, minutes));
        }
        assert_eq!(TickerWindow::of_name("2h"), None);
        assert_eq!(TickerWindow::Day.open_ms(i64::MIN), i64::MIN);
    }
}
