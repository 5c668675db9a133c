//! Bars as the bus carries them, as rows.

use market_core::wire::{BarMessage, TradeMessage};
use market_core::{AggressorSide, BarState, Price, Quantity, Trade};

use crate::BarRow;
use crate::store::{BarSeries, Instrument};

/// Why a message is no bar that can be stored.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not the JSON of a bar.
    #[error("not a bar: {0}")]
    Json(#[from] serde_json::Error),
    /// A field has a value that no bar has.
    #[error("not a bar: {0}")]
    Field(&'static str),
}

/// Reads a bar that the bus carries: its series, its row, and whether it is closed.
///
/// # Errors
/// If it is no bar of a venue, or if no bar of its timeframe has this start.
pub fn read_bar(payload: &[u8]) -> Result<(BarSeries, BarRow, BarState), ReadError> {
    let bar: BarMessage = serde_json::from_slice(payload)?;
    let symbol = bar.symbol.parse();
    let symbol = symbol.map_err(|_| ReadError::Field("its symbol is none"))?;
    if bar.exchange.is_empty() {
        return Err(ReadError::Field("it does not name its venue"));
    }
    if bar.interval.start_of(bar.start_ms) != bar.start_ms {
        return Err(ReadError::Field("its start is none of its timeframe"));
    }
    let row = BarRow::of_message(&bar).ok_or(ReadError::Field("a number is none"))?;
    let series = BarSeries {
        instrument: Instrument {
            exchange: bar.exchange.into(),
            symbol,
        },
        timeframe: bar.interval,
    };
    Ok((series, row, bar.state))
}

/// Reads a trade that the bus carries.
///
/// # Errors
/// If it is no trade of a venue.
pub fn read_trade(payload: &[u8]) -> Result<(Instrument, Trade), ReadError> {
    let trade: TradeMessage = serde_json::from_slice(payload)?;
    let field = |name: &'static str| move |_| ReadError::Field(name);
    if trade.exchange.is_empty() {
        return Err(ReadError::Field("it does not name its venue"));
    }
    let symbol = trade.symbol.parse().map_err(|_| "its symbol is none");
    let instrument = Instrument {
        exchange: trade.exchange.into(),
        symbol: symbol.map_err(ReadError::Field)?,
    };
    let id = |text: &str| text.parse().map_err(|_| ReadError::Field("an id is none"));
    let (first_id, last_id): (u64, u64) = (id(&trade.first_id)?, id(&trade.last_id)?);
    if first_id > last_id {
        return Err(ReadError::Field("its ids fall"));
    }
    let aggressor_side = match trade.aggressor_side.as_str() {
        "buy" => AggressorSide::Buy,
        "sell" => AggressorSide::Sell,
        _ => return Err(ReadError::Field("its side is none")),
    };
    let row = Trade {
        first_id,
        last_id,
        event_ms: trade.event_ms,
        price: Price::parse(&trade.price).map_err(field("its price is none"))?,
        quantity: Quantity::parse(&trade.quantity).map_err(field("its quantity is none"))?,
        aggressor_side,
        received_us: trade.received_us,
    };
    Ok((instrument, row))
}

#[cfg(test)]
mod tests {
    use market_core::wire::{Stamp, encode_bar, encode_trade};
    use market_core::{Bar, Fold, Quality, Symbol, Timeframe, Topic};

    use super::*;

    fn bar() -> Bar {
        let trade = Trade {
            first_id: 41,
            last_id: 42,
            event_ms: 1_723_161_255_342,
            price: Price::parse("61837.63").expect("a price"),
            quantity: Quantity::parse("0.02").expect("a quantity"),
            aggressor_side: AggressorSide::Buy,
            received_us: 1_723_161_255_350_000,
        };
        Bar {
            timeframe: Timeframe::SECOND,
            start_ms: 1_723_161_255_000,
            end_ms: 1_723_161_256_000,
            fold: Some(Fold::of(&trade)),
            previous_close: None,
            state: BarState::Closed,
            rev: 3,
            quality: Quality::Backfilled,
        }
    }

    fn encoded(exchange: &str, bar: &Bar) -> Vec<u8> {
        let symbol: Symbol = "BTC-USD".parse().expect("a symbol");
        let topic = Topic::bars(bar.timeframe, &symbol);
        let stamp = Stamp {
            seq: 1,
            epoch: 2,
            published_us: 4_321,
        };
        let json = encode_bar(&topic, exchange, &symbol, bar, stamp);
        json.expect("it has trades").to_vec()
    }

    #[test]
    fn a_published_bar_is_read_as_the_row_of_the_bar() {
        let flat = Bar {
            fold: None,
            previous_close: Some(Price::parse("5.5").expect("a price")),
            quality: Quality::Filled,
            ..bar()
        };
        for bar in [bar(), flat] {
            let (series, row, state) = read_bar(&encoded("coinbase", &bar)).expect("a bar");
            assert_eq!(Some(row), BarRow::of(&bar, 4));
            assert_eq!(state, BarState::Closed);
            assert_eq!(&*series.instrument.exchange, "coinbase");
            assert_eq!(series.timeframe, Timeframe::SECOND);
        }
    }

    #[test]
    fn what_is_no_bar_of_a_venue_is_refused_with_the_reason() {
        let shifted = Bar {
            start_ms: 1_723_161_255_001,
            ..bar()
        };
        for (payload, reason) in [
            (encoded("", &bar()), "its venue"),
            (encoded("coinbase", &shifted), "its timeframe"),
            (br#"{"op":"boundary"}"#.to_vec(), "missing field"),
            (vec![0xff; 10], "not a bar"),
        ] {
            let error = read_bar(&payload).expect_err(reason);
            assert!(error.to_string().contains(reason), "{error}");
        }
    }

    #[test]
    fn a_published_trade_is_read_as_it_was() {
        let symbol: Symbol = "OKX:BTC-USDT".parse().expect("a symbol");
        let trade = Trade {
            first_id: 41,
            last_id: 42,
            event_ms: 1_723_161_255_342,
            price: Price::parse("61837.63").expect("a price"),
            quantity: Quantity::parse("0.02").expect("a quantity"),
            aggressor_side: AggressorSide::Sell,
            received_us: 1_723_161_255_350_000,
        };
        let json = encode_trade("okx", &symbol, &trade);
        let (instrument, read) = read_trade(&json).expect("a trade");
        assert_eq!(read, trade);
        assert_eq!(
            (&*instrument.exchange, instrument.symbol),
            ("okx", symbol.clone())
        );
        let falling = Trade {
            last_id: 40,
            ..trade
        };
        let error = read_trade(&encode_trade("okx", &symbol, &falling));
        assert!(matches!(error, Err(ReadError::Field("its ids fall"))));
    }
}
