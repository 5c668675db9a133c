//! OKX's past trades.

use market_core::{AggressorSide, Trade, UnixMicros};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Okx, Page};
use crate::exchange::id_cursor::after_or_before;
use crate::exchange::{
    DecodeError, PageAsk, Paging, PagingDirection, RestRequest, TradeArchive, TradesPage, trade_of,
};

const ROWS_MAX: usize = 100;

/// One trade, pushed or in a page; `side` is the taker's.
///
/// Unverified: `tradeId` is assumed to be the last id of the `count` trades of the aggregate. This
/// comes from memory of the documentation, which was not read again, and the captures of the tests
/// have no row that could tell. If it is the first id, bars are wrong beside an aggregate: its ids
/// are taken for the ids before it, so some of its trades are fetched over REST and counted twice.
/// `trades-all` and the REST rows have no `count`, so they are not affected.
#[derive(Deserialize)]
pub(super) struct TradeRow<'a> {
    #[serde(rename = "instId")]
    pub(super) native: &'a str,
    #[serde(rename = "tradeId")]
    pub(super) trade_id: &'a str,
    pub(super) px: &'a str,
    pub(super) sz: &'a str,
    pub(super) side: &'a str,
    pub(super) ts: &'a str,
    pub(super) count: Option<&'a str>,
}

impl TradeRow<'_> {
    pub(super) fn trade(&self, received_us: UnixMicros) -> Result<Trade, DecodeError> {
        let aggressor_side = match self.side {
            "buy" => AggressorSide::Buy,
            "sell" => AggressorSide::Sell,
            _ => return Err(DecodeError::Malformed("side of a trade")),
        };
        let number = |text: &str, what| text.parse().map_err(|_| DecodeError::Malformed(what));
        let last: u64 = number(self.trade_id, "id of a trade")?;
        let count: u64 = self.count.map_or(Ok(1), |count| number(count, "count"))?;
        let first = last
            .checked_sub(count.saturating_sub(1))
            .ok_or(DecodeError::Malformed("count"))?;
        let event_ms = i64::try_from(number(self.ts, "time of a trade")?)
            .map_err(|_| DecodeError::Malformed("time of a trade"))?;
        trade_of(
            (first, last),
            event_ms,
            self.px,
            self.sz,
            aggressor_side,
            received_us,
        )
    }
}

impl TradeArchive for Okx {
    fn paging(&self) -> Paging {
        Paging {
            direction: PagingDirection::Backward,
            rows_max: ROWS_MAX,
            has_aggregates: false,
        }
    }

    fn trades_page(&self, native: &str, ask: PageAsk) -> RestRequest {
        // Type 1 counts by trade id.
        let cursor = after_or_before(ask);
        RestRequest {
            path_and_query: format!(
                "/api/v5/market/history-trades?instId={native}&type=1&limit={ROWS_MAX}{cursor}"
            ),
            weight: 1,
        }
    }

    fn parse_trades_page(
        &self,
        body: &[u8],
        received_us: UnixMicros,
    ) -> Result<TradesPage, DecodeError> {
        let page: Page<'_, &RawValue> =
            serde_json::from_slice(body).map_err(|_| DecodeError::Malformed("page of trades"))?;
        if page.code != "0" {
            return Err(DecodeError::Malformed(
                "the venue answered with an error code",
            ));
        }
        Ok(TradesPage::of_rows(&page.data, |row: &TradeRow<'_>| {
            row.trade(received_us)
        }))
    }
}
