//! When what runs while this bridge writes is to end.

use std::time::Duration;

use service::Shutdown;
use tokio::sync::watch;

/// How long a write may go on when the bridge ends or another one takes over.
const GRACE: Duration = Duration::from_secs(2);

/// The number of the lease under which this bridge writes; `None` while another one does.
pub(crate) type Term = Option<u64>;

/// Tells the parts that run in one term of this bridge that they are to end.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    /// The term of these parts. A later one, even if it follows at once, is not theirs.
    pub(crate) term: u64,
    pub(crate) now: watch::Receiver<Term>,
    pub(crate) shutdown: Shutdown,
}

impl Stop {
    pub(crate) fn is_set(&self) -> bool {
        self.shutdown.is_triggered() || *self.now.borrow() != Some(self.term)
    }

    pub(crate) async fn wait(&self) {
        let mut now = self.now.clone();
        tokio::select! {
            _ = now.wait_for(|now| *now != Some(self.term)) => {}
            () = self.shutdown.triggered() => {}
        }
    }

    /// Waits until what runs has had a while to end in order.
    pub(crate) async fn passed(&self) {
        self.wait().await;
        tokio::time::sleep(GRACE).await;
    }

    pub(crate) async fn sleep(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.wait() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lease_that_is_lost_and_held_again_at_once_ends_the_parts_of_before() {
        let (tell, now) = watch::channel(Some(7));
        let stop = Stop {
            term: 7,
            now,
            shutdown: service::Service::for_test().shutdown,
        };
        assert!(!stop.is_set());
        // A part that is busy sees only what is newest.
        tell.send_replace(None);
        tell.send_replace(Some(9));
        assert!(stop.is_set());
        stop.wait().await;
    }
}
