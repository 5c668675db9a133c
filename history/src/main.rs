//! `history`: the past as a program.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use history::{History, copy, export, import, replay, verify};
use service::{Program, ProgramConfig};

/// Stores the closed bars of the bus, and answers questions about the past.
#[derive(Parser)]
#[command(name = "history", version, args_conflicts_with_subcommands = true)]
#[command(mut_arg("admin_listen", |arg| arg.default_value("127.0.0.1:9130").env("KLINECAST_HISTORY_ADMIN_LISTEN")))]
#[command(mut_arg("drain_deadline_ms", |arg| arg.env("KLINECAST_HISTORY_DRAIN_DEADLINE_MS")))]
struct Flags {
    #[command(subcommand)]
    command: Option<Command>,

    /// Address of the HTTP API
    #[arg(
        long,
        env = "KLINECAST_HISTORY_LISTEN",
        default_value = "127.0.0.1:8090"
    )]
    listen: SocketAddr,

    #[command(flatten)]
    config: history::Config,

    #[command(flatten)]
    journal: service::JournalConfig,

    #[command(flatten)]
    tokens: auth::TokenConfig,

    #[command(flatten)]
    bus: bus::BusConfig,

    #[command(flatten)]
    program: ProgramConfig,
}

/// What it does instead of serving.
#[derive(Subcommand)]
enum Command {
    Copy(copy::CopyArgs),
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    Replay(Box<ReplayFlags>),
    Verify(verify::VerifyArgs),
}

/// Publishes the stored bars, or trades, of a time onto the bus again, at any speed.
#[derive(Args)]
#[command(mut_arg("admin_listen", |arg| arg.default_value("127.0.0.1:0")))]
struct ReplayFlags {
    #[command(flatten)]
    args: replay::ReplayArgs,

    #[command(flatten)]
    bus: bus::BusConfig,

    #[command(flatten)]
    program: ProgramConfig,
}

/// Runs a command, which blocks. Findings about the rows are no failure of the command.
fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let is_sound = match command {
        Command::Copy(args) => {
            let summary = copy::run(args, |line| eprintln!("{line}"))?;
            println!("{summary}");
            summary.differences == 0
        }
        Command::Export(args) => match export::run(args) {
            Ok(rows) => {
                eprintln!("{rows} rows");
                true
            }
            Err(error) if error.is_reader_gone() => true,
            Err(error) => return Err(error.into()),
        },
        Command::Import(args) => {
            let summary = import::run(args, |line| eprintln!("{line}"))?;
            println!("{summary}");
            summary.bad_lines == 0
        }
        Command::Replay(flags) => {
            let summary = replay(flags)?;
            println!("{summary}");
            true
        }
        Command::Verify(args) => verify::run(args, &mut std::io::stdout().lock())?,
    };
    Ok(ExitCode::from(u8::from(!is_sound)))
}

fn main() -> anyhow::Result<ExitCode> {
    let flags = Flags::parse();
    match &flags.command {
        Some(command) => run(command),
        None => serve(flags).map(|()| ExitCode::SUCCESS),
    }
}

#[tokio::main]
async fn replay(flags: &ReplayFlags) -> anyhow::Result<replay::ReplaySummary> {
    let program = Program::start(&flags.program);
    let store = flags.args.open()?;
    let mut config = flags.bus.clone();
    config.bus_prefix = flags.args.bus_prefix(&config.bus_prefix);
    let bus = bus::connect(&config, &service::streams())
        .await
        .context("failed to connect to the bus")?;
    let shutdown = program.service().shutdown;
    let work = async {
        let summary = replay::run(&flags.args, store, bus.clone(), &shutdown).await?;
        bus.drain().await.context("failed to drain the bus")?;
        Ok(summary)
    };
    program.run(work).await
}

#[tokio::main]
async fn serve(mut flags: Flags) -> anyhow::Result<()> {
    flags.config.journal = flags.journal.on(&flags.bus);
    flags.config.tokens = flags.tokens.clone();
    let mut program = Program::start(&flags.program);
    program.serve_admin(None).await?;
    let listener = service::listen(flags.listen, "--listen").await?;
    let bus = bus::connect(&flags.bus, &service::streams())
        .await
        .context("failed to connect to the bus")?;
    let history = History::open(&flags.config, bus.clone()).await?;
    let run = history::run(history, flags.config, Some(listener), program.service());
    let work = async {
        run.await?;
        bus.drain().await.context("failed to drain the bus")
    };
    program.run(work).await
}
