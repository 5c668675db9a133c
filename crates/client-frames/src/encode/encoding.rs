//! The encoding of a session's frames: negotiated in its handshake, and fixed until it ends.

use bytes::Bytes;
use market_core::protocol::Reply;

use crate::dialect::Dialect;
use crate::encode::deflate::Window;
use crate::encode::frame::{self, Kind};

/// The encoding of a session's frames.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Encoding {
    /// How objects are written.
    pub dialect: Dialect,
    /// The window of compressed frames; `None` if the client accepts no compression.
    pub window: Option<Window>,
}

impl Encoding {
    /// How many there are.
    pub const COUNT: usize = Dialect::ALL.len() * (1 + Window::ALL.len());

    /// A number below [`Encoding::COUNT`].
    #[must_use]
    pub fn index(self) -> usize {
        let window = self.window.map_or(0, |window| 1 + window.index());
        self.dialect as usize * (1 + Window::ALL.len()) + window
    }

    /// The frame of a reply; `None` if the dialect has no such reply. It is not compressed: that
    /// would cost time for each client that asks.
    #[must_use]
    pub fn reply(self, reply: &Reply) -> Option<Bytes> {
        let content = self.dialect.reply(reply)?;
        Some(frame::data(kind(self.dialect), &content))
    }
}

/// The kind of a dialect's frames.
#[must_use]
pub fn kind(dialect: Dialect) -> Kind {
    match dialect.is_binary() {
        true => Kind::BINARY,
        false => Kind::TEXT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_has_its_own_number() {
        let mut numbers = Vec::new();
        for dialect in Dialect::ALL {
            if let Some(name) = dialect.subprotocol() {
                assert_eq!(Dialect::of_subprotocol(name), Some(dialect));
            }
            for window in [None, Some(Window::Usual), Some(Window::Least)] {
                numbers.push(Encoding { dialect, window }.index());
            }
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..Encoding::COUNT).collect::<Vec<_>>());
    }
}
