//! Messages that serde writes and reads.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A message that is one JSON object, written and read by serde.
pub trait JsonMessage<'a>: Serialize + Deserialize<'a> {
    /// As the JSON object for the bus and the client.
    ///
    /// # Panics
    /// Never: it has plain fields only.
    #[must_use]
    fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("plain fields").into()
    }

    /// Reads an encoded message; `None` if the payload is not one.
    #[must_use]
    fn read(payload: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}
