use super::*;

/// A trade in one line.
pub(crate) fn describe(trade: &Trade) -> String {
    let side = match trade.aggressor_side {
        AggressorSide::Buy => "buy",
        AggressorSide::Sell => "sell",
    };
    format!(
        "{}..{} {} x {} {side} at {}",
        trade.first_id, trade.last_id, trade.price, trade.quantity, trade.event_ms
    )
}

/// The decoded events of a fixture's frames, one frame per line and one event or error per
/// line.
pub(crate) fn fixture_events(exchange: &dyn Exchange, frames: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for frame in frames.lines() {
        let decoded = exchange.decode(frame, 7, &mut |event| {
            lines.push(match event {
                Event::Trade {
                    native,
                    trade,
                    stamped_ms,
                } => {
                    let stamped =
                        stamped_ms.map_or("unstamped".to_owned(), |at| format!("stamped {at}"));
                    format!("{native} {} {stamped}", describe(&trade))
                }
                Event::Quote { native, quote } => {
                    let side = |level: Option<market_core::PriceLevel>| match level {
                        Some(level) => format!("{} x {}", level.price, level.quantity),
                        None => "nothing".to_owned(),
                    };
                    let (bid, ask) = (side(quote.bid), side(quote.ask));
                    let (id, at) = (quote.update_id, quote.event_ms);
                    format!("{native} bid {bid} ask {ask} number {id:?} at {at:?}")
                }
                Event::Ticker { native, ticker } => format!("{native} {ticker:?}"),
                Event::Time { stamped_ms } => format!("time {stamped_ms}"),
                Event::SubscribedFrame { id } => format!("subscribed frame {id}"),
                Event::SubscribedSymbol { native } => format!("subscribed {native}"),
                Event::Refused { id, message } => format!("refused {id:?} {message}"),
                Event::ClosingSoon => "closing soon".to_owned(),
                Event::NotForBars => "not for bars".to_owned(),
                Event::Ignored => "ignored".to_owned(),
                Event::Unknown => "unknown".to_owned(),
            });
        });
        if let Err(error) = decoded {
            lines.push(error.to_string());
        }
    }
    lines
}
