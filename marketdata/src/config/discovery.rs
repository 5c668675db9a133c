//! What can be configured of patterns of instruments.

use clap::Args;

/// How instruments are found that patterns in `--instruments` mean.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[group(id = "marketdata_discovery")]
pub struct DiscoveryConfig {
    /// How often the exchanges are asked which markets they list, for patterns in --instruments, ms
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_DISCOVERY_INTERVAL_MS",
        default_value_t = 300_000,
        value_name = "MS"
    )]
    pub discovery_interval_ms: u32,

    /// How long a market may pause while others of its exchange trade before it counts as delisted, for patterns
    /// in --instruments, ms
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_DISCOVERY_PAUSE_MAX_MS",
        default_value_t = 86_400_000,
        value_name = "MS"
    )]
    pub discovery_pause_max_ms: u64,

    /// Most instruments of one exchange that patterns in --instruments find; what is left out is counted
    #[arg(
        long,
        env = "KLINECAST_MARKETDATA_DISCOVERED_MAX",
        default_value_t = 2_000,
        value_name = "COUNT"
    )]
    pub discovered_max: usize,
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        Self {
            discovery_interval_ms: 300_000,
            discovery_pause_max_ms: 86_400_000,
            discovered_max: 2_000,
        }
    }
}
