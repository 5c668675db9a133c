//! What the three venues have in common from the market's side: channels to subscribe to, and
//! sessions that turn a client's text into actions.

pub(crate) mod binance;
pub(crate) mod coinbase;
pub(crate) mod okx;
pub(crate) mod rest;

use crate::config::Config;
use crate::instrument::Venue;
use crate::listing::Listing;

/// A stream of one symbol, or of a venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Channel {
    /// A Binance stream.
    Binance(binance::Stream),
    /// A Coinbase channel.
    Coinbase(coinbase::Feed),
    /// An OKX channel.
    Okx(okx::Feed),
}

/// What a client subscribes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    /// Index in the listing; none: the whole venue.
    pub(crate) symbol: Option<usize>,
    /// Which of its streams.
    pub(crate) channel: Channel,
}

/// A session's actions, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send this text.
    Reply(String),
    /// Send a WebSocket ping.
    Ping,
    /// Start delivering; a repeated target has no effect.
    Subscribe(Target),
    /// Stop delivering.
    Unsubscribe(Target),
    /// From now on, use this encoding for frames.
    Variant(u8),
    /// Close with this code and reason.
    Close(u16, String),
}

/// A client's request when it connected.
#[derive(Clone, Debug)]
pub(crate) struct Handshake {
    /// Id of the connection.
    pub(crate) connection: u64,
    /// Path of the request.
    pub(crate) path: String,
    /// Its query.
    pub(crate) query: Vec<(String, String)>,
    /// When, milliseconds since the epoch.
    pub(crate) now_ms: i64,
}

/// The protocol state of one client: pure, one variant a venue.
#[derive(Debug)]
pub(crate) enum Session {
    /// Of Binance.
    Binance(binance::Session),
    /// Of Coinbase.
    Coinbase(coinbase::Session),
    /// Of OKX.
    Okx(okx::Session),
}

impl Session {
    /// The session of a new connection, and what to do at once.
    pub(crate) fn open(
        venue: Venue,
        handshake: &Handshake,
        config: &Config,
        listing: &Listing,
    ) -> (Session, Vec<Action>) {
        match venue {
            Venue::Binance => {
                let (session, actions) = binance::Session::open(handshake, config, listing);
                (Session::Binance(session), actions)
            }
            Venue::Coinbase => (
                Session::Coinbase(coinbase::Session::open(handshake, config)),
                Vec::new(),
            ),
            Venue::Okx => (
                Session::Okx(okx::Session::open(handshake, config)),
                Vec::new(),
            ),
        }
    }

    /// Handles a text frame.
    pub(crate) fn on_text(&mut self, text: &str, now_ms: i64, listing: &Listing) -> Vec<Action> {
        match self {
            Session::Binance(session) => session.on_text(text, now_ms, listing),
            Session::Coinbase(session) => session.on_text(text, now_ms, listing),
            Session::Okx(session) => session.on_text(text, now_ms, listing),
        }
    }

    /// Handles a frame that is not text: `pong` distinguishes pongs from pings and binary frames.
    pub(crate) fn on_control(&mut self, pong: bool, now_ms: i64) -> Vec<Action> {
        match self {
            Session::Binance(session) => session.on_control(pong, now_ms),
            Session::Coinbase(_) => Vec::new(),
            Session::Okx(session) => session.on_control(now_ms),
        }
    }

    /// Handles the passing of time; `written_ms` is when the last frame was sent.
    pub(crate) fn on_tick(&mut self, now_ms: i64, written_ms: i64) -> Vec<Action> {
        match self {
            Session::Binance(session) => session.on_tick(now_ms),
            Session::Coinbase(session) => session.on_tick(now_ms),
            Session::Okx(session) => session.on_tick(now_ms, written_ms),
        }
    }
}
