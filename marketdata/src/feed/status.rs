//! What is said about a venue's feed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use market_core::UnixMillis;
use serde::Serialize;

use crate::instrument::InstrumentId;

/// One venue's feed as its connections report it.
#[derive(Debug)]
pub struct FeedStatus {
    exchange: &'static str,
    symbols: usize,
    shards: usize,
    started_ms: UnixMillis,
    heard_ms: AtomicI64,
    connections: AtomicUsize,
    /// By shard: whether some connection carries its symbols.
    carried: Mutex<Vec<bool>>,
}

/// Where a feed stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FeedState {
    /// Every symbol is carried and frames are fresh.
    Live,
    /// Connected, but nothing came for long.
    Stale,
    /// Some symbols are carried by no connection.
    Reconnecting,
}

/// The feed status as published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(
    missing_docs,
    reason = "the fields of the message, documented with the protocol"
)]
pub struct FeedStatusMessage {
    pub topic: String,
    pub exchange: &'static str,
    pub mode: String,
    pub state: FeedState,
    pub age_ms: i64,
    pub connections: usize,
    pub symbols: usize,
    pub at_ms: UnixMillis,
}

impl FeedStatus {
    /// A feed that has not begun.
    #[must_use]
    pub fn new(exchange: &'static str, symbols: usize, shards: usize, now: UnixMillis) -> Self {
        Self {
            exchange,
            symbols,
            shards,
            started_ms: now,
            heard_ms: AtomicI64::new(0),
            connections: AtomicUsize::new(0),
            carried: Mutex::new(vec![false; shards]),
        }
    }

    /// A frame came.
    pub fn heard(&self, now: UnixMillis) {
        self.heard_ms.store(now, Ordering::Relaxed);
    }

    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn disconnected(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn set_carried(&self, shard: usize, is_carried: bool) {
        self.carried
            .lock()
            .expect("no code panics while it holds the list")[shard] = is_carried;
    }

    /// Whether the feed is live, judged at `now`.
    #[must_use]
    pub fn state(&self, now: UnixMillis, stale_after_ms: i64) -> FeedState {
        let carried = self
            .carried
            .lock()
            .expect("no code panics while it holds the list");
        if carried.len() < self.shards || carried.iter().any(|is_carried| !is_carried) {
            FeedState::Reconnecting
        } else if self.age_ms(now) > stale_after_ms {
            FeedState::Stale
        } else {
            FeedState::Live
        }
    }

    fn age_ms(&self, now: UnixMillis) -> i64 {
        let heard = self.heard_ms.load(Ordering::Relaxed).max(self.started_ms);
        (now - heard).max(0)
    }

    /// The message to publish.
    #[must_use]
    pub fn message(&self, mode: &str, now: UnixMillis, stale_after_ms: i64) -> FeedStatusMessage {
        FeedStatusMessage {
            topic: format!("system:feed:{}", self.exchange),
            exchange: self.exchange,
            mode: mode.to_owned(),
            state: self.state(now, stale_after_ms),
            age_ms: self.age_ms(now),
            connections: self.connections.load(Ordering::Relaxed),
            symbols: self.symbols,
            at_ms: now,
        }
    }
}

/// Which symbols REST has shown to be dead on their socket: told by workers, taken by sockets.
#[derive(Debug)]
pub struct SymbolHealth {
    zombies: Vec<AtomicBool>,
}

impl SymbolHealth {
    /// All healthy.
    #[must_use]
    pub fn new(instruments: usize) -> Self {
        Self {
            zombies: (0..instruments).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Trades of a silent symbol were found over REST.
    pub fn is_zombie(&self, instrument: InstrumentId) {
        self.zombies[instrument].store(true, Ordering::Relaxed);
    }

    /// Whether it was, once.
    pub fn take_zombie(&self, instrument: InstrumentId) -> bool {
        // A plain load first: this is asked often and is nearly always false.
        self.zombies[instrument].load(Ordering::Relaxed)
            && self.zombies[instrument].swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_is_live_only_with_every_shard_carried_and_fresh_frames() {
        let status = FeedStatus::new("okx", 3, 2, 1_000);
        assert_eq!(status.state(1_000, 5_000), FeedState::Reconnecting);
        status.set_carried(0, true);
        status.heard(1_500);
        assert_eq!(status.state(2_000, 5_000), FeedState::Reconnecting);
        status.set_carried(1, true);
        assert_eq!(status.state(2_000, 5_000), FeedState::Live);
        assert_eq!(status.state(6_501, 5_000), FeedState::Stale);
        status.set_carried(1, false);
        let message = status.message("sim", 2_000, 5_000);
        assert_eq!(
            serde_json::to_string(&message).expect("plain"),
            r#"{"topic":"system:feed:okx","exchange":"okx","mode":"sim","state":"reconnecting","age_ms":500,"connections":0,"symbols":3,"at_ms":2000}"#
        );
    }
}
