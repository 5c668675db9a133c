//! Binance's lines.
//!
//! The CSV files of past trades at data.binance.vision have a header, or have none:
//!
//! ```csv
//! agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker[,is_best_match]
//! 26129,0.01633102,4.70443515,27781,27781,1498793709153,true,true
//! id,price,qty,quote_qty,time,is_buyer_maker[,is_best_match]
//! 28457,4.00000100,12.00000000,48.00001200,1499865549590,True,True
//! ```
//!
//! Source: <https://github.com/binance/binance-public-data>. Times are in ms, of spot in µs since 2025.

use market_core::{AggressorSide, Trade, UnixMicros};
use serde::Deserialize;

use crate::klines::VenueBar;
use crate::{to_millis, trade_of};

const MALFORMED: &str = "line of a file of trades";

/// The taker's side, as Binance says it.
#[inline]
#[must_use]
pub fn aggressor_side(is_buyer_maker: bool) -> AggressorSide {
    if is_buyer_maker {
        AggressorSide::Sell
    } else {
        AggressorSide::Buy
    }
}

/// One row of `/api/v3/klines`.
///
/// ```json
/// [1499040000000,"0.01634790","0.80000000","0.01575800","0.01577100","148976.11427815",1499644799999,"2434.19055334",308,"1756.87402397","28.46694368","0"]
/// ```
#[derive(Debug, Deserialize)]
pub struct RestKline(
    i64,
    String,
    String,
    String,
    String,
    String,
    i64,
    String,
    u64,
    String,
    String,
    serde::de::IgnoredAny,
);

impl RestKline {
    /// The time of the row's end: the last ms of the bar.
    #[must_use]
    pub fn last_ms(&self) -> i64 {
        to_millis(self.6)
    }
}

impl From<RestKline> for VenueBar {
    fn from(row: RestKline) -> Self {
        Self {
            start_ms: to_millis(row.0),
            open: row.1,
            high: row.2,
            low: row.3,
            close: row.4,
            volume: row.5,
            quote_volume: Some(row.7),
            count: Some(row.8),
            taker_buy_volume: Some(row.9),
            taker_buy_quote_volume: Some(row.10),
        }
    }
}

/// Reads a line of the trades' files of either kind; they differ in the sixth column, which is a
/// time or a flag.
///
/// # Errors
/// What is wrong with it.
pub fn parse_trade_line(line: &str) -> Result<Trade, &'static str> {
    let columns: Vec<&str> = line.trim_end().split(',').collect();
    let (ids, time, flag) = match *columns.as_slice() {
        [id, _, _, _, time, flag] | [id, _, _, _, time, flag, _] if flag_of(flag).is_some() => {
            ((id, id), time, flag)
        }
        [_, _, _, first, last, time, flag] | [_, _, _, first, last, time, flag, _] => {
            ((first, last), time, flag)
        }
        _ => return Err(MALFORMED),
    };
    let id = |text: &str| text.parse().map_err(|_| MALFORMED);
    let event_ms = to_millis(time.parse().map_err(|_| MALFORMED)?);
    trade_of(
        (id(ids.0)?, id(ids.1)?),
        event_ms,
        columns[1],
        columns[2],
        aggressor_side(flag_of(flag).ok_or(MALFORMED)?),
        // A file has no receive times.
        UnixMicros::from(event_ms).saturating_mul(1_000),
    )
}

fn flag_of(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn describe(trade: &Trade) -> String {
        let side = match trade.aggressor_side {
            AggressorSide::Buy => "buy",
            AggressorSide::Sell => "sell",
        };
        format!(
            "{}..{} {} x {} {side} at {}",
            trade.first_id, trade.last_id, trade.price, trade.quantity, trade.event_ms
        )
    }

    #[test]
    fn lines_of_spot_and_futures_of_single_and_aggregated_trades_are_read() {
        for (line, expected) in [
            (
                "26129,0.01633102,4.70443515,27781,27783,1498793709153,true,true",
                "27781..27783 0.01633102 x 4.70443515 sell at 1498793709153",
            ),
            (
                "26129,0.01633102,4.7,27781,27781,1498793709153,false",
                "27781..27781 0.01633102 x 4.7 buy at 1498793709153",
            ),
            (
                "28457,4.00000100,12.00000000,48.00001200,1499865549590,True,True",
                "28457..28457 4.000001 x 12 sell at 1499865549590",
            ),
            (
                "28457,4.5,12,54,1735689600123456,false\r",
                "28457..28457 4.5 x 12 buy at 1735689600123",
            ),
        ] {
            assert_eq!(describe(&parse_trade_line(line).expect(line)), expected);
        }
        for line in [
            "",
            "1,2,3",
            "a,b,c,d,e,f,g",
            "1,x,1,1,1,1,true",
            "1,1,1,1,1,1,maybe",
        ] {
            assert!(parse_trade_line(line).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_lines_never_panic(line in ".{0,60}", columns in "[0-9]{1,20}(,[0-9.tTrue]{0,20}){4,8}") {
            let _ = parse_trade_line(&line);
            let _ = parse_trade_line(&columns);
        }
    }
}
