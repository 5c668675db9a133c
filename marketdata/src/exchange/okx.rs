//! OKX v5: channel `trades` of the public socket.
//!
//! Source: <https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-trades-channel> and
//! the REST pages `market/history-trades`, `market/history-candles`. The samples are in
//! `fixtures/okx/`.

mod bars;
mod books;
mod directory;
mod stream;
mod trades;

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::exchange::{DecodeError, Endpoints, Keepalive, Limits, RestFault, RestRequest, Venue};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Okx;

/// REST codes; those that begin with 50 are faults of the moment.
const TOO_MANY_REQUESTS: &str = "50011";

const NO_SUCH_INSTRUMENT: &str = "51001";

/// A REST answer.
///
/// ```json
/// {"code":"0","msg":"","data":[..]}
/// ```
#[derive(Deserialize)]
struct Page<'a, Row> {
    #[serde(borrow)]
    code: Cow<'a, str>,
    #[serde(default = "Vec::new")]
    data: Vec<Row>,
}

/// One row of `public/instruments`.
///
/// ```json
/// {"instType":"SPOT","instId":"BTC-USDT","state":"live"}
/// ```
#[derive(Deserialize)]
struct InstrumentRow {
    #[serde(rename = "instId")]
    native: String,
}

impl Venue for Okx {
    fn name(&self) -> &'static str {
        "okx"
    }

    fn endpoints(&self) -> Endpoints {
        Endpoints {
            websocket: "wss://ws.okx.com:8443/ws/v5/public".to_owned(),
            rest: "https://www.okx.com".to_owned(),
        }
    }

    fn sim_endpoints(&self, authority: &str) -> Endpoints {
        Endpoints {
            websocket: format!("ws://{authority}/ws/v5/public"),
            rest: format!("http://{authority}"),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            streams_per_connection: 100,
            streams_per_subscribe: 100,
            // 480 subscribe messages an hour are allowed per connection; a burst is well below.
            send_interval_ms: 100,
            // 3 a second are allowed per address.
            attempts_max: 2,
            attempts_window_ms: 1_000,
            rotation_age_ms: 23 * 3_600_000,
            // The venue closes after 30 s of silence, so ask at 20 s.
            keepalive: Keepalive::WeAsk {
                idle_ms: 20_000,
                text: "ping",
                answer_max_ms: 8_000,
            },
            // 20 requests in 2 s are allowed per address.
            rest_weight_max: 15,
            rest_used_header: None,
            rest_window_ms: 2_000,
        }
    }

    fn native_name(&self, base: &str, quote: &str) -> String {
        format!("{base}-{}", quote.replace('_', "-"))
    }

    /// We write a derivative, `BTC-USD-SWAP`, as `BTC-USD_SWAP`; its quantities are contracts.
    fn pair_of(&self, native: &str) -> Option<String> {
        let (base, quote) = native.split_once('-')?;
        Some(format!("{base}-{}", quote.replace('-', "_")))
    }

    fn symbols_page(&self) -> RestRequest {
        RestRequest {
            path_and_query: "/api/v5/public/instruments?instType=SPOT".to_owned(),
            weight: 1,
        }
    }

    fn parse_symbols_page(&self, body: &[u8]) -> Result<HashSet<String>, DecodeError> {
        let page: Page<'_, InstrumentRow> =
            serde_json::from_slice(body).map_err(|_| DecodeError::Malformed("list of symbols"))?;
        if page.code != "0" {
            return Err(DecodeError::Malformed(
                "the venue answered with an error code",
            ));
        }
        Ok(page.data.into_iter().map(|row| row.native).collect())
    }

    /// The list covers the spot market; derivatives have a third part, `BTC-USD-SWAP`.
    fn is_listable(&self, native: &str) -> bool {
        native.matches('-').count() == 1
    }

    /// Errors also come with status 200 and a code.
    fn rest_fault(&self, status: u16, body: &[u8]) -> Option<RestFault> {
        let code = serde_json::from_slice::<Page<'_, IgnoredAny>>(body).map(|page| page.code);
        match code.as_deref() {
            Ok(TOO_MANY_REQUESTS) => Some(RestFault::TooMany),
            Ok(NO_SUCH_INSTRUMENT) => Some(RestFault::UnknownSymbol),
            Ok(code) if code.starts_with("50") => {
                Some(RestFault::of_status(status).unwrap_or(RestFault::Unavailable))
            }
            _ => RestFault::of_status(status),
        }
    }
}

#[cfg(test)]
mod tests;
