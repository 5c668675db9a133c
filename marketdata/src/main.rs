//! The marketdata program: see the library.

use std::io::{BufWriter, Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use marketdata::reconcile::command::{self, ReconcileConfig, ReportFormat};
use marketdata::replay::{self, ReplayConfig};
use tokio::net::TcpListener;

/// How long a drain may take.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// Tasks that a thread polls before it looks at timers and sockets again. By default it is 61, and
/// sockets that have much to read take half a millisecond each: ticks came 30 ms late.
const POLLS_BETWEEN_EVENTS: u32 = 4;
/// Exit code of a reconciliation that could not be made.
const NOT_COMPARED: u8 = 2;

/// Reads the trade feeds of exchanges and publishes bars on the bus.
#[derive(Parser)]
#[command(name = "marketdata", version, args_conflicts_with_subcommands = true)]
#[command(mut_arg("admin_listen", |arg| arg
    .default_value("127.0.0.1:9110")
    .env("KLINECAST_MARKETDATA_ADMIN_LISTEN")))]
struct Program {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    config: marketdata::Config,
    #[command(flatten)]
    bus: bus::BusConfig,
    #[command(flatten)]
    log: service::LogConfig,
    #[command(flatten)]
    admin: service::AdminConfig,
}

#[derive(Subcommand)]
enum Command {
    /// Replay captured frames and print the bars that they make
    Replay(ReplayConfig),
    /// Replay captured frames and compare the bars with the venue's own
    ///
    /// Ends with 0 if the bars are equal or tell by themselves why not, with 1 if not, and with 2 if nothing could be compared.
    Reconcile(ReconcileConfig),
}

fn main() -> ExitCode {
    let program = Program::parse();
    let ended = match &program.command {
        Some(Command::Replay(config)) => print_replay(config),
        Some(Command::Reconcile(config)) => {
            return match print_reconciliation(config) {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => ExitCode::FAILURE,
                Err(error) => {
                    eprintln!("error: {error:#}");
                    ExitCode::from(NOT_COMPARED)
                }
            };
        }
        None => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .event_interval(POLLS_BETWEEN_EVENTS)
            .build()
            .context("failed to start the runtime")
            .and_then(|runtime| runtime.block_on(serve(program))),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print_replay(config: &ReplayConfig) -> anyhow::Result<()> {
    let mut out = BufWriter::new(stdout().lock());
    match replay::run(config, &mut out) {
        Ok(summary) => eprintln!("{summary}"),
        Err(error) if error.is_reader_gone() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// True if there is no difference but those that the bars tell by themselves.
fn print_reconciliation(config: &ReconcileConfig) -> anyhow::Result<bool> {
    let report = command::run(config)?;
    let mut out = BufWriter::new(stdout().lock());
    let written = match config.format {
        ReportFormat::Text => report.write_text(&mut out),
        ReportFormat::Json => report.write_json(&mut out),
    };
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("failed to write the report")
        }
        _ => Ok(report.is_explained),
    }
}

async fn serve(program: Program) -> anyhow::Result<()> {
    service::init_logging(&program.log);
    let metrics = service::install_metrics();
    // Before anything is connected: a wrong flag is told at once.
    program.config.plan()?;
    let service = service::Service::new(DRAIN_DEADLINE);
    let signals = service.shutdown.on_signals();
    let bus = bus::connect(&program.bus, &service::streams()).await?;
    let listener = TcpListener::bind(program.admin.admin_listen)
        .await
        .with_context(|| format!("failed to listen on {}", program.admin.admin_listen))?;
    let router = service::admin_router(metrics, service.readiness.clone());
    let admin = service::serve_admin(listener, router, &program.admin, service.shutdown.clone());
    let run = marketdata::run(program.config, std::sync::Arc::clone(&bus), service.clone());
    service.shutdown.drained(run).await??;
    bus.drain().await.context("failed to drain the bus")?;
    admin.join().await;
    signals.abort();
    Ok(())
}
