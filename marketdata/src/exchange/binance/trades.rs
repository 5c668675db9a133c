//! Binance's past trades.

use market_core::{Trade, UnixMicros};
use serde::Deserialize;
use serde_json::value::RawValue;

use venue_files::binance::{aggressor_side, parse_trade_line};
use venue_files::to_millis;

use super::Binance;
use crate::exchange::{
    DecodeError, PageAsk, Paging, PagingDirection, RestRequest, TradeArchive, TradesPage, trade_of,
};

const ROWS_MAX: usize = 1_000;

/// One row of `/api/v3/historicalTrades` or `/api/v3/aggTrades`.
///
/// ```json
/// {"id":28457,"price":"4.00000100","qty":"12.00000000","quoteQty":"48.000012","time":1499865549590,"isBuyerMaker":true,"isBestMatch":true}
/// {"a":26129,"p":"0.01633102","q":"4.70443515","f":27781,"l":27781,"T":1498793709153,"m":true,"M":true}
/// ```
#[derive(Deserialize)]
struct TradeRow<'a> {
    id: Option<u64>,
    #[serde(alias = "f")]
    first_id: Option<u64>,
    #[serde(alias = "l")]
    last_id: Option<u64>,
    #[serde(alias = "p")]
    price: &'a str,
    #[serde(alias = "q")]
    qty: &'a str,
    #[serde(alias = "T")]
    time: i64,
    #[serde(alias = "m", rename = "isBuyerMaker")]
    is_buyer_maker: bool,
}

impl TradeRow<'_> {
    fn trade(&self, received_us: UnixMicros) -> Result<Trade, DecodeError> {
        let ids = match (self.id, self.first_id, self.last_id) {
            (Some(id), _, _) => (id, id),
            (None, Some(first), Some(last)) => (first, last),
            _ => return Err(DecodeError::Malformed("a trade without an id")),
        };
        trade_of(
            ids,
            to_millis(self.time),
            self.price,
            self.qty,
            aggressor_side(self.is_buyer_maker),
            received_us,
        )
    }
}

/// Of a row of `/api/v3/aggTrades`, its own id.
#[derive(Deserialize)]
struct AggregateId {
    a: u64,
}

impl TradeArchive for Binance {
    fn paging(&self) -> Paging {
        Paging {
            direction: PagingDirection::Forward,
            rows_max: ROWS_MAX,
            has_aggregates: true,
        }
    }

    fn trades_page(&self, native: &str, ask: PageAsk) -> RestRequest {
        match ask {
            PageAsk::FromId(id) => RestRequest {
                path_and_query: format!(
                    "/api/v3/historicalTrades?symbol={native}&fromId={id}&limit={ROWS_MAX}"
                ),
                weight: 25,
            },
            PageAsk::Below(below) => {
                let from = below.map_or(String::new(), |id| {
                    format!("&fromId={}", id.saturating_sub(ROWS_MAX as u64))
                });
                RestRequest {
                    path_and_query: format!(
                        "/api/v3/historicalTrades?symbol={native}{from}&limit={ROWS_MAX}"
                    ),
                    weight: 25,
                }
            }
            PageAsk::AggregatesFrom(id) => RestRequest {
                path_and_query: format!(
                    "/api/v3/aggTrades?symbol={native}&fromId={id}&limit={ROWS_MAX}"
                ),
                weight: 4,
            },
            PageAsk::AggregatesSince(from_ms) => RestRequest {
                path_and_query: format!(
                    "/api/v3/aggTrades?symbol={native}&startTime={from_ms}&limit={ROWS_MAX}"
                ),
                weight: 4,
            },
        }
    }

    fn parse_trades_page(
        &self,
        body: &[u8],
        received_us: UnixMicros,
    ) -> Result<TradesPage, DecodeError> {
        let rows: Vec<&RawValue> =
            serde_json::from_slice(body).map_err(|_| DecodeError::Malformed("page of trades"))?;
        let mut page = TradesPage::of_rows(&rows, |row: &TradeRow<'_>| row.trade(received_us));
        // The rows come oldest first, and the last row counts even if its trade cannot be read.
        page.newest_aggregate = rows
            .iter()
            .filter_map(|row| serde_json::from_str::<AggregateId>(row.get()).ok())
            .map(|row| row.a)
            .max();
        Ok(page)
    }

    fn parse_dump_line(&self, line: &str) -> Result<Trade, DecodeError> {
        parse_trade_line(line).map_err(DecodeError::Malformed)
    }
}
