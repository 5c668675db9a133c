//! Coinbase's past trades.

use market_core::{Trade, UnixMicros};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Coinbase, taker_side};
use crate::exchange::id_cursor::after_or_before;
use crate::exchange::{
    DecodeError, PageAsk, Paging, PagingDirection, RestRequest, TradeArchive, TradesPage, iso_time,
    trade_of,
};

const ROWS_MAX: usize = 1_000;

/// One row of `/products/{id}/trades`, newest first; `side` is the maker's.
///
/// ```json
/// {"trade_id":74,"side":"sell","size":"0.01000000","price":"10.00000000","time":"2014-11-07T22:19:28.578544Z"}
/// ```
#[derive(Deserialize)]
struct TradeRow<'a> {
    trade_id: u64,
    side: &'a str,
    size: &'a str,
    price: &'a str,
    time: &'a str,
}

impl TradeRow<'_> {
    fn trade(&self, received_us: UnixMicros) -> Result<Trade, DecodeError> {
        let event_ms =
            iso_time::parse(self.time).ok_or(DecodeError::Malformed("time of a trade"))?;
        trade_of(
            (self.trade_id, self.trade_id),
            event_ms,
            self.price,
            self.size,
            taker_side(self.side)?,
            received_us,
        )
    }
}

impl TradeArchive for Coinbase {
    fn paging(&self) -> Paging {
        Paging {
            direction: PagingDirection::Backward,
            rows_max: ROWS_MAX,
            has_aggregates: false,
        }
    }

    fn trades_page(&self, native: &str, ask: PageAsk) -> RestRequest {
        let cursor = after_or_before(ask);
        RestRequest {
            path_and_query: format!("/products/{native}/trades?limit={ROWS_MAX}{cursor}"),
            weight: 1,
        }
    }

    fn parse_trades_page(
        &self,
        body: &[u8],
        received_us: UnixMicros,
    ) -> Result<TradesPage, DecodeError> {
        let rows: Vec<&RawValue> =
            serde_json::from_slice(body).map_err(|_| DecodeError::Malformed("page of trades"))?;
        Ok(TradesPage::of_rows(&rows, |row: &TradeRow<'_>| {
            row.trade(received_us)
        }))
    }
}
