//! A venue's protocol: frames, subscriptions, REST pages and limits, as pure functions.
//!
//! All differences between venues are behind [`Exchange`], one folder each; [`registry`] lists them.
//! A venue has six roles: [`Venue`] (what it is), [`Directory`] (what it lists), [`Stream`] (its feed), [`BookStream`] (its order
//! books), [`TradeArchive`] and [`BarArchive`] (its past). A new venue needs a file for each role, its fixtures and one line in
//! the registry. This module knows no socket and no clock: text goes in, [`Event`]s and text come
//! out.

pub mod binance;
mod book_stream;
pub mod coinbase;
mod directory;
pub mod okx;
pub mod registry;

mod id_cursor;
pub(crate) mod iso_time;
mod message;
mod scan;
mod value;

use std::collections::HashSet;

use market_core::{AggressorSide, Quote, Ticker, Timeframe, Trade, UnixMicros, UnixMillis};
use serde::Deserialize;
use serde_json::value::RawValue;
pub use venue_files::VenueBar;

pub use self::book_stream::{BookEvent, BookStream, SnapshotRequest};
pub use self::directory::{Directory, Market};
pub use self::message::{DecodeError, RestRequest, SubscribeFrame};

/// What a venue is: its name, addresses, limits, symbols and refusals.
pub trait Venue: Send + Sync + 'static {
    /// Lower-case name, as in subjects and flags.
    fn name(&self) -> &'static str;

    /// The venue's public addresses.
    fn endpoints(&self) -> Endpoints;

    /// The addresses under an exchange-sim at `authority` (`127.0.0.1:9443`).
    fn sim_endpoints(&self, authority: &str) -> Endpoints;

    /// The venue's limits and requirements for a client.
    fn limits(&self) -> Limits;

    /// The venue's name of a pair: `BTCUSDT` of `BTC` and `USDT`.
    fn native_name(&self, base: &str, quote: &str) -> String;

    /// The pair, `BTC-USDT`, of a venue's name; `None` if it cannot be split.
    fn pair_of(&self, native: &str) -> Option<String>;

    /// The request for the list of all symbols.
    fn symbols_page(&self) -> RestRequest;

    /// Parses the list: the venue's names of the symbols that it has.
    ///
    /// # Errors
    /// `Malformed` if the body is not a list of symbols.
    fn parse_symbols_page(&self, body: &[u8]) -> Result<HashSet<String>, DecodeError>;

    /// Whether that list includes symbols of this kind.
    fn is_listable(&self, _native: &str) -> bool {
        true
    }

    /// The error of an answer with this status and body, if any.
    fn rest_fault(&self, status: u16, _body: &[u8]) -> Option<RestFault> {
        RestFault::of_status(status)
    }
}

/// A venue's public trade feed.
pub trait Stream: Send + Sync + 'static {
    /// The frames that subscribe to the trades of `natives`, and to what else is wanted of them.
    /// `first_id` is the number of the first frame; the next frames have the following numbers.
    fn subscribe(&self, natives: &[&str], wanted: Wanted, first_id: u64) -> Vec<SubscribeFrame>;

    /// What the venue refuses together with one symbol.
    fn refusal_scope(&self) -> RefusalScope;

    /// Another name under which the venue may send the trades of a symbol.
    fn answers_as(&self, _native: &str) -> Option<String> {
        None
    }

    /// Whether the venue begins each subscription with the symbol's last trade, however old,
    /// without marking it. Such a trade is not a sample of the venue's clock.
    fn begins_with_last_trade(&self) -> bool {
        false
    }

    /// Decodes one received frame and passes each event to `sink`, in the frame's order.
    ///
    /// # Errors
    /// `Malformed` if the frame is not as the venue documents it; events before the fault have been
    /// passed on.
    fn decode(
        &self,
        frame: &str,
        received_us: UnixMicros,
        sink: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), DecodeError>;
}

/// A venue's past trades.
pub trait TradeArchive: Send + Sync + 'static {
    /// How the venue pages through past trades.
    fn paging(&self) -> Paging;

    /// The request for one page of past trades.
    fn trades_page(&self, native: &str, ask: PageAsk) -> RestRequest;

    /// Parses a page, in any order. Rows carry `received_us`. A row that cannot be read is counted
    /// and left out; the other rows are kept.
    ///
    /// # Errors
    /// `Malformed` if the body is not a page of trades.
    fn parse_trades_page(
        &self,
        body: &[u8],
        received_us: UnixMicros,
    ) -> Result<TradesPage, DecodeError>;

    /// Parses a line of the venue's published CSV files of past trades.
    ///
    /// # Errors
    /// `Malformed` if the line is not valid, or if the venue publishes no such files.
    fn parse_dump_line(&self, _line: &str) -> Result<Trade, DecodeError> {
        Err(DecodeError::Malformed("the venue publishes no such files"))
    }
}

/// A venue's own bars.
pub trait BarArchive: Send + Sync + 'static {
    /// The request for the venue's own bars that start in `from_ms..=last_start_ms`; `None` if
    /// it has none of that timeframe.
    fn bars_page(
        &self,
        native: &str,
        timeframe: Timeframe,
        from_ms: UnixMillis,
        last_start_ms: UnixMillis,
    ) -> Option<RestRequest>;

    /// The most bars of a page.
    fn bars_max(&self) -> usize;

    /// Parses a page of the venue's own bars, oldest first.
    ///
    /// # Errors
    /// `Malformed` if the body is not a page of bars.
    fn parse_bars_page(&self, body: &[u8]) -> Result<Vec<VenueBar>, DecodeError>;
}

/// A venue in all of its roles.
pub trait Exchange: Venue + Directory + Stream + BookStream + TradeArchive + BarArchive {}

impl<V: Venue + Directory + Stream + BookStream + TradeArchive + BarArchive> Exchange for V {}

/// Where a venue listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The WebSocket address, with its path.
    pub websocket: String,
    /// The REST base address, without a slash at the end.
    pub rest: String,
}

/// A venue's limits and requirements for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most symbols on one connection that we use, well below what the venue allows.
    pub streams_per_connection: usize,
    /// Most symbols in one subscribe frame.
    pub streams_per_subscribe: usize,
    /// Shortest time between two messages that we send on a connection, ms.
    pub send_interval_ms: i64,
    /// Most connection attempts in any window.
    pub attempts_max: usize,
    /// The width of that window, ms.
    pub attempts_window_ms: i64,
    /// The age at which a connection is replaced, ms: before the venue cuts it.
    pub rotation_age_ms: i64,
    /// How the connection is kept alive.
    pub keepalive: Keepalive,
    /// Most REST weight that we use in any window, below what the venue allows.
    pub rest_weight_max: u32,
    /// The header of an answer with the weight that this address has used.
    pub rest_used_header: Option<&'static str>,
    /// The width of that window, ms.
    pub rest_window_ms: i64,
}

/// How a connection is kept alive, and how a dead one is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keepalive {
    /// The venue sends something (data, ping or heartbeat) at least this often, ms; pongs are
    /// answered by the socket itself.
    VenueSpeaks {
        /// Silence for longer than this means that the connection is dead.
        silence_max_ms: i64,
    },
    /// After this silence, ms, we send `text` and expect any frame within `answer_max_ms`.
    WeAsk {
        /// Silence after which we ask.
        idle_ms: i64,
        /// What we send.
        text: &'static str,
        /// How long the answer may take.
        answer_max_ms: i64,
    },
}

/// What is wanted of a symbol besides its trades.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The best bid and ask.
    pub quotes: bool,
    /// The last 24 hours.
    pub tickers: bool,
}

/// What the venue refuses together with one symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalScope {
    /// The whole frame: none of its symbols is subscribed.
    Frame,
    /// The symbol that the refusal names; the venue answers the other symbols of the frame one by
    /// one.
    Symbol,
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// A trade.
    Trade {
        /// The venue's name of the symbol.
        native: &'a str,
        /// The trade.
        trade: Trade,
        /// When the venue sent it, if that is a sample of its clock; `None` in frames that carry an
        /// old trade on purpose.
        stamped_ms: Option<UnixMillis>,
    },
    /// The best bid and ask.
    Quote {
        /// The venue's name of the symbol.
        native: &'a str,
        /// They.
        quote: Quote,
    },
    /// The last 24 hours.
    Ticker {
        /// The venue's name of the symbol.
        native: &'a str,
        /// They.
        ticker: Ticker,
    },
    /// Only a sample of the venue's clock.
    Time {
        /// When the venue sent it.
        stamped_ms: UnixMillis,
    },
    /// The subscribe frame of this number is acknowledged.
    SubscribedFrame {
        /// [`SubscribeFrame::id`].
        id: u64,
    },
    /// The trades of this symbol are subscribed.
    SubscribedSymbol {
        /// The venue's name of the symbol.
        native: &'a str,
    },
    /// The venue refused a message of ours.
    Refused {
        /// The frame's number, if the venue names it.
        id: Option<u64>,
        /// The venue's message, for the log.
        message: &'a str,
    },
    /// The venue is about to close this connection: replace it now.
    ClosingSoon,
    /// A trade that is not for bars (for example of a futures venue's insurance fund).
    NotForBars,
    /// A known frame that we do not need.
    Ignored,
    /// An unknown frame.
    Unknown,
}

/// The error of a REST answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestFault {
    /// The venue asks for fewer requests.
    TooMany,
    /// The venue refuses this address.
    TurnedAway,
    /// The venue does not have the symbol.
    UnknownSymbol,
    /// It may work later.
    Unavailable,
    /// The venue will not answer this request, now or later.
    Refused,
}

impl RestFault {
    /// The meaning of a status alone.
    #[must_use]
    pub fn of_status(status: u16) -> Option<Self> {
        match status {
            200..=299 => None,
            418 | 429 => Some(Self::TooMany),
            403 | 451 => Some(Self::TurnedAway),
            408 | 500..=599 => Some(Self::Unavailable),
            _ => Some(Self::Refused),
        }
    }
}

/// A page of past trades.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TradesPage {
    /// The readable rows.
    pub trades: Vec<Trade>,
    /// How many rows cannot.
    pub unreadable: usize,
    /// The highest id of an aggregate in it, if the rows are aggregates.
    pub newest_aggregate: Option<u64>,
}

impl TradesPage {
    /// Reads each row separately.
    fn of_rows<'a, Row: Deserialize<'a>>(
        rows: &[&'a RawValue],
        trade: impl Fn(&Row) -> Result<Trade, DecodeError>,
    ) -> Self {
        let mut page = Self::default();
        for row in rows {
            match serde_json::from_str(row.get()).map(|row| trade(&row)) {
                Ok(Ok(trade)) => page.trades.push(trade),
                _ => page.unreadable += 1,
            }
        }
        page
    }

    /// The number of its rows, readable or not.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.trades.len() + self.unreadable
    }
}

/// How a venue pages through past trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// Which way.
    pub direction: PagingDirection,
    /// Most trades in a page; a shorter one is the last.
    pub rows_max: usize,
    /// Whether the venue has aggregates of trades with the ids of their first and last.
    pub has_aggregates: bool,
}

/// The direction of the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PagingDirection {
    /// From an id on, oldest first.
    Forward,
    /// Down from the newest, or from below an id.
    Backward,
}

/// Which page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageAsk {
    /// Trades from this id on.
    FromId(u64),
    /// Trades with ids below this; the newest for `None`.
    Below(Option<u64>),
    /// Aggregated trades from this event time on, if they cost less than single trades.
    AggregatesSince(UnixMillis),
    /// Aggregated trades from this aggregate's id on.
    AggregatesFrom(u64),
}

/// A trade from the venue's values.
#[inline]
pub(crate) fn trade_of(
    ids: (u64, u64),
    event_ms: UnixMillis,
    price: &str,
    quantity: &str,
    aggressor_side: AggressorSide,
    received_us: UnixMicros,
) -> Result<Trade, DecodeError> {
    venue_files::trade_of(ids, event_ms, price, quantity, aggressor_side, received_us)
        .map_err(DecodeError::Malformed)
}

#[cfg(test)]
mod properties;

#[cfg(test)]
pub(crate) mod tests;
