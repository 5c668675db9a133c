//! Notices that the process stood still: it was stopped, or its host was.
//!
//! What a gateway holds is old then, however well its connection to the bus looks.

use std::time::{Duration, Instant};

use metrics::counter;
use tokio::sync::watch;
use tracing::warn;

/// How often the clock is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// A look that comes later than this is no matter of a busy host.
pub(crate) const STANDSTILL: Duration = Duration::from_secs(3);

/// Counts each standstill in the channel, for as long as it is polled.
pub(crate) async fn watch(stood_still: watch::Sender<u64>) {
    loop {
        let looked_at = Instant::now();
        tokio::time::sleep(LOOK_INTERVAL).await;
        notice(looked_at.elapsed(), &stood_still);
    }
}

fn notice(between_looks: Duration, stood_still: &watch::Sender<u64>) {
    if between_looks < STANDSTILL {
        return;
    }
    counter!("gateway_standstills_total").increment(1);
    warn!(
        seconds = between_looks.as_secs_f64(),
        "this process stood still, reading the retained messages again"
    );
    stood_still.send_modify(|count| *count = count.wrapping_add(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_time_between_two_looks_is_told_and_a_busy_host_is_not() {
        let (sender, mut receiver) = watch::channel(0);
        notice(LOOK_INTERVAL * 2, &sender);
        assert!(!receiver.has_changed().expect("the sender lives"));
        notice(STANDSTILL, &sender);
        assert!(receiver.has_changed().expect("the sender lives"));
        assert_eq!(*receiver.borrow_and_update(), 1);
    }
}
