//! The room that tickers of windows have for their minutes.

use std::sync::Arc;

use market_core::binance::TickerWindow;
use metrics::{Counter, Gauge, counter, gauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The part of the room that arrays may take: one array wants the windows of all symbols, and must
/// leave room for the streams of one symbol.
const ARRAYS_DIVISOR: usize = 2;

/// The room that windows have for their minutes.
#[derive(Debug)]
pub(super) struct MinuteRoom {
    permits: Arc<Semaphore>,
    /// Those of them that arrays may take.
    of_arrays: Arc<Semaphore>,
    minutes_max: usize,
    held: Gauge,
    left_out: Counter,
}

/// The room of a window.
#[derive(Debug)]
pub(super) struct WindowRoom {
    _minutes: OwnedSemaphorePermit,
    _of_arrays: Option<OwnedSemaphorePermit>,
}

impl MinuteRoom {
    /// Room for so many.
    pub(super) fn new(minutes_max: usize) -> Arc<Self> {
        let minutes_max = minutes_max.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(minutes_max)),
            of_arrays: Arc::new(Semaphore::new(minutes_max / ARRAYS_DIVISOR)),
            minutes_max,
            held: gauge!("gateway_binance_window_bars"),
            left_out: counter!("gateway_binance_window_symbols_left_out_total"),
        })
    }

    /// How many minutes have no window.
    pub(super) fn free(&self) -> usize {
        self.permits.available_permits()
    }

    /// Whether there is room for another window: of a stream of one symbol, or of an array.
    pub(super) fn has(&self, width: TickerWindow, is_array: bool) -> bool {
        let minutes = minutes_of(width);
        self.free() >= minutes && (!is_array || self.of_arrays.available_permits() >= minutes)
    }

    pub(super) fn take(&self, width: TickerWindow, is_array: bool) -> Option<WindowRoom> {
        let minutes = u32::try_from(minutes_of(width)).ok()?;
        let take = |permits: &Arc<Semaphore>| {
            let permits = Arc::clone(permits);
            permits.try_acquire_many_owned(minutes).ok()
        };
        Some(WindowRoom {
            _of_arrays: match is_array {
                true => Some(take(&self.of_arrays)?),
                false => None,
            },
            _minutes: take(&self.permits)?,
        })
    }

    /// An array leaves a symbol out.
    pub(super) fn leaves_out(&self) {
        self.left_out.increment(1);
    }

    /// Says in the metrics how many minutes have their room taken.
    pub(super) fn report(&self) {
        self.held
            .set(self.minutes_max.saturating_sub(self.free()) as f64);
    }
}

/// The most bars of a window.
pub(super) fn minutes_of(width: TickerWindow) -> usize {
    width.minutes().saturating_add(1)
}
