//! Where the process's spans go.

use std::sync::OnceLock;

use metrics::{Counter, counter};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::span::Span;

static TRACER: OnceLock<Tracer> = OnceLock::new();

/// The process's tracer; `None` unless `--otlp-endpoint` is given.
#[must_use]
pub fn tracer() -> Option<&'static Tracer> {
    TRACER.get()
}

/// Makes `tracer` the process's one. False if there is one already.
pub(super) fn install(tracer: Tracer) -> bool {
    TRACER.set(tracer).is_ok()
}

/// Takes the spans of the process, and never waits for the collector.
#[derive(Debug)]
pub struct Tracer {
    queue: Sender<Span>,
    one_in: u32,
    dropped: Counter,
}

impl Tracer {
    /// A tracer with room for `spans_max` spans, and where they come out.
    pub(super) fn new(one_in: u32, spans_max: usize) -> (Tracer, Receiver<Span>) {
        let (queue, spans) = mpsc::channel(spans_max.max(1));
        let dropped = dropped("queue_full");
        let tracer = Tracer {
            queue,
            one_in,
            dropped,
        };
        (tracer, spans)
    }

    /// Tells a span whose work is over. Without room it is dropped and counted.
    pub fn record(&self, span: Span) {
        match self.queue.try_send(span) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => self.dropped.increment(1),
        }
    }

    /// One in how many bars is traced.
    pub(super) fn one_in(&self) -> u32 {
        self.one_in
    }
}

/// Counts spans that do not reach the collector.
pub(super) fn dropped(reason: &'static str) -> Counter {
    counter!("service_spans_dropped_total", "reason" => reason)
}
