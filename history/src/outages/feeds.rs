//! What publishers say of their feeds, and the outages that it tells.

use std::collections::BTreeMap;
use std::time::Duration;

use market_core::UnixMillis;
use market_core::wire::FeedStatusMessage;

use super::{LookTime, Outage, OutageReason};

/// Publishers repeat the state of their feed every few seconds. One that is silent for longer is away.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// How often an outage that lasts is told again.
const TELL_INTERVAL: Duration = Duration::from_secs(60);
/// An outage goes on after a shorter restart of history, if the feed says the same.
const RESTART_MAX_MS: i64 = 90_000;
/// Exchanges of which outages are kept. They are a few.
const EXCHANGES_MAX: usize = 256;
/// Publishers of one exchange.
const PUBLISHERS_MAX: usize = 256;

/// What is known of the feeds of all exchanges.
#[derive(Debug, Default)]
pub(crate) struct Feeds(BTreeMap<Box<str>, Feed>);

#[derive(Debug, Default)]
struct Feed {
    publishers: BTreeMap<Box<str>, Said>,
    /// Who spoke last, and the time that it told.
    last: Option<(Box<str>, UnixMillis)>,
    /// When it did, by the clock of this host.
    newest_ms: UnixMillis,
    /// When a look saw it first. None if it is older than this program.
    heard: Option<Duration>,
    /// When the states were read last.
    looked_ms: Option<UnixMillis>,
    current: Option<Outage>,
    /// Whether the current outage is from before a restart, and not compared with the feed yet.
    is_restored: bool,
    /// The end and the time of the current outage when it was told last.
    told: Option<(UnixMillis, Duration)>,
    /// The end of the outage before.
    free_ms: UnixMillis,
}

/// What one publisher said last.
#[derive(Debug)]
struct Said {
    reason: Option<OutageReason>,
    /// Since when it may be so.
    since_ms: UnixMillis,
    heard: Duration,
}

impl Feeds {
    /// Goes on with the newest stored outage of each exchange.
    pub(crate) fn restored(outages: impl IntoIterator<Item = Outage>) -> Self {
        let feeds = outages.into_iter().take(EXCHANGES_MAX).map(|outage| {
            let feed = Feed {
                newest_ms: outage.from_ms,
                is_restored: true,
                current: Some(outage.clone()),
                ..Feed::default()
            };
            (outage.exchange, feed)
        });
        Self(feeds.collect())
    }

    /// Takes what publishers said last. Returns the outages that have begun or ended, and from time to time
    /// those that have grown.
    pub(crate) fn look(
        &mut self,
        messages: impl IntoIterator<Item = FeedStatusMessage>,
        time: LookTime,
    ) -> Vec<Outage> {
        for feed in self.0.values_mut() {
            feed.forget_after(time.wall_ms);
        }
        for message in messages {
            let is_known = self.0.contains_key(&*message.exchange);
            if is_known || self.0.len() < EXCHANGES_MAX {
                let feed = self.0.entry(message.exchange.as_str().into());
                feed.or_default().hear(&message, time);
            }
        }
        let feeds = self.0.iter_mut();
        feeds
            .flat_map(|(exchange, feed)| feed.look(exchange, time))
            .collect()
    }
}

impl Feed {
    /// A clock was ahead, and is right now.
    fn forget_after(&mut self, now_ms: UnixMillis) {
        self.newest_ms = self.newest_ms.min(now_ms);
        self.free_ms = self.free_ms.min(now_ms);
        let is_ahead = |outage: &mut Outage| outage.from_ms > now_ms;
        if self.current.take_if(is_ahead).is_some() {
            self.told = None;
            self.is_restored = false;
        }
        if let Some(outage) = &mut self.current
            && outage.to_ms > now_ms
        {
            outage.to_ms = now_ms;
            // It is told again, so that the stored end is right, too.
            self.told = None;
        }
    }

    fn hear(&mut self, message: &FeedStatusMessage, time: LookTime) {
        let is_new = match &self.last {
            Some((publisher, at_ms)) => {
                **publisher != *message.publisher || *at_ms != message.at_ms
            }
            // Before the restart, nobody had said anything since then.
            None => {
                let silent = self.current.as_ref();
                let silent = silent.filter(|outage| outage.reason == OutageReason::NoPublisher);
                silent.is_none_or(|outage| message.at_ms > outage.from_ms)
            }
        };
        self.last = Some((message.publisher.as_str().into(), message.at_ms));
        let looked_ms = self.looked_ms.replace(time.wall_ms);
        if !is_new {
            return;
        }
        // It was said after the look before, whatever the publisher's clock says.
        let said_ms = looked_ms.map_or(message.at_ms, |looked_ms| looked_ms.max(message.at_ms));
        self.newest_ms = said_ms.min(time.wall_ms);
        self.heard = Some(time.elapsed);
        self.publishers
            .retain(|_, said| time.elapsed.saturating_sub(said.heard) <= SILENCE_MAX);
        if self.publishers.len() >= PUBLISHERS_MAX {
            return;
        }
        let reason = OutageReason::of(message);
        let is_stale = reason == Some(OutageReason::Stale);
        let age_ms = i64::from(is_stale).saturating_mul(message.age_ms.max(0));
        let said = Said {
            reason,
            since_ms: self.newest_ms.saturating_sub(age_ms),
            heard: time.elapsed,
        };
        self.publishers
            .insert(message.publisher.as_str().into(), said);
    }

    fn is_silent(&self, elapsed: Duration) -> bool {
        self.heard
            .is_none_or(|heard| elapsed.saturating_sub(heard) > SILENCE_MAX)
    }

    /// Why the feed is not live, and since when at least. All publishers of an exchange count: each has
    /// symbols of its own.
    fn reason(&self, elapsed: Duration) -> Option<(OutageReason, UnixMillis)> {
        if self.is_silent(elapsed) {
            return Some((OutageReason::NoPublisher, self.newest_ms));
        }
        let said = self.publishers.values();
        said.filter_map(|said| Some((said.reason?, said.since_ms)))
            .max()
    }

    fn look(&mut self, exchange: &str, time: LookTime) -> Vec<Outage> {
        // Of an exchange that the bus knows nothing of, nothing is known.
        if self.last.is_none() {
            return Vec::new();
        }
        let reason = self.reason(time.elapsed);
        if std::mem::take(&mut self.is_restored) {
            self.compare(reason, time.wall_ms);
        }
        // Publishers say how the feed is until their newest message.
        let seen_ms = match reason {
            Some((OutageReason::NoPublisher, _)) => time.wall_ms,
            _ => self.newest_ms,
        };
        match (&mut self.current, reason) {
            (Some(outage), Some((reason, _))) if outage.reason == reason => {
                outage.to_ms = outage.to_ms.max(seen_ms);
                let has_grown = |(to_ms, told): (UnixMillis, Duration)| {
                    let is_time = time.elapsed.saturating_sub(told) >= TELL_INTERVAL;
                    // One without a length is not shown.
                    outage.to_ms > to_ms && (is_time || to_ms == outage.from_ms)
                };
                if !self.told.is_none_or(has_grown) {
                    return Vec::new();
                }
                self.told = Some((outage.to_ms, time.elapsed));
                vec![outage.clone()]
            }
            (_, reason) => {
                let end_ms = match reason {
                    Some((_, since_ms)) => since_ms,
                    // A feed that is live says so some time after it came back.
                    None => self.newest_ms,
                };
                let ended = self.current.take().map(|outage| Outage {
                    to_ms: end_ms.max(outage.to_ms),
                    ..outage
                });
                // Outages of one exchange do not overlap.
                if let Some(ended) = &ended {
                    self.free_ms = ended.to_ms;
                }
                let begun = reason.map(|(reason, since_ms)| {
                    let from_ms = since_ms.max(self.free_ms);
                    Outage {
                        exchange: exchange.into(),
                        from_ms,
                        to_ms: seen_ms.max(from_ms),
                        reason,
                    }
                });
                self.told = begun.as_ref().map(|begun| (begun.to_ms, time.elapsed));
                self.current.clone_from(&begun);
                ended.into_iter().chain(begun).collect()
            }
        }
    }

    /// Whether the outage from before a restart lasts. Otherwise it ended when it was seen last.
    fn compare(&mut self, reason: Option<(OutageReason, UnixMillis)>, now_ms: UnixMillis) {
        let lasts = |outage: &mut Outage| {
            reason.is_some_and(|(reason, since_ms)| {
                let is_short = now_ms.saturating_sub(outage.to_ms) <= RESTART_MAX_MS;
                reason == outage.reason && (since_ms <= outage.to_ms || is_short)
            })
        };
        if let Some(ended) = self.current.take_if(|outage| !lasts(outage)) {
            self.free_ms = ended.to_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use market_core::wire::FeedState;

    use super::*;

    fn at(now_ms: i64) -> LookTime {
        LookTime {
            wall_ms: now_ms,
            elapsed: Duration::from_millis(now_ms.unsigned_abs()),
        }
    }

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
            |message: Option<FeedStatusMessage>, now_ms| spans(feeds.look(message, at(now_ms)));
        assert_eq!(look(None, 1_000), []);
        assert_eq!(look(Some(said("a", Live, 10, 10_000)), 10_100), []);
        // Nothing has come since 16,000.
        let stale = said("a", Stale, 6_000, 22_000);
        assert_eq!(look(Some(stale), 22_100), [(16_000, 22_000, "stale")]);
        assert_eq!(look(None, 24_000), []);
        let down = said("a", Reconnecting, 9_000, 25_000);
        assert_eq!(
            look(Some(down), 25_500),
            [(16_000, 25_000, "stale"), (25_000, 25_000, "reconnecting")]
        );
        assert_eq!(
            look(None, 40_501),
            [
                (25_000, 25_000, "reconnecting"),
                (25_000, 40_501, "no_publisher")
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
        let mut look = |message, now_ms| spans(feeds.look([message], at(now_ms)));
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

    #[test]
    fn a_publisher_whose_clock_is_wrong_spoils_no_outage() {
        use FeedState::{Live, Reconnecting};
        for ahead_ms in [86_400_000, 16_000, -16_000, -86_400_000] {
            let mut feeds = Feeds::default();
            let mut look =
                |message: Option<FeedStatusMessage>, now_ms| spans(feeds.look(message, at(now_ms)));
            let said = |state, now_ms| Some(said("a", state, 0, now_ms + ahead_ms));
            for now_ms in (100_000..200_000).step_by(2_000) {
                assert_eq!(look(said(Live, now_ms), now_ms), [], "{ahead_ms}");
            }
            let begun = look(said(Reconnecting, 200_000), 200_000);
            let [(from_ms, to_ms, "reconnecting")] = begun[..] else {
                panic!("{begun:?}");
            };
            assert!((198_000..=200_000).contains(&from_ms) && from_ms == to_ms);
            // It is right again, and dies.
            let ended = look(Some(super::tests::said("a", Live, 0, 202_000)), 202_000);
            assert_eq!(ended, [(from_ms, 202_000, "reconnecting")]);
            assert_eq!(look(None, 217_000), []);
            assert_eq!(look(None, 218_000), [(202_000, 218_000, "no_publisher")]);
        }
    }

    #[test]
    fn a_clock_of_history_that_is_set_back_spoils_no_outage() {
        use FeedState::{Live, Stale};
        let mut feeds = Feeds::default();
        let mut look = |message: Option<FeedStatusMessage>, wall_ms, elapsed_ms| {
            let elapsed = Duration::from_millis(elapsed_ms);
            spans(feeds.look(message, LookTime { wall_ms, elapsed }))
        };
        let told = look(Some(said("a", Stale, 0, 90_000)), 90_000, 1_000);
        assert_eq!(told, [(90_000, 90_000, "stale")]);
        assert_eq!(look(Some(said("a", Live, 0, 50_000)), 50_000, 3_000), []);
        assert_eq!(
            look(None, 66_000, 19_000),
            [(50_000, 66_000, "no_publisher")]
        );
    }

    #[test]
    fn a_new_reason_begins_no_earlier_than_the_old_one_ends() {
        use FeedState::{Live, Reconnecting, Stale};
        let mut feeds = Feeds::default();
        let mut look = |message, now_ms| spans(feeds.look([message], at(now_ms)));
        look(said("a", Reconnecting, 0, 0), 0);
        look(said("a", Reconnecting, 600_000, 600_000), 600_000);
        assert_eq!(
            look(said("a", Stale, 602_000, 602_000), 602_000),
            [(0, 600_000, "reconnecting"), (600_000, 602_000, "stale")]
        );
        assert_eq!(
            look(said("a", Live, 0, 604_000), 604_000),
            [(600_000, 604_000, "stale")]
        );
        // Nor does one after a time in which it was live.
        assert_eq!(
            look(said("a", Stale, 600_000, 606_000), 606_000),
            [(604_000, 606_000, "stale")]
        );
    }

    #[test]
    fn a_publisher_that_is_lost_is_no_fault_of_the_venue() {
        let mut feeds = Feeds::default();
        let message = FeedStatusMessage {
            lost_publishers: 1,
            ..said("a", FeedState::Stale, 700, 10_000)
        };
        assert_eq!(
            spans(feeds.look([message], at(10_000))),
            [(10_000, 10_000, "publisher_lost")]
        );
    }

    #[test]
    fn an_outage_that_lasts_is_told_once_a_minute() {
        let mut feeds = Feeds::default();
        let mut told = Vec::new();
        for now_ms in (0..180_000).step_by(2_000) {
            let message = said("a", FeedState::Reconnecting, 0, now_ms);
            told.extend(spans(feeds.look([message], at(now_ms))));
        }
        let ends: Vec<i64> = told.iter().map(|(_, to_ms, _)| *to_ms).collect();
        assert_eq!(ends, [0, 2_000, 62_000, 122_000]);
    }

    #[test]
    fn an_outage_goes_on_after_a_restart_if_it_lasted_meanwhile() {
        use FeedState::{Live, Reconnecting};
        let stored = |reason| Outage {
            exchange: "okx".into(),
            from_ms: 10_000,
            to_ms: 70_000,
            reason,
        };
        let look = |reason, message, now_ms| {
            let mut feeds = Feeds::restored([stored(reason)]);
            spans(feeds.look([message], at(now_ms)))
        };
        let (silent, down) = (OutageReason::NoPublisher, OutageReason::Reconnecting);
        for (reason, message, now_ms, expected) in [
            (
                silent,
                said("a", Live, 0, 10_000),
                900_000,
                vec![(10_000, 900_000, "no_publisher")],
            ),
            // Somebody has spoken: nobody knows since when.
            (silent, said("a", Live, 0, 899_000), 900_000, vec![]),
            (
                down,
                said("a", Reconnecting, 0, 80_000),
                81_000,
                vec![(10_000, 80_000, "reconnecting")],
            ),
            (
                down,
                said("a", Reconnecting, 0, 900_000),
                900_000,
                vec![(900_000, 900_000, "reconnecting")],
            ),
        ] {
            assert_eq!(look(reason, message, now_ms), expected);
        }
        // The bus has forgotten the exchange.
        let mut feeds = Feeds::restored([stored(down)]);
        assert_eq!(feeds.look([], at(900_000)), []);
    }

    #[test]
    fn an_outage_that_a_wrong_clock_has_made_longer_ends_when_it_did() {
        const DAY_MS: i64 = 86_400_000;
        let mut feeds = Feeds::default();
        let mut look = |message: Option<FeedStatusMessage>, wall_ms: i64, elapsed_s| {
            let elapsed = Duration::from_secs(elapsed_s);
            spans(feeds.look(message, LookTime { wall_ms, elapsed }))
        };
        let live = |at_ms| Some(said("a", FeedState::Live, 0, at_ms));
        assert_eq!(look(live(1_000), 1_000, 1), []);
        let begun = [(1_000, 21_000, "no_publisher")];
        assert_eq!(look(None, 21_000, 21), begun);
        // The clock is a day ahead for a while.
        let ahead = [(1_000, 81_000 + DAY_MS, "no_publisher")];
        assert_eq!(look(None, 81_000 + DAY_MS, 81), ahead);
        assert_eq!(look(None, 83_000, 83), [(1_000, 83_000, "no_publisher")]);
        let ended = [(1_000, 85_000, "no_publisher")];
        assert_eq!(look(live(85_000), 85_500, 85), ended);
    }
}
