//! What a handshake asks for by its path and query: the dialect, and the first subscription.

use axum::http::{HeaderMap, header};
use market_core::protocol::{Request, RequestError, RequestLimits};

use client_frames::dialect::{Dialect, binance};

/// Where clients open the WebSocket.
const PATH: &str = "/ws";
/// Where clients of Binance open it: a path of streams may follow.
const BINANCE_RAW: &str = "/binance/ws";
/// Where clients of Binance open it for events that name their stream.
const BINANCE_COMBINED: &str = "/binance/stream";

/// A dialect, and the first subscription.
#[derive(Debug)]
pub(super) struct Opening {
    /// How the session speaks.
    pub dialect: Dialect,
    /// The subprotocol to confirm, if the client offered one.
    pub subprotocol: Option<&'static str>,
    /// The first subscription.
    pub request: Option<Result<Request, RequestError>>,
}

/// Whether a WebSocket is served at this path.
pub(super) fn serves(path: &str) -> bool {
    path == PATH || path == BINANCE_COMBINED || raw_streams(path).is_some()
}

impl Opening {
    /// Reads what a client asks for.
    pub(super) fn read(
        path: &str,
        query: &[(String, String)],
        headers: &HeaderMap,
        limits: RequestLimits,
    ) -> Self {
        let of_binance = |is_combined, streams: &str| Self {
            dialect: Dialect::of_binance(is_combined),
            subprotocol: None,
            request: binance::request::of_url(streams.split('/'), query, limits),
        };
        if path == BINANCE_COMBINED {
            let streams = query.iter().find(|(name, _)| name == "streams");
            return of_binance(true, streams.map_or("", |(_, streams)| streams));
        }
        if let Some(streams) = raw_streams(path) {
            // The only characters of a stream's name that a client may have to escape.
            let streams = streams.replace("%40", "@").replace("%21", "!");
            return of_binance(false, &streams);
        }
        let dialect = dialect_of(headers);
        Self {
            dialect: dialect.unwrap_or_default(),
            subprotocol: dialect.and_then(Dialect::subprotocol),
            request: Request::from_query(query, limits).transpose(),
        }
    }
}

/// The streams in the path, as in `/binance/ws/btcusdt@kline_1m/ethusdt@kline_1m`.
fn raw_streams(path: &str) -> Option<&str> {
    let streams = path.strip_prefix(BINANCE_RAW)?;
    (streams.is_empty() || streams.starts_with('/')).then_some(streams)
}

/// The dialect of the first known subprotocol in the request, if any.
fn dialect_of(headers: &HeaderMap) -> Option<Dialect> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|name| Dialect::of_subprotocol(name.trim()))
}
