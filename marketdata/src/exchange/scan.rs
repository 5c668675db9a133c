//! Reads a frame whose keys have the venue's usual order in one pass.
//!
//! Nearly all frames of a feed are trades, and each venue writes them in one fixed key order. A
//! [`Scan`] follows that order without building any structure. If a frame differs in any way, the
//! decoder uses serde, which accepts every order. See
//! docs/decisions/0013-feed-fixed-order-decoding.md.

/// The rest of a frame.
pub(crate) struct Scan<'a>(&'a str);

impl<'a> Scan<'a> {
    pub(crate) fn new(frame: &'a str) -> Self {
        Self(frame)
    }

    /// Skips `literal`, if it is next.
    #[inline]
    pub(crate) fn eat(&mut self, literal: &str) -> bool {
        match self.0.strip_prefix(literal) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// Skips `literal`, which must be next.
    #[inline]
    pub(crate) fn literal(&mut self, literal: &str) -> Option<()> {
        self.eat(literal).then_some(())
    }

    /// A text up to its closing quote, which is skipped; the opening quote is already skipped.
    /// Texts with escapes are left to serde.
    #[inline]
    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let is_end = |byte: &u8| *byte == b'"' || *byte == b'\\' || *byte < b' ';
        let end = self.0.as_bytes().iter().position(is_end)?;
        if self.0.as_bytes()[end] != b'"' {
            return None;
        }
        let text = &self.0[..end];
        self.0 = &self.0[end + 1..];
        Some(text)
    }

    /// A number without sign, point or exponent, of at most 18 digits.
    #[inline]
    pub(crate) fn number(&mut self) -> Option<u64> {
        let (mut value, mut digits) = (0u64, 0);
        for byte in self.0.bytes() {
            if !byte.is_ascii_digit() {
                break;
            }
            digits += 1;
            if digits > 18 {
                return None;
            }
            value = value * 10 + u64::from(byte - b'0');
        }
        let has_idle_zero = digits > 1 && self.0.starts_with('0');
        if digits == 0 || has_idle_zero {
            return None;
        }
        self.0 = &self.0[digits..];
        Some(value)
    }

    /// Unix ms or µs, which are also numbers without a sign.
    #[inline]
    pub(crate) fn time(&mut self) -> Option<i64> {
        self.number().and_then(|value| i64::try_from(value).ok())
    }

    /// `true` or `false`.
    #[inline]
    pub(crate) fn boolean(&mut self) -> Option<bool> {
        if self.eat("true") {
            Some(true)
        } else {
            self.literal("false").map(|()| false)
        }
    }

    /// `Some` if nothing is left.
    #[inline]
    pub(crate) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::exchange::registry;

    const FRAMES: [(&str, &str); 8] = [
        (
            "binance",
            r#"{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}"#,
        ),
        (
            "binance",
            r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":false,"M":true}}"#,
        ),
        (
            "binance",
            r#"{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1626992741500,"s":"BTCUSDT","a":17,"p":"61837.63","q":"0.050","f":100,"l":102,"T":1626992741499,"m":false,"M":true}}"#,
        ),
        (
            "binance",
            r#"{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":5266583935,"p":"61800.30","q":"0.002","T":1723161255342,"X":"MARKET","m":true}"#,
        ),
        (
            "coinbase",
            r#"{"type":"match","trade_id":280232,"maker_order_id":"2a0d","taker_order_id":"3c82","side":"sell","size":"985","price":"0.00001305","product_id":"SKL-BTC","sequence":177100030,"time":"2021-04-17T16:43:37.089723Z"}"#,
        ),
        (
            "coinbase",
            r#"{"type":"last_match","trade_id":10,"maker_order_id":"ac92","taker_order_id":"132f","side":"buy","size":"5.23512","price":"400.23","product_id":"BTC-USD","sequence":50,"time":"2014-11-07T08:19:27.028459Z"}"#,
        ),
        (
            "okx",
            r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"338476307","px":"30236","sz":"0.0002","side":"buy","ts":"1652459224818"}]}"#,
        ),
        (
            "okx",
            r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT","tradeId":"338476307","px":"30236","sz":"0.0002","side":"sell","ts":"1652459224818","count":"3","source":"0","seqId":1234}]}"#,
        ),
    ];

    /// Events as text, or `None` for an error.
    fn decoded(exchange: &str, frame: &str) -> Option<Vec<String>> {
        let mut events = Vec::new();
        let exchange = registry::find(exchange).expect("registered");
        let outcome = exchange.decode(frame, 7, &mut |event| events.push(format!("{event:?}")));
        outcome.ok().map(|()| events)
    }

    /// The same JSON in a form that the fixed order does not know.
    fn spaced(frame: &str) -> String {
        frame.replacen('{', "{ ", 1)
    }

    #[test]
    fn documented_frames_are_trades_in_either_way_of_reading() {
        for (exchange, frame) in FRAMES {
            let events = decoded(exchange, frame).expect(frame);
            assert!(
                events.len() == 1 && events[0].starts_with("Trade"),
                "{frame}: {events:?}"
            );
            assert_eq!(decoded(exchange, &spaced(frame)), Some(events), "{frame}");
        }
    }

    proptest! {
        #[test]
        fn damaged_frames_mean_the_same_in_either_way_of_reading(
            index in 0..FRAMES.len(), at in 0usize..300, cut in 0usize..3, insert in "[0-9\"{},:a-zTZ.\\\\ -]{0,3}",
        ) {
            let (exchange, frame) = FRAMES[index];
            let at = 1 + at % (frame.len() - 1);
            let end = (at + cut).min(frame.len());
            let damaged = format!("{}{insert}{}", &frame[..at], &frame[end..]);
            prop_assert_eq!(decoded(exchange, &damaged), decoded(exchange, &spaced(&damaged)), "{}", damaged);
        }
    }
}
