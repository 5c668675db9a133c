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

    /// The bus can be read again. Publishers could not be heard while it was away, and need time to come
    /// back: their silence counts from now on.
    pub(crate) fn resumed(&mut self, elapsed: Duration) {
        for feed in self
            .0
            .values_mut()
            .filter(|feed| !feed.is_without_publisher())
        {
            feed.heard = feed.heard.map(|_| elapsed);
            for said in feed.publishers.values_mut() {
                said.heard = elapsed;
            }
        }
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

    fn is_without_publisher(&self) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|outage| outage.reason == OutageReason::NoPublisher)
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
mod tests;
