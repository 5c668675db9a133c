//! The costs of requests, and what each client has used of its minute, as on Binance.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderName;
use metrics::{Counter, counter};
use service::AddressGroups;

use super::failure::{self, Failure};
use crate::config::ApiConfig;

/// The weight that a client has used.
pub(super) const USED: HeaderName = HeaderName::from_static("x-mbx-used-weight");
/// The same, of the last minute.
pub(super) const USED_MINUTE: HeaderName = HeaderName::from_static("x-mbx-used-weight-1m");

/// What a client may use in a minute unless configured: the limit of Binance.
const WEIGHT_DEFAULT: u32 = 6_000;
/// Most clients whose use is remembered. Beyond them nothing is counted until the next minute.
const CLIENTS_MAX: usize = 10_000;
const MINUTE: Duration = Duration::from_secs(60);

/// Every path and its cost.
pub(super) const WEIGHTS: [(&str, u32); 16] = [
    ("/api/v3/ping", 1),
    ("/api/v3/time", 1),
    ("/api/v3/exchangeInfo", 20),
    ("/api/v3/klines", 2),
    ("/api/v3/uiKlines", 2),
    ("/api/v3/trades", 25),
    ("/api/v3/historicalTrades", 25),
    ("/api/v3/aggTrades", 4),
    ("/api/v3/avgPrice", 2),
    ("/api/v3/ticker", 4),
    ("/api/v3/ticker/tradingDay", 4),
    ("/api/v3/ticker/price", 2),
    ("/api/v3/ticker/24hr", 2),
    ("/api/v3/ticker/bookTicker", 2),
    ("/api/v3/depth", 5),
    ("/sapi/v1/asset/tradeFee", 1),
];

/// The cost of a request. A ticker of several symbols costs more.
///
/// `names` is how many names the list of symbols has.
pub(super) fn of(path: &str, names_symbol: bool, names: usize) -> u32 {
    if !names_symbol {
        match path {
            "/api/v3/ticker/24hr" => return 80,
            "/api/v3/ticker/price" | "/api/v3/ticker/bookTicker" => return 4,
            "/api/v3/ticker" | "/api/v3/ticker/tradingDay" => {
                let names = u32::try_from(names).unwrap_or(u32::MAX).max(1);
                return names.saturating_mul(4).min(200);
            }
            _ => {}
        }
    }
    let known = WEIGHTS.iter().find(|(known, _)| *known == path);
    known.map_or(1, |(_, weight)| *weight)
}

/// What clients have used since the minute began.
#[derive(Debug)]
struct Minute {
    began: Instant,
    used: HashMap<IpAddr, u32>,
}

/// The weights that clients have used. All clients have the same minutes.
#[derive(Debug)]
pub(super) struct Weights {
    limit: u32,
    holds_for_loopback: bool,
    groups: AddressGroups,
    minute: Mutex<Minute>,
    unmetered: Counter,
}

impl Weights {
    /// No address has used any weight yet.
    pub(super) fn new(config: &ApiConfig) -> Self {
        let configured = config.history_binance_weight;
        Self {
            limit: configured.unwrap_or(WEIGHT_DEFAULT),
            holds_for_loopback: configured.is_some(),
            groups: AddressGroups::new(config.history_ipv6_prefix_bits),
            minute: Mutex::new(Minute {
                began: Instant::now(),
                used: HashMap::new(),
            }),
            unmetered: counter!("history_unmetered_addresses_total", "budget" => "binance"),
        }
    }

    /// What a client may use in a minute.
    pub(super) fn limit(&self) -> u32 {
        match self.limit {
            0 => WEIGHT_DEFAULT,
            limit => limit,
        }
    }

    /// Uses some of a client's minute, and returns what it has used of it.
    pub(super) fn take(&self, client: IpAddr, weight: u32, now: Instant) -> Result<u32, Failure> {
        if self.limit == 0 || (client.is_loopback() && !self.holds_for_loopback) {
            return Ok(weight);
        }
        let client = self.groups.client(client);
        // Each change leaves whole values.
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = now.saturating_duration_since(minute.began);
        if elapsed >= MINUTE {
            minute.began = now;
            minute.used.clear();
        }
        if minute.used.len() >= CLIENTS_MAX && !minute.used.contains_key(&client) {
            self.unmetered.increment(1);
            return Ok(weight);
        }
        let rest = MINUTE.saturating_sub(now.saturating_duration_since(minute.began));
        let used = minute.used.entry(client).or_default();
        let after = used.saturating_add(weight);
        if after > self.limit {
            return Err(failure::too_much_weight(self.limit, rest.as_secs().max(1)));
        }
        *used = after;
        Ok(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(limit: Option<u32>) -> Weights {
        Weights::new(&ApiConfig {
            history_binance_weight: limit,
            ..ApiConfig::default()
        })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_ticker_of_a_window_costs_by_its_symbols() {
        let cost = |names_symbol, names| of("/api/v3/ticker/tradingDay", names_symbol, names);
        assert_eq!((cost(true, 0), cost(false, 0), cost(false, 3)), (4, 4, 12));
        assert_eq!(cost(false, usize::MAX), 200);
        assert_eq!(of("/api/v3/ticker/24hr", false, 3), 80);
    }

    #[test]
    fn a_client_that_has_used_its_minute_waits_for_the_next_one() {
        let weights = weights(Some(10));
        let (one, other) = (address("127.0.0.1"), address("10.0.0.1"));
        let now = Instant::now();
        assert_eq!(weights.take(one, 4, now), Ok(4));
        assert_eq!(weights.take(one, 6, now), Ok(10));
        assert!(weights.take(one, 1, now).is_err());
        assert_eq!(weights.take(other, 1, now), Ok(1));
        assert_eq!(weights.take(one, 1, now + MINUTE), Ok(1));
    }

    #[test]
    fn no_more_clients_are_remembered_than_the_bound() {
        let weights = weights(Some(10));
        let now = Instant::now();
        for index in 0..=u32::try_from(CLIENTS_MAX).expect("small") {
            assert!(
                weights
                    .take(IpAddr::from(index.to_be_bytes()), 9, now)
                    .is_ok()
            );
        }
        let minute = weights.minute.lock().expect("no panic");
        assert_eq!(minute.used.len(), CLIENTS_MAX);
    }

    #[test]
    fn this_hosts_own_tools_have_no_limit_unless_it_is_configured() {
        let (local, now) = (address("127.0.0.1"), Instant::now());
        for _ in 0..10 {
            assert_eq!(
                weights(None).take(local, WEIGHT_DEFAULT, now),
                Ok(WEIGHT_DEFAULT)
            );
            assert_eq!(
                weights(Some(0)).take(address("10.0.0.1"), 9_999, now),
                Ok(9_999)
            );
        }
    }
}
