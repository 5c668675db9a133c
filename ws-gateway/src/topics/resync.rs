//! When the retained messages are read again, and the results.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bus::{BusError, Message};
use metrics::Gauge;

use crate::topics::loaded::Loaded;
use crate::topics::slot_id::SlotId;

/// Shortest time between two resyncs after losses or failures; doubles with each one that follows
/// soon.
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(30);
/// After this time without a loss or failure, the pause is the shortest again.
const CALM: Duration = Duration::from_secs(60);
/// How long after a resync because of a loss or an outage the retained messages are read again, the
/// last one first. A publisher that came back before this gateway sent its waiting bars without a
/// listener, and stores them one acknowledgement at a time.
const AGAIN: [Duration; 2] = [Duration::from_secs(8), Duration::from_secs(2)];
/// How long the live messages wait for the retained ones at the start, before any client is served.
const COLD_WAIT: Duration = Duration::from_secs(5);
/// How long they wait after a loss, so that lost messages come before newer ones. A bus that takes
/// longer delays nobody: its retained messages come late then.
const LOSS_WAIT: Duration = Duration::from_millis(250);

/// How long they wait after an interruption, in which all messages were lost for a while: the bus
/// may need a second to answer again. At most once in the calm time.
const INTERRUPTION_WAIT: Duration = Duration::from_secs(2);
/// Longest pause before an attempt while they wait after an interruption, so that several attempts
/// fit into the wait.
const INTERRUPTION_REST: Duration = Duration::from_millis(250);

/// The retained messages, when all of them are there.
pub(crate) type Reading = Pin<Box<dyn Future<Output = Result<Vec<Message>, BusError>> + Send>>;

/// The resyncs of one subscription.
#[derive(Debug)]
pub(crate) struct Resyncs {
    /// When the next one begins.
    at: Option<Instant>,
    begun_at: Option<Instant>,
    rest: Duration,
    again: Vec<Duration>,
    /// How long the live messages wait for the next one.
    wait: Duration,
    /// Whether an error was the reason for the next one.
    is_trouble: bool,
    /// The time until which the live messages wait after an interruption, whatever the result of a
    /// resync.
    patience: Option<Instant>,
}

impl Resyncs {
    /// The first one is due at once.
    #[must_use]
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            at: Some(now),
            begun_at: None,
            rest: REST_MIN,
            // Bars that were published just before we subscribed may not have been stored yet.
            again: vec![AGAIN[1]],
            wait: COLD_WAIT,
            is_trouble: false,
            patience: None,
        }
    }

    /// When the next one is due.
    #[must_use]
    pub(crate) fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Messages were lost: resync as soon as the pause since the last resync allows.
    pub(crate) fn lost(&mut self, now: Instant) {
        self.again = AGAIN.to_vec();
        self.wait = LOSS_WAIT;
        self.is_trouble = true;
        let earliest = self.begun_at.map_or(now, |at| (at + self.rest()).max(now));
        self.at = Some(self.at.map_or(earliest, |at| at.min(earliest)));
    }

    /// No message came for a while: the connection was lost and is back, or the process stood
    /// still. This is treated like a loss, and the live messages wait from now on, so that no
    /// client is told that it missed bars that come a moment later.
    pub(crate) fn interrupted(&mut self, now: Instant) {
        self.lost(now);
        if self.patience.is_none_or(|until| now >= until + CALM) {
            self.patience = Some(now + INTERRUPTION_WAIT);
        }
        if self.patience(now).is_some() {
            let soon = now + jittered(INTERRUPTION_REST);
            self.at = self.at.map(|at| at.min(soon));
        }
    }

    /// The time until which the live messages wait for a due resync, or for the next attempt of a
    /// failed one; `None` if they do not wait.
    #[must_use]
    pub(crate) fn patience(&self, now: Instant) -> Option<Instant> {
        self.patience.filter(|until| *until > now)
    }

    /// One begins. Returns the time until which the live messages wait for it.
    pub(crate) fn begin(&mut self, now: Instant) -> Instant {
        if std::mem::take(&mut self.is_trouble) {
            let is_soon = self
                .begun_at
                .is_some_and(|at| now.saturating_duration_since(at) < CALM);
            if !is_soon {
                self.rest = REST_MIN;
            } else if self.patience(now).is_none() {
                // The attempts of a wait are few, and say nothing about the time after it.
                self.rest = self.rest.saturating_mul(2).min(REST_MAX);
            }
        }
        self.at = None;
        self.begun_at = Some(now);
        let until = now + std::mem::take(&mut self.wait);
        self.patience.map_or(until, |patience| patience.max(until))
    }

    /// It has brought all retained messages.
    pub(crate) fn succeeded(&mut self, now: Instant) {
        // Requests in the meantime stay.
        if self.at.is_none() {
            self.at = self.again.pop().map(|rest| now + rest);
        }
    }

    /// It has failed, and is tried again without delaying anything: soon if the live messages wait
    /// after an interruption anyway.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.is_trouble = true;
        let rest = match self.patience(now) {
            Some(_) => jittered(INTERRUPTION_REST),
            None => self.rest(),
        };
        self.at = Some(now + rest);
    }

    fn rest(&self) -> Duration {
        jittered(self.rest)
    }
}

/// Between half of the pause and all of it, so that gateways with the same loss do not all ask at
/// the same time.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

/// A resync that has begun.
#[derive(Default)]
pub(crate) struct Resync {
    /// What is being read.
    pub reading: Option<Reading>,
    /// The messages that were read, until all of them are taken.
    pub loaded: Option<Loaded>,
    /// The time until which the live messages wait.
    pub wait_until: Option<Instant>,
    /// Topics whose messages replace each other and that had a live message since it began: their
    /// retained messages are older.
    pub replaced: HashSet<SlotId>,
}

impl Resync {
    /// No message came for a while. Messages that are being read, or that were read and not taken
    /// yet, are from before that.
    pub(crate) fn interrupted(&mut self, resyncs: &mut Resyncs, now: Instant) {
        resyncs.interrupted(now);
        self.reading = None;
        self.loaded = None;
        self.wait_until = resyncs.patience(now);
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub(crate) fn is_over(&self) -> bool {
        self.reading.is_none() && self.loaded.is_none()
    }
}

/// Shows in a gauge that the pattern lacks its retained messages, until it is dropped.
#[derive(Default)]
pub(crate) struct Unsynced(Option<Gauge>);

impl Unsynced {
    /// It is being read.
    pub(crate) fn begin(&mut self, gauge: &Gauge) {
        if self.0.is_none() {
            gauge.increment(1.0);
            self.0 = Some(gauge.clone());
        }
    }

    /// It is loaded.
    pub(crate) fn end(&mut self) {
        if let Some(gauge) = self.0.take() {
            gauge.decrement(1.0);
        }
    }
}

impl Drop for Unsynced {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_that_go_on_are_answered_less_and_less_often() {
        let start = Instant::now();
        let mut resyncs = Resyncs::new(start);
        assert_eq!(resyncs.begin(start), start + COLD_WAIT);
        resyncs.succeeded(start);
        let mut begun_at = start;
        for expected in [1, 2, 4, 8, 16, 30, 30] {
            // At once, and all the time.
            let now = begun_at + Duration::from_millis(1);
            resyncs.lost(now);
            let at = resyncs.at().expect("due");
            let rest = at - begun_at;
            let most = Duration::from_secs(expected);
            assert!(rest >= most / 2 && rest <= most, "{rest:?} of {most:?}");
            resyncs.lost(now);
            assert!(resyncs.at() <= Some(at), "no later by another loss");
            begun_at = at;
            assert_eq!(resyncs.begin(at), at + LOSS_WAIT);
            assert_eq!(resyncs.at(), None);
        }
        let now = begun_at + CALM;
        resyncs.lost(now);
        assert_eq!(resyncs.at(), Some(now));
        resyncs.begin(now);
        resyncs.lost(now);
        assert!(resyncs.at() <= Some(now + REST_MIN));
    }

    #[test]
    fn live_messages_wait_for_an_interruption_once_in_a_calm_time() {
        let start = Instant::now();
        let mut resyncs = Resyncs::new(start);
        while resyncs.at().is_some() {
            resyncs.begin(start);
            resyncs.succeeded(start);
        }
        let now = start + CALM;
        resyncs.interrupted(now);
        let until = now + INTERRUPTION_WAIT;
        assert_eq!(
            (resyncs.at(), resyncs.patience(now)),
            (Some(now), Some(until))
        );
        assert_eq!(resyncs.begin(now), until);
        // A try that fails makes no difference, and a second interruption only that it is read
        // again: a bus that comes and goes does not stop the live messages for long.
        resyncs.failed(now);
        let later = now + REST_MIN / 2;
        resyncs.interrupted(later);
        assert_eq!(resyncs.patience(later), Some(until));
        assert!(resyncs.at().is_some_and(|at| at <= now + REST_MIN));
        assert_eq!(resyncs.patience(until), None);
        resyncs.interrupted(until);
        assert_eq!(resyncs.patience(until), None);
        assert_eq!(resyncs.begin(until), until + LOSS_WAIT);
        resyncs.interrupted(until + CALM);
        assert!(resyncs.patience(until + CALM).is_some());
    }

    #[test]
    fn what_live_messages_wait_for_is_tried_again_for_as_long_as_they_wait() {
        for losses_before in [0, 1, 8] {
            let mut now = Instant::now();
            let mut resyncs = Resyncs::new(now);
            resyncs.begin(now);
            resyncs.succeeded(now);
            // Losses have made the pause longer than the wait.
            for _ in 0..losses_before {
                resyncs.lost(now);
                now = now.max(resyncs.at().expect("due"));
                resyncs.begin(now);
                resyncs.succeeded(now);
            }
            let rest_before = resyncs.rest;
            resyncs.interrupted(now);
            let until = resyncs.patience(now).expect("they wait");
            let mut tries = 0;
            loop {
                let at = resyncs.at().expect("due");
                assert!(at <= now + INTERRUPTION_REST, "{:?}", at - now);
                now = now.max(at);
                if now >= until {
                    break;
                }
                assert_eq!(resyncs.begin(now), until);
                resyncs.failed(now);
                tries += 1;
            }
            assert!((7..=16).contains(&tries), "{tries}");
            assert_eq!(resyncs.rest, rest_before, "as if there had been one");
            // From here on the pauses are the usual ones.
            resyncs.begin(now);
            resyncs.failed(now);
            assert!(resyncs.at() >= Some(now + rest_before / 2));
        }
    }

    #[test]
    fn a_failure_is_tried_again_without_making_anybody_wait() {
        let now = Instant::now();
        let mut resyncs = Resyncs::new(now);
        resyncs.begin(now);
        resyncs.failed(now);
        let at = resyncs.at().expect("due");
        assert!(at >= now + REST_MIN / 2);
        assert_eq!(resyncs.begin(at), at);
    }

    #[test]
    fn what_is_retained_is_read_twice_more_after_a_loss() {
        let now = Instant::now();
        let mut resyncs = Resyncs::new(now);
        resyncs.lost(now);
        for rest in [Some(AGAIN[1]), Some(AGAIN[0]), None] {
            resyncs.begin(now);
            resyncs.succeeded(now);
            assert_eq!(resyncs.at(), rest.map(|rest| now + rest));
        }
    }
}
