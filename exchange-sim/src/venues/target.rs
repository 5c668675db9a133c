//! What clients subscribe to, at any venue.

use super::binance::Stream;
use super::{coinbase, okx};

/// A stream of one symbol, or of a venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Channel {
    /// A Binance stream.
    Binance(Stream),
    /// A Coinbase channel.
    Coinbase(coinbase::Feed),
    /// An OKX channel.
    Okx(okx::Feed),
}

/// What a client subscribes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    /// Index in the listing; none: the whole venue.
    pub(crate) symbol: Option<usize>,
    /// Which of its streams.
    pub(crate) channel: Channel,
}
