//! One client's session, whatever the venue.

use super::action::{Action, Handshake};
use super::{binance, coinbase, okx};
use crate::config::Config;
use crate::instrument::Venue;
use crate::listing::Listing;

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
