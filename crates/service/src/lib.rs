//! How every program starts, logs, reports, drains and stops.
//!
//! # Layout
//!
//! In the order in which a program's `main` uses them:
//!
//! - [`init_logging`]: human or JSON lines on standard error;
//! - [`install_metrics`]: the process-wide metrics recorder, and [`describe_metrics`] its help texts;
//! - [`Service`]: what a program's `run` receives: its [`Readiness`] and its [`Shutdown`];
//! - [`streams`]: the bus's streams, from the table of channels;
//! - [`serve_admin`]: `/metrics`, `/healthz` and `/readyz` on the admin address.
//!
//! ```no_run
//! # async fn run(_: service::Service) {}
//! # async fn main_() -> Result<(), Box<dyn std::error::Error>> {
//! # let (log_config, admin_config) = (service::LogConfig::default(), service::AdminConfig::default());
//! service::init_logging(&log_config);
//! let metrics = service::install_metrics();
//! let service = service::Service::new(std::time::Duration::from_secs(10));
//! let signals = service.shutdown.on_signals();
//! let admin_listener = tokio::net::TcpListener::bind(admin_config.admin_listen).await?;
//! let admin_router = service::admin_router(metrics, service.readiness.clone());
//! let admin = service::serve_admin(
//!     admin_listener,
//!     admin_router,
//!     &admin_config,
//!     service.shutdown.clone(),
//! );
//! // Returns when drained, or an error once the drain deadline has passed.
//! service.shutdown.drained(run(service.clone())).await?;
//! admin.join().await;
//! signals.abort();
//! # Ok(()) }
//! ```

mod admin;
mod logging;
mod metric_help;
mod metrics_handle;
mod process;
mod readiness;
mod shutdown;
mod streams;

use std::time::Duration;

pub use admin::{AdminConfig, AdminServer, admin_router, serve_admin};
pub use logging::{LogConfig, LogFormat, init_logging};
pub use metric_help::{MetricHelp, NameAndHelp, describe_metrics};
pub use metrics_handle::{MetricsHandle, install_metrics};
pub use readiness::{Condition, Readiness, UnmetCondition};
pub use shutdown::{DrainDeadlinePassed, Shutdown};
pub use streams::streams;

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
