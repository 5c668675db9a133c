//! The place of a span in its trace, and its text in a message's header (W3C Trace Context).

use std::fmt;

/// The header that carries a [`TraceContext`].
pub const TRACEPARENT: &str = "traceparent";

/// The length of a header of version 00.
const TEXT_BYTES: usize = 55;
/// The bit of the flags that says that the trace is sampled.
const SAMPLED: u8 = 1;

/// A trace's id and the id of one of its spans, both never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: u128,
    span: u64,
}

impl TraceContext {
    /// A new trace.
    #[must_use]
    pub fn begin() -> TraceContext {
        TraceContext {
            trace: rand::random::<u128>().max(1),
            span: rand::random::<u64>().max(1),
        }
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn another(self) -> TraceContext {
        TraceContext {
            span: rand::random::<u64>().max(1),
            ..self
        }
    }

    /// The text for the header.
    #[must_use]
    pub fn traceparent(self) -> String {
        format!("00-{:032x}-{:016x}-{SAMPLED:02x}", self.trace, self.span)
    }

    /// What a header says; `None` if the trace is not sampled, or the text is none of the standard.
    #[must_use]
    pub fn parse(text: &str) -> Option<TraceContext> {
        let bytes = text.as_bytes();
        let version = hex::<u8>(bytes.get(..2)?)?;
        // A later version may have more behind what this one has.
        let has_right_length = match version {
            0 => bytes.len() == TEXT_BYTES,
            u8::MAX => false,
            _ => bytes.len() == TEXT_BYTES || bytes.get(TEXT_BYTES) == Some(&b'-'),
        };
        let dashes = [2, 35, 52].map(|at| bytes.get(at) == Some(&b'-'));
        if !has_right_length || dashes.contains(&false) {
            return None;
        }
        let trace = hex::<u128>(bytes.get(3..35)?).filter(|id| *id != 0)?;
        let span = hex::<u64>(bytes.get(36..52)?).filter(|id| *id != 0)?;
        let flags = hex::<u8>(bytes.get(53..TEXT_BYTES)?)?;
        (flags & SAMPLED != 0).then_some(TraceContext { trace, span })
    }

    /// The trace's id as log lines have it.
    #[must_use]
    pub fn trace_id(self) -> TraceId {
        TraceId(self.trace)
    }

    /// A span for log lines: within it, they carry the trace's id.
    #[must_use]
    pub fn log_span(self) -> tracing::Span {
        // Enabled at every level: it says nothing by itself.
        tracing::error_span!("trace", trace_id = %self.trace_id())
    }

    pub(super) fn trace_bytes(self) -> Vec<u8> {
        self.trace.to_be_bytes().to_vec()
    }

    pub(super) fn span_bytes(self) -> Vec<u8> {
        self.span.to_be_bytes().to_vec()
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.traceparent())
    }
}

/// A trace's id: 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

/// The number that lower-case hexadecimal digits mean, and no others: those have two texts for one
/// id.
fn hex<N: TryFrom<u128>>(digits: &[u8]) -> Option<N> {
    let mut number = 0_u128;
    for digit in digits {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        number = number.checked_mul(16)?.checked_add(u128::from(value))?;
    }
    N::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_comes_back_from_its_header() {
        let context = TraceContext::parse(TEXT).expect("the standard's own example");
        assert_eq!(context.traceparent(), TEXT);
        let other = context.another();
        assert_eq!(other.trace_id(), context.trace_id());
        assert_ne!(other, context);
        assert_eq!(TraceContext::parse(&other.traceparent()), Some(other));
        let begun = TraceContext::begin();
        assert_eq!(TraceContext::parse(&begun.traceparent()), Some(begun));
    }

    #[test]
    fn a_broken_or_unsampled_header_is_no_context() {
        let zero_trace = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let zero_span = "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01";
        let mut broken = vec![
            String::new(),
            "00-1".to_owned(),
            zero_trace.to_owned(),
            zero_span.to_owned(),
            TEXT.to_uppercase(),
            format!("{TEXT}-"),
            format!("{TEXT} "),
            TEXT.replacen("00-", "ff-", 1),
            TEXT.replacen("00-", "+0-", 1),
            TEXT.replace("-01", "-00"),
            TEXT.replace("4bf9", "ébf"),
            "é".repeat(28),
        ];
        broken.extend((0..TEXT.len()).map(|end| TEXT[..end].to_owned()));
        broken.extend((0..TEXT.len()).map(|at| {
            let mut bytes = TEXT.as_bytes().to_vec();
            bytes[at] = b'x';
            String::from_utf8(bytes).expect("ascii")
        }));
        for text in broken {
            assert_eq!(TraceContext::parse(&text), None, "{text}");
        }
    }

    #[test]
    fn a_later_version_may_say_more() {
        let later = TEXT.replacen("00-", "01-", 1);
        let context = TraceContext::parse(TEXT);
        assert_eq!(TraceContext::parse(&later), context);
        assert_eq!(TraceContext::parse(&format!("{later}-more")), context);
        assert_eq!(TraceContext::parse(&format!("{later}more")), None);
    }
}
