//! The inputs of a worker, in a bounded queue.

use market_core::{BackfillOutcome, Trade, UnixMicros, UnixMillis};
use metrics::Counter;
use tokio::sync::{mpsc, oneshot};

use crate::assignment::Assignment;
use crate::host_clock::now_us;
use crate::instrument::InstrumentId;

/// A connection's number in the process, never used again.
pub type ConnectionId = u64;

/// An input of a worker.
#[derive(Debug)]
pub enum Input {
    /// Trades of the stream, as received on one connection.
    Trades {
        /// In the order of arrival.
        trades: Vec<(InstrumentId, Trade)>,
        /// The venue's clock less this host's, ms, once a frame has told it.
        offset_ms: Option<i64>,
        /// When they were passed on, host time.
        passed_on_us: UnixMicros,
    },
    /// A connection carries these symbols from now on.
    SocketUp {
        /// Which connection.
        connection: ConnectionId,
        /// Which.
        instruments: Vec<InstrumentId>,
        /// As with trades.
        offset_ms: Option<i64>,
    },
    /// A connection no longer carries these symbols.
    SocketDown {
        /// Which connection.
        connection: ConnectionId,
        /// Which.
        instruments: Vec<InstrumentId>,
    },
    /// All data that the venue sent on a connection until then is read, and was passed on before
    /// this.
    Read {
        /// Which connection.
        connection: ConnectionId,
        /// This host's time.
        through_ms: UnixMillis,
    },
    /// The symbol is silent for suspiciously long, or trades of it were dropped.
    Suspect {
        /// Which.
        instrument: InstrumentId,
    },
    /// The venue has more trades in this time than we: look for them.
    Refetch {
        /// Which.
        instrument: InstrumentId,
        /// Beginning of the time.
        from_ms: UnixMillis,
        /// Its end.
        to_ms: UnixMillis,
    },
    /// The symbol is this worker's from now on.
    Assign(Box<Assignment>),
    /// The symbol is no longer this worker's: it hands its state to the outbox.
    Revoke {
        /// Which.
        instrument: InstrumentId,
        /// Told when no bar of it follows.
        released: oneshot::Sender<()>,
    },
    /// Trades fetched for a request, ascending by id.
    Backfilled {
        /// Whose.
        instrument: InstrumentId,
        /// Under which assignment they were asked for.
        assignment: u64,
        /// The request.
        request_id: u64,
        /// The trades.
        trades: Vec<Trade>,
    },
    /// The request has ended.
    BackfillEnded {
        /// Whose.
        instrument: InstrumentId,
        /// Under which assignment it was made.
        assignment: u64,
        /// The request.
        request_id: u64,
        /// How.
        outcome: BackfillOutcome,
    },
}

/// The sending end of a worker's queue.
#[derive(Clone, Debug)]
pub struct Inbox {
    sender: mpsc::Sender<Input>,
    dropped: Counter,
}

impl Inbox {
    /// A queue of at most `batches_max` inputs.
    #[must_use]
    pub fn new(worker: usize, batches_max: usize) -> (Self, mpsc::Receiver<Input>) {
        let (sender, receiver) = mpsc::channel(batches_max);
        let dropped = metrics::counter!("marketdata_inbox_dropped_trades_total", "worker" => worker.to_string());
        (Self { sender, dropped }, receiver)
    }

    /// Passes on stream trades without waiting. Trades that do not fit are dropped and counted, and
    /// show later as a gap in the ids.
    ///
    /// # Errors
    /// The instruments whose trades were dropped.
    pub fn offer_trades(
        &self,
        trades: Vec<(InstrumentId, Trade)>,
        offset_ms: Option<i64>,
    ) -> Result<(), Vec<InstrumentId>> {
        let input = Input::Trades {
            trades,
            offset_ms,
            passed_on_us: now_us(),
        };
        match self.sender.try_send(input) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(Input::Trades { trades, .. })) => {
                self.dropped.increment(trades.len() as u64);
                let mut instruments: Vec<InstrumentId> =
                    trades.iter().map(|(instrument, _)| *instrument).collect();
                instruments.sort_unstable();
                instruments.dedup();
                Err(instruments)
            }
            // The worker has ended: the program is stopping.
            Err(_) => Ok(()),
        }
    }

    /// Passes on an input that must not be dropped, waiting for room.
    pub async fn send(&self, input: Input) {
        // It fails only after the worker has ended, when the input is no longer needed.
        let _ = self.sender.send(input).await;
    }

    /// Passes on an input if there is room.
    #[must_use]
    pub fn try_send(&self, input: Input) -> bool {
        self.sender.try_send(input).is_ok()
    }

    /// How many inputs wait.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }
}

#[cfg(test)]
mod tests {
    use market_core::{AggressorSide, Price, Quantity};

    use super::*;

    #[test]
    fn what_does_not_fit_is_named_and_the_rest_stays() {
        let trade = Trade {
            first_id: 1,
            last_id: 1,
            event_ms: 1,
            price: Price::parse("1").expect("price"),
            quantity: Quantity::parse("1").expect("quantity"),
            aggressor_side: AggressorSide::Buy,
            received_us: 1,
        };
        let (inbox, mut receiver) = Inbox::new(0, 1);
        assert_eq!(inbox.offer_trades(vec![(7, trade)], None), Ok(()));
        assert_eq!(
            inbox.offer_trades(vec![(9, trade), (8, trade), (9, trade)], None),
            Err(vec![8, 9])
        );
        assert_eq!(inbox.depth(), 1);
        assert!(
            matches!(receiver.try_recv(), Ok(Input::Trades { trades, .. }) if trades[0].0 == 7)
        );
        assert!(receiver.try_recv().is_err());
    }
}
