//! Messages whose publisher traces them.

use bus::Message;
use service::{Span, TRACEPARENT, TraceContext, tracer};

use super::Ingest;
use crate::topics::host_clock::wall_us;
use crate::topics::slot_id::SlotId;
use crate::topics::traced::Traced;

/// The span of its publisher, if this process traces, too. A header that is none of the standard
/// says nothing.
#[inline]
fn context(message: &Message) -> Option<TraceContext> {
    // Most messages have no headers.
    message.headers.as_ref()?;
    tracer()?;
    TraceContext::parse(message.header(TRACEPARENT)?)
}

impl Ingest {
    /// Takes a live message, and tells of it if it is traced.
    pub(super) fn take_new(&mut self, message: &Message) -> Option<SlotId> {
        match context(message) {
            None => self.take(message, true),
            Some(parent) => self.take_traced(message, parent),
        }
    }

    fn take_traced(&mut self, message: &Message, parent: TraceContext) -> Option<SlotId> {
        let traced = Traced {
            context: parent.another(),
            taken_us: wall_us(),
        };
        self.traced = Some(traced);
        let slot = parent.log_span().in_scope(|| self.take(message, true));
        self.traced = None;
        if let Some(tracer) = tracer() {
            let span = Span::new("ingest", traced.context, traced.taken_us, wall_us());
            let span = span.received_from(parent);
            tracer.record(span.with("subject", &*message.subject));
        }
        slot
    }
}
