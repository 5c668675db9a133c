//! Binance spot (and the trade frames of USD-M futures, for replays).
//!
//! Source: <https://github.com/binance/binance-spot-api-docs/blob/master/web-socket-streams.md>
//! and `rest-api.md` beside it. The samples are in `fixtures/binance/`.

mod bars;
mod books;
mod directory;
mod stream;
mod trades;

use std::collections::HashSet;

use serde::Deserialize;

use crate::exchange::{DecodeError, Endpoints, Keepalive, Limits, RestFault, RestRequest, Venue};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Binance;

/// Quote currencies, longest match first, by which `BTCUSDT` is split.
const QUOTES: [&str; 40] = [
    "FDUSD", "USDT", "USDC", "TUSD", "BUSD", "USDP", "USDS", "USD1", "BIDR", "DOGE", "EURI",
    "AEUR", "IDRT", "BKRW", "BVND", "USD", "BTC", "ETH", "BNB", "EUR", "TRY", "GBP", "AUD", "BRL",
    "JPY", "XRP", "TRX", "DAI", "PAX", "ZAR", "UAH", "SOL", "ARS", "COP", "CZK", "MXN", "NGN",
    "PLN", "RON", "RUB",
];

/// A REST refusal.
///
/// ```json
/// {"code":-1121,"msg":"Invalid symbol."}
/// ```
#[derive(Deserialize)]
struct RestRefusal {
    code: i64,
}

/// The code of a refusal because the symbol does not exist.
const INVALID_SYMBOL: i64 = -1121;

/// `/api/v3/exchangeInfo`.
///
/// ```json
/// {"timezone":"UTC","symbols":[{"symbol":"ETHBTC","status":"TRADING"}]}
/// ```
#[derive(Deserialize)]
struct SymbolList {
    symbols: Vec<SymbolRow>,
}

#[derive(Deserialize)]
struct SymbolRow {
    symbol: String,
}

impl Venue for Binance {
    fn name(&self) -> &'static str {
        "binance"
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints {
            websocket: "wss://stream.binance.com:9443/ws".to_owned(),
            rest: "https://api.binance.com".to_owned(),
        }
    }

    fn sim_endpoints(&self, authority: &str) -> Endpoints {
        Endpoints {
            websocket: format!("ws://{authority}/ws"),
            rest: format!("http://{authority}"),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            // 1024 are allowed; with fewer, a lost connection costs less.
            streams_per_connection: 200,
            streams_per_subscribe: 50,
            // 5 messages a second are allowed, our pongs among them.
            send_interval_ms: 300,
            // 300 in 5 minutes are allowed per address.
            attempts_max: 240,
            attempts_window_ms: 300_000,
            // The venue cuts at 24 h.
            rotation_age_ms: 23 * 3_600_000,
            // The venue pings every 20 s.
            keepalive: Keepalive::VenueSpeaks {
                silence_max_ms: 50_000,
            },
            // 6000 a minute are allowed per address; requests that are on their way when the
            // venue's minute ends count for the next one.
            rest_weight_max: 5_700,
            rest_used_header: Some("x-mbx-used-weight-1m"),
            rest_window_ms: 60_000,
        }
    }

    fn native_name(&self, base: &str, quote: &str) -> String {
        format!("{base}{quote}")
    }

    fn pair_of(&self, native: &str) -> Option<String> {
        let native = native.to_ascii_uppercase();
        // We write a delivery future, `BTCUSDT_240927`, as `BTC-USDT_240927`.
        let pair_len = native.find('_').unwrap_or(native.len());
        let (pair, delivery) = native.split_at(pair_len);
        for quote in QUOTES {
            if let Some(base) = pair.strip_suffix(quote)
                && !base.is_empty()
            {
                return Some(format!("{base}-{quote}{delivery}"));
            }
        }
        None
    }

    fn symbols_page(&self) -> RestRequest {
        RestRequest {
            path_and_query: "/api/v3/exchangeInfo?showPermissionSets=false".to_owned(),
            weight: 20,
        }
    }

    fn parse_symbols_page(&self, body: &[u8]) -> Result<HashSet<String>, DecodeError> {
        let list: SymbolList =
            serde_json::from_slice(body).map_err(|_| DecodeError::Malformed("list of symbols"))?;
        Ok(list.symbols.into_iter().map(|row| row.symbol).collect())
    }

    fn rest_fault(&self, status: u16, body: &[u8]) -> Option<RestFault> {
        let is_unknown = || {
            let refusal = serde_json::from_slice::<RestRefusal>(body);
            refusal.is_ok_and(|refusal| refusal.code == INVALID_SYMBOL)
        };
        if status == 400 && is_unknown() {
            return Some(RestFault::UnknownSymbol);
        }
        RestFault::of_status(status)
    }
}

#[cfg(test)]
mod tests;
