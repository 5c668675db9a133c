//! What of the streams each client has: their number, and the minutes of the windows of one symbol.

use metrics::counter;

use super::limits::StreamLimits;
use crate::limits::{Sharer, Shares};

/// What each client has.
#[derive(Debug)]
pub(super) struct StreamShares {
    streams: Shares,
    pub(super) minutes: Shares,
}

impl StreamShares {
    /// Nobody has anything.
    pub(super) fn new(limits: StreamLimits) -> Self {
        Self {
            streams: Shares::new(limits.shares),
            minutes: Shares::new(limits.window_shares()),
        }
    }

    /// A client has one more stream, and so many minutes of a window with it. `free` and
    /// `free_minutes` are what is free for all clients.
    pub(super) fn take(
        &mut self,
        sharer: Sharer,
        free: usize,
        minutes: Option<usize>,
        free_minutes: usize,
    ) -> Result<(), String> {
        self.streams.take(sharer, free).map_err(|beyond| {
            let (label, whose, most) = beyond.told();
            refused(label);
            format!("the gateway makes {most} streams of books, tickers and trades for {whose} at the moment: subscribe <symbol>@depth20@100ms, @bookTicker or @ticker, or unsubscribe others")
        })?;
        let Some(minutes) = minutes else {
            return Ok(());
        };
        let taken = self.minutes.take_some(sharer, minutes, free_minutes);
        taken.map_err(|beyond| {
            self.streams.give_back(sharer);
            let (_, whose, most) = beyond.told();
            refused("window_minutes_share");
            format!("the gateway holds {most} minutes for tickers of windows for {whose} at the moment: subscribe <symbol>@ticker, or unsubscribe others")
        })
    }

    /// A client has one stream less, and so many minutes of a window.
    pub(super) fn give_back(&mut self, sharer: Sharer, minutes: Option<usize>) {
        self.streams.give_back(sharer);
        if let Some(minutes) = minutes {
            self.minutes.give_back_some(sharer, minutes);
        }
    }
}

/// A stream was refused.
pub(super) fn refused(limit: &'static str) {
    counter!("gateway_binance_streams_refused_total", "limit" => limit).increment(1);
}
