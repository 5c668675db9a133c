//! When what runs while this bridge writes is to end.

use std::time::Duration;

use service::Shutdown;
use tokio::sync::watch;

/// How long a write may go on when the bridge ends or another one takes over.
const GRACE: Duration = Duration::from_secs(2);

/// Tells the parts that run while this bridge writes that they are to end.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    pub(crate) is_leader: watch::Receiver<bool>,
    pub(crate) shutdown: Shutdown,
}

impl Stop {
    pub(crate) fn is_set(&self) -> bool {
        self.shutdown.is_triggered() || !*self.is_leader.borrow()
    }

    pub(crate) async fn wait(&self) {
        let mut is_leader = self.is_leader.clone();
        tokio::select! {
            _ = is_leader.wait_for(|is_leader| !is_leader) => {}
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
