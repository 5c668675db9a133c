//! How a session's frames look: agreed on in its handshake, and the same until it ends.

use bytes::Bytes;

use crate::deflate::Window;
use crate::frame::{self, Kind};

/// How objects are written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) enum Codec {
    /// JSON objects joined by `\n`, in text frames.
    #[default]
    Json,
}

/// How a session's frames look.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Encoding {
    /// How objects are written.
    pub codec: Codec,
    /// How far back a compressed frame may refer; none if the client takes no compressed ones.
    pub window: Option<Window>,
}

impl Encoding {
    /// How many there are.
    pub(crate) const COUNT: usize = 3;

    /// A number below [`Encoding::COUNT`].
    #[must_use]
    pub(crate) fn index(self) -> usize {
        let window = self.window.map_or(0, |window| 1 + window.index());
        self.codec as usize * (1 + Window::ALL.len()) + window
    }
}

const SKIPPED_KEY: &[u8] = b"\"skipped\":";

impl Codec {
    /// The kind of its frames.
    #[must_use]
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Json => Kind::TEXT,
        }
    }

    /// The most bytes that [`Codec::put_prefix`] appends.
    pub(crate) const PREFIX_BYTES_MAX: usize = 34;

    /// Appends what comes before an object's body: all that depends on the frame and the session.
    /// `skipped` closed bars of its topic came before it and are gone.
    pub(crate) fn put_prefix(self, out: &mut Vec<u8>, is_first: bool, skipped: u64) {
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
        }
        debug_assert!(out.len() - before <= Self::PREFIX_BYTES_MAX);
    }

    /// An answer to one session, given as a JSON object. It is not compressed: that would cost
    /// time for each who asks.
    #[must_use]
    pub(crate) fn answer(self, json: &str) -> Bytes {
        match self {
            Self::Json => frame::data(self.kind(), json.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_has_its_own_number() {
        let windows = [None, Some(Window::Usual), Some(Window::Least)];
        let mut numbers: Vec<usize> = windows
            .map(|window| {
                Encoding {
                    codec: Codec::Json,
                    window,
                }
                .index()
            })
            .to_vec();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..Encoding::COUNT).collect::<Vec<_>>());
    }
}
