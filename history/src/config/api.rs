//! The bounds of what may be asked.

use clap::Args;
use service::Network;

/// Requests of one address a second unless configured.
pub(crate) const REQUESTS_PER_IP_DEFAULT: u32 = 50;
/// An address may ask at once what it may ask in this time, s.
pub(crate) const BURST_SECONDS: u32 = 4;

/// How much history may be asked at once, and by whom.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// Requests of one client address a second, and four times as many at once. More are answered
    /// with 429. 0 is no limit. The default is 50; it does not apply to loopback addresses
    #[arg(long, env = "KLINECAST_HISTORY_REQUESTS_PER_IP", value_name = "COUNT")]
    pub history_requests_per_ip: Option<u32>,

    /// Request weight of one client address a minute at /binance, as Binance counts it. More is
    /// answered with 429. 0 is no limit. The default is 6000; it does not apply to loopback addresses
    #[arg(long, env = "KLINECAST_HISTORY_BINANCE_WEIGHT", value_name = "WEIGHT")]
    pub history_binance_weight: Option<u32>,

    /// Length of the IPv6 prefix whose addresses count as one client, bits
    #[arg(long, env = "KLINECAST_HISTORY_IPV6_PREFIX_BITS", default_value_t = Self::default().history_ipv6_prefix_bits, value_parser = clap::value_parser!(u8).range(1..=128), value_name = "BITS")]
    pub history_ipv6_prefix_bits: u8,

    /// Proxies whose X-Forwarded-For history believes: addresses or networks (10.0.0.0/8),
    /// separated by commas
    #[arg(
        long,
        env = "KLINECAST_HISTORY_TRUSTED_PROXY",
        value_delimiter = ',',
        value_name = "NETWORK"
    )]
    pub history_trusted_proxy: Vec<Network>,

    /// Most questions that read the store at once
    #[arg(long, env = "KLINECAST_HISTORY_READS_MAX", default_value_t = Self::default().history_reads_max, value_name = "COUNT")]
    pub history_reads_max: usize,

    /// Most questions that wait for their turn. More are answered with 503, or as busy on the bus
    #[arg(long, env = "KLINECAST_HISTORY_READS_WAITING_MAX", default_value_t = Self::default().history_reads_waiting_max, value_name = "COUNT")]
    pub history_reads_waiting_max: usize,

    /// Most questions that wait at once for older bars of the venues, and most series that are asked for
    /// them at once; 0 asks for none. More questions are answered from the store alone
    #[arg(long, env = "KLINECAST_HISTORY_FILLS_MAX", default_value_t = Self::default().history_fills_max, value_name = "COUNT")]
    pub history_fills_max: usize,

    /// An order book that was published longer ago, in milliseconds, is not right any more. So is a
    /// quote, unless its feed was said to be live since then. Use at least three times marketdata's
    /// --book-heartbeat-ms
    #[arg(long, env = "KLINECAST_HISTORY_BOOK_SILENCE_MS", default_value_t = Self::default().history_book_silence_ms, value_parser = clap::value_parser!(u32).range(1..), value_name = "MS")]
    pub history_book_silence_ms: u32,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            history_requests_per_ip: None,
            history_binance_weight: None,
            history_ipv6_prefix_bits: 64,
            history_trusted_proxy: Vec::new(),
            history_reads_max: 8,
            history_reads_waiting_max: 256,
            history_fills_max: 32,
            history_book_silence_ms: 15_000,
        }
    }
}
