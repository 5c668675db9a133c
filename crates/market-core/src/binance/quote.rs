//! Quotes and tickers as the events of streams.

use serde::Deserialize;
use serde_json::{Value, json};

use super::decimal::{Parts, difference, quotient, text};
use super::stream_of;
use super::symbol::symbol_name;
use crate::value::amount::Amount;
use crate::value::symbol::Symbol;

/// What Binance writes where there is no price or quantity.
const NOTHING: &str = "0.00000000";
/// The width of a ticker, ms.
const DAY_MS: i64 = 86_400_000;

/// An encoded quote, as far as an event has it. The texts are those of the quote.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct BookTicker<'a> {
    symbol: Symbol,
    seq: u64,
    #[serde(borrow)]
    bid: Option<&'a str>,
    #[serde(borrow)]
    bid_quantity: Option<&'a str>,
    #[serde(borrow)]
    ask: Option<&'a str>,
    #[serde(borrow)]
    ask_quantity: Option<&'a str>,
    #[serde(borrow)]
    update_id: Option<&'a str>,
    published_us: i64,
}

impl<'a> BookTicker<'a> {
    /// Reads an encoded quote; `None` if the payload is not a quote.
    #[must_use]
    pub fn read(payload: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }

    /// The name of its stream: `btcusdt@bookTicker`. `None` if its symbol has no name.
    #[must_use]
    pub fn stream(&self) -> Option<String> {
        stream_of(&self.symbol, "bookTicker")
    }

    /// When it was published, ms.
    #[must_use]
    pub fn published_ms(&self) -> i64 {
        self.published_us.div_euclid(1_000)
    }

    /// The symbol, and the row of the REST API. `None` if the symbol has no name.
    #[must_use]
    pub fn row(&self) -> Option<(Symbol, Value)> {
        let or_nothing = |text: Option<&'a str>| text.unwrap_or(NOTHING);
        let row = json!({
            "symbol": symbol_name(&self.symbol)?,
            "bidPrice": or_nothing(self.bid),
            "bidQty": or_nothing(self.bid_quantity),
            "askPrice": or_nothing(self.ask),
            "askQty": or_nothing(self.ask_quantity),
        });
        Some((self.symbol.clone(), row))
    }

    /// The event of a stream: `{"u":400900217,"s":"BNBUSDT","b":"25.3519","B":"31.21","a":"25.3652","A":"40.66"}`.
    /// `None` if its symbol has no name.
    ///
    /// A quote of a venue that does not number its book has the number of the publication.
    #[must_use]
    pub fn event(&self) -> Option<String> {
        let name = symbol_name(&self.symbol)?;
        let id = self.update_id.and_then(|id| id.parse().ok());
        let update_id: u64 = id.unwrap_or(self.seq);
        let or_nothing = |text: Option<&'a str>| text.unwrap_or(NOTHING);
        Some(format!(
            r#"{{"u":{update_id},"s":"{name}","b":"{}","B":"{}","a":"{}","A":"{}"}}"#,
            or_nothing(self.bid),
            or_nothing(self.bid_quantity),
            or_nothing(self.ask),
            or_nothing(self.ask_quantity),
        ))
    }
}

/// An encoded ticker, as far as an event has it. The texts are those of the ticker.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct DayTicker<'a> {
    symbol: Symbol,
    #[serde(borrow)]
    open: Option<&'a str>,
    #[serde(borrow)]
    high: Option<&'a str>,
    #[serde(borrow)]
    low: Option<&'a str>,
    #[serde(borrow)]
    last: &'a str,
    #[serde(borrow)]
    last_quantity: Option<&'a str>,
    #[serde(borrow)]
    volume: &'a str,
    #[serde(borrow)]
    quote_volume: Option<&'a str>,
    count: Option<u64>,
    #[serde(borrow)]
    first_id: Option<&'a str>,
    #[serde(borrow)]
    last_id: Option<&'a str>,
    #[serde(borrow)]
    bid: Option<&'a str>,
    #[serde(borrow)]
    bid_quantity: Option<&'a str>,
    #[serde(borrow)]
    ask: Option<&'a str>,
    #[serde(borrow)]
    ask_quantity: Option<&'a str>,
    event_ms: Option<i64>,
    published_us: i64,
}

impl<'a> DayTicker<'a> {
    /// Reads an encoded ticker; `None` if the payload is not a ticker.
    #[must_use]
    pub fn read(payload: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }

    /// The name of its stream: `btcusdt@ticker`. `None` if its symbol has no name.
    #[must_use]
    pub fn stream(&self) -> Option<String> {
        stream_of(&self.symbol, "ticker")
    }

    /// The event of a stream: `{"e":"24hrMiniTicker","E":1672515782136,"s":"BNBBTC","c":"0.0025",…}`.
    /// `None` if its symbol has no name.
    #[must_use]
    pub fn mini_event(&self) -> Option<String> {
        let or_nothing = |text: Option<&'a str>| text.unwrap_or(NOTHING);
        Some(format!(
            concat!(
                r#"{{"e":"24hrMiniTicker","E":{event_ms},"s":"{name}","c":"{last}","o":"{open}","#,
                r#""h":"{high}","l":"{low}","v":"{volume}","q":"{quote_volume}"}}"#
            ),
            event_ms = self.event_ms(),
            name = symbol_name(&self.symbol)?,
            last = self.last,
            open = or_nothing(self.open),
            high = or_nothing(self.high),
            low = or_nothing(self.low),
            volume = self.volume,
            quote_volume = or_nothing(self.quote_volume),
        ))
    }

    fn event_ms(&self) -> i64 {
        self.event_ms
            .unwrap_or_else(|| self.published_us.div_euclid(1_000))
    }

    /// The event of a stream: `{"e":"24hrTicker","E":1672515782136,"s":"BNBBTC","p":"0.0015",…}`.
    /// `None` if its symbol has no name.
    ///
    /// What the venue does not say is zero, and -1 for ids of trades. The price before the 24 hours
    /// (`x`) is the first price in them.
    #[must_use]
    pub fn event(&self) -> Option<String> {
        let name = symbol_name(&self.symbol)?;
        let parts = |text: Option<&str>| text.and_then(Amount::parse).map(Amount::parts);
        let (open, last) = (parts(self.open), parts(Some(self.last)));
        let change = open
            .zip(last)
            .and_then(|(open, last)| difference(last, open));
        let percent = change.zip(open).and_then(|((mantissa, scale), open)| {
            quotient((mantissa.checked_mul(100)?, scale), open, 3)
        });
        let sums = parts(self.quote_volume).zip(parts(Some(self.volume)));
        let average = sums.and_then(|(quote, base)| quotient(quote, base, 8));
        let or_zero = |parts: Option<Parts>| parts.map_or_else(|| NOTHING.to_owned(), text);
        let or_nothing = |text: Option<&'a str>| text.unwrap_or(NOTHING);
        let id = |id: Option<&str>| id.and_then(|id| id.parse::<i64>().ok()).unwrap_or(-1);
        let event_ms = self.event_ms();
        Some(format!(
            concat!(
                r#"{{"e":"24hrTicker","E":{event_ms},"s":"{name}","p":"{change}","P":"{percent}","w":"{average}","#,
                r#""x":"{open}","c":"{last}","Q":"{last_quantity}","b":"{bid}","B":"{bid_quantity}","a":"{ask}","#,
                r#""A":"{ask_quantity}","o":"{open}","h":"{high}","l":"{low}","v":"{volume}","q":"{quote_volume}","#,
                r#""O":{begin_ms},"C":{event_ms},"F":{first_id},"L":{last_id},"n":{count}}}"#
            ),
            event_ms = event_ms,
            name = name,
            change = or_zero(change),
            percent = or_zero(percent),
            average = or_zero(average),
            open = or_nothing(self.open),
            last = self.last,
            last_quantity = or_nothing(self.last_quantity),
            bid = or_nothing(self.bid),
            bid_quantity = or_nothing(self.bid_quantity),
            ask = or_nothing(self.ask),
            ask_quantity = or_nothing(self.ask_quantity),
            high = or_nothing(self.high),
            low = or_nothing(self.low),
            volume = self.volume,
            quote_volume = or_nothing(self.quote_volume),
            begin_ms = event_ms.saturating_sub(DAY_MS),
            first_id = id(self.first_id),
            last_id = id(self.last_id),
            count = self.count.unwrap_or(0),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTE: &str = r#"{"topic":"quote:OKX:BTC-USDT","seq":7,"epoch":3,"exchange":"okx","symbol":"OKX:BTC-USDT","bid":"61837.63","bid_quantity":"3.78826","ask":null,"ask_quantity":null,"update_id":null,"event_ms":null,"received_us":1723161254087891,"published_us":1723161254088000}"#;
    const TICKER: &str = r#"{"topic":"ticker:BTC-USDT","seq":7,"epoch":3,"exchange":"binance","symbol":"BTC-USDT","source":"venue","open":"60000","high":"62500.5","low":"59000","last":"61500","last_quantity":"0.02","volume":"2","quote_volume":"122000.5","count":3,"first_id":"41","last_id":"43","bid":"61499.5","bid_quantity":"1","ask":"61500","ask_quantity":"0.5","event_ms":1723161254087,"received_us":1723161254087891,"published_us":1723161254088000}"#;

    #[test]
    fn a_quote_is_an_event_of_the_same_numbers() {
        let quote = BookTicker::read(QUOTE.as_bytes()).expect("a quote");
        assert_eq!(quote.stream().as_deref(), Some("okx_btcusdt@bookTicker"));
        assert_eq!(
            quote.event().as_deref(),
            Some(
                r#"{"u":7,"s":"OKX_BTCUSDT","b":"61837.63","B":"3.78826","a":"0.00000000","A":"0.00000000"}"#
            )
        );
        let (symbol, row) = quote.row().expect("a name");
        assert_eq!(symbol.as_str(), "OKX:BTC-USDT");
        assert_eq!(
            row,
            json!({
                "symbol": "OKX_BTCUSDT", "bidPrice": "61837.63", "bidQty": "3.78826",
                "askPrice": "0.00000000", "askQty": "0.00000000",
            })
        );
        let numbered = QUOTE.replace("\"update_id\":null", "\"update_id\":\"50093239212\"");
        let event = BookTicker::read(numbered.as_bytes()).and_then(|quote| quote.event());
        assert!(event.is_some_and(|event| event.starts_with("{\"u\":50093239212,")));
    }

    #[test]
    fn a_ticker_is_an_event_with_its_change_and_its_average() {
        let ticker = DayTicker::read(TICKER.as_bytes()).expect("a ticker");
        assert_eq!(ticker.stream().as_deref(), Some("btcusdt@ticker"));
        let event: Value = serde_json::from_str(&ticker.event().expect("a name")).expect("JSON");
        assert_eq!(
            event,
            json!({
                "e": "24hrTicker", "E": 1_723_161_254_087_i64, "s": "BTCUSDT",
                "p": "1500", "P": "2.500", "w": "61000.25000000", "x": "60000", "c": "61500",
                "Q": "0.02", "b": "61499.5", "B": "1", "a": "61500", "A": "0.5", "o": "60000",
                "h": "62500.5", "l": "59000", "v": "2", "q": "122000.5",
                "O": 1_723_074_854_087_i64, "C": 1_723_161_254_087_i64, "F": 41, "L": 43, "n": 3,
            })
        );
    }

    #[test]
    fn a_small_ticker_is_an_event_of_the_same_numbers() {
        let ticker = DayTicker::read(TICKER.as_bytes()).expect("a ticker");
        assert_eq!(
            ticker.mini_event().as_deref(),
            Some(
                r#"{"e":"24hrMiniTicker","E":1723161254087,"s":"BTCUSDT","c":"61500","o":"60000","h":"62500.5","l":"59000","v":"2","q":"122000.5"}"#
            )
        );
    }

    #[test]
    fn what_a_venue_does_not_say_is_zero() {
        let mut ticker: Value = serde_json::from_str(TICKER).expect("JSON");
        for field in [
            "open",
            "high",
            "low",
            "quote_volume",
            "count",
            "first_id",
            "last_id",
            "bid",
            "event_ms",
        ] {
            ticker[field] = Value::Null;
        }
        let json = ticker.to_string();
        let ticker = DayTicker::read(json.as_bytes()).expect("a ticker");
        let event: Value = serde_json::from_str(&ticker.event().expect("a name")).expect("JSON");
        assert_eq!(
            (
                &event["p"],
                &event["w"],
                &event["b"],
                &event["F"],
                &event["n"],
                &event["E"]
            ),
            (
                &json!(NOTHING),
                &json!(NOTHING),
                &json!(NOTHING),
                &json!(-1),
                &json!(0),
                &json!(1_723_161_254_088_i64)
            )
        );
    }
}
