//! What the layers of the log have in common: their type, and what they leave out.

use tracing_subscriber::{EnvFilter, Layer, Registry};

/// One of the layers of the log.
pub(super) type LogLayer = Box<dyn Layer<Registry> + Send + Sync + 'static>;

/// Libraries that log every connection event at info, which would hide our lines. A directive in
/// `--log-level` that names the library turns it on again.
pub(super) const QUIET_LIBRARIES: [&str; 4] = ["async_nats", "hyper", "hyper_util", "rustls"];

/// The filter of a log level.
pub(super) fn filter(level: &str) -> EnvFilter {
    let mut directives = level.to_owned();
    for library in QUIET_LIBRARIES {
        if !level.contains(library) {
            directives.push_str(&format!(",{library}=warn"));
        }
    }
    // A level that code put into the config may be anything: fall back instead of failing.
    EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info,async_nats=warn"))
}
