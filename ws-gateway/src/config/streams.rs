//! The configuration of Binance's streams that a gateway makes.

/// How many streams of Binance's dialect are made of books, tickers and trades: `@depth`, `@depth5`,
/// `@depth10`, `@depth20`, `@miniTicker`, `!miniTicker@arr`, `!ticker@arr`, `@aggTrade`,
/// `@avgPrice`, `@ticker_1h`, `@ticker_4h`, `@ticker_1d` and the arrays of these.
#[derive(clap::Args, Clone, Debug, PartialEq)]
#[group(id = "ws-gateway-binance-streams")]
pub struct BinanceStreamsConfig {
    /// Most streams of Binance's dialect (such as btcusdt@depth) that the gateway makes of books,
    /// tickers and trades at once. Beyond it, a request is refused.
    #[arg(long, env = "KLINECAST_GATEWAY_BINANCE_STREAMS_MAX", default_value_t = Self::default().binance_streams_max)]
    pub binance_streams_max: usize,

    /// Most such streams for one session. A stream counts for the session that asked for it first,
    /// until the stream ends (--fold-linger-ms).
    #[arg(long, env = "KLINECAST_GATEWAY_BINANCE_STREAMS_PER_SESSION", default_value_t = Self::default().binance_streams_per_session)]
    pub binance_streams_per_session: usize,

    /// Most such streams for all sessions of one client address; 0 is no limit. The default is
    /// 1,000, and less while other addresses have most of them: an address may have as many as are
    /// left. It does not apply to loopback addresses.
    #[arg(long, env = "KLINECAST_GATEWAY_BINANCE_STREAMS_PER_IP")]
    pub binance_streams_per_ip: Option<usize>,

    /// Most bytes of the order books that all such streams remember, in memory. From the half of it on,
    /// each stream remembers fewer of the last books; beyond it, streams of further books are refused.
    #[arg(long, env = "KLINECAST_GATEWAY_BINANCE_BOOK_BYTES_MAX", default_value_t = Self::default().binance_book_bytes_max)]
    pub binance_book_bytes_max: usize,

    /// Most bars of a minute that all streams of tickers of windows (such as btcusdt@ticker_1h) hold, in
    /// memory: 61, 241 or 1,441 for each symbol and stream, about 250 bytes each. Beyond it, a request
    /// is refused, and further symbols are left out of arrays.
    #[arg(long, env = "KLINECAST_GATEWAY_BINANCE_WINDOW_MINUTES_MAX", default_value_t = Self::default().binance_window_minutes_max)]
    pub binance_window_minutes_max: usize,
}

impl Default for BinanceStreamsConfig {
    fn default() -> Self {
        Self {
            binance_streams_max: 4_000,
            binance_streams_per_session: 500,
            binance_streams_per_ip: None,
            binance_book_bytes_max: 256 << 20,
            binance_window_minutes_max: 500_000,
        }
    }
}
