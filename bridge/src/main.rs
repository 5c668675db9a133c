//! `bridge`: between the bus and Kafka, as a program.

use anyhow::Context;
use clap::Parser;
use service::{Program, ProgramConfig};

/// Carries messages between the bus and Kafka, in both directions.
#[derive(Parser)]
#[command(name = "bridge", version)]
#[command(mut_arg("admin_listen", |arg| arg.default_value("127.0.0.1:9160").env("KLINECAST_BRIDGE_ADMIN_LISTEN")))]
#[command(mut_arg("drain_deadline_ms", |arg| arg.env("KLINECAST_BRIDGE_DRAIN_DEADLINE_MS")))]
struct Flags {
    #[command(flatten)]
    config: bridge::Config,

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
    let kafka = bridge::cluster::connect(&flags.config.kafka)?;
    let bus = bus::connect(&flags.bus, &service::streams())
        .await
        .context("failed to connect to the bus")?;
    let run = bridge::run(flags.config, bus.clone(), kafka, program.service());
    let work = async {
        run.await?;
        bus.drain().await.context("failed to drain the bus")
    };
    program.run(work).await
}
