//! The protocols that clients speak. A dialect reads requests, and writes replies and updates.
//!
//! A session speaks one dialect, which its handshake negotiates. `json` is the form of the bus, so
//! an update costs nothing there. `protobuf` encodes an update once for all sessions.

pub(crate) mod json;
pub(crate) mod protobuf;

use market_core::protocol::{Reply, Request, RequestError, RequestLimits};

/// The encoding of requests, replies and updates.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Dialect {
    /// JSON objects joined by `\n`, in text frames.
    #[default]
    Json,
    /// Messages of `klinecast.v1.Batch`, in binary frames.
    Protobuf,
}

impl Dialect {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::Json, Self::Protobuf];

    /// The most bytes that [`Dialect::put_prefix`] appends.
    pub(crate) const PREFIX_BYTES_MAX: usize = 34;

    /// The dialect of a WebSocket subprotocol.
    #[must_use]
    pub(crate) fn of_subprotocol(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|dialect| dialect.subprotocol() == name)
    }

    /// The name of its WebSocket subprotocol.
    #[must_use]
    pub(crate) fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "klinecast.json.v1",
            Self::Protobuf => "klinecast.protobuf.v1",
        }
    }

    /// Whether its frames are binary.
    #[must_use]
    pub(crate) fn is_binary(self) -> bool {
        self == Self::Protobuf
    }

    /// Reads a binary frame; `None` if the dialect has no binary requests. Text frames are JSON in
    /// every dialect.
    #[must_use]
    pub(crate) fn parse_binary(
        self,
        frame: &[u8],
        limits: RequestLimits,
    ) -> Option<Result<Request, RequestError>> {
        match self {
            Self::Json => None,
            Self::Protobuf => Some(protobuf::parse_request(frame, limits)),
        }
    }

    /// The content of the frame with a reply.
    #[must_use]
    pub(crate) fn reply(self, reply: &Reply) -> Vec<u8> {
        match self {
            Self::Json => reply.encode().into_bytes(),
            Self::Protobuf => {
                let body = protobuf::reply(reply);
                let mut batch = Vec::with_capacity(Self::PREFIX_BYTES_MAX + body.len());
                self.put_prefix(&mut batch, true, 0, body.len());
                batch.extend_from_slice(&body);
                batch
            }
        }
    }

    /// Appends the bytes before the body of an update, which depend on the frame and the session.
    /// `skipped` closed bars of its topic before it are no longer held.
    pub(crate) fn put_prefix(
        self,
        out: &mut Vec<u8>,
        is_first: bool,
        skipped: u64,
        body_bytes: usize,
    ) {
        let before = out.len();
        match self {
            Self::Json => json::put_prefix(out, is_first, skipped),
            Self::Protobuf => protobuf::put_prefix(out, skipped, body_bytes),
        }
        debug_assert!(out.len() - before <= Self::PREFIX_BYTES_MAX);
    }
}
