//! Notices that the process stood still: it or its host was stopped.
//!
//! The gateway's data is old then, even if its connection to the bus seems healthy.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use metrics::counter;
use tokio::sync::watch;
use tracing::warn;

/// How often the clock is checked.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// A check that comes later than this is not caused by a busy host.
pub(crate) const STANDSTILL: Duration = Duration::from_secs(3);

/// Moves the times at which sessions last said what they want past a standstill `between` two looks, the
/// last one `now`: the shards stood still, too, and could not say it.
pub(crate) fn excuse_standstill<'a>(
    wanted_at: impl Iterator<Item = &'a mut Instant>,
    between: Duration,
    now: Instant,
) {
    if between < STANDSTILL {
        return;
    }
    for wanted_at in wanted_at {
        *wanted_at = wanted_at.checked_add(between).unwrap_or(now).min(now);
    }
}

/// The last check of the clock, by any caller.
#[derive(Debug)]
pub(crate) struct Looks {
    last: Mutex<Instant>,
    /// Counts the standstills.
    stood_still: watch::Sender<u64>,
}

impl Looks {
    /// The first look.
    #[must_use]
    pub(crate) fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self {
            last: Mutex::new(now),
            stood_still: watch::Sender::new(0),
        })
    }

    /// Checks the clock, and tells all witnesses about a standstill since the last check.
    fn look(&self, now: Instant) {
        let between = {
            let mut last = self.last.lock().expect("no holder panics");
            let between = now.saturating_duration_since(*last);
            *last = now.max(*last);
            between
        };
        if between < STANDSTILL {
            return;
        }
        counter!("gateway_standstills_total").increment(1);
        warn!(
            seconds = between.as_secs_f64(),
            "this process stood still, reading the retained messages again"
        );
        self.stood_still
            .send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// Checks the clock again and again, for as long as it is polled.
pub(crate) async fn watch(looks: Arc<Looks>) {
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        looks.look(Instant::now());
    }
}

/// A part that must know of standstills before it does anything else.
#[derive(Clone, Debug)]
pub(crate) struct Witness {
    looks: Arc<Looks>,
    counted: watch::Receiver<u64>,
}

impl Witness {
    /// A witness, from now on.
    #[must_use]
    pub(crate) fn new(looks: &Arc<Looks>) -> Self {
        Self {
            looks: Arc::clone(looks),
            counted: looks.stood_still.subscribe(),
        }
    }

    /// Completes after a standstill. Each poll checks the clock: if something else is ready at the
    /// same time, the process may have been too late for it.
    pub(crate) async fn stood_still(&mut self) {
        let looks = &self.looks;
        let mut changed = pin!(self.counted.changed());
        poll_fn(|context| {
            looks.look(Instant::now());
            changed.as_mut().poll(context)
        })
        .await
        .expect("the looks live as long as their witness");
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_long_time_between_two_looks_is_told_and_a_busy_host_is_not() {
        let start = Instant::now();
        let looks = Looks::new(start);
        let mut receiver = looks.stood_still.subscribe();
        looks.look(start + LOOK_INTERVAL * 2);
        assert!(!receiver.has_changed().expect("the sender lives"));
        let later = start + LOOK_INTERVAL * 2 + STANDSTILL;
        looks.look(later);
        assert!(receiver.has_changed().expect("the sender lives"));
        assert_eq!(*receiver.borrow_and_update(), 1);
        // The next task that looks, with a clock that was read a moment before.
        looks.look(later - LOOK_INTERVAL);
        looks.look(later + LOOK_INTERVAL);
        assert!(!receiver.has_changed().expect("the sender lives"));
    }

    #[test]
    fn a_witness_notices_by_itself_before_it_takes_anything() {
        let long_ago = Instant::now().checked_sub(2 * STANDSTILL);
        let looks = Looks::new(long_ago.expect("the host runs for longer"));
        let mut witness = Witness::new(&looks);
        let mut other = Witness::new(&looks);
        assert!(witness.stood_still().now_or_never().is_some());
        assert!(other.stood_still().now_or_never().is_some(), "it is told");
        assert!(witness.stood_still().now_or_never().is_none(), "once");
    }
}
