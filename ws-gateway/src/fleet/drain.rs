//! How a gateway drains: first it only turns not ready, then it accepts no more connections and
//! closes its sessions one by one.

use std::time::Duration;

use service::Shutdown;
use tokio_util::sync::CancellationToken;

/// The longest times of a drain's phases.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DrainConfig {
    /// Until no more connections are accepted.
    pub notice: Duration,
    /// To close all sessions.
    pub window: Duration,
    /// For the last session to answer.
    pub close: Duration,
}

/// The phases of a gateway's drain. Clones share the state.
#[derive(Clone, Debug)]
pub(crate) struct Drain {
    begun: CancellationToken,
    notice: Duration,
    window: Duration,
}

impl Drain {
    /// A gateway that does not drain until [`Drain::follow`] says so.
    #[must_use]
    pub(crate) fn new(config: DrainConfig, shutdown: &Shutdown) -> Self {
        let deadline = shutdown.drain_deadline();
        let notice = config.notice.min(deadline / 4);
        // The last closed session also has time to answer before the deadline.
        let window_max = deadline.saturating_sub(notice + config.close) * 4 / 5;
        Self {
            begun: CancellationToken::new(),
            notice,
            window: config.window.min(window_max),
        }
    }

    /// Begins to close once the shutdown has started and the notice time is over.
    pub(crate) async fn follow(self, shutdown: Shutdown) {
        shutdown.triggered().await;
        tokio::time::sleep(self.notice).await;
        self.begun.cancel();
    }

    /// Completes when no more connections are accepted.
    pub(crate) async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Completes when sessions must be closed, with the time over which to spread this.
    pub(crate) async fn window_once_begun(self) -> Duration {
        self.begun().await;
        self.window
    }

    /// Whether no more connections are accepted.
    #[must_use]
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Time over which the sessions are closed.
    #[must_use]
    pub(crate) fn window(&self) -> Duration {
        self.window
    }
}

#[cfg(test)]
mod tests {
    use service::Service;

    use super::*;

    #[track_caller]
    fn check(deadline_ms: u64, notice_ms: u64, drain_ms: u64, expected_ms: (u64, u64)) {
        let config = DrainConfig {
            notice: Duration::from_millis(notice_ms),
            window: Duration::from_millis(drain_ms),
            close: Duration::from_millis(2_000),
        };
        let service = Service::new(Duration::from_millis(deadline_ms));
        let drain = Drain::new(config, &service.shutdown);
        let expected = (
            Duration::from_millis(expected_ms.0),
            Duration::from_millis(expected_ms.1),
        );
        assert_eq!((drain.notice, drain.window), expected);
    }

    #[test]
    fn notice_and_window_fit_into_the_drain_deadline() {
        check(20_000, 2_000, 10_000, (2_000, 10_000));
        check(8_000, 60_000, 60_000, (2_000, 3_200));
        check(1_000, 0, 10_000, (0, 0));
    }

    #[tokio::test]
    async fn connections_are_taken_until_the_notice_is_over() {
        let service = Service::new(Duration::from_secs(20));
        let config = DrainConfig {
            notice: Duration::from_millis(200),
            window: Duration::from_secs(10),
            close: Duration::from_secs(2),
        };
        let drain = Drain::new(config, &service.shutdown);
        let follow = tokio::spawn(drain.clone().follow(service.shutdown.clone()));
        tokio::task::yield_now().await;
        assert!(!drain.has_begun());
        let triggered_at = std::time::Instant::now();
        service.shutdown.trigger();
        drain.begun().await;
        assert!(triggered_at.elapsed() >= drain.notice);
        assert!(drain.has_begun());
        follow.await.expect("no panic");
    }
}
