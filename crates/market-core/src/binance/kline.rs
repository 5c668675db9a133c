//! Bars as klines: the event of a stream, and the row of the REST API.

use std::fmt::Write as _;

use serde::Deserialize;

use super::symbol::symbol_name;
use crate::bar_row::BarRow;
use crate::value::amount::Amount;
use crate::value::symbol::Symbol;
use crate::value::width::Width;

/// What stands for a sum that is unknown.
const UNKNOWN: &str = "0";

/// An encoded bar, as far as a kline has it. The texts are those of the bar.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Kline<'a> {
    symbol: Symbol,
    /// The width: Binance writes widths with the same letters.
    #[serde(borrow)]
    interval: &'a str,
    start_ms: i64,
    end_ms: i64,
    #[serde(borrow)]
    open: &'a str,
    #[serde(borrow)]
    high: &'a str,
    #[serde(borrow)]
    low: &'a str,
    #[serde(borrow)]
    close: &'a str,
    #[serde(borrow)]
    volume: &'a str,
    #[serde(borrow)]
    quote_volume: Option<&'a str>,
    #[serde(borrow)]
    taker_buy_volume: Option<&'a str>,
    #[serde(borrow)]
    taker_buy_quote_volume: Option<&'a str>,
    count: Option<u64>,
    #[serde(borrow, default)]
    first_id: Option<&'a str>,
    #[serde(borrow, default)]
    last_id: Option<&'a str>,
    #[serde(borrow)]
    state: &'a str,
    #[serde(default)]
    published_us: i64,
}

impl<'a> Kline<'a> {
    /// Reads an encoded bar; `None` if the payload is not a bar.
    #[must_use]
    pub fn read(payload: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }

    /// The name of its stream: `btcusdt@kline_1m`. `None` if its symbol has no name.
    #[must_use]
    pub fn stream(&self) -> Option<String> {
        stream_name(self.interval, &self.symbol)
    }

    /// The event of a stream:
    /// `{"e":"kline","E":1672515782136,"s":"BNBBTC","k":{"t":1672515780000,…,"x":false,…}}`.
    /// `None` if its symbol has no name.
    ///
    /// A bar without trades has the trade ids -1, as on Binance. A sum that the bar's venue does not
    /// say is 0: Binance knows no absent ones, and its clients read a number.
    #[must_use]
    pub fn event(&self) -> Option<String> {
        let name = symbol_name(&self.symbol)?;
        let mut json = String::with_capacity(384);
        let event_ms = self.published_us.div_euclid(1_000);
        let last_ms = self.end_ms.saturating_sub(1);
        let is_closed = self.state == "closed";
        let (first_id, last_id) = (trade_id(self.first_id), trade_id(self.last_id));
        let _ = write!(
            json,
            r#"{{"e":"kline","E":{event_ms},"s":"{name}","k":{{"t":{},"T":{last_ms},"s":"{name}","i":"{}","f":{first_id},"L":{last_id},"o":"{}","c":"{}","h":"{}","l":"{}","v":"{}","n":{},"x":{is_closed},"q":"{}","V":"{}","Q":"{}","B":"0"}}}}"#,
            self.start_ms,
            self.interval,
            self.open,
            self.close,
            self.high,
            self.low,
            self.volume,
            self.count.unwrap_or_default(),
            self.quote_volume.unwrap_or(UNKNOWN),
            self.taker_buy_volume.unwrap_or(UNKNOWN),
            self.taker_buy_quote_volume.unwrap_or(UNKNOWN),
        );
        Some(json)
    }
}

/// A bar as a row of the REST API:
/// `[1499040000000,"0.01","0.8","0.01","0.015","148976.1",1499644799999,"2434.1",308,"1756.8","28.4","0"]`.
/// Unknown sums are as in [`Kline::event`].
#[must_use]
pub fn row(bar: &BarRow, width: Width) -> String {
    let BarRow {
        start_ms,
        open,
        high,
        low,
        close,
        volume,
        ..
    } = bar;
    let sum = |sum: Option<Amount>| sum.unwrap_or(Amount::ZERO);
    let (quote_volume, taker_buy_volume) = (sum(bar.quote_volume), sum(bar.taker_buy_volume));
    let taker_buy_quote_volume = sum(bar.taker_buy_quote_volume);
    let count = bar.count.unwrap_or_default();
    let last_ms = width.end_of(*start_ms).saturating_sub(1);
    format!(
        r#"[{start_ms},"{open}","{high}","{low}","{close}","{volume}",{last_ms},"{quote_volume}",{count},"{taker_buy_volume}","{taker_buy_quote_volume}","0"]"#
    )
}

/// The name of the stream of a symbol's klines: `btcusdt@kline_1m`.
#[must_use]
pub fn stream_name(interval: &str, symbol: &Symbol) -> Option<String> {
    let name = symbol_name(symbol)?.to_ascii_lowercase();
    Some(format!("{name}@kline_{interval}"))
}

fn trade_id(id: Option<&str>) -> i64 {
    id.and_then(|id| id.parse().ok()).unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::timeframe::Timeframe;
    use crate::wire::BarMessage;

    const BAR: &str = r#"{"topic":"kline:1s:OKX:BTC-USDT","seq":18,"epoch":3,"exchange":"okx","symbol":"OKX:BTC-USDT","interval":"1s","start_ms":1723161255000,"end_ms":1723161256000,"open":"61837.63","high":"61838","low":"61830.1","close":"61837.5","volume":"0.02","quote_volume":"1236.7526","taker_buy_volume":"0.01","taker_buy_quote_volume":"618.3763","count":2,"first_id":"41","last_id":"42","state":"closed","rev":1,"quality":"complete","event_ms":1723161255342,"received_us":1723161255350000,"published_us":1723161256007999}"#;

    #[test]
    fn a_bar_is_an_event_and_a_row_of_the_same_numbers() {
        let kline = Kline::read(BAR.as_bytes()).expect("a bar");
        assert_eq!(kline.stream().as_deref(), Some("okx_btcusdt@kline_1s"));
        assert_eq!(
            kline.event().as_deref(),
            Some(
                r#"{"e":"kline","E":1723161256007,"s":"OKX_BTCUSDT","k":{"t":1723161255000,"T":1723161255999,"s":"OKX_BTCUSDT","i":"1s","f":41,"L":42,"o":"61837.63","c":"61837.5","h":"61838","l":"61830.1","v":"0.02","n":2,"x":true,"q":"1236.7526","V":"0.01","Q":"618.3763","B":"0"}}"#
            )
        );
        let message = BarMessage::read(BAR.as_bytes()).expect("a bar");
        let bar = BarRow::of_message(&message).expect("a row");
        assert_eq!(
            row(&bar, Timeframe::SECOND.into()),
            r#"[1723161255000,"61837.63","61838","61830.1","61837.5","0.02",1723161255999,"1236.7526",2,"0.01","618.3763","0"]"#
        );
    }

    #[test]
    fn what_a_venue_does_not_say_is_zero_for_clients_of_binance() {
        let json = BAR
            .replace("\"1236.7526\"", "null")
            .replace("\"0.01\"", "null")
            .replace("\"618.3763\"", "null")
            .replace(r#""count":2"#, r#""count":null"#);
        let event = Kline::read(json.as_bytes()).expect("a bar").event();
        let event = event.expect("a name");
        assert!(
            event.contains(r#""n":0,"x":true,"q":"0","V":"0","Q":"0""#),
            "{event}"
        );
        let message = BarMessage::read(json.as_bytes()).expect("a bar");
        let bar = BarRow::of_message(&message).expect("a row");
        assert_eq!((bar.count, bar.quote_volume), (None, None));
        assert!(row(&bar, Timeframe::SECOND.into()).ends_with(r#""0",0,"0","0","0"]"#));
    }

    #[test]
    fn a_bar_without_trades_has_no_ids() {
        let json = BAR
            .replace(
                r#""first_id":"41","last_id":"42""#,
                r#""first_id":null,"last_id":null"#,
            )
            .replace("closed", "forming");
        let event = Kline::read(json.as_bytes()).expect("a bar").event();
        let event: serde_json::Value =
            serde_json::from_str(&event.expect("a name")).expect("valid JSON");
        assert_eq!(
            (event["k"]["f"].as_i64(), event["k"]["L"].as_i64()),
            (Some(-1), Some(-1))
        );
        assert_eq!(event["k"]["x"].as_bool(), Some(false));
    }

    #[test]
    fn numbers_from_outside_stay_within_their_range() {
        let json = BAR.replace("1723161256000", "-9223372036854775808");
        let kline = Kline::read(json.as_bytes()).expect("a bar");
        assert!(kline.event().is_some());
        assert_eq!(Kline::read(br#"{"op":"boundary"}"#), None);
    }
}
