//! Coinbase's channels.

/// A channel of one product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Feed {
    /// `matches`
    Matches,
    /// `heartbeat`
    Heartbeat,
    /// `ticker`
    Ticker,
    /// `ticker_batch`: every 5 s
    TickerBatch,
    /// `level2`, here batched as `level2_batch` is
    Level2,
    /// `level2_batch`
    Level2Batch,
}

impl Feed {
    /// All channels.
    pub(crate) const ALL: [Feed; 6] = [
        Feed::Matches,
        Feed::Heartbeat,
        Feed::Ticker,
        Feed::TickerBatch,
        Feed::Level2,
        Feed::Level2Batch,
    ];

    /// The channel's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Feed::Matches => "matches",
            Feed::Heartbeat => "heartbeat",
            Feed::Ticker => "ticker",
            Feed::TickerBatch => "ticker_batch",
            Feed::Level2 => "level2",
            Feed::Level2Batch => "level2_batch",
        }
    }
}
