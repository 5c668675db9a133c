//! `history`: the past as a program.

use std::net::SocketAddr;

use anyhow::Context;
use clap::Parser;
use history::History;
use service::{Program, ProgramConfig};

/// Stores the closed bars of the bus, and answers questions about the past.
#[derive(Parser)]
#[command(name = "history", version)]
#[command(mut_arg("admin_listen", |arg| arg.default_value("127.0.0.1:9130").env("KLINECAST_HISTORY_ADMIN_LISTEN")))]
#[command(mut_arg("drain_deadline_ms", |arg| arg.env("KLINECAST_HISTORY_DRAIN_DEADLINE_MS")))]
struct Flags {
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
    bus: bus::BusConfig,

    #[command(flatten)]
    program: ProgramConfig,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut flags = Flags::parse();
    flags.config.journal = flags.journal.on(&flags.bus);
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
