//! The readers of bytes from clients and from the bus, without sockets and tasks, for property
//! tests and fuzzers (`loadtest/fuzz`).

use market_core::protocol::{Reply, Request, RequestError, RequestLimits};

use client_frames::dialect::binance::request::Asked;
use client_frames::encode::deflate::InflateError;

#[cfg(feature = "fuzzing")]
mod receiver;

#[cfg(feature = "fuzzing")]
pub use self::receiver::{Delivered, Receiver};
pub use crate::connection::reader::fuzz::{
    Decoded, FIN, RSV1, decode, decode_alone, edge_lengths, held_bytes_max, put_frame,
};

/// Why a compressed message is not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotInflated {
    /// Its content is larger than allowed.
    TooBig,
    /// It is not valid by RFC 7692.
    Malformed,
}

/// Decompresses a client's message.
///
/// # Errors
/// [`NotInflated`].
pub fn inflate(message: &[u8], bytes_max: usize) -> Result<Vec<u8>, NotInflated> {
    client_frames::encode::deflate::inflate(message, bytes_max).map_err(|error| match error {
        InflateError::TooBig => NotInflated::TooBig,
        InflateError::Malformed => NotInflated::Malformed,
    })
}

/// What a text frame of a client of Binance is.
#[derive(Clone, PartialEq, Debug)]
pub enum BinanceAsked {
    /// A request for the session.
    Request(Result<Request, RequestError>),
    /// A request about the form of frames, with what it sets, and its answer.
    Property(Option<bool>, String),
}

/// Reads a text frame of a client of Binance.
#[must_use]
pub fn parse_binance(text: &str, limits: RequestLimits) -> BinanceAsked {
    match client_frames::dialect::binance::request::parse(text, limits) {
        Asked::Request(request) => BinanceAsked::Request(request),
        Asked::Property(property) => {
            BinanceAsked::Property(property.combined(), property.answer(true))
        }
    }
}

/// The answer to a refused request of a client of Binance.
#[must_use]
pub fn binance_refusal(error: RequestError) -> Option<String> {
    client_frames::dialect::binance::reply(&Reply::Error(error))
}

/// Reads a request of the protobuf subprotocol.
///
/// # Errors
/// As for [`Request::parse`].
pub fn parse_protobuf(frame: &[u8], limits: RequestLimits) -> Result<Request, RequestError> {
    client_frames::dialect::protobuf::parse_request(frame, limits)
}
