//! `ws-gateway`: one gateway as a program.

use std::net::SocketAddr;

use anyhow::Context;
use clap::Parser;
use service::{Program, ProgramConfig};

/// Takes bars from the bus and sends the latest state of every topic to WebSocket clients.
#[derive(Parser)]
#[command(name = "ws-gateway", version)]
#[command(mut_arg("admin_listen", |arg| arg.default_value("127.0.0.1:9101").env("KLINECAST_GATEWAY_ADMIN_LISTEN")))]
#[command(mut_arg("drain_deadline_ms", |arg| arg.default_value("20000").env("KLINECAST_GATEWAY_DRAIN_DEADLINE_MS")))]
#[command(mut_arg("drain_seconds", |arg| arg.env("KLINECAST_GATEWAY_DRAIN_SECONDS")))]
struct Flags {
    /// Address for clients
    #[arg(
        long,
        env = "KLINECAST_GATEWAY_LISTEN",
        default_value = "127.0.0.1:8081"
    )]
    listen: SocketAddr,

    #[command(flatten)]
    config: ws_gateway::Config,

    #[command(flatten)]
    bus: bus::BusConfig,

    #[command(flatten)]
    program: ProgramConfig,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let mut program = Program::start(&flags.program);
    let control = ws_gateway::Control::default();
    program.serve_admin(Some(control.routes())).await?;
    let listener = service::listen(flags.listen, "--listen").await?;
    let bus = bus::connect(&flags.bus, &service::streams())
        .await
        .context("failed to connect to the bus")?;
    // A task of its own, so that it runs on the threads that serve the clients.
    let gateway = tokio::spawn(ws_gateway::run_controlled(
        flags.config,
        bus.clone(),
        listener,
        axum::Router::new(),
        program.service(),
        control,
    ));
    let work = async {
        gateway.await.context("the gateway panicked")??;
        bus.drain().await.context("failed to drain the bus")
    };
    program.run(work).await
}
