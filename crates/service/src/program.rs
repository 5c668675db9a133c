//! A program from its flags to its end: the same start and the same drain for all of them.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use clap::Args;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::admin::{AdminConfig, AdminServer, admin_router, serve_admin};
use crate::telemetry::log_config::LogConfig;
use crate::telemetry::logs::{LogGuard, init_logging, init_tapped_logging};
use crate::telemetry::metrics::{MetricsHandle, install_metrics};
use crate::telemetry::otlp::config::TraceConfig;
use crate::telemetry::otlp::export::TraceExport;
use crate::telemetry::tap::LogTap;
use crate::{DrainDeadlinePassed, Service};

/// The flags that every program has.
///
/// A program sets its own defaults and names in the environment with `mut_arg`:
/// `#[command(mut_arg("admin_listen", |arg| arg.default_value("127.0.0.1:9110").env("...")))]`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramConfig {
    /// How long it may take to end.
    #[command(flatten)]
    pub drain: DrainConfig,
    /// What it logs.
    #[command(flatten)]
    pub log: LogConfig,
    /// Where it tells what became of single bars.
    #[command(flatten)]
    pub trace: TraceConfig,
    /// Where operators look.
    #[command(flatten)]
    pub admin: AdminConfig,
}

/// How long a program may take to end.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct DrainConfig {
    /// Drain deadline: longest time from SIGTERM or Ctrl-C to the end of the program, ms; work that
    /// is not finished then is dropped, and the program ends with an error
    #[arg(long, env = "KLINECAST_DRAIN_DEADLINE_MS", default_value_t = DrainConfig::default().drain_deadline_ms, value_name = "MS")]
    pub drain_deadline_ms: u64,

    /// The old name of `--drain-deadline-ms`, in seconds
    #[arg(long, hide = true, conflicts_with = "drain_deadline_ms")]
    pub drain_seconds: Option<u64>,
}

impl Default for DrainConfig {
    fn default() -> DrainConfig {
        DrainConfig {
            drain_deadline_ms: 10_000,
            drain_seconds: None,
        }
    }
}

impl DrainConfig {
    /// The longest time from the shutdown to the end.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        match self.drain_seconds {
            Some(seconds) => Duration::from_secs(seconds),
            None => Duration::from_millis(self.drain_deadline_ms),
        }
    }
}

/// A program that runs: it logs, counts and listens to signals.
///
/// Dropping it, as an error on the way to [`Program::run`] does, writes the log lines that wait.
#[derive(Debug)]
pub struct Program {
    service: Service,
    metrics: MetricsHandle,
    admin_config: AdminConfig,
    admin: Option<AdminServer>,
    signals: JoinHandle<()>,
    traces: Option<TraceExport>,
    log: LogGuard,
}

impl Program {
    /// Starts the log, the metrics, the traces and the handling of signals; call it first.
    ///
    /// # Panics
    /// Outside a tokio runtime, or if the operating system gives no thread.
    #[must_use]
    pub fn start(config: &ProgramConfig) -> Program {
        Program::with_log(config, init_logging(&config.log))
    }

    /// As [`Program::start`], for a program that passes its log lines on: at most `lines_max` of
    /// them wait for it.
    ///
    /// # Panics
    /// As there.
    #[must_use]
    pub fn start_tapped(config: &ProgramConfig, lines_max: usize) -> (Program, LogTap) {
        let (log, tap) = init_tapped_logging(&config.log, lines_max);
        (Program::with_log(config, log), tap)
    }

    fn with_log(config: &ProgramConfig, log: LogGuard) -> Program {
        let metrics = install_metrics();
        let service = Service::new(config.drain.deadline());
        let last_lines = log.clone();
        let signals = service.shutdown.on_signals(move || last_lines.flush());
        Program {
            service,
            metrics,
            admin_config: config.admin.clone(),
            admin: None,
            signals,
            traces: TraceExport::start(&config.trace),
            log,
        }
    }

    /// What the parts of the program need from it.
    #[must_use]
    pub fn service(&self) -> Service {
        self.service.clone()
    }

    /// Serves the admin pages, and the program's own `routes` beside them, until it has drained.
    ///
    /// # Errors
    /// If the address of `--admin-listen` cannot be used.
    pub async fn serve_admin(&mut self, routes: Option<Router>) -> Result<(), ListenError> {
        let listener = listen(self.admin_config.admin_listen, "--admin-listen").await?;
        let router = admin_router(self.metrics.clone(), self.service.readiness.clone());
        self.admin = Some(serve_admin(
            listener,
            router.merge(routes.unwrap_or_default()),
            &self.admin_config,
            self.service.shutdown.clone(),
        ));
        Ok(())
    }

    /// Runs `work` to its end, which the shutdown asks it for; once the drain has started, for no
    /// longer than the deadline. Then the admin pages end, the traces and the log.
    ///
    /// # Errors
    /// Those of `work`, and [`DrainDeadlinePassed`] if it was dropped unfinished.
    pub async fn run<T, E>(self, work: impl Future<Output = Result<T, E>>) -> Result<T, E>
    where
        E: From<DrainDeadlinePassed>,
    {
        let outcome = self.service.shutdown.drained(work).await;
        if let Some(admin) = self.admin {
            admin.join().await;
        }
        if let Some(traces) = self.traces {
            traces.end().await;
        }
        self.signals.abort();
        self.log.flush();
        outcome?
    }
}

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "failed to listen on {address}: choose another address with {flag}, port 0 for any free one"
)]
pub struct ListenError {
    address: SocketAddr,
    flag: &'static str,
    #[source]
    error: io::Error,
}

/// Listens on an address that a flag gives.
///
/// # Errors
/// If the address is in use or is none of this host's; the text names the flag.
pub async fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| ListenError {
            address,
            flag,
            error,
        })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    #[command(mut_arg("drain_deadline_ms", |arg| arg.default_value("20000")))]
    struct Flags {
        #[command(flatten)]
        program: ProgramConfig,
    }

    fn deadline(arguments: &[&str]) -> Result<Duration, String> {
        let arguments = std::iter::once("program").chain(arguments.iter().copied());
        Flags::try_parse_from(arguments)
            .map(|flags| flags.program.drain.deadline())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_drain_deadline_has_one_flag_and_its_old_name_still_counts_seconds() {
        assert_eq!(deadline(&[]), Ok(Duration::from_secs(20)));
        assert_eq!(
            deadline(&["--drain-deadline-ms", "1500"]),
            Ok(Duration::from_millis(1_500))
        );
        assert_eq!(
            deadline(&["--drain-seconds", "3"]),
            Ok(Duration::from_secs(3))
        );
        let both = deadline(&["--drain-seconds", "3", "--drain-deadline-ms", "1500"]);
        assert!(both.is_err_and(|error| error.contains("cannot be used with")));
    }

    #[tokio::test]
    async fn an_address_in_use_is_told_with_the_flag_that_changes_it() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let taken = listen(any, "--listen").await.expect("a port is free");
        let address = taken.local_addr().expect("it is bound");
        let error = listen(address, "--admin-listen")
            .await
            .expect_err("it is in use");
        let text = error.to_string();
        assert!(
            text.contains(&address.to_string()) && text.contains("--admin-listen"),
            "{text}"
        );
    }
}
