//! The table of channels: each channel is one row.
//!
//! A channel is a kind of payload whose topics and subjects have one first part, such as `kline`.
//! No other file of a program names a root, except [`crate::subject`], which builds subjects from
//! these rows.

use std::borrow::Cow;

/// What a session must get of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Forming values, of which only the newest counts, and closed ones, of which none is skipped
    /// without a count.
    Series,
    /// The newest value.
    Latest,
    /// Each entry of an epoch in order, or a count of the skipped ones. Nobody counts what is lost
    /// between two epochs.
    Log,
    /// The newest book, which equals the venue's at the number that it names, or that there is none.
    Book,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The first part of its topics. Also the first token of its subjects, unless their form says
    /// otherwise.
    pub root: &'static str,
    /// What a session must get.
    pub class: Class,
    /// The retention on the bus under the root; `None` for none.
    pub kept: Option<Retention>,
    /// A second root, under which the bus retains every value that must not be lost.
    pub record: Option<Record>,
    /// Whether clients can subscribe to it.
    pub is_served: bool,
    /// Whether the second part of its topics is a timeframe.
    pub has_timeframe: bool,
    /// The first part of the symbol in its topics, counted from 0; `None` if they name none.
    pub symbol_at: Option<usize>,
    /// The form of its subjects.
    pub subject_form: SubjectForm,
    /// Whether gateways subscribe to it only when the first client wants it.
    pub is_on_demand: bool,
}

/// How the subjects of a channel are made of its topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectForm {
    /// The parts of the topic: `kline.1m.BTC-USD` of `kline:1m:BTC-USD`.
    Topic,
    /// The root, the exchange, the symbol and the name of the channel:
    /// `market.binance.BTC-USDT.trade` of `trade:BTC-USDT`.
    OfExchange {
        /// The first token.
        root: &'static str,
    },
}

/// The retention of each subject on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Number of messages, the newest ones.
    pub messages_per_subject: u64,
    /// Longest time, in hours; `None` for ever. For channels whose topics come and go.
    pub hours_max: Option<u64>,
    /// Most bytes of all subjects together; `None` where topics are few.
    pub bytes_max: Option<u64>,
    /// Whether they survive a restart of the bus. A value that is published again within about a
    /// second need not.
    pub is_durable: bool,
}

/// A second root of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The first token of its subjects; the others are as in the channel.
    pub root: &'static str,
    /// The retention on the bus under it.
    pub kept: Retention,
}

const NEWEST: Retention = Retention {
    messages_per_subject: 1,
    hours_max: None,
    bytes_max: None,
    is_durable: false,
};

/// Closed bars that the bus retains of each topic, for gateways and publishers that start.
pub const CLOSED_BARS_KEPT: u64 = 32;

/// Alerts that the bus retains of each topic, for gateways that start or were disconnected.
pub const ALERTS_KEPT: u64 = 16;
/// For how long: each rule that was ever made has topics. 30 days.
pub const ALERT_HOURS_KEPT: u64 = 720;
/// How many bytes of all topics together, the newest alerts; an alert has about 400.
pub const ALERT_BYTES_KEPT: u64 = 64 << 20;

/// Bars: `kline:<timeframe>:<symbol>`.
pub const KLINE: Channel = Channel {
    root: "kline",
    class: Class::Series,
    kept: Some(NEWEST),
    record: Some(Record {
        root: "closed",
        kept: Retention {
            messages_per_subject: CLOSED_BARS_KEPT,
            hours_max: None,
            bytes_max: None,
            is_durable: true,
        },
    }),
    is_served: true,
    has_timeframe: true,
    symbol_at: Some(2),
    subject_form: SubjectForm::Topic,
    is_on_demand: false,
};

/// Marks that an interval is finished for all symbols: `boundary:<timeframe>`.
pub const BOUNDARY: Channel = Channel {
    root: "boundary",
    class: Class::Log,
    kept: None,
    record: None,
    is_served: true,
    has_timeframe: true,
    symbol_at: None,
    subject_form: SubjectForm::Topic,
    is_on_demand: false,
};

/// Status and events of the system: `system:feed:<exchange>`, `system:service:…`.
pub const SYSTEM: Channel = Channel {
    root: "system",
    class: Class::Latest,
    kept: Some(NEWEST),
    record: None,
    is_served: true,
    has_timeframe: false,
    symbol_at: None,
    subject_form: SubjectForm::Topic,
    is_on_demand: false,
};

/// Trades: `trade:<symbol>`, on the bus `market.<exchange>.<symbol>.trade`.
pub const TRADE: Channel = Channel {
    root: "trade",
    class: Class::Log,
    kept: None,
    record: None,
    is_served: true,
    has_timeframe: false,
    symbol_at: Some(1),
    subject_form: SubjectForm::OfExchange { root: "market" },
    is_on_demand: true,
};

/// The best bid and ask: `quote:<symbol>`.
pub const QUOTE: Channel = Channel {
    root: "quote",
    class: Class::Latest,
    kept: Some(NEWEST),
    record: None,
    is_served: true,
    has_timeframe: false,
    symbol_at: Some(1),
    // `market.<exchange>.<symbol>.quote` would be in history's stream of trades.
    subject_form: SubjectForm::Topic,
    is_on_demand: true,
};

/// The last 24 hours: `ticker:<symbol>`.
pub const TICKER: Channel = Channel {
    root: "ticker",
    ..QUOTE
};

/// The best levels of the order book: `book:<symbol>`.
pub const BOOK: Channel = Channel {
    root: "book",
    class: Class::Book,
    ..QUOTE
};

/// Alerts: `alert:<rule>:<symbol>`. A client that subscribes gets the last one.
pub const ALERT: Channel = Channel {
    root: "alert",
    class: Class::Log,
    kept: Some(Retention {
        messages_per_subject: ALERTS_KEPT,
        hours_max: Some(ALERT_HOURS_KEPT),
        bytes_max: Some(ALERT_BYTES_KEPT),
        is_durable: true,
    }),
    record: None,
    is_served: true,
    has_timeframe: false,
    symbol_at: Some(2),
    subject_form: SubjectForm::Topic,
    is_on_demand: false,
};

/// The state of publishers for their next start, such as checkpoints: `state.<program>.…`. For
/// programs only.
pub const STATE: Channel = Channel {
    root: "state",
    class: Class::Latest,
    kept: Some(Retention {
        messages_per_subject: 1,
        hours_max: None,
        bytes_max: None,
        is_durable: true,
    }),
    record: None,
    is_served: false,
    has_timeframe: false,
    symbol_at: None,
    subject_form: SubjectForm::Topic,
    is_on_demand: false,
};

/// Messages between publishers about themselves: `presence.marketdata`. For programs only.
pub const PRESENCE: Channel = Channel {
    root: "presence",
    class: Class::Latest,
    kept: None,
    record: None,
    is_served: false,
    has_timeframe: false,
    symbol_at: None,
    subject_form: SubjectForm::Topic,
    is_on_demand: false,
};

/// Messages between gateways: `fleet.report.<gateway>`, `fleet.rebalance`. For programs only.
pub const FLEET: Channel = Channel {
    root: "fleet",
    class: Class::Latest,
    kept: None,
    record: None,
    is_served: false,
    has_timeframe: false,
    symbol_at: None,
    subject_form: SubjectForm::Topic,
    is_on_demand: false,
};

/// Questions about the past, such as `history.query`. For programs only.
pub const HISTORY: Channel = Channel {
    root: "history",
    class: Class::Latest,
    kept: None,
    record: None,
    is_served: false,
    has_timeframe: false,
    symbol_at: None,
    subject_form: SubjectForm::Topic,
    is_on_demand: false,
};

/// Closed bars until every program that stores them has them: `journal.<timeframe>.<symbol>`. The
/// bus keeps them by age and bytes, as its users say. For programs only.
pub const JOURNAL: Channel = Channel {
    root: "journal",
    class: Class::Log,
    kept: None,
    record: None,
    is_served: false,
    has_timeframe: true,
    symbol_at: None,
    subject_form: SubjectForm::Topic,
    is_on_demand: false,
};

/// Questions about bars of venues, answered by publishers: `archive.bars.<exchange>`. For programs
/// only.
pub const ARCHIVE: Channel = Channel {
    root: "archive",
    class: Class::Latest,
    kept: None,
    record: None,
    is_served: false,
    has_timeframe: false,
    symbol_at: None,
    subject_form: SubjectForm::Topic,
    is_on_demand: false,
};

/// All channels.
pub const CHANNELS: [Channel; 14] = [
    KLINE, BOUNDARY, SYSTEM, TRADE, QUOTE, TICKER, BOOK, ALERT, STATE, PRESENCE, FLEET, HISTORY,
    JOURNAL, ARCHIVE,
];

impl Channel {
    /// The channel of a topic's, pattern's or subject's first part; `None` if there is none of this
    /// root. A record is not a channel: see [`Channel::of_record`].
    #[must_use]
    pub fn of_root(root: &str) -> Option<&'static Self> {
        const TABLE: &[Channel] = &CHANNELS;
        TABLE.iter().find(|channel| channel.root == root)
    }

    /// The channel whose values are recorded under this root.
    #[must_use]
    pub fn of_record(root: &str) -> Option<&'static Self> {
        const TABLE: &[Channel] = &CHANNELS;
        let is_it = |record: &Record| record.root == root;
        TABLE
            .iter()
            .find(|channel| channel.record.as_ref().is_some_and(is_it))
    }

    /// The root of its record; its own root if it has none.
    #[must_use]
    pub const fn record_root(&self) -> &'static str {
        match &self.record {
            Some(record) => record.root,
            None => self.root,
        }
    }

    /// The channel of a subject's first token; `None` if there is none of this root.
    #[must_use]
    pub fn of_subject_root(root: &str) -> Option<&'static Self> {
        const TABLE: &[Channel] = &CHANNELS;
        TABLE.iter().find(|channel| channel.subject_root() == root)
    }

    /// The first token of its subjects.
    #[must_use]
    pub const fn subject_root(&self) -> &'static str {
        match self.subject_form {
            SubjectForm::Topic => self.root,
            SubjectForm::OfExchange { root } => root,
        }
    }

    /// The pattern of all its subjects: `kline.>`.
    #[must_use]
    pub fn subjects(&self) -> String {
        format!("{}.>", self.subject_root())
    }

    /// The first part of the symbol in the topics of a root; `None` if they name none.
    #[must_use]
    pub fn symbol_at_of(root: &str) -> Option<usize> {
        Self::of_root(root)?.symbol_at
    }

    /// The rest of a topic, pattern or subject of this channel, after its root and `separator`.
    #[must_use]
    pub fn rest<'t>(&self, text: &'t str, separator: char) -> Option<&'t str> {
        text.strip_prefix(self.root)?.strip_prefix(separator)
    }
}

/// The start of a topic of what a request in parts names as its channel: `kline:1m` of `kline_1m`.
/// Only the channels of the table are written like that: `book_ticker` is a name of its own.
#[must_use]
pub fn topic_start(name: &str) -> Cow<'_, str> {
    let root = name.split('_').next().unwrap_or_default();
    match Channel::of_root(root) {
        // Behind these roots comes the symbol, which is not part of the name.
        Some(channel) if channel.symbol_at == Some(1) => name.into(),
        Some(channel) if channel.is_served => name.replace('_', ":").into(),
        _ => name.into(),
    }
}

/// Every root with a retention on the bus, in the order of the table.
pub fn kept_roots() -> impl Iterator<Item = (&'static str, Retention)> {
    CHANNELS.into_iter().flat_map(|channel| {
        let own = channel.kept.map(|kept| (channel.subject_root(), kept));
        let record = channel.record.map(|record| (record.root, record.kept));
        own.into_iter().chain(record)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_root_is_of_one_channel() {
        let mut roots = BTreeSet::new();
        for channel in CHANNELS {
            assert!(roots.insert(channel.root), "{}", channel.root);
            assert_eq!(Channel::of_root(channel.root), Some(&channel));
            let subject_root = channel.subject_root();
            assert_eq!(Channel::of_subject_root(subject_root), Some(&channel));
            assert!(subject_root == channel.root || roots.insert(subject_root));
            if let Some(record) = channel.record {
                assert!(roots.insert(record.root), "{}", record.root);
                assert_eq!(Channel::of_record(record.root), Some(&channel));
            }
        }
        assert_eq!(Channel::of_root("closed"), None);
        assert_eq!(Channel::of_root("klines"), None);
    }

    #[test]
    fn what_the_bus_keeps_is_read_from_the_table() {
        let kept: Vec<(&str, u64, bool)> = kept_roots()
            .map(|(root, kept)| (root, kept.messages_per_subject, kept.is_durable))
            .collect();
        let expected = [
            ("kline", 1, false),
            ("closed", 32, true),
            ("system", 1, false),
            ("quote", 1, false),
            ("ticker", 1, false),
            ("book", 1, false),
            ("alert", 16, true),
            ("state", 1, true),
        ];
        assert_eq!(kept, expected);
    }

    #[test]
    fn only_channels_of_the_table_are_written_with_underscores() {
        assert_eq!(topic_start("kline_1m"), "kline:1m");
        assert_eq!(topic_start("boundary_1m"), "boundary:1m");
        assert_eq!(topic_start("kline"), "kline");
        assert_eq!(topic_start("book_ticker"), "book_ticker");
        assert_eq!(topic_start("state_x"), "state_x");
    }

    #[test]
    fn rest_is_behind_the_whole_root() {
        assert_eq!(KLINE.rest("kline:1m:A-B", ':'), Some("1m:A-B"));
        assert_eq!(KLINE.rest("kline.1m.A-B", '.'), Some("1m.A-B"));
        assert_eq!(KLINE.rest("klines:1m", ':'), None);
        assert_eq!(KLINE.rest("kline", ':'), None);
    }
}
