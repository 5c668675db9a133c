//! When the feed of a venue was not live, as its publishers said or did not say. Bars tell which trades
//! are missing; this tells that the venue, its connection or its publisher was away.

mod store;
mod task;

use std::collections::BTreeMap;

use market_core::UnixMillis;
use market_core::wire::{FeedState, FeedStatusMessage};
use serde::Serialize;

pub(crate) use store::OutageStore;
pub(crate) use task::follow;

/// Publishers repeat the state of their feed every few seconds. One that is silent for longer is away.
const SILENCE_MAX_MS: i64 = 15_000;
/// Exchanges of which outages are kept. They are a few.
const EXCHANGES_MAX: usize = 256;
/// Publishers of one exchange.
const PUBLISHERS_MAX: usize = 256;

/// Why a feed was not live.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OutageReason {
    /// Connected, and nothing came.
    Stale,
    /// Some symbols had no connection.
    Reconnecting,
    /// No publisher said anything.
    NoPublisher,
}

impl OutageReason {
    const ALL: [Self; 3] = [Self::Stale, Self::Reconnecting, Self::NoPublisher];

    /// As it is written.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Reconnecting => "reconnecting",
            Self::NoPublisher => "no_publisher",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// A time in which a feed was not live.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Outage {
    pub(crate) exchange: Box<str>,
    /// First instant.
    pub(crate) from_ms: UnixMillis,
    /// First instant after it; of an outage that lasts, the last instant at which it was seen.
    pub(crate) to_ms: UnixMillis,
    pub(crate) reason: OutageReason,
}

/// What is known of the feeds of all exchanges.
#[derive(Debug, Default)]
pub(crate) struct Feeds(BTreeMap<Box<str>, Feed>);

#[derive(Debug, Default)]
struct Feed {
    /// By publisher: what it said last, and when.
    publishers: BTreeMap<Box<str>, (FeedState, UnixMillis)>,
    /// For how long nothing had come when the newest message was made, ms.
    age_ms: i64,
    newest_ms: UnixMillis,
    current: Option<Outage>,
}

impl Feeds {
    /// Takes what publishers said last, at `now`. Returns the outages that have begun, grown or ended.
    pub(crate) fn look(
        &mut self,
        messages: impl IntoIterator<Item = FeedStatusMessage>,
        now_ms: UnixMillis,
    ) -> Vec<Outage> {
        for message in messages {
            let is_known = self.0.contains_key(&*message.exchange);
            if is_known || self.0.len() < EXCHANGES_MAX {
                let feed = self.0.entry(message.exchange.as_str().into());
                feed.or_default().hear(&message);
            }
        }
        let feeds = self.0.iter_mut();
        feeds
            .flat_map(|(exchange, feed)| feed.judge(exchange, now_ms))
            .collect()
    }
}

impl Feed {
    fn hear(&mut self, message: &FeedStatusMessage) {
        let at_ms = message.at_ms;
        let oldest_ms = at_ms.saturating_sub(SILENCE_MAX_MS);
        self.publishers
            .retain(|_, (_, said_ms)| *said_ms >= oldest_ms);
        if self.publishers.len() < PUBLISHERS_MAX {
            let said = (message.state, at_ms);
            self.publishers
                .insert(message.publisher.as_str().into(), said);
        }
        if at_ms >= self.newest_ms {
            self.newest_ms = at_ms;
            self.age_ms = message.age_ms.max(0);
        }
    }

    /// Why the feed is not live, and since when at least. All publishers of an exchange count: each has
    /// symbols of its own.
    fn reason(&self, now_ms: UnixMillis) -> Option<(OutageReason, UnixMillis)> {
        if now_ms.saturating_sub(self.newest_ms) > SILENCE_MAX_MS {
            return Some((OutageReason::NoPublisher, self.newest_ms));
        }
        let states = self.publishers.values();
        let worst = states.filter_map(|(state, at_ms)| match state {
            FeedState::Live => None,
            FeedState::Stale => {
                let since_ms = at_ms.saturating_sub(self.age_ms);
                Some((OutageReason::Stale, since_ms))
            }
            FeedState::Reconnecting => Some((OutageReason::Reconnecting, *at_ms)),
        });
        worst.max()
    }

    fn judge(&mut self, exchange: &str, now_ms: UnixMillis) -> Vec<Outage> {
        let reason = self.reason(now_ms);
        // Publishers say how the feed is until their newest message.
        let seen_ms = match reason {
            Some((OutageReason::NoPublisher, _)) => now_ms,
            _ => self.newest_ms,
        };
        match (&mut self.current, reason) {
            (Some(outage), Some((reason, _))) if outage.reason == reason => {
                outage.to_ms = outage.to_ms.max(seen_ms);
                vec![outage.clone()]
            }
            (_, reason) => {
                let end_ms = match reason {
                    Some((_, since_ms)) => since_ms,
                    // A feed that is live says so some time after it came back.
                    None => self.newest_ms,
                };
                let ended = self.current.take().map(|outage| Outage {
                    to_ms: end_ms.max(outage.from_ms),
                    ..outage
                });
                let begun = reason.map(|(reason, since_ms)| {
                    // Outages of one exchange do not overlap.
                    let free_ms = ended.as_ref().map_or(since_ms, |ended| ended.to_ms);
                    let from_ms = since_ms.max(free_ms);
                    Outage {
                        exchange: exchange.into(),
                        from_ms,
                        to_ms: seen_ms.max(from_ms),
                        reason,
                    }
                });
                self.current.clone_from(&begun);
                ended.into_iter().chain(begun).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(publisher: &str, state: FeedState, age_ms: i64, at_ms: i64) -> FeedStatusMessage {
        FeedStatusMessage {
            topic: "system:feed:okx".to_owned(),
            exchange: "okx".to_owned(),
            mode: "live".to_owned(),
            state,
            age_ms,
            connections: 1,
            symbols: 1,
            subscribed: 1,
            silent: 0,
            refused: Vec::new(),
            refused_count: 0,
            unknown: Vec::new(),
            unknown_count: 0,
            at_ms,
            publisher: publisher.to_owned(),
            rivals: 0,
            lost_publishers: 0,
            standbys: 0,
        }
    }

    fn spans(outages: Vec<Outage>) -> Vec<(i64, i64, &'static str)> {
        let spans = outages.into_iter();
        spans
            .map(|outage| (outage.from_ms, outage.to_ms, outage.reason.as_str()))
            .collect()
    }

    #[test]
    fn outages_are_told_by_what_publishers_say_and_by_their_silence() {
        use FeedState::{Live, Reconnecting, Stale};
        let mut feeds = Feeds::default();
        let mut look =
            |message: Option<FeedStatusMessage>, now_ms| spans(feeds.look(message, now_ms));
        assert_eq!(look(None, 1_000), []);
        assert_eq!(look(Some(said("a", Live, 10, 10_000)), 10_100), []);
        // Nothing has come since 16,000.
        let stale = said("a", Stale, 6_000, 22_000);
        assert_eq!(look(Some(stale), 22_100), [(16_000, 22_000, "stale")]);
        assert_eq!(look(None, 24_000), [(16_000, 22_000, "stale")]);
        let down = said("a", Reconnecting, 9_000, 25_000);
        assert_eq!(
            look(Some(down), 25_500),
            [(16_000, 25_000, "stale"), (25_000, 25_000, "reconnecting")]
        );
        assert_eq!(
            look(None, 40_001),
            [
                (25_000, 25_000, "reconnecting"),
                (25_000, 40_001, "no_publisher")
            ]
        );
        let live = said("b", Live, 0, 50_000);
        assert_eq!(look(Some(live), 50_500), [(25_000, 50_000, "no_publisher")]);
        assert_eq!(look(None, 51_000), []);
    }

    #[test]
    fn a_feed_is_not_live_while_one_of_its_publishers_has_no_connection() {
        use FeedState::{Live, Reconnecting};
        let mut feeds = Feeds::default();
        let mut look = |message, now_ms| spans(feeds.look([message], now_ms));
        assert_eq!(
            look(said("a", Reconnecting, 0, 1_000), 1_000),
            [(1_000, 1_000, "reconnecting")]
        );
        let told = look(said("b", Live, 0, 3_000), 3_000);
        assert_eq!(told, [(1_000, 3_000, "reconnecting")]);
        let told = look(said("a", Live, 0, 5_000), 5_000);
        assert_eq!(told, [(1_000, 5_000, "reconnecting")]);
        assert_eq!(look(said("b", Live, 0, 6_000), 6_000), []);
    }
}
