//! When a program must stop, and its deadline.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Exit codes of a process that a signal ended, by the shell's convention: 128 + the signal's
/// number.
const EXIT_SIGINT: i32 = 130;
const EXIT_SIGTERM: i32 = 143;

/// Tells every part of a program to drain. Clones share the same state.
#[derive(Clone, Debug)]
pub struct Shutdown {
    token: CancellationToken,
    drain_deadline: Duration,
}

/// The program had not drained within its deadline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not drained within {} ms of the shutdown", drain_deadline.as_millis())]
pub struct DrainDeadlinePassed {
    /// How long it had.
    pub drain_deadline: Duration,
}

impl Shutdown {
    pub(crate) fn new(drain_deadline: Duration) -> Shutdown {
        Shutdown {
            token: CancellationToken::new(),
            drain_deadline,
        }
    }

    /// Starts the drain. Further calls have no effect.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// Completes when the drain starts; at once if it has started.
    pub async fn triggered(&self) {
        self.token.cancelled().await;
    }

    /// Whether the drain has started.
    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// A child token for a part of the program: cancelled with the shutdown, and cancelling it
    /// ends only that part.
    pub fn token(&self) -> CancellationToken {
        self.token.child_token()
    }

    /// How long the program may take to drain once triggered.
    pub fn drain_deadline(&self) -> Duration {
        self.drain_deadline
    }

    /// Runs `work` to its end; after the drain has started, for no longer than the deadline.
    ///
    /// # Errors
    /// `DrainDeadlinePassed` if the work was dropped unfinished.
    pub async fn drained<F: Future>(&self, work: F) -> Result<F::Output, DrainDeadlinePassed> {
        let deadline = async {
            self.triggered().await;
            tokio::time::sleep(self.drain_deadline).await;
        };
        tokio::select! {
            biased;
            output = work => Ok(output),
            () = deadline => Err(DrainDeadlinePassed { drain_deadline: self.drain_deadline }),
        }
    }

    /// Spawns the task that listens to SIGTERM and SIGINT. The first one starts the drain, and a
    /// second one exits at once, after `before_exit`, with code 143 or 130. From this call on, the
    /// signals no longer end the process by themselves.
    ///
    /// # Panics
    /// If the process may not handle signals, which only happens outside a tokio runtime.
    #[expect(clippy::disallowed_methods, reason = "a second signal asks for it")]
    pub(crate) fn on_signals(&self, before_exit: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
        let mut terminate = signal(SignalKind::terminate()).expect("sigterm may be handled");
        let mut interrupt = signal(SignalKind::interrupt()).expect("sigint may be handled");
        let shutdown = self.clone();
        tokio::spawn(async move {
            let (name, _) = next_signal(&mut terminate, &mut interrupt).await;
            info!(
                signal = name,
                drain_deadline_ms = shutdown.drain_deadline.as_millis(),
                "draining"
            );
            shutdown.trigger();
            let (name, exit_code) = next_signal(&mut terminate, &mut interrupt).await;
            warn!(signal = name, "second signal, exiting without draining");
            before_exit();
            std::process::exit(exit_code);
        })
    }
}

async fn next_signal(terminate: &mut Signal, interrupt: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = terminate.recv() => ("SIGTERM", EXIT_SIGTERM),
        _ = interrupt.recv() => ("SIGINT", EXIT_SIGINT),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn trigger_reaches_every_clone_and_child() {
        let shutdown = Shutdown::new(Duration::from_secs(5));
        let clone = shutdown.clone();
        let child = shutdown.token();
        assert!(!clone.is_triggered());
        shutdown.trigger();
        clone.triggered().await;
        child.cancelled().await;
    }

    #[test]
    fn ending_a_part_leaves_the_program_running() {
        let shutdown = Shutdown::new(Duration::from_secs(5));
        shutdown.token().cancel();
        assert!(!shutdown.is_triggered());
    }

    #[tokio::test]
    async fn work_that_drains_in_time_gives_its_output() {
        let shutdown = Shutdown::new(Duration::from_secs(60));
        let work = async {
            shutdown.triggered().await;
            tokio::task::yield_now().await;
            7
        };
        shutdown.trigger();
        assert_eq!(shutdown.drained(work).await, Ok(7));
    }

    #[tokio::test]
    async fn work_that_is_stuck_is_ended_by_the_deadline() {
        let shutdown = Shutdown::new(Duration::from_millis(20));
        shutdown.trigger();
        let error = shutdown
            .drained(std::future::pending::<()>())
            .await
            .expect_err("the work never ends");
        assert_eq!(
            error.to_string(),
            "not drained within 20 ms of the shutdown"
        );
    }

    #[tokio::test]
    async fn deadline_counts_only_from_the_trigger() {
        let shutdown = Shutdown::new(Duration::ZERO);
        let work = tokio::time::sleep(Duration::from_millis(50));
        assert_eq!(shutdown.drained(work).await, Ok(()));
    }
}
