//! The limits of streams.

use std::time::Duration;

use market_core::binance::TickerWindow;

use super::room::minutes_of;
use crate::limits::{AddressGroups, SharesConfig};

/// The parts of the bars of windows that streams of one symbol may hold for one session and for one
/// address. Each may hold the widest window.
const WINDOWS_OF_SESSION_DIVISOR: usize = 8;
const WINDOWS_OF_ADDRESS_DIVISOR: usize = 4;

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

impl StreamLimits {
    /// The share of each client in the bars of windows.
    pub(super) fn window_shares(self) -> SharesConfig {
        let part = |divisor: usize| {
            let widest = minutes_of(TickerWindow::Day);
            (self.window_minutes_max / divisor).max(widest)
        };
        let per_ip = match self.shares.per_ip {
            0 => 0,
            _ => part(WINDOWS_OF_ADDRESS_DIVISOR),
        };
        SharesConfig {
            per_session: part(WINDOWS_OF_SESSION_DIVISOR),
            per_ip,
            ..self.shares
        }
    }
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
