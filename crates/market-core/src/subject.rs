//! The names of topics and streams on the bus: the only module that knows them.
//!
//! A topic's parts are joined by `:`, a subject's by `.`; no part holds either.

use std::fmt::Write as _;

use crate::symbol::Symbol;
use crate::timeframe::Timeframe;
use crate::topic::Topic;

/// Every bar, forming and closed.
pub const ALL_BARS: &str = "kline.>";
/// A second copy of every closed bar, retained by the bus for readers that start or come back.
pub const ALL_CLOSED_BARS: &str = "closed.>";
/// Every mark that an interval is over for all symbols.
pub const ALL_BOUNDARIES: &str = "boundary.>";
/// Every system event and status.
pub const ALL_SYSTEM: &str = "system.>";

/// The subject of a topic: `kline.1m.OKX.BTC-USDT` of `kline:1m:OKX:BTC-USDT`.
#[must_use]
pub fn of_topic(topic: &Topic) -> String {
    topic.as_str().replace(':', ".")
}

/// The topic of a subject; `None` if clients cannot subscribe to this form.
#[must_use]
pub fn to_topic(subject: &str) -> Option<Topic> {
    if subject.contains(':') {
        return None;
    }
    subject.replace('.', ":").parse().ok()
}

/// `kline.<tf>.<symbol>`: forming and closed bars.
#[must_use]
pub fn bars(timeframe: Timeframe, symbol: &Symbol) -> String {
    with_symbol(format!("kline.{timeframe}."), symbol)
}

/// `closed.<tf>.<symbol>`: closed bars, retained.
#[must_use]
pub fn closed_bars(timeframe: Timeframe, symbol: &Symbol) -> String {
    with_symbol(format!("closed.{timeframe}."), symbol)
}

/// `boundary.<tf>`: marks that an interval is over for all symbols. `interval` is a timeframe's
/// name.
#[must_use]
pub fn boundary(interval: &str) -> String {
    format!("boundary.{interval}")
}

/// `market.<exchange>.<symbol>.trade`.
#[must_use]
pub fn trades(exchange: &str, symbol: &Symbol) -> String {
    with_symbol(format!("market.{exchange}."), symbol) + ".trade"
}

/// `state.marketdata.<exchange>.<symbol>`: a pipeline's checkpoint.
#[must_use]
pub fn checkpoint(exchange: &str, symbol: &Symbol) -> String {
    with_symbol(format!("state.marketdata.{exchange}."), symbol)
}

/// `system.feed.<exchange>`: a feed's status.
#[must_use]
pub fn feed_status(exchange: &str) -> String {
    format!("system.feed.{exchange}")
}

/// Gaps in trade ids: when they open and when they end.
pub const GAP_EVENTS: &str = "system.service.marketdata.gap";

fn with_symbol(mut subject: String, symbol: &Symbol) -> String {
    for part in symbol.as_str().chars() {
        let _ = subject.write_char(if part == ':' { '.' } else { part });
    }
    subject
}
