//! The encoding of a session's frames: negotiated in its handshake, and fixed until it ends.

use bytes::Bytes;

use crate::dialect::protobuf;
use crate::encode::deflate::Window;
use crate::encode::frame::{self, Kind};

/// How objects are written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Codec {
    /// JSON objects joined by `\n`, in text frames.
    #[default]
    Json,
    /// Messages of `klinecast.v1.Batch`, in binary frames.
    Protobuf,
}

/// The encoding of a session's frames.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Encoding {
    /// How objects are written.
    pub codec: Codec,
    /// The window of compressed frames; `None` if the client accepts no compression.
    pub window: Option<Window>,
}

impl Encoding {
    /// How many there are.
    pub(crate) const COUNT: usize = Codec::COUNT * (1 + Window::ALL.len());

    /// A number below [`Encoding::COUNT`].
    #[must_use]
    pub(crate) fn index(self) -> usize {
        let window = self.window.map_or(0, |window| 1 + window.index());
        self.codec as usize * (1 + Window::ALL.len()) + window
    }
}

const SKIPPED_KEY: &[u8] = b"\"skipped\":";

impl Codec {
    /// How many there are.
    pub(crate) const COUNT: usize = 2;

    /// The codec of a WebSocket subprotocol.
    #[must_use]
    pub(crate) fn of_subprotocol(name: &str) -> Option<Self> {
        [Self::Json, Self::Protobuf]
            .into_iter()
            .find(|codec| codec.subprotocol() == name)
    }

    /// The name of its WebSocket subprotocol.
    #[must_use]
    pub(crate) fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "klinecast.json.v1",
            Self::Protobuf => "klinecast.protobuf.v1",
        }
    }

    /// The kind of its frames.
    #[must_use]
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Json => Kind::TEXT,
            Self::Protobuf => Kind::BINARY,
        }
    }

    /// The most bytes that [`Codec::put_prefix`] appends.
    pub(crate) const PREFIX_BYTES_MAX: usize = 34;

    /// Appends the bytes before an object's body of this length, which depend on the frame and the
    /// session. `skipped` closed bars of its topic before it are not sent.
    pub(crate) fn put_prefix(
        self,
        out: &mut Vec<u8>,
        is_first: bool,
        skipped: u64,
        body_bytes: usize,
    ) {
        let before = out.len();
        match self {
            Self::Json => {
                if !is_first {
                    out.push(b'\n');
                }
                out.push(b'{');
                if skipped > 0 {
                    out.extend_from_slice(SKIPPED_KEY);
                    out.extend_from_slice(skipped.to_string().as_bytes());
                    out.push(b',');
                }
            }
            Self::Protobuf => protobuf::put_prefix(out, skipped, body_bytes),
        }
        debug_assert!(out.len() - before <= Self::PREFIX_BYTES_MAX);
    }

    /// An answer to one session, given as a JSON object. It is not compressed: that would cost time
    /// for each client that asks.
    #[must_use]
    pub(crate) fn answer(self, json: &str) -> Bytes {
        match self {
            Self::Json => frame::data(self.kind(), json.as_bytes()),
            Self::Protobuf => {
                let body = protobuf::encode(json.as_bytes());
                let mut batch = Vec::with_capacity(Self::PREFIX_BYTES_MAX + body.len());
                self.put_prefix(&mut batch, true, 0, body.len());
                batch.extend_from_slice(&body);
                frame::data(self.kind(), &batch)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_has_its_own_number() {
        let mut numbers = Vec::new();
        for codec in [Codec::Json, Codec::Protobuf] {
            assert_eq!(Codec::of_subprotocol(codec.subprotocol()), Some(codec));
            for window in [None, Some(Window::Usual), Some(Window::Least)] {
                numbers.push(Encoding { codec, window }.index());
            }
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..Encoding::COUNT).collect::<Vec<_>>());
    }
}
