//! The readers of bytes from clients and from the bus, without sockets and tasks, for property
//! tests and fuzzers (`loadtest/fuzz`).

use market_core::protocol::{Request, RequestError, RequestLimits};

use crate::encode::deflate::InflateError;

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
    crate::encode::deflate::inflate(message, bytes_max).map_err(|error| match error {
        InflateError::TooBig => NotInflated::TooBig,
        InflateError::Malformed => NotInflated::Malformed,
    })
}

/// Reads a request of the protobuf subprotocol.
///
/// # Errors
/// As for [`Request::parse`].
pub fn parse_protobuf(frame: &[u8], limits: RequestLimits) -> Result<Request, RequestError> {
    crate::dialect::protobuf::parse_request(frame, limits)
}
