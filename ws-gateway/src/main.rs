//! `ws-gateway`: one gateway as a program.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;

/// Takes bars from the bus and sends the latest state of every topic to WebSocket clients.
#[derive(Parser)]
#[command(name = "ws-gateway", version)]
#[command(mut_arg("admin_listen", |arg| arg.default_value("127.0.0.1:9101").env("KLINECAST_GATEWAY_ADMIN_LISTEN")))]
struct Flags {
    /// Address for clients
    #[arg(
        long,
        env = "KLINECAST_GATEWAY_LISTEN",
        default_value = "127.0.0.1:8081"
    )]
    listen: SocketAddr,

    /// Seconds to drain after SIGTERM
    #[arg(long, env = "KLINECAST_GATEWAY_DRAIN_SECONDS", default_value_t = 20)]
    drain_seconds: u64,

    #[command(flatten)]
    config: ws_gateway::Config,

    #[command(flatten)]
    bus: bus::BusConfig,

    #[command(flatten)]
    log: service::LogConfig,

    #[command(flatten)]
    admin: service::AdminConfig,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    service::init_logging(&flags.log);
    let metrics = service::install_metrics();
    let service = service::Service::new(Duration::from_secs(flags.drain_seconds));
    let signals = service.shutdown.on_signals();
    let admin_listen = flags.admin.admin_listen;
    let admin_listener = tokio::net::TcpListener::bind(admin_listen)
        .await
        .with_context(|| format!("failed to listen on {admin_listen}"))?;
    let listener = tokio::net::TcpListener::bind(flags.listen)
        .await
        .with_context(|| format!("failed to listen on {}", flags.listen))?;
    let control = ws_gateway::Control::default();
    let router = service::admin_router(metrics, service.readiness.clone()).merge(control.routes());
    let admin = service::serve_admin(
        admin_listener,
        router,
        &flags.admin,
        service.shutdown.clone(),
    );
    let bus = bus::connect(&flags.bus, &service::streams())
        .await
        .context("failed to connect to the bus")?;
    let gateway = ws_gateway::run_controlled(
        flags.config,
        bus.clone(),
        listener,
        axum::Router::new(),
        service.clone(),
        control,
    );
    let run = tokio::spawn(gateway);
    // Until the shutdown, the gateway runs without limit; from then on it has its deadline.
    let outcome = service
        .shutdown
        .drained(run)
        .await
        .context("sessions did not end")?;
    outcome.context("the gateway panicked")??;
    bus.drain().await.context("failed to drain the bus")?;
    admin.join().await;
    signals.abort();
    Ok(())
}
