//! What a lane stores.

use std::sync::Arc;

use bus::{Append, Bus, BusError};
use bytes::Bytes;
use futures_util::future::join_all;
use market_core::Checkpoint;
use service::TraceContext;

use super::fence::{Fenced, Right};
use super::trace::Sending;

/// A message to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its subject.
    pub subject: Arc<str>,
    /// Its bytes.
    pub payload: Bytes,
    /// For a bar: the bus stores it only while its lease is ours.
    pub fence: Option<Box<Fenced>>,
    /// For what no fence protects: it is stored only while this program publishes.
    pub right: Option<Right>,
    /// For a bar that is traced: what storing it is a part of.
    pub trace: Option<Box<TraceContext>>,
}

impl Item {
    /// An item that is stored, no matter who holds a lease.
    #[must_use]
    pub fn new(subject: Arc<str>, payload: Bytes) -> Self {
        Self {
            subject,
            payload,
            fence: None,
            right: None,
            trace: None,
        }
    }

    /// An item that is stored only under `right`.
    #[must_use]
    pub fn under(right: Right, subject: Arc<str>, payload: Bytes) -> Self {
        Self {
            right: Some(right),
            ..Self::new(subject, payload)
        }
    }

    /// Stores an item in all pending places. Those that have it are taken away. A bar with a fence goes
    /// to the record alone at first: what the bus refuses there must not come into the journal. Without
    /// one it goes everywhere at once.
    pub(super) async fn store(
        &self,
        bus: &dyn Bus,
        pending: &mut Vec<Arc<str>>,
        sending: Option<&Sending>,
    ) -> Result<(), BusError> {
        if let Some(fenced) = self.fenced_append()
            && pending.first() == Some(&self.subject)
        {
            let append = Append {
                headers: sending.map(Sending::headers).unwrap_or_default(),
                ..fenced
            };
            bus.streams().append(append).await?;
            pending.remove(0);
        }
        let publications = pending.iter().map(async |subject| match sending {
            None => bus.publish_durable(subject, self.payload.clone()).await,
            // It does not try again by itself: the lane does.
            Some(_) => {
                let append = self.append(subject, sending);
                bus.streams().append(append).await.map(|_| ())
            }
        });
        let results = join_all(publications).await;
        let mut outcomes = results.iter();
        pending.retain(|_| outcomes.next().is_none_or(Result::is_err));
        results.into_iter().collect()
    }

    /// The publication of a bar with a fence in its record.
    pub(super) fn fenced_append(&self) -> Option<Append> {
        let fence = self.fence.as_ref()?;
        Some(Append {
            expected: Some((*fence.expected).clone()),
            ..Append::new(&*self.subject, self.payload.clone())
        })
    }

    fn append(&self, subject: &str, sending: Option<&Sending>) -> Append {
        Append {
            headers: sending.map(Sending::headers).unwrap_or_default(),
            ..Append::new(subject, self.payload.clone())
        }
    }
}

/// A symbol's state, not encoded yet, and the subject of its checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its subject.
    pub subject: Arc<str>,
    /// The state. It is encoded when it is stored, because many are replaced before.
    pub state: Box<Checkpoint>,
    /// It is stored only under this.
    pub right: Right,
}
