//! The marketdata program: see the library.

use std::io::{BufWriter, Write, stdout};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Parser, Subcommand};
use marketdata::reconcile::command::{self, ReconcileConfig, ReportFormat};
use marketdata::replay::{self, ReplayConfig};
use service::{Program, ProgramConfig};

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
#[command(mut_arg("drain_deadline_ms", |arg| arg.env("KLINECAST_MARKETDATA_DRAIN_DEADLINE_MS")))]
struct Flags {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    config: marketdata::Config,
    #[command(flatten)]
    bus: bus::BusConfig,
    #[command(flatten)]
    program: ProgramConfig,
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
    let flags = Flags::parse();
    let ended = match &flags.command {
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
            .and_then(|runtime| runtime.block_on(serve(flags))),
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

/// True if the bars explain every difference by their quality.
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

async fn serve(mut flags: Flags) -> anyhow::Result<()> {
    flags.config.journal = flags.config.journal.on(&flags.bus);
    let mut program = Program::start(&flags.program);
    // Before anything is connected: a wrong flag is told at once.
    flags.config.plan()?;
    let bus = bus::connect(&flags.bus, &service::streams()).await?;
    let control = marketdata::Control::default();
    program.serve_admin(Some(control.routes())).await?;
    let run =
        marketdata::run_controlled(flags.config, Arc::clone(&bus), program.service(), control);
    let work = async {
        run.await?;
        bus.drain().await.context("failed to drain the bus")
    };
    program.run(work).await
}
