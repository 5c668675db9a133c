//! A record of Kafka as messages of the bus; pure.

mod numbers;
mod schema;

use bytes::Bytes;
use client_frames::dialect::protobuf::schema::{
    Content as SchemaContent, Message as SchemaMessage,
};
use market_core::channel::TRADE;
use market_core::wire::{BarMessage, TradeMessage};
use market_core::{BarRow, BarState, Price, Quantity, Symbol, Topic, subject};
pub use numbers::Numbers;
use prost::Message as _;

use crate::topic_map::{Carries, Format, InTopic};

/// Longest value of a record, bytes: a bar has about 600.
const VALUE_BYTES_MAX: usize = 64 << 10;
/// How far a bar or a trade may be ahead of the clock, ms.
const AHEAD_MAX_MS: i64 = 60_000;

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The exchange, in lower case.
    pub exchange: String,
    /// The symbol on the bus.
    pub symbol: Symbol,
    /// A bar or a trade.
    pub content: Content,
}

/// A bar or a trade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A bar.
    Bar(Box<BarMessage>),
    /// A trade.
    Trade(Box<TradeMessage>),
}

/// A message for the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The subject.
    pub subject: String,
    /// The bytes.
    pub payload: Bytes,
    /// Whether a stream must have it before the record is done.
    pub is_stored: bool,
}

/// Reads a record.
///
/// # Errors
/// Why it can never be read: a short name for a metric, and a text.
pub fn read(
    topic: &InTopic,
    value: Option<&[u8]>,
    now_ms: i64,
) -> Result<Incoming, (&'static str, String)> {
    let unreadable = |why: &str| ("unreadable", why.to_owned());
    let value = value.ok_or_else(|| unreadable("it has no value"))?;
    if value.len() > VALUE_BYTES_MAX {
        return Err((
            "too_long",
            format!("it has more than {VALUE_BYTES_MAX} bytes"),
        ));
    }
    let mut content = match (topic.format, topic.carries) {
        (Format::Json, Carries::Bars) => {
            let bar =
                serde_json::from_slice(value).map_err(|error| unreadable(&error.to_string()))?;
            Content::Bar(Box::new(bar))
        }
        (Format::Json, Carries::Trades) => {
            let trade =
                serde_json::from_slice(value).map_err(|error| unreadable(&error.to_string()))?;
            Content::Trade(Box::new(trade))
        }
        (Format::Protobuf, carries) => {
            let message = SchemaMessage::decode(value)
                .map_err(|_| unreadable("it is no klinecast.v1.Message"))?;
            match (message.content, carries) {
                (Some(SchemaContent::Bar(bar)), Carries::Bars) => {
                    Content::Bar(Box::new(schema::of_bar(*bar).ok_or_else(|| {
                        unreadable("its interval, state or quality is unknown")
                    })?))
                }
                (Some(SchemaContent::Trade(trade)), Carries::Trades) => {
                    Content::Trade(Box::new(schema::of_trade(*trade)))
                }
                _ => {
                    return Err(unreadable(
                        "the message is of another kind than the topic carries",
                    ));
                }
            }
        }
    };
    let (named, symbol) = match &content {
        Content::Bar(bar) => (&bar.exchange, &bar.symbol),
        Content::Trade(trade) => (&trade.exchange, &trade.symbol),
    };
    let exchange = topic.exchange.as_ref().unwrap_or(named).clone();
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if exchange.is_empty() || exchange.len() > 32 || !exchange.bytes().all(is_name) {
        return Err(unreadable(
            "its exchange is no name of lower-case letters and digits",
        ));
    }
    let symbol = topic.symbols.get(symbol).unwrap_or(symbol);
    let symbol: Symbol = symbol
        .parse()
        .map_err(|_| unreadable("its symbol is none of the bus, such as BTC-USDT: map it"))?;
    match &mut content {
        Content::Bar(bar) => check_bar(bar, now_ms)?,
        Content::Trade(trade) => check_trade(trade, now_ms)?,
    }
    Ok(Incoming {
        exchange,
        symbol,
        content,
    })
}

fn check_bar(bar: &mut BarMessage, now_ms: i64) -> Result<(), (&'static str, String)> {
    let unreadable = |why: &str| Err(("unreadable", why.to_owned()));
    if BarRow::of_message(bar).is_none() {
        return unreadable("its prices, sums or ids are no exact numbers");
    }
    if bar.start_ms < 0 || bar.interval.start_of(bar.start_ms) != bar.start_ms {
        return unreadable("it does not begin where a bar of its interval begins");
    }
    if bar.start_ms > now_ms.saturating_add(AHEAD_MAX_MS) {
        return Err(("ahead", "it begins more than a minute after now".to_owned()));
    }
    bar.end_ms = bar.interval.end_of(bar.start_ms);
    Ok(())
}

fn check_trade(trade: &TradeMessage, now_ms: i64) -> Result<(), (&'static str, String)> {
    let unreadable = |why: &str| Err(("unreadable", why.to_owned()));
    if Price::parse(&trade.price).is_err() || Quantity::parse(&trade.quantity).is_err() {
        return unreadable("its price or quantity is no exact number");
    }
    let ids = (trade.first_id.parse::<u64>(), trade.last_id.parse::<u64>());
    if !matches!(ids, (Ok(first), Ok(last)) if first <= last) {
        return unreadable("its ids are no numbers in order");
    }
    if !matches!(trade.aggressor_side.as_str(), "buy" | "sell") {
        return unreadable("its side is neither buy nor sell");
    }
    if trade.event_ms < 0 {
        return unreadable("its time is before 1970");
    }
    if trade.event_ms > now_ms.saturating_add(AHEAD_MAX_MS) {
        return Err(("ahead", "it is more than a minute after now".to_owned()));
    }
    Ok(())
}

impl Incoming {
    /// The topic of clients that it belongs to.
    #[must_use]
    pub fn topic(&self) -> Topic {
        match &self.content {
            Content::Bar(bar) => Topic::bars(bar.interval, &self.symbol),
            Content::Trade(_) => Topic::of_symbol(&TRADE, &self.symbol),
        }
    }

    /// The messages, in the order in which they are published: a closed bar is kept for history and
    /// for gateways before clients get it.
    #[must_use]
    pub fn publications(self, numbers: &mut Numbers, now_us: i64) -> Vec<Publication> {
        let topic = self.topic();
        match self.content {
            Content::Bar(mut bar) => {
                let stamp = numbers.next(topic.as_str());
                (bar.epoch, bar.seq) = stamp;
                bar.topic = topic.to_string();
                bar.exchange = self.exchange;
                bar.symbol = self.symbol.to_string();
                bar.published_us = now_us;
                let payload = Bytes::from(serde_json::to_vec(&bar).unwrap_or_default());
                let live = subject::bars(bar.interval, &self.symbol);
                let publication = |subject: String, is_stored| Publication {
                    subject,
                    payload: payload.clone(),
                    is_stored,
                };
                if bar.state == BarState::Forming {
                    return vec![publication(live, false)];
                }
                let record = subject::closed_bars(bar.interval, &self.symbol);
                let mut publications: Vec<Publication> = subject::journal(&record)
                    .into_iter()
                    .map(|journal| publication(journal, true))
                    .collect();
                publications.push(publication(record, true));
                publications.push(publication(live, false));
                publications
            }
            Content::Trade(mut trade) => {
                let (epoch, seq) = numbers.next(topic.as_str());
                (trade.epoch, trade.seq) = (Some(epoch), Some(seq));
                trade.topic = Some(topic.to_string());
                trade.symbol = self.symbol.to_string();
                trade.published_us = Some(now_us);
                let subject = subject::trades(&self.exchange, &self.symbol);
                trade.exchange = self.exchange;
                vec![Publication {
                    subject,
                    payload: Bytes::from(serde_json::to_vec(&trade).unwrap_or_default()),
                    is_stored: false,
                }]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use client_frames::dialect::protobuf;

    use super::*;

    const BAR: &str = r#"{"exchange":"sim","symbol":"BTCUSDT","interval":"1m","start_ms":1700000040000,"open":"50000","high":"50100","low":"49950","close":"50100","volume":"1.5","quote_volume":null,"taker_buy_volume":null,"taker_buy_quote_volume":null,"count":3,"state":"closed","rev":0,"quality":"complete"}"#;
    const NOW_MS: i64 = 1_700_000_100_000;

    fn topic(carries: Carries, format: Format) -> InTopic {
        let symbols = [("BTCUSDT".to_owned(), "BTC-USDT".to_owned())];
        InTopic {
            carries,
            format,
            exchange: Some("mysim".to_owned()),
            symbols: symbols.into(),
        }
    }

    fn bar(text: &str) -> Result<Incoming, (&'static str, String)> {
        read(
            &topic(Carries::Bars, Format::Json),
            Some(text.as_bytes()),
            NOW_MS,
        )
    }

    #[test]
    fn a_closed_bar_is_kept_before_clients_get_it_and_is_numbered_anew() {
        let mut numbers = Numbers::new(7);
        for number in 1..3 {
            let publications = bar(BAR).expect("a bar").publications(&mut numbers, 5);
            let subjects: Vec<&str> = publications
                .iter()
                .map(|publication| publication.subject.as_str())
                .collect();
            let expected = [
                "journal.1m.BTC-USDT",
                "closed.1m.BTC-USDT",
                "kline.1m.BTC-USDT",
            ];
            assert_eq!(subjects, expected);
            let stored: Vec<bool> = publications
                .iter()
                .map(|publication| publication.is_stored)
                .collect();
            assert_eq!(stored, [true, true, false]);
            let bar = BarMessage::read(&publications[0].payload).expect("a bar");
            assert_eq!(
                (bar.epoch, bar.seq, bar.end_ms),
                (7, number, 1_700_000_100_000)
            );
            assert_eq!(
                (bar.exchange.as_str(), bar.symbol.as_str()),
                ("mysim", "BTC-USDT")
            );
        }
        let forming = BAR.replace("closed", "forming");
        let publications = bar(&forming).expect("a bar").publications(&mut numbers, 5);
        assert_eq!(publications.len(), 1);
        assert_eq!(numbers.len(), 1);
    }

    #[test]
    fn protobuf_says_the_same_as_json() {
        let full = BAR.replace(r#"{"exchange""#, r#"{"topic":"kline:1m:BTCUSDT","seq":1,"epoch":1,"end_ms":1700000100000,"published_us":1,"exchange""#);
        let encoded = protobuf::update(full.as_bytes());
        let topic = topic(Carries::Bars, Format::Protobuf);
        let read = read(&topic, Some(&encoded), NOW_MS).expect("a bar");
        let numbers = || Numbers::new(7);
        let json = bar(&full).expect("a bar").publications(&mut numbers(), 5);
        assert_eq!(read.publications(&mut numbers(), 5), json);
    }

    #[test]
    fn what_no_publisher_would_write_is_refused_with_the_reason() {
        for (from, to, reason, why) in [
            (
                r#""open":"50000""#,
                r#""open":"5e4""#,
                "unreadable",
                "exact numbers",
            ),
            (
                r#""open":"50000""#,
                r#""open":50000"#,
                "unreadable",
                "invalid type",
            ),
            (
                "1700000040000",
                "1700000040001",
                "unreadable",
                "does not begin where",
            ),
            (
                "1700000040000",
                "1900000020000",
                "ahead",
                "more than a minute",
            ),
            (
                "1700000040000",
                "-60000",
                "unreadable",
                "does not begin where",
            ),
            ("BTCUSDT", "no symbol", "unreadable", "symbol"),
            (r#""rev":0"#, r#""rev":-1"#, "unreadable", "invalid value"),
        ] {
            let text = BAR.replace(from, to);
            let (found, text) = bar(&text).expect_err(why);
            assert!(
                found == reason && text.contains(why),
                "{from}: {found}: {text}"
            );
        }
        let none = read(&topic(Carries::Bars, Format::Json), None, NOW_MS);
        assert!(none.is_err_and(|(reason, _)| reason == "unreadable"));
        let long = " ".repeat(VALUE_BYTES_MAX + 1);
        assert!(bar(&long).is_err_and(|(reason, _)| reason == "too_long"));
        let kind = topic(Carries::Trades, Format::Protobuf);
        let encoded = protobuf::update(BAR.as_bytes());
        assert!(read(&kind, Some(&encoded), NOW_MS).is_err());
        let mut unnamed = topic(Carries::Bars, Format::Json);
        unnamed.exchange = None;
        let shouted = BAR.replace(r#""sim""#, r#""a.>""#);
        assert!(read(&unnamed, Some(shouted.as_bytes()), NOW_MS).is_err());
    }
}
