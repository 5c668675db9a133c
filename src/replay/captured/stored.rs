//! The trades of a store, on their way to the pipelines.

use history::replay::{ReplayArgs, StoredTrades};
use history::store::Store;
use market_core::UnixMillis;
use marketdata::instrument::InstrumentSpec;
use marketdata::replay::{
    Instant, ReplayConfig, ReplayError, Summary, run_trades_as_live as run_trades,
};

use super::{FORMING_INTERVAL_MS, Played, Queue, What};

/// What to do when there are no trades.
const NO_TRADES: &str = "no trades of this venue and these symbols are stored: record them with history --trades, or fetch files with history import";

/// Makes bars of the stored trades that the flags choose, until their end or until nobody takes the
/// bars.
pub(super) fn run(
    config: ReplayConfig,
    args: &ReplayArgs,
    store: &dyn Store,
    queue: &mut Queue,
) -> Result<Summary, ReplayError> {
    let unread = |error: history::replay::ReplayError| ReplayError::Trades(error.into());
    let trades = StoredTrades::new(args, store).map_err(unread)?;
    let instruments = trades.instruments().map(|instrument| InstrumentSpec {
        exchange: instrument.exchange.to_string(),
        symbol: instrument.symbol.clone(),
    });
    let instruments: Vec<InstrumentSpec> = instruments.collect();
    if instruments.is_empty() {
        return Err(ReplayError::Trades(NO_TRADES.into()));
    }
    // Only where no trade is missing around the ends of the span are the bars at them whole.
    let whole = |at_ms: Option<UnixMillis>| -> Result<Option<Instant>, ReplayError> {
        match at_ms {
            Some(at_ms) if trades.are_whole_around(at_ms).map_err(unread)? => {
                Ok(Some(Instant(at_ms)))
            }
            _ => Ok(None),
        }
    };
    let config = ReplayConfig {
        instruments,
        from: whole(args.from)?,
        until: whole(args.to)?,
        ..config
    };
    let sender = args.trades.then(|| queue.0.clone());
    let trades = trades.map(|next| {
        let (instrument, trade) = next?;
        let symbol = instrument.symbol.clone();
        if let Some(sender) = &sender {
            let played = Played {
                symbol: symbol.clone(),
                what: What::Trade(trade),
                at_us: trade.event_ms.saturating_mul(1_000),
            };
            // Where nobody takes it, the next bar ends the replay.
            let _ = sender.blocking_send(played);
        }
        Ok::<_, history::replay::ReplayError>((symbol, trade))
    });
    run_trades(&config, trades, FORMING_INTERVAL_MS, queue)
}
