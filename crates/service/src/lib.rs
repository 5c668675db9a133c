//! How every program starts, logs, reports, drains and stops.
//!
//! # Layout
//!
//! - [`Program`]: one program from its flags to its end: [`ProgramConfig`] has the flags that all
//!   of them share;
//! - [`Service`]: what a program's `run` receives: its [`Readiness`] and its [`Shutdown`];
//! - [`AddressBudget`], [`client_ip`]: how often a client may do something, and who the client is
//!   behind a proxy; [`is_forwarded`], [`is_loopback_name`]: whether a caller is a program of this
//!   host;
//! - [`streams`]: the bus's streams, from the table of channels, and [`JournalConfig`], the one that
//!   history reads;
//! - [`serve_admin`]: `/metrics`, `/healthz` and `/readyz` on the admin address;
//! - `telemetry`: log lines on standard error, the process-wide metrics recorder, the times of
//!   stages, and traces ([`tracer`]).
//!
//! ```no_run
//! # async fn run(_: service::Service) -> Result<(), Box<dyn std::error::Error>> { Ok(()) }
//! # async fn main_() -> Result<(), Box<dyn std::error::Error>> {
//! # let config = service::ProgramConfig::default();
//! let mut program = service::Program::start(&config);
//! program.serve_admin(None).await?;
//! // Returns when drained, or an error once the drain deadline has passed.
//! let work = run(program.service());
//! program.run(work).await?;
//! # Ok(()) }
//! ```

mod address_limit;
mod admin;
mod forwarded;
mod http;
mod journal;
mod local_caller;
mod program;
mod readiness;
mod shutdown;
mod streams;
mod telemetry;
mod token_bucket;
mod wall_clock;

use std::time::Duration;

pub use address_limit::{AddressBudget, AddressGroups, Allowance};
pub use admin::{AdminConfig, AdminServer, admin_router, serve_admin};
pub use forwarded::{Network, ParseNetworkError, client_ip};
pub use http::{HttpBounds, is_late_body, serve_http};
pub use journal::JournalConfig;
pub use local_caller::{is_forwarded, is_loopback_name};
pub use program::{DrainConfig, ListenError, Program, ProgramConfig, listen};
pub use readiness::{Condition, Readiness, UnmetCondition};
pub use shutdown::{DrainDeadlinePassed, Shutdown};
pub use streams::streams;
pub use telemetry::log_config::{LogConfig, LogFormat};
pub use telemetry::logs::{LogGuard, init_logging};
pub use telemetry::metric_help::{MetricHelp, NameAndHelp, describe_metrics};
pub use telemetry::metrics::{MetricsHandle, install_metrics};
pub use telemetry::otlp::config::{Endpoint, ParseEndpointError, TraceConfig};
pub use telemetry::otlp::context::{TRACEPARENT, TraceContext, TraceId};
pub use telemetry::otlp::export::TraceExport;
pub use telemetry::otlp::sampler::Sampler;
pub use telemetry::otlp::span::{LINKS_MAX, Span};
pub use telemetry::otlp::tracer::{Tracer, tracer};
pub use telemetry::tap::{LogLine, LogTap};
pub use token_bucket::TokenBucket;
pub use wall_clock::wall_clock_ms;

/// The surroundings of a program's `run`: it reports here that it can serve, and learns here that
/// it must stop. Clones share the same state.
#[derive(Clone, Debug)]
pub struct Service {
    /// The conditions under which the program can serve. Not ready as soon as draining starts.
    pub readiness: Readiness,
    /// Says when to drain.
    pub shutdown: Shutdown,
}

impl Service {
    /// A service with `drain_deadline` to finish after its shutdown starts.
    pub fn new(drain_deadline: Duration) -> Service {
        let shutdown = Shutdown::new(drain_deadline);
        Service {
            readiness: Readiness::new(shutdown.clone()),
            shutdown,
        }
    }

    /// A service for tests: 5 s to drain, no signal handling.
    pub fn for_test() -> Service {
        Service::new(Duration::from_secs(5))
    }
}
