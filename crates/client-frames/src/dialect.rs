//! The protocols that clients speak. A dialect reads requests, and writes replies and updates.
//!
//! A session speaks one dialect, which its handshake negotiates. `json` is the form of the bus, so
//! an update costs nothing there. `protobuf` and `binance` encode an update once for all sessions.

pub mod binance;
pub mod json;
pub mod protobuf;

use market_core::protocol::{Reply, Request, RequestError, RequestLimits};

use self::binance::request::Asked;

/// The encoding of requests, replies and updates.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Dialect {
    /// JSON objects joined by `\n`, in text frames.
    #[default]
    Json,
    /// Messages of `klinecast.v1.Batch`, in binary frames.
    Protobuf,
    /// Binance's events, each in a text frame of its own.
    Binance,
    /// Binance's events with the name of their stream.
    BinanceCombined,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Json,
        Self::Protobuf,
        Self::Binance,
        Self::BinanceCombined,
    ];

    /// The most bytes that [`Dialect::put_prefix`] appends.
    pub const PREFIX_BYTES_MAX: usize = 34;

    /// The dialect of a WebSocket subprotocol.
    #[must_use]
    pub fn of_subprotocol(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|dialect| dialect.subprotocol() == Some(name))
    }

    /// The name of its WebSocket subprotocol; `None` if the path chooses it.
    #[must_use]
    pub fn subprotocol(self) -> Option<&'static str> {
        match self {
            Self::Json => Some("klinecast.json.v1"),
            Self::Protobuf => Some("klinecast.protobuf.v1"),
            Self::Binance | Self::BinanceCombined => None,
        }
    }

    /// As a metric's label.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.subprotocol().unwrap_or("binance")
    }

    /// Whether its sessions speak as Binance's do.
    #[must_use]
    pub fn is_binance(self) -> bool {
        matches!(self, Self::Binance | Self::BinanceCombined)
    }

    /// Binance's dialect, with the names of streams or without.
    #[must_use]
    pub fn of_binance(is_combined: bool) -> Self {
        match is_combined {
            true => Self::BinanceCombined,
            false => Self::Binance,
        }
    }

    /// Whether each update has a frame of its own. Frames of the others have several.
    #[must_use]
    pub fn frames_each_update(self) -> bool {
        self.is_binance()
    }

    /// Whether its frames are binary.
    #[must_use]
    pub fn is_binary(self) -> bool {
        self == Self::Protobuf
    }

    /// Reads a text frame, which is JSON in every dialect.
    #[must_use]
    pub fn parse_text(self, text: &str, limits: RequestLimits) -> Asked {
        match self {
            Self::Json | Self::Protobuf => Asked::Request(Request::parse(text, limits)),
            Self::Binance | Self::BinanceCombined => binance::request::parse(text, limits),
        }
    }

    /// Reads a binary frame; `None` if the dialect has no binary requests.
    #[must_use]
    pub fn parse_binary(
        self,
        frame: &[u8],
        limits: RequestLimits,
    ) -> Option<Result<Request, RequestError>> {
        match self {
            Self::Json | Self::Binance | Self::BinanceCombined => None,
            Self::Protobuf => Some(protobuf::parse_request(frame, limits)),
        }
    }

    /// The content of the frame with a reply; `None` if the dialect has no such reply.
    #[must_use]
    pub fn reply(self, reply: &Reply) -> Option<Vec<u8>> {
        match self {
            Self::Json => Some(reply.encode().into_bytes()),
            Self::Binance | Self::BinanceCombined => binance::reply(reply).map(String::into_bytes),
            Self::Protobuf => {
                let body = protobuf::reply(reply);
                let mut batch = Vec::with_capacity(Self::PREFIX_BYTES_MAX + body.len());
                self.put_prefix(&mut batch, true, 0, &body);
                batch.extend_from_slice(&body);
                Some(batch)
            }
        }
    }

    /// Appends the bytes before the body of an update, which depend on the frame and the session.
    /// `skipped` closed bars of its topic before it are no longer held.
    pub fn put_prefix(self, out: &mut Vec<u8>, is_first: bool, skipped: u64, body: &[u8]) {
        let before = out.len();
        match self {
            Self::Json => json::put_prefix(out, is_first, skipped),
            // Each of its frames has one update.
            Self::Binance | Self::BinanceCombined => binance::put_prefix(out, skipped, body),
            Self::Protobuf => protobuf::put_prefix(out, skipped, body.len()),
        }
        debug_assert!(out.len() - before <= Self::PREFIX_BYTES_MAX);
    }
}
