//! How far the streams of the bus are stored, for the status.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

/// The progress of every stream.
#[derive(Debug, Default)]
pub struct Progress {
    streams: Mutex<BTreeMap<&'static str, StreamProgress>>,
    /// The streams that were stored up to their end at some time.
    caught_up: watch::Sender<BTreeSet<&'static str>>,
}

/// How far one stream is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StreamProgress {
    /// The position of the last message whose rows are stored.
    pub stored_to: u64,
    /// Messages that the bus keeps and that are not stored yet.
    pub lag_messages: u64,
    /// Messages since the start that the bus kept no longer when they were to be stored.
    pub lost_messages: u64,
}

impl Progress {
    fn streams(&self) -> MutexGuard<'_, BTreeMap<&'static str, StreamProgress>> {
        // Each change leaves whole values.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn at(&self, stream: &'static str, stored_to: u64, lag_messages: u64) {
        let mut streams = self.streams();
        let progress = streams.entry(stream).or_default();
        progress.stored_to = stored_to;
        progress.lag_messages = lag_messages;
        drop(streams);
        if lag_messages == 0 {
            self.caught_up
                .send_if_modified(|caught_up| caught_up.insert(stream));
        }
    }

    /// Returns once a stream has been stored up to its end since the start.
    pub(crate) async fn until_caught_up(&self, stream: &'static str) {
        let mut caught_up = self.caught_up.subscribe();
        // The sender lives as long as this.
        let _ = caught_up.wait_for(|streams| streams.contains(stream)).await;
    }

    pub(crate) fn lost(&self, stream: &'static str, messages: u64) {
        let mut streams = self.streams();
        let progress = streams.entry(stream).or_default();
        progress.lost_messages = progress.lost_messages.saturating_add(messages);
    }

    /// All streams, by what they carry.
    #[must_use]
    pub fn all(&self) -> BTreeMap<&'static str, StreamProgress> {
        self.streams().clone()
    }
}
