//! What becomes of a bar or a gap that is traced.
//!
//! The times are taken anyway, or only for what is traced; the spans are made of them at the end.

use bus::{Bus, BusError, Headers};
use bytes::Bytes;
use market_core::{Bar, BarState, UnixMicros, UnixMillis};
use service::{Span, TRACEPARENT, TraceContext, tracer};

use super::trigger::Trigger;
use crate::host_clock::now_us;

/// A bar or a gap that is traced, on its way to the bus.
#[derive(Clone, Debug)]
pub struct Traced {
    /// Its way through this program.
    whole: TraceContext,
    what: What,
    /// When the frame with its newest trade was received.
    newest_trade_us: Option<UnixMicros>,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Bar {
        start_ms: UnixMillis,
        rev: u32,
        is_closed: bool,
    },
    Gap,
}

/// A publication that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sending {
    name: &'static str,
    parent: TraceContext,
    context: TraceContext,
    begun_us: UnixMicros,
}

impl Traced {
    /// A bar.
    #[must_use]
    pub fn bar(whole: TraceContext, bar: &Bar) -> Box<Self> {
        Box::new(Self {
            whole,
            what: What::Bar {
                start_ms: bar.start_ms,
                rev: bar.rev,
                is_closed: bar.state == BarState::Closed,
            },
            newest_trade_us: bar.fold.as_ref().map(|fold| fold.received_us),
        })
    }

    /// The event of a gap.
    #[must_use]
    pub fn gap(whole: TraceContext) -> Box<Self> {
        Box::new(Self {
            whole,
            what: What::Gap,
            newest_trade_us: None,
        })
    }

    /// Its trace, and the span that others are parts of.
    #[must_use]
    pub fn context(&self) -> TraceContext {
        self.whole
    }

    pub(super) fn sending(&self) -> Sending {
        Sending::new("publish", self.whole)
    }

    /// It is published: tells where its time went. `trigger` made it, and it was queued at
    /// `queued_us`.
    pub(super) fn published(&self, subject: &str, trigger: Option<Trigger>, queued_us: UnixMicros) {
        let Some(tracer) = tracer() else {
            return;
        };
        let part = |name, begun_us, ended_us| {
            let span = Span::new(name, self.whole.another(), begun_us, ended_us);
            tracer.record(span.child_of(self.whole));
        };
        let made_us = trigger.map_or(queued_us, Trigger::at_us);
        let newest_us = self.newest_trade_us.filter(|&at_us| at_us < made_us);
        if let (Some(newest_us), Some(_)) = (newest_us, trigger) {
            part("reorder", newest_us, made_us);
        }
        let folds_us = match trigger {
            Some(Trigger::Frame {
                received_us,
                passed_on_us,
                taken_us,
            }) => {
                part("decode", received_us, passed_on_us);
                part("queue", passed_on_us, taken_us);
                taken_us
            }
            Some(Trigger::Tick { due_us }) => due_us,
            None => made_us,
        };
        if trigger.is_some() {
            part("fold", folds_us, queued_us);
        }
        let begun_us = newest_us.unwrap_or(made_us);
        let name = match self.what {
            What::Bar { .. } => "bar",
            What::Gap => "gap",
        };
        let mut span = Span::new(name, self.whole, begun_us, now_us()).with("subject", subject);
        if let What::Bar {
            start_ms,
            rev,
            is_closed,
        } = self.what
        {
            span = span
                .with_number("start_ms", start_ms)
                .with_number("rev", rev.into())
                .with("state", if is_closed { "closed" } else { "forming" });
        }
        tracer.record(span);
    }
}

impl Sending {
    /// Something that belongs to `parent` is sent from now on.
    pub(super) fn new(name: &'static str, parent: TraceContext) -> Self {
        Self {
            name,
            parent,
            context: parent.another(),
            begun_us: now_us(),
        }
    }

    /// What its message says beside the payload, so that its readers go on with the trace.
    pub(super) fn headers(&self) -> Headers {
        let mut headers = Headers::new();
        // A name and a text that NATS can carry, always.
        let _ = headers.set(TRACEPARENT, &self.context.traceparent());
        headers
    }

    /// Publishes a message with its header.
    pub(super) async fn publish(
        &self,
        bus: &dyn Bus,
        subject: &str,
        payload: Bytes,
    ) -> Result<(), BusError> {
        bus.publish_with(subject, self.headers(), payload).await
    }

    /// It was sent, or not.
    pub(super) fn ended(&self, subject: &str, error: Option<&BusError>) {
        let Some(tracer) = tracer() else {
            return;
        };
        let span = Span::new(self.name, self.context, self.begun_us, now_us());
        let span = span.child_of(self.parent).sends().with("subject", subject);
        tracer.record(match error {
            None => span,
            Some(error) => span.failed(error.to_string()),
        });
    }
}
