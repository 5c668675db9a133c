//! The status of a venue's feed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use market_core::wire::{FeedState, FeedStatusMessage};
use market_core::{UnixMillis, subject};

use super::symbols::{SymbolState, SymbolSummary, VenueSymbols};
use crate::instrument::InstrumentId;
use crate::rivals::OthersOfFeed;

/// One venue's feed as its connections report it.
#[derive(Debug)]
pub struct FeedStatus {
    exchange: &'static str,
    symbols: VenueSymbols,
    shards: usize,
    started_ms: UnixMillis,
    heard_ms: AtomicI64,
    connections: AtomicUsize,
    /// By shard: whether some connection carries its symbols.
    carried: Mutex<Vec<bool>>,
}

impl FeedStatus {
    /// The status of a feed that has no connection yet.
    #[must_use]
    pub fn new(
        exchange: &'static str,
        symbols: VenueSymbols,
        shards: usize,
        now: UnixMillis,
    ) -> Self {
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

    /// The venue.
    #[must_use]
    pub fn exchange(&self) -> &'static str {
        self.exchange
    }

    /// A frame was received.
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

    /// The state of its symbols.
    #[must_use]
    pub fn symbols(&self) -> SymbolSummary {
        self.symbols.summary()
    }

    /// Whether this program publishes any of its symbols.
    pub(crate) fn is_publisher(&self) -> bool {
        self.symbols.is_any_held()
    }

    /// Whether the feed is live, judged at `now`.
    fn state(&self, symbols: &SymbolSummary, now: UnixMillis, stale_after_ms: i64) -> FeedState {
        let carried = self
            .carried
            .lock()
            .expect("no code panics while it holds the list");
        let is_any_down =
            carried.len() < self.shards || carried.iter().any(|is_carried| !is_carried);
        if is_any_down || symbols.carried() == 0 {
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

    /// The message to publish. `publisher` is the name of this program, and `others` what it knows
    /// about other publishers of the feed.
    #[must_use]
    pub(crate) fn message(
        &self,
        mode: &str,
        symbols: &SymbolSummary,
        now: UnixMillis,
        stale_after_ms: i64,
        publisher: &str,
        others: OthersOfFeed,
    ) -> FeedStatusMessage {
        let refused = symbols.part(SymbolState::Refused);
        let unknown = symbols.part(SymbolState::Unknown);
        // The publishers of an exchange share one topic. While one of them is lost, the feed is not
        // live, whatever the others have.
        let state = match self.state(symbols, now, stale_after_ms) {
            FeedState::Live if others.lost > 0 => FeedState::Stale,
            state => state,
        };
        FeedStatusMessage {
            topic: subject::topic_text(&subject::feed_status(self.exchange)),
            exchange: self.exchange.to_owned(),
            mode: mode.to_owned(),
            state,
            age_ms: self.age_ms(now),
            connections: self.connections.load(Ordering::Relaxed),
            symbols: symbols.total(),
            subscribed: symbols.part(SymbolState::Subscribed).count,
            silent: symbols.part(SymbolState::Silent).count,
            refused: refused.names.clone(),
            refused_count: refused.count,
            unknown: unknown.names.clone(),
            unknown_count: unknown.count,
            at_ms: now,
            publisher: publisher.to_owned(),
            rivals: others.rivals,
            lost_publishers: others.lost,
            standbys: others.standbys,
        }
    }
}

/// The symbols whose socket is dead, as trades over REST have shown. Workers mark them, and
/// sockets take the marks.
#[derive(Debug)]
pub struct SymbolHealth {
    zombies: Vec<AtomicBool>,
}

impl SymbolHealth {
    /// No symbol is marked.
    #[must_use]
    pub fn new(instruments: usize) -> Self {
        Self {
            zombies: (0..instruments).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// REST has trades of a symbol that was silent on its socket.
    pub fn mark_zombie(&self, instrument: InstrumentId) {
        self.zombies[instrument].store(true, Ordering::Relaxed);
    }

    /// Takes the mark of a symbol: true once after each mark.
    pub fn take_zombie(&self, instrument: InstrumentId) -> bool {
        // A plain load first: this is asked often and is nearly always false.
        self.zombies[instrument].load(Ordering::Relaxed)
            && self.zombies[instrument].swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::feed::subscriptions::Refusal;
    use crate::feed::symbols::SymbolBoard;

    #[test]
    fn a_feed_is_live_only_with_every_shard_carried_and_fresh_frames() {
        let board = Arc::new(SymbolBoard::with_all(3));
        let names = ["BTC-USDT", "FOO-USDT", "BAR-USDT"];
        let symbols = names.iter().enumerate();
        let venue = VenueSymbols {
            board: Arc::clone(&board),
            symbols: symbols
                .map(|(id, name)| (id, name.parse().expect("a symbol")))
                .collect(),
            names_max: 20,
        };
        let status = FeedStatus::new("okx", venue, 2, 1_000);
        let state = |now| status.state(&status.symbols(), now, 5_000);
        assert_eq!(state(1_000), FeedState::Reconnecting);
        status.set_carried(0, true);
        status.heard(1_500);
        assert_eq!(state(2_000), FeedState::Reconnecting);
        status.set_carried(1, true);
        assert_eq!(
            state(2_000),
            FeedState::Reconnecting,
            "no symbol is carried"
        );
        board.up(&[0]);
        assert_eq!(state(2_000), FeedState::Live);
        assert_eq!(state(6_501), FeedState::Stale);
        status.set_carried(1, false);
        let retry_at_ms = 30_000;
        board.refused(
            1,
            Refusal {
                times: 1,
                retry_at_ms,
            },
        );
        board.is_gone(2);
        let others = OthersOfFeed {
            rivals: 1,
            lost: 0,
            standbys: 2,
        };
        let message = status.message("sim", &status.symbols(), 2_000, 5_000, "a1", others);
        assert_eq!(
            serde_json::to_string(&message).expect("plain"),
            r#"{"topic":"system:feed:okx","exchange":"okx","mode":"sim","state":"reconnecting","age_ms":500,"connections":0,"symbols":3,"subscribed":1,"silent":0,"refused":["FOO-USDT"],"refused_count":1,"unknown":["BAR-USDT"],"unknown_count":1,"at_ms":2000,"publisher":"a1","rivals":1,"lost_publishers":0,"standbys":2}"#
        );
    }

    #[test]
    fn a_feed_is_not_live_while_another_publisher_of_it_is_lost() {
        let board = Arc::new(SymbolBoard::with_all(1));
        board.up(&[0]);
        let venue = VenueSymbols {
            board,
            symbols: vec![(0, "BTC-USDT".parse().expect("a symbol"))],
            names_max: 20,
        };
        let status = FeedStatus::new("okx", venue, 1, 1_000);
        status.set_carried(0, true);
        let state = |lost| {
            let others = OthersOfFeed {
                rivals: 0,
                lost,
                standbys: 0,
            };
            status
                .message("live", &status.symbols(), 1_000, 5_000, "a1", others)
                .state
        };
        assert_eq!((state(0), state(1)), (FeedState::Live, FeedState::Stale));
    }
}
