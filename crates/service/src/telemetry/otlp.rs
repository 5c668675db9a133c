//! Traces: what became of single bars on their way from the venue to the clients, told to a
//! collector in the OpenTelemetry protocol (OTLP).
//!
//! A span is made when its work is over, from times that were taken on the way. A bar that is not
//! traced therefore has no span, and needs none.

pub(crate) mod config;
pub(crate) mod context;
pub(crate) mod export;
pub(crate) mod sampler;
pub(crate) mod span;
pub(crate) mod tracer;
