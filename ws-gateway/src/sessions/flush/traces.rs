//! What is told of a flush that has sent traced bars.

use std::time::Duration;

use service::{Span, TraceContext, tracer};

use crate::topics::host_clock::wall_us;
use crate::topics::traced::Traced;

/// A flush of a shard has just ended. One flush serves many bars, so it is a trace of its own with a
/// link to each of them; and each bar's trace has the time until it was sent, with a link to it.
pub(super) fn tell(bars: &[Traced], shard: usize, took: Duration, frames: u64) {
    let Some(tracer) = tracer() else {
        return;
    };
    let ended_us = wall_us();
    let took_us = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
    let flush = TraceContext::begin();
    let contexts: Vec<TraceContext> = bars.iter().map(|bar| bar.context).collect();
    let span = Span::new("flush", flush, ended_us.saturating_sub(took_us), ended_us)
        .linked(&contexts)
        .with_number("shard", i64::try_from(shard).unwrap_or(i64::MAX))
        .with_number("frames", i64::try_from(frames).unwrap_or(i64::MAX));
    tracer.record(span);
    for bar in bars {
        let span = Span::new("deliver", bar.context.another(), bar.taken_us, ended_us);
        tracer.record(span.child_of(bar.context).linked(&[flush]));
    }
}
