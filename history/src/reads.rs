//! How many questions read the store at once.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::{Counter, Gauge, counter, gauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds the reads of a store. Clones share the bound.
#[derive(Clone, Debug)]
pub(crate) struct Reads(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
    refused: Counter,
    running_now: Gauge,
}

/// A read that runs; the place is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Read {
    _permit: OwnedSemaphorePermit,
    running_now: Gauge,
}

/// Too many questions wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many questions wait for the store: ask again in a second")]
pub(crate) struct Busy;

impl Reads {
    /// At most `running_max` reads at once, and `waiting_max` that wait for their turn.
    #[must_use]
    pub(crate) fn new(running_max: usize, waiting_max: usize) -> Self {
        Self(Arc::new(Inner {
            running: Arc::new(Semaphore::new(running_max.clamp(1, Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            waiting_max,
            refused: counter!("history_reads_refused_total"),
            running_now: gauge!("history_reads_running"),
        }))
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// `Busy` if too many wait already.
    pub(crate) fn begin(&self) -> impl Future<Output = Result<Read, Busy>> + Send + use<> {
        let inner = Arc::clone(&self.0);
        async move {
            let running = Arc::clone(&inner.running);
            let permit = match Arc::clone(&running).try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(_) => {
                    let waiting = Waiting::begin(&inner)?;
                    let permit = running.acquire_owned().await.ok();
                    drop(waiting);
                    permit
                }
            };
            inner.running_now.increment(1);
            Ok(Read {
                _permit: permit.ok_or(Busy)?,
                running_now: inner.running_now.clone(),
            })
        }
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        self.running_now.decrement(1);
    }
}

/// A place in the line; given back when the asker goes away, too.
struct Waiting<'a>(&'a Inner);

impl<'a> Waiting<'a> {
    fn begin(inner: &'a Inner) -> Result<Self, Busy> {
        if inner.waiting.fetch_add(1, Ordering::AcqRel) >= inner.waiting_max {
            inner.waiting.fetch_sub(1, Ordering::AcqRel);
            inner.refused.increment(1);
            return Err(Busy);
        }
        Ok(Self(inner))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reads_wait_for_their_turn_and_those_beyond_the_line_are_refused() {
        let reads = Reads::new(1, 1);
        let first = reads.begin().await.expect("a place");
        let mut second = tokio_test_task(reads.begin());
        assert!(second.poll_is_pending());
        assert_eq!(reads.begin().await.err(), Some(Busy));
        drop(first);
        let second = second.finish().await.expect("its turn");
        // An asker that goes away leaves the line.
        let mut third = tokio_test_task(reads.begin());
        assert!(third.poll_is_pending());
        drop(third);
        let mut fourth = tokio_test_task(reads.begin());
        assert!(fourth.poll_is_pending());
        drop(second);
        assert!(fourth.finish().await.is_ok());
    }

    struct Polled<F>(std::pin::Pin<Box<F>>);

    fn tokio_test_task<F: Future>(future: F) -> Polled<F> {
        Polled(Box::pin(future))
    }

    impl<F: Future> Polled<F> {
        fn poll_is_pending(&mut self) -> bool {
            let waker = std::task::Waker::noop();
            let mut context = std::task::Context::from_waker(waker);
            self.0.as_mut().poll(&mut context).is_pending()
        }

        async fn finish(self) -> F::Output {
            self.0.await
        }
    }
}
