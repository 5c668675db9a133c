//! A publication that is traced, on its way to the clients.

use market_core::clock::UnixMicros;
use service::TraceContext;

/// A publication that is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traced {
    /// The span of ingest.
    pub context: TraceContext,
    /// When ingest took it, unix µs.
    pub taken_us: UnixMicros,
}
