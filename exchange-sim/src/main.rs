//! `exchange-sim`: the simulated venues as a program.

use std::net::SocketAddr;

use clap::Parser;
use service::{Program, ProgramConfig};

/// Simulates Binance, Coinbase Exchange and OKX on one port, with their WebSocket and REST protocols, a
/// seeded market or a capture, and scripted faults.
#[derive(Parser)]
#[command(name = "exchange-sim", version)]
#[command(mut_arg("admin_listen", |arg| arg.default_value("127.0.0.1:9120").env("KLINECAST_SIM_ADMIN_LISTEN")))]
#[command(mut_arg("drain_deadline_ms", |arg| arg.default_value("5000").env("KLINECAST_SIM_DRAIN_DEADLINE_MS")))]
#[command(mut_arg("drain_seconds", |arg| arg.env("KLINECAST_SIM_DRAIN_SECONDS")))]
struct Flags {
    /// Address of all simulated exchanges
    #[arg(long, env = "KLINECAST_SIM_LISTEN", default_value = "127.0.0.1:9443")]
    listen: SocketAddr,

    #[command(flatten)]
    config: exchange_sim::Config,

    #[command(flatten)]
    program: ProgramConfig,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let mut program = Program::start(&flags.program);
    program.serve_admin(None).await?;
    let listener = service::listen(flags.listen, "--listen").await?;
    let run = exchange_sim::run(flags.config, listener, program.service());
    program.run(async { Ok(run.await?) }).await
}
