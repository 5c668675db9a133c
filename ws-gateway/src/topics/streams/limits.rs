//! The limits of streams.

use std::time::Duration;

use crate::limits::{AddressGroups, SharesConfig};

/// The limits of streams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamLimits {
    /// Most of them at once.
    pub streams_max: usize,
    /// Of them, the most that were made for one client.
    pub shares: SharesConfig,
    /// Most bytes of the books that they hold.
    pub book_bytes_max: usize,
    /// Most bars of a minute that the tickers of windows hold.
    pub window_minutes_max: usize,
    /// How long one lasts after the last session has left.
    pub linger: Duration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            streams_max: 4_000,
            book_bytes_max: 256 << 20,
            window_minutes_max: 500_000,
            shares: SharesConfig {
                per_session: 1_000,
                per_ip: 0,
                holds_for_loopback: false,
                groups: AddressGroups::new(64),
            },
            linger: Duration::from_secs(60),
        }
    }
}
