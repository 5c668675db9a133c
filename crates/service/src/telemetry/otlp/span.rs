//! One span, as the protocol has it.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{self as proto, SpanFlags, Status, status};

use super::context::TraceContext;

/// Most links of a span: a collector refuses a request of any length.
pub const LINKS_MAX: usize = 128;

/// Work on something that is traced: when it began, when it ended, and what it was.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a span is told with Tracer::record"]
pub struct Span(proto::Span);

impl Span {
    /// The span `context`, from its beginning to its end, unix µs. It has no parent.
    pub fn new(name: &'static str, context: TraceContext, begun_us: i64, ended_us: i64) -> Span {
        // A clock that was set back must not make a span that ends before it begins.
        let nanos = |us: i64| u64::try_from(us).unwrap_or(0).saturating_mul(1_000);
        Span(proto::Span {
            trace_id: context.trace_bytes(),
            span_id: context.span_bytes(),
            flags: 1,
            name: name.to_owned(),
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: nanos(begun_us),
            end_time_unix_nano: nanos(ended_us.max(begun_us)),
            ..proto::Span::default()
        })
    }

    /// Its parent is a span of this process.
    pub fn child_of(mut self, parent: TraceContext) -> Span {
        self.0.parent_span_id = parent.span_bytes();
        self.0.flags |= SpanFlags::ContextHasIsRemoteMask as u32;
        self
    }

    /// It sends what it worked on to other processes.
    pub fn sends(mut self) -> Span {
        self.0.kind = SpanKind::Producer.into();
        self
    }

    /// It received what it worked on from a message, whose header told its parent.
    pub fn received_from(self, parent: TraceContext) -> Span {
        let mut span = self.child_of(parent);
        span.0.kind = SpanKind::Consumer.into();
        span.0.flags |= SpanFlags::ContextIsRemoteMask as u32;
        span
    }

    /// Adds a text about it.
    pub fn with(self, key: &'static str, value: impl Into<String>) -> Span {
        self.attribute(key, Value::StringValue(value.into()))
    }

    /// Adds a number about it.
    pub fn with_number(self, key: &'static str, value: i64) -> Span {
        self.attribute(key, Value::IntValue(value))
    }

    fn attribute(mut self, key: &'static str, value: Value) -> Span {
        self.0.attributes.push(attribute(key, value));
        self
    }

    /// It failed, for this reason.
    pub fn failed(mut self, reason: impl Into<String>) -> Span {
        self.0.status = Some(Status {
            code: status::StatusCode::Error.into(),
            message: reason.into(),
        });
        self
    }

    /// The work was for all of these at once. Beyond [`LINKS_MAX`] they are only counted.
    pub fn linked(mut self, to: &[TraceContext]) -> Span {
        let room = LINKS_MAX.saturating_sub(self.0.links.len());
        let links = to.iter().take(room).map(|context| Link {
            trace_id: context.trace_bytes(),
            span_id: context.span_bytes(),
            flags: 1,
            ..Link::default()
        });
        self.0.links.extend(links);
        let beyond = u32::try_from(to.len().saturating_sub(room)).unwrap_or(u32::MAX);
        self.0.dropped_links_count = self.0.dropped_links_count.saturating_add(beyond);
        self
    }

    pub(super) fn into_proto(self) -> proto::Span {
        self.0
    }
}

pub(super) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_never_ends_before_it_begins() {
        let context = TraceContext::begin();
        for (begun_us, ended_us) in [(7, 3), (-4, -9), (i64::MIN, i64::MAX), (i64::MAX, 0)] {
            let span = Span::new("bar", context, begun_us, ended_us).into_proto();
            assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
        }
    }

    #[test]
    fn links_beyond_the_limit_are_counted() {
        let bars: Vec<TraceContext> = (0..LINKS_MAX + 3).map(|_| TraceContext::begin()).collect();
        let span = Span::new("flush", TraceContext::begin(), 1, 2).linked(&bars);
        let span = span.linked(&bars[..1]).into_proto();
        assert_eq!(span.links.len(), LINKS_MAX);
        assert_eq!(span.dropped_links_count, 4);
        assert_eq!(span.links[0].trace_id, bars[0].trace_bytes());
    }
}
