//! The names of topics and streams on the bus: the only module that knows them.
//!
//! A topic's parts are joined by `:`, a subject's by `.`; no part holds either.

use std::fmt::Write as _;

use crate::channel::{
    ALERT, ARCHIVE, BOUNDARY, Channel, JOURNAL, KLINE, STATE, SYSTEM, SubjectForm, TRADE,
};
use crate::topic::Topic;
use crate::value::symbol::Symbol;
use crate::value::timeframe::Timeframe;

/// The topic of a subject; `None` if clients cannot subscribe to this form.
#[must_use]
pub fn to_topic(subject: &str) -> Option<Topic> {
    if subject.contains(':') {
        return None;
    }
    let (root, rest) = subject.split_once('.')?;
    match Channel::of_subject_root(root) {
        Some(channel) if matches!(channel.subject_form, SubjectForm::OfExchange { .. }) => {
            let (_, named) = rest.split_once('.')?;
            let symbol = named.strip_suffix(channel.root)?.strip_suffix('.')?;
            topic_text(&format!("{}.{symbol}", channel.root))
                .parse()
                .ok()
        }
        // The topics of such a channel are not its subjects.
        None if Channel::of_root(root).is_some() => None,
        _ => topic_text(subject).parse().ok(),
    }
}

/// The topic that a message is about, under its own subject or in its record.
#[must_use]
pub fn published_topic(subject: &str) -> Option<Topic> {
    match of_record(subject) {
        Some(recorded) => to_topic(&recorded),
        None => to_topic(subject),
    }
}

/// The text of the topic of a subject that has the parts of its topic.
#[must_use]
pub fn topic_text(subject: &str) -> String {
    subject.replace('.', ":")
}

/// The subject of a symbol in a channel without timeframes: `market.okx.OKX.BTC-USDT.trade`, or
/// `quote.OKX.BTC-USDT`.
#[must_use]
pub fn of_symbol(channel: &Channel, exchange: &str, symbol: &Symbol) -> String {
    let root = channel.subject_root();
    match channel.subject_form {
        SubjectForm::Topic => with_symbol(format!("{root}."), symbol),
        SubjectForm::OfExchange { .. } => {
            with_symbol(format!("{root}.{exchange}."), symbol) + "." + channel.root
        }
    }
}

/// `kline.<tf>.<symbol>`: forming and closed bars.
#[must_use]
pub fn bars(timeframe: Timeframe, symbol: &Symbol) -> String {
    with_symbol(format!("{}.{timeframe}.", KLINE.root), symbol)
}

/// `closed.<tf>.<symbol>`: closed bars, retained.
#[must_use]
pub fn closed_bars(timeframe: Timeframe, symbol: &Symbol) -> String {
    with_symbol(format!("{}.{timeframe}.", KLINE.record_root()), symbol)
}

/// The subject of the channel whose value is recorded under `subject`: `kline.1m.BTC-USD` of
/// `closed.1m.BTC-USD`. `None` if it is no record.
#[must_use]
pub fn of_record(subject: &str) -> Option<String> {
    let (root, rest) = subject.split_once('.')?;
    let channel = Channel::of_record(root)?;
    Some(format!("{}.{rest}", channel.root))
}

/// The pattern of the records of what a pattern of subjects matches: `closed.1m.>` of `kline.1m.>`.
/// `None` if its channel has no record.
#[must_use]
pub fn record_pattern(pattern: &str) -> Option<String> {
    let (root, rest) = pattern.split_once('.')?;
    let record = Channel::of_root(root)?.record?;
    Some(format!("{}.{rest}", record.root))
}

/// `closed.lease.<exchange>.<symbol>`: who may publish the instrument's bars. It is in the stream of
/// the record, because the server compares only subjects of one stream.
#[must_use]
pub fn lease(exchange: &str, symbol: &Symbol) -> String {
    with_symbol(
        format!("{}.{LEASE_TOKEN}.{exchange}.", KLINE.record_root()),
        symbol,
    )
}

/// The pattern of all leases of an exchange.
#[must_use]
pub fn leases_of(exchange: &str) -> String {
    format!("{}.{LEASE_TOKEN}.{exchange}.>", KLINE.record_root())
}

/// The pattern of all leases.
#[must_use]
pub fn all_leases() -> String {
    format!("{}.{LEASE_TOKEN}.>", KLINE.record_root())
}

/// The exchange and the symbol of a lease of [`lease`]; `None` if it is none.
#[must_use]
pub fn of_lease(subject: &str) -> Option<(&str, String)> {
    let rest = subject.strip_prefix(KLINE.record_root())?;
    let rest = rest.strip_prefix('.')?.strip_prefix(LEASE_TOKEN)?;
    let (exchange, symbol) = rest.strip_prefix('.')?.split_once('.')?;
    Some((exchange, topic_text(symbol)))
}

/// Whether a subject is a lease of [`lease`].
#[must_use]
pub fn is_lease(subject: &str) -> bool {
    let rest = subject.strip_prefix(KLINE.record_root());
    let rest = rest.and_then(|rest| rest.strip_prefix('.'));
    rest.is_some_and(|rest| rest.split('.').next() == Some(LEASE_TOKEN))
}

/// The pattern of the records of a symbol, of every timeframe: `closed.*.<symbol>`.
#[must_use]
pub fn records_of(symbol: &Symbol) -> String {
    with_symbol(format!("{}.*.", KLINE.record_root()), symbol)
}

/// The subject under which a bar of a record is kept for the programs that store it:
/// `journal.1m.BTC-USD` of `closed.1m.BTC-USD`. `None` if it is no record of bars.
#[must_use]
pub fn journal(record: &str) -> Option<String> {
    let (root, rest) = record.split_once('.')?;
    (root == KLINE.record_root() && !is_lease(record)).then(|| format!("{}.{rest}", JOURNAL.root))
}

/// `alert.<rule>.<symbol>`: the alerts of a rule about a symbol.
#[must_use]
pub fn alerts(rule: &str, symbol: &Symbol) -> String {
    with_symbol(format!("{}.{rule}.", ALERT.root), symbol)
}

/// `system.alert.<level>.<type>`: the last alert of a level and a type, of any rule.
#[must_use]
pub fn system_alert(level: &str, kind: &str) -> String {
    format!("{}.{}.{level}.{kind}", SYSTEM.root, ALERT.root)
}

/// `archive.bars.<exchange>`: asks for a venue's own bars, with a [`crate::wire::archive::ArchiveQuery`].
#[must_use]
pub fn archive_bars(exchange: &str) -> String {
    format!("{}.bars.{exchange}", ARCHIVE.root)
}

/// Reports of gateways to each other: `fleet.report.<gateway>`.
pub const GATEWAY_REPORTS: &str = "fleet.report.";
/// Everything that gateways tell each other.
pub const ALL_FLEET: &str = "fleet.>";
/// Asks all gateways to spread their sessions evenly.
pub const FLEET_REBALANCE: &str = "fleet.rebalance";
/// Cancels what a gateway was asked.
pub const FLEET_CANCEL: &str = "fleet.cancel";

/// `boundary.<tf>`: marks that an interval is over for all symbols. `interval` is a timeframe's
/// name.
#[must_use]
pub fn boundary(interval: &str) -> String {
    format!("{}.{interval}", BOUNDARY.root)
}

/// `market.<exchange>.<symbol>.trade`.
#[must_use]
pub fn trades(exchange: &str, symbol: &Symbol) -> String {
    of_symbol(&TRADE, exchange, symbol)
}

/// `state.marketdata.<exchange>.<symbol>`: a pipeline's checkpoint.
#[must_use]
pub fn checkpoint(exchange: &str, symbol: &Symbol) -> String {
    with_symbol(format!("{}.marketdata.{exchange}.", STATE.root), symbol)
}

/// `system.feed.<exchange>`: a feed's status.
#[must_use]
pub fn feed_status(exchange: &str) -> String {
    format!("{}.feed.{exchange}", SYSTEM.root)
}

/// Gaps in trade ids: when they open and when they end.
pub const GAP_EVENTS: &str = "system.service.marketdata.gap";

/// Asks for bars of the past: a request with a [`crate::wire::HistoryQuery`].
pub const HISTORY_QUERY: &str = "history.query";

/// Every checkpoint.
pub const ALL_CHECKPOINTS: &str = "state.marketdata.>";
/// Every checkpoint that could not be used; see [`refused_checkpoint`].
pub const ALL_REFUSED_CHECKPOINTS: &str = "state.refused.>";
/// Where the newest epoch of the publishers is kept.
pub const EPOCH: &str = "state.epoch.marketdata";
/// Where publishers announce themselves to each other.
pub const PUBLISHERS: &str = "presence.marketdata";
/// Where publishers say many times a second that they live.
pub const BEATS: &str = "presence.beat";
/// Every record, and every lease.
pub const ALL_RECORDS: &str = "closed.>";
/// The second part of the subjects of leases. It is no timeframe.
const LEASE_TOKEN: &str = "lease";

/// `state.bridge.<site>`: which of the bridges of a name writes to Kafka.
#[must_use]
pub fn bridge_lease(site: &str) -> String {
    format!("{}.bridge.{site}", STATE.root)
}

/// `presence.bridge.<site>`: where that bridge says that it lives.
#[must_use]
pub fn bridge_beat(site: &str) -> String {
    format!("presence.bridge.{site}")
}

/// Where the newest epoch of what comes from Kafka is kept.
pub const BRIDGE_EPOCH: &str = "state.bridge.epoch.newest";

/// `state.bridge.source.<symbol>`: which exchange of Kafka a symbol has.
#[must_use]
pub fn bridge_claim(symbol: &Symbol) -> String {
    with_symbol(format!("{}.bridge.source.", STATE.root), symbol)
}

/// The pattern of all of these.
#[must_use]
pub fn bridge_claims() -> String {
    format!("{}.bridge.source.>", STATE.root)
}

/// `state.refused.marketdata.<exchange>.<symbol>`: the subject of a checkpoint that could not be
/// used, of the subject that it had.
#[must_use]
pub fn refused_checkpoint(checkpoint: &str) -> String {
    let rest = STATE.rest(checkpoint, '.').unwrap_or(checkpoint);
    format!("{}.refused.{rest}", STATE.root)
}

/// `state.marks.<group>`: the last marks of a publisher's group of symbols.
#[must_use]
pub fn mark_positions(group: u64) -> String {
    format!("{}.marks.{group:016x}", STATE.root)
}

/// Whether a subject is of what publishers keep for their next start.
#[must_use]
pub fn is_state(subject: &str) -> bool {
    STATE.rest(subject, '.').is_some()
}

fn with_symbol(mut subject: String, symbol: &Symbol) -> String {
    for part in symbol.as_str().chars() {
        let _ = subject.write_char(if part == ':' { '.' } else { part });
    }
    subject
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_about_its_topic_live_and_in_its_record() {
        for (subject, topic) in [
            ("kline.1m.OKX.BTC-USDT", Some("kline:1m:OKX:BTC-USDT")),
            ("closed.1m.OKX.BTC-USDT", Some("kline:1m:OKX:BTC-USDT")),
            ("market.okx.OKX.BTC-USDT.trade", Some("trade:OKX:BTC-USDT")),
            ("kline", None),
            ("", None),
        ] {
            let found = published_topic(subject);
            assert_eq!(found.as_ref().map(Topic::as_str), topic, "{subject}");
        }
    }

    #[test]
    fn every_subject_has_a_root_of_the_table() {
        let symbol: Symbol = "OKX:BTC-USDT".parse().expect("a symbol");
        let timeframe = Timeframe::MINUTE;
        for (subject, expected) in [
            (bars(timeframe, &symbol), "kline.1m.OKX.BTC-USDT"),
            (closed_bars(timeframe, &symbol), "closed.1m.OKX.BTC-USDT"),
            (boundary("1m"), "boundary.1m"),
            (trades("okx", &symbol), "market.okx.OKX.BTC-USDT.trade"),
            (
                checkpoint("okx", &symbol),
                "state.marketdata.okx.OKX.BTC-USDT",
            ),
            (
                refused_checkpoint("state.marketdata.okx.OKX.BTC-USDT"),
                "state.refused.marketdata.okx.OKX.BTC-USDT",
            ),
            (mark_positions(255), "state.marks.00000000000000ff"),
            (feed_status("okx"), "system.feed.okx"),
            (GAP_EVENTS.to_owned(), "system.service.marketdata.gap"),
            (ALL_CHECKPOINTS.to_owned(), "state.marketdata.>"),
            (ALL_REFUSED_CHECKPOINTS.to_owned(), "state.refused.>"),
            (EPOCH.to_owned(), "state.epoch.marketdata"),
            (PUBLISHERS.to_owned(), "presence.marketdata"),
            (BEATS.to_owned(), "presence.beat"),
            (ALL_RECORDS.to_owned(), "closed.>"),
            (lease("okx", &symbol), "closed.lease.okx.OKX.BTC-USDT"),
            (records_of(&symbol), "closed.*.OKX.BTC-USDT"),
            (GATEWAY_REPORTS.to_owned(), "fleet.report."),
            (ALL_FLEET.to_owned(), "fleet.>"),
            (FLEET_REBALANCE.to_owned(), "fleet.rebalance"),
            (FLEET_CANCEL.to_owned(), "fleet.cancel"),
            (HISTORY_QUERY.to_owned(), "history.query"),
            (archive_bars("okx"), "archive.bars.okx"),
            (bridge_lease("a"), "state.bridge.a"),
            (bridge_beat("a"), "presence.bridge.a"),
            (BRIDGE_EPOCH.to_owned(), "state.bridge.epoch.newest"),
            (bridge_claim(&symbol), "state.bridge.source.OKX.BTC-USDT"),
            (all_leases(), "closed.lease.>"),
            (alerts("btc-5", &symbol), "alert.btc-5.OKX.BTC-USDT"),
            (system_alert("info", "gap"), "system.alert.info.gap"),
            (
                journal("closed.1m.BTC-USD").unwrap_or_default(),
                "journal.1m.BTC-USD",
            ),
        ] {
            assert_eq!(subject, expected);
            let root = subject.split('.').next().unwrap_or_default();
            let channel = Channel::of_subject_root(root).or(Channel::of_record(root));
            assert!(channel.is_some(), "{subject}");
        }
        for (subject, topic) in [
            ("market.okx.OKX.BTC-USDT.trade", Some("trade:OKX:BTC-USDT")),
            ("market.binance.BTC-USDT.trade", Some("trade:BTC-USDT")),
            ("market.binance.BTC-USDT.orderbook", None),
            ("market.binance.trade", None),
            ("market.binance.BTC-USDT", None),
            ("trade.BTC-USDT", None),
        ] {
            let found = to_topic(subject);
            assert_eq!(found.as_ref().map(Topic::as_str), topic, "{subject}");
        }
        let record = "closed.1m.BTC-USD";
        assert_eq!(of_record(record).as_deref(), Some("kline.1m.BTC-USD"));
        assert_eq!(of_record("kline.1m.BTC-USD"), None);
        assert_eq!(record_pattern("kline.1m.>").as_deref(), Some("closed.1m.>"));
        assert_eq!(record_pattern("system.>"), None);
        assert!(is_lease("closed.lease.okx.OKX.BTC-USDT"));
        assert!(!is_lease(record) && !is_lease("closed.leases.a") && !is_lease("state.lease.a"));
        let leased = Some(("okx", "OKX:BTC-USDT".to_owned()));
        assert_eq!(of_lease("closed.lease.okx.OKX.BTC-USDT"), leased);
        assert_eq!(of_lease(record).or(of_lease("closed.lease.okx")), None);
        assert_eq!(journal("closed.lease.okx.OKX.BTC-USDT"), None);
        assert!("lease".parse::<Timeframe>().is_err());
        assert_eq!(journal("state.marks.0"), None);
        assert!(is_state("state.marks.0"));
        assert!(!is_state("states.marks.0"));
    }
}
