//! Which Kafka topic carries what.
//!
//! ```yaml
//! out:
//!   market_data.klines:
//!     from: journal.>
//!     partitions: 12
//!     format: protobuf
//! in:
//!   feed.trades:
//!     carries: trades
//!     exchange: mysim
//! ```

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use market_core::channel::{BOOK, JOURNAL, KLINE, SYSTEM, TICKER, TRADE};
use serde::Deserialize;

use crate::error::Error;

/// Most partitions of a topic that the bridge creates.
const PARTITIONS_MAX: i32 = 10_000;
/// Longest name of a topic, as Kafka has it.
const TOPIC_BYTES_MAX: usize = 249;
/// Most topics in each direction.
const TOPICS_MAX: usize = 100;

/// The topics of both directions.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicMap {
    /// From the bus to Kafka, by the name of the topic.
    #[serde(default = "default_outlets")]
    pub out: BTreeMap<String, OutTopic>,
    /// From Kafka to the bus.
    #[serde(default, rename = "in")]
    pub into_bus: BTreeMap<String, InTopic>,
}

/// A topic that the bridge writes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutTopic {
    /// Subjects of the bus, with wildcards: `journal.>`. The first token is without one.
    pub from: String,
    /// Partitions of the topic, if it has to be created.
    #[serde(default = "default_partitions")]
    pub partitions: i32,
    /// How values are written.
    #[serde(default)]
    pub format: Format,
    /// What is promised, for a stream of the bus.
    #[serde(default)]
    pub delivery: Delivery,
}

/// A topic that the bridge reads.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InTopic {
    /// What its records are.
    pub carries: Carries,
    /// How values are written.
    #[serde(default)]
    pub format: Format,
    /// The exchange of all its records, in lower case. Without it, each record says its own.
    #[serde(default)]
    pub exchange: Option<String>,
    /// Symbols of the bus by those of the records. Others are taken as they are.
    #[serde(default)]
    pub symbols: HashMap<String, String>,
}

/// How values are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// The JSON of the bus, byte for byte.
    #[default]
    Json,
    /// A `Message` of the published schema.
    Protobuf,
}

/// What is promised of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Readers of committed records see each message of the stream once.
    #[default]
    ExactlyOnce,
    /// Without transactions: after a failure, messages may come twice, with the same position.
    AtLeastOnce,
    /// The newest values, without the stream.
    Live,
}

/// How the keys of records write symbols.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum KeySymbols {
    /// `binance:BTC-USDT`
    #[default]
    Dashed,
    /// `binance:BTCUSDT`
    Joined,
}

/// What records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carries {
    /// Trades, as `trade:<symbol>` has them.
    Trades,
    /// Bars, as `kline:<timeframe>:<symbol>` has them.
    Bars,
}

/// The topics where nobody says others.
fn default_outlets() -> BTreeMap<String, OutTopic> {
    let seconds = format!("{}.1s.>", KLINE.subject_root());
    let outlets = [
        ("market_data.klines", JOURNAL.subjects(), 12),
        ("market_data.trades", TRADE.subjects(), 12),
        ("market_data.ticks", seconds, 12),
        ("market_data.orderbooks", BOOK.subjects(), 12),
        ("marketdata_ticker", TICKER.subjects(), 3),
        ("marketdata_subscribe", KLINE.subjects(), 8),
        ("marketdata_system", SYSTEM.subjects(), 1),
    ];
    let outlets = outlets.into_iter().map(|(topic, from, partitions)| {
        let outlet = OutTopic {
            from,
            partitions,
            format: Format::Json,
            delivery: Delivery::ExactlyOnce,
        };
        (topic.to_owned(), outlet)
    });
    outlets.collect()
}

fn default_partitions() -> i32 {
    12
}

impl Default for TopicMap {
    fn default() -> TopicMap {
        TopicMap {
            out: default_outlets(),
            into_bus: BTreeMap::new(),
        }
    }
}

impl TopicMap {
    /// Reads a file.
    ///
    /// # Errors
    /// `Config` if it cannot be read or used, with what is wrong.
    pub fn read(path: &Path) -> Result<TopicMap, Error> {
        let refused =
            |reason: String| Error::Config(format!("--topics-file {}: {reason}", path.display()));
        let length = std::fs::metadata(path).map_err(|error| refused(error.to_string()))?;
        if length.len() > yaml::BYTES_MAX as u64 {
            return Err(refused(format!(
                "it is longer than {} bytes",
                yaml::BYTES_MAX
            )));
        }
        let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
        TopicMap::parse(&text).map_err(refused)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<TopicMap, String> {
        let tree = yaml::parse(text).map_err(|error| error.to_string())?;
        let map: TopicMap = serde_json::from_value(tree).map_err(|error| error.to_string())?;
        map.check()?;
        Ok(map)
    }

    fn check(&self) -> Result<(), String> {
        if self.out.len() > TOPICS_MAX || self.into_bus.len() > TOPICS_MAX {
            return Err(format!("a direction has at most {TOPICS_MAX} topics"));
        }
        for (name, topic) in &self.out {
            check_name(name)?;
            if !(1..=PARTITIONS_MAX).contains(&topic.partitions) {
                return Err(format!(
                    "{name}: a topic has 1 to {PARTITIONS_MAX} partitions"
                ));
            }
            match topic.from.split_once('.') {
                Some((root, rest)) if root != "*" && !root.is_empty() && !rest.is_empty() => {}
                _ => {
                    return Err(format!(
                        "{name}: `from` is a pattern of subjects whose first token has no wildcard, such as kline.1m.>"
                    ));
                }
            }
            if self.into_bus.contains_key(name) {
                return Err(format!("{name}: a topic goes in one direction"));
            }
        }
        for (name, topic) in &self.into_bus {
            check_name(name)?;
            let is_name = |exchange: &String| {
                !exchange.is_empty()
                    && exchange.len() <= 32
                    && exchange
                        .bytes()
                        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            };
            if topic
                .exchange
                .as_ref()
                .is_some_and(|exchange| !is_name(exchange))
            {
                return Err(format!(
                    "{name}: an exchange has 1 to 32 lower-case letters and digits"
                ));
            }
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_name = !name.is_empty()
        && name.len() <= TOPIC_BYTES_MAX
        && name != "."
        && name != ".."
        && name.bytes().all(is_legal);
    match is_name {
        true => Ok(()),
        false => Err(format!(
            "{name:?} is no name of a Kafka topic: 1 to 249 letters, digits, dots, - and _"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_has_the_topics_and_partitions_of_the_documents() {
        let map = TopicMap::parse("").expect("an empty file");
        assert_eq!(map, TopicMap::default());
        assert_eq!(map.out["market_data.klines"].partitions, 12);
        assert_eq!(map.out["marketdata_ticker"].partitions, 3);
        assert_eq!(map.out["marketdata_subscribe"].partitions, 8);
        assert_eq!(map.out["marketdata_system"].partitions, 1);
        assert!(map.into_bus.is_empty());
        assert_eq!(map.check(), Ok(()));
    }

    #[test]
    fn a_file_says_both_directions() {
        let text = "out:\n  a:\n    from: journal.1m.>\n    format: protobuf\n    delivery: at_least_once\nin:\n  b:\n    carries: bars\n    exchange: mysim\n    symbols: {BTCUSDT: BTC-USDT}\n";
        let map = TopicMap::parse(text).expect("a map");
        assert_eq!(map.out["a"].format, Format::Protobuf);
        assert_eq!(map.out["a"].delivery, Delivery::AtLeastOnce);
        assert_eq!(map.out["a"].partitions, 12);
        assert_eq!(map.into_bus["b"].carries, Carries::Bars);
        assert_eq!(map.into_bus["b"].symbols["BTCUSDT"], "BTC-USDT");
        let nothing = TopicMap::parse("out: {}\n").expect("a map");
        assert!(nothing.out.is_empty());
    }

    #[test]
    fn maps_that_cannot_be_used_are_refused_with_the_reason() {
        for (text, reason) in [
            ("out: {a: {from: '>'}}", "first token has no wildcard"),
            ("out: {a: {from: '*.x'}}", "first token has no wildcard"),
            ("out: {'a/b': {from: kline.>}}", "no name of a Kafka topic"),
            (
                "out: {a: {from: kline.>, partitions: 0}}",
                "1 to 10000 partitions",
            ),
            ("out: {a: {from: kline.>, retries: 1}}", "unknown field"),
            ("in: {a: {carries: quotes}}", "unknown variant"),
            (
                "in: {a: {carries: bars, exchange: My Sim}}",
                "lower-case letters",
            ),
            (
                "out: {a: {from: kline.>}}\nin: {a: {carries: bars}}",
                "one direction",
            ),
        ] {
            let error = TopicMap::parse(text).expect_err(reason);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
