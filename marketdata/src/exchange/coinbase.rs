//! Coinbase Exchange: channels `matches` and `heartbeat`.
//!
//! Source: <https://docs.cdp.coinbase.com/exchange/websocket-feed/channels> and the REST pages
//! `products/{id}/trades`, `products/{id}/candles`. The samples are in `fixtures/coinbase/`.
//!
//! `sequence` counts every event of the product's feed, so it jumps on these channels; only
//! `trade_id` shows gaps. A heartbeat's `last_trade_id` is sometimes always 0
//! (preichenberger/go-coinbasepro#89), so it is ignored.

mod bars;
mod books;
mod directory;
mod stream;
mod trades;

use std::borrow::Cow;
use std::collections::HashSet;

use market_core::AggressorSide;
use serde::Deserialize;

use crate::exchange::{DecodeError, Endpoints, Keepalive, Limits, RestFault, RestRequest, Venue};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Coinbase;

/// A REST refusal.
///
/// ```json
/// {"message":"NotFound"}
/// ```
#[derive(Deserialize)]
struct RestRefusal<'a> {
    #[serde(borrow)]
    message: Cow<'a, str>,
}

/// One row of `/products`.
///
/// ```json
/// {"id":"BTC-USD","base_currency":"BTC","quote_currency":"USD","status":"online"}
/// ```
#[derive(Deserialize)]
struct ProductRow {
    id: String,
    status: Option<String>,
}

impl Venue for Coinbase {
    fn name(&self) -> &'static str {
        "coinbase"
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints {
            websocket: "wss://ws-feed.exchange.coinbase.com".to_owned(),
            rest: "https://api.exchange.coinbase.com".to_owned(),
        }
    }

    fn sim_endpoints(&self, authority: &str) -> Endpoints {
        Endpoints {
            websocket: format!("ws://{authority}/"),
            rest: format!("http://{authority}"),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            streams_per_connection: 50,
            streams_per_subscribe: 50,
            // 100 messages a second are allowed.
            send_interval_ms: 50,
            // 8 requests a second are allowed per address, with a burst of 20.
            attempts_max: 5,
            attempts_window_ms: 1_000,
            rotation_age_ms: 23 * 3_600_000,
            // A heartbeat comes every second for each product.
            keepalive: Keepalive::VenueSpeaks {
                silence_max_ms: 10_000,
            },
            // 10 requests a second are allowed per address.
            rest_weight_max: 7,
            rest_used_header: None,
            rest_window_ms: 1_000,
        }
    }

    fn native_name(&self, base: &str, quote: &str) -> String {
        format!("{base}-{quote}")
    }

    fn pair_of(&self, native: &str) -> Option<String> {
        (native.split('-').count() == 2).then(|| native.to_owned())
    }

    fn symbols_page(&self) -> RestRequest {
        RestRequest {
            path_and_query: "/products".to_owned(),
            weight: 1,
        }
    }

    fn parse_symbols_page(&self, body: &[u8]) -> Result<HashSet<String>, DecodeError> {
        let rows: Vec<ProductRow> =
            serde_json::from_slice(body).map_err(|_| DecodeError::Malformed("list of symbols"))?;
        let listed = rows
            .into_iter()
            .filter(|row| row.status.as_deref() != Some("delisted"));
        Ok(listed.map(|row| row.id).collect())
    }

    fn rest_fault(&self, status: u16, body: &[u8]) -> Option<RestFault> {
        // A wrong base address also answers 404, but with another text.
        let is_unknown = || {
            let refusal = serde_json::from_slice::<RestRefusal<'_>>(body);
            refusal.is_ok_and(|refusal| refusal.message == "NotFound")
        };
        if status == 404 && is_unknown() {
            return Some(RestFault::UnknownSymbol);
        }
        RestFault::of_status(status)
    }
}

/// The taker's side for a maker's side.
fn taker_side(maker_side: &str) -> Result<AggressorSide, DecodeError> {
    match maker_side {
        "buy" => Ok(AggressorSide::Sell),
        "sell" => Ok(AggressorSide::Buy),
        _ => Err(DecodeError::Malformed("side of a trade")),
    }
}

#[cfg(test)]
mod tests;
