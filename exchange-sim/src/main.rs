//! `exchange-sim`: the simulated venues as a program.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;

/// Simulates Binance, Coinbase Exchange and OKX on one port, with their WebSocket and REST protocols, a
/// seeded market or a capture, and scripted faults.
#[derive(Parser)]
#[command(name = "exchange-sim", version)]
#[command(mut_arg("admin_listen", |arg| arg.default_value("127.0.0.1:9120").env("KLINECAST_SIM_ADMIN_LISTEN")))]
struct Flags {
    /// Address of all simulated exchanges
    #[arg(long, env = "KLINECAST_SIM_LISTEN", default_value = "127.0.0.1:9443")]
    listen: SocketAddr,

    /// Seconds to finish after SIGTERM
    #[arg(long, env = "KLINECAST_SIM_DRAIN_SECONDS", default_value_t = 5)]
    drain_seconds: u64,

    #[command(flatten)]
    config: exchange_sim::Config,

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
    let router = service::admin_router(metrics, service.readiness.clone());
    let admin = service::serve_admin(
        admin_listener,
        router,
        &flags.admin,
        service.shutdown.clone(),
    );
    service
        .shutdown
        .drained(exchange_sim::run(flags.config, listener, service.clone()))
        .await??;
    admin.join().await;
    signals.abort();
    Ok(())
}
