//! Publications that are stored together or not at all.

use std::sync::Arc;

use tokio::task::coop::consume_budget;

use super::MemoryBus;
use super::store::is_as_expected;
use crate::{Append, BusError};

impl MemoryBus {
    /// See [`crate::StreamStore::append_all`]; the batch was checked. The sequence of the last
    /// message.
    pub(super) async fn put_all(&self, batch: Vec<Append>) -> Result<u64, BusError> {
        let stream = self.stream_of(&batch[0].subject)?;
        consume_budget().await;
        loop {
            self.check_open()?;
            let routing = self.shared.routing.read().expect("nothing panics under it");
            let routes = batch.iter().map(|append| {
                let route = routing.routes.get(append.subject.as_str());
                route.map(Arc::clone).ok_or(append.subject.as_str())
            });
            let routes: Vec<_> = match routes.collect() {
                Ok(routes) => routes,
                Err(subject) => {
                    drop(routing);
                    self.add_route(subject);
                    continue;
                }
            };
            let Some(subjects) = routes
                .iter()
                .map(|route| route.subject_id)
                .collect::<Option<Vec<_>>>()
            else {
                return Err(self.retention_full(&stream));
            };
            let mut kept = stream.lock();
            if !kept.spec.is_fenced {
                return Err(BusError::NoBatches {
                    subject: batch[0].subject.clone(),
                });
            }
            let unexpected = batch.iter().find(|append| !is_as_expected(&kept, append));
            if let Some(append) = unexpected {
                return Err(BusError::NotAsExpected {
                    subject: append.subject.clone(),
                });
            }
            let mut last = 0;
            for ((append, route), subject) in batch.iter().zip(&routes).zip(subjects) {
                let headers = &append.headers;
                let headers = (!headers.is_empty()).then(|| Arc::new(headers.clone()));
                last = kept.put(subject, append.payload.clone(), headers.clone());
                route.push(&append.payload, headers.as_ref());
                self.meter.published();
            }
            stream.changed.notify_waiters();
            return Ok(last);
        }
    }
}
