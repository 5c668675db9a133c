//! The metrics of a venue's sockets.

use metrics::{Counter, Histogram};

use super::connection::FrameCounts;

/// What is measured at a venue's sockets.
#[derive(Clone)]
pub struct SocketMeters {
    /// From the venue's event to the received frame, seconds.
    pub feed: Histogram,
    /// From a received batch of frames to its trades, seconds.
    pub decode: Histogram,
    frames: Counter,
    trades: Counter,
    malformed: Counter,
    unknown: Counter,
    refused: Counter,
    not_for_bars: Counter,
    values: Counter,
    unsubscribed: Counter,
}

impl SocketMeters {
    /// The venue's meters.
    #[must_use]
    pub fn new(exchange: &'static str) -> Self {
        let stage = |stage: &'static str| metrics::histogram!("marketdata_stage_seconds", "stage" => stage, "exchange" => exchange);
        let frames = |kind: &'static str| metrics::counter!("marketdata_frames_total", "exchange" => exchange, "kind" => kind);
        Self {
            feed: stage("feed"),
            decode: stage("decode"),
            frames: frames("any"),
            malformed: frames("malformed"),
            unknown: frames("unknown"),
            refused: frames("refused"),
            trades: metrics::counter!("marketdata_trades_total", "exchange" => exchange),
            not_for_bars: metrics::counter!("marketdata_trades_not_for_bars_total", "exchange" => exchange),
            values: metrics::counter!("marketdata_values_total", "exchange" => exchange),
            unsubscribed: metrics::counter!("marketdata_trades_unsubscribed_total", "exchange" => exchange),
        }
    }

    /// Counts a frame.
    pub(crate) fn frame(&self, frame: &FrameCounts) {
        self.frames.increment(1);
        self.trades.increment(frame.trades);
        // A counter that does not change costs nothing here: nearly every frame has only trades.
        let rest = [
            (&self.malformed, u64::from(frame.malformed.is_some())),
            (&self.unknown, frame.unknown),
            (&self.refused, frame.refusals.len() as u64),
            (&self.not_for_bars, frame.not_for_bars),
            (&self.unsubscribed, frame.unsubscribed),
            (&self.values, frame.values),
        ];
        for (counter, count) in rest.into_iter().filter(|(_, count)| *count > 0) {
            counter.increment(count);
        }
    }
}
