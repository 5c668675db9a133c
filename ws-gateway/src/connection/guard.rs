//! A session's place.

use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;

use crate::connection::socket::{Connection, ShardSender};
use crate::limits::Permit;
use crate::sessions::command::Command;

/// The code in the metrics for a session that an error of the gateway ended (RFC 6455, 7.4.1).
const CLOSE_INTERNAL_ERROR: u16 = 1011;

/// A session's place. However the session ends, its place is freed and its shard forgets it.
#[derive(Debug)]
pub(crate) struct SessionGuard {
    pub(super) connection: Arc<Connection>,
    pub(super) shard: ShardSender,
    pub(super) permit: Permit,
    has_left: bool,
}

impl SessionGuard {
    /// A session begins, with its counted place.
    #[must_use]
    pub(crate) fn new(connection: Arc<Connection>, shard: ShardSender, permit: Permit) -> Self {
        let metrics = &connection.settings.metrics;
        metrics.sessions.increment(1.0);
        metrics.sessions_total.increment(1);
        Self {
            connection,
            shard,
            permit,
            has_left: false,
        }
    }

    /// Makes the shard forget the session.
    pub(super) async fn leave(&mut self) {
        let leave = Command::Leave(Arc::clone(&self.connection));
        let _ = self.shard.send(leave).await;
        self.has_left = true;
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let metrics = &self.connection.settings.metrics;
        metrics.sessions.decrement(1.0);
        if self.has_left {
            return;
        }
        // The task has panicked, or was dropped with its runtime.
        metrics.closed(CLOSE_INTERNAL_ERROR, "gateway");
        let leave = Command::Leave(Arc::clone(&self.connection));
        if let Err(TrySendError::Full(leave)) = self.shard.try_send(leave)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let shard = self.shard.clone();
            runtime.spawn(async move { shard.send(leave).await });
        }
    }
}
