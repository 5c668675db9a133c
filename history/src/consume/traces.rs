//! Messages whose publisher traces them.

use bus::Message;
use service::wall_clock_ms;
use service::{Span, TRACEPARENT, TraceContext, tracer};

/// The traced messages of a page.
#[derive(Debug)]
pub(super) struct Traced {
    publishers: Vec<TraceContext>,
    begun_ms: i64,
}

impl Traced {
    /// The page is stored from now on.
    pub(super) fn of(messages: &[Message]) -> Self {
        let context = |message: &Message| TraceContext::parse(message.header(TRACEPARENT)?);
        let publishers = match tracer() {
            Some(_) => messages.iter().filter_map(context).collect(),
            None => Vec::new(),
        };
        Self {
            publishers,
            begun_ms: wall_clock_ms(),
        }
    }

    /// The page is stored.
    pub(super) fn stored(&self, stream: &'static str) {
        let Some(tracer) = tracer() else {
            return;
        };
        let micros = |ms: i64| ms.saturating_mul(1_000);
        let (begun_us, ended_us) = (micros(self.begun_ms), micros(wall_clock_ms()));
        for &publisher in &self.publishers {
            let span = Span::new("keep", publisher.another(), begun_us, ended_us);
            tracer.record(span.received_from(publisher).with("stream", stream));
        }
    }
}
