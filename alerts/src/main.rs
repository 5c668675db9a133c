//! `alerts`: rules over bars as a program.

use std::net::SocketAddr;

use anyhow::Context;
use clap::Parser;
use service::{Program, ProgramConfig};

/// Watches the closed bars of the bus by rules, and tells clients, the bus and webhooks when a rule fires.
#[derive(Parser)]
#[command(name = "alerts", version)]
#[command(mut_arg("admin_listen", |arg| arg.default_value("127.0.0.1:9150").env("KLINECAST_ALERTS_ADMIN_LISTEN")))]
#[command(mut_arg("drain_deadline_ms", |arg| arg.env("KLINECAST_ALERTS_DRAIN_DEADLINE_MS")))]
struct Flags {
    /// Address of the HTTP API
    #[arg(
        long,
        env = "KLINECAST_ALERTS_LISTEN",
        default_value = "127.0.0.1:8092"
    )]
    listen: SocketAddr,

    #[command(flatten)]
    config: alerts::Config,

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
    let run = alerts::run(flags.config, bus.clone(), listener, program.service());
    let work = async {
        run.await?;
        bus.drain().await.context("failed to drain the bus")
    };
    program.run(work).await
}
