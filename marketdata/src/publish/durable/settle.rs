//! One item of a lane, until it is stored or given up.

use std::sync::Arc;

use bus::{Bus, BusError};
use tracing::warn;

use super::{Lane, Settled};
use crate::publish::failure::{RETRY_AFTER, topic_field};
use crate::publish::item::Item;
use crate::publish::trace::Sending;

impl Lane {
    /// Tries to store an item until it is stored or given up.
    pub(super) async fn settle(&self, bus: &dyn Bus, item: &Item) {
        self.settle_in(bus, item, self.places(item)).await;
    }

    /// The same, in those of its places that do not have it.
    pub(super) async fn settle_in(&self, bus: &dyn Bus, item: &Item, mut pending: Vec<Arc<str>>) {
        let sending = item.trace.as_deref();
        let sending = sending.map(|&trace| Sending::new("store", trace));
        let ended = |error: Option<&BusError>| {
            if let Some(sending) = &sending {
                sending.ended(&item.subject, error);
            }
        };
        let mut failures = 0_u32;
        loop {
            if !self.may_store(item).await {
                self.withheld_checkpoints.increment(1);
                self.done(Settled::Fenced);
                break;
            }
            match item.store(bus, &mut pending, sending.as_ref()).await {
                Ok(()) => {
                    ended(None);
                    if let (Some(refusals), Some(_)) = (&self.refusals, &item.fence) {
                        refusals.note_stored();
                    }
                    self.done(Settled::Stored);
                }
                Err(error @ BusError::NotAsExpected { .. }) => {
                    ended(Some(&error));
                    self.fenced(item, &error);
                    self.done(Settled::Fenced);
                }
                Err(error) if error.is_retryable() => {
                    metrics::counter!("marketdata_publish_failures_total").increment(1);
                    failures = failures.saturating_add(1);
                    // During a long outage, fewer and fewer lines.
                    if failures.is_power_of_two() {
                        let topic = topic_field(&item.subject);
                        warn!(subject = &*item.subject, topic, error = %error, failures, "not stored yet, trying again");
                    }
                    self.failed(error);
                    tokio::time::sleep(RETRY_AFTER).await;
                    continue;
                }
                Err(error) => {
                    ended(Some(&error));
                    self.refused(item, &error);
                    self.done(Settled::Dropped);
                }
            }
            break;
        }
    }
}
