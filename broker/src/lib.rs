//! Starts, supervises and configures nats-server, and administers its streams over HTTP.
//!
//! # Layout
//!
//! - [`config`]: flags and a YAML file, checked before anything starts; `nats_config` makes
//!   nats-server's configuration of it;
//! - [`nats_process`]: the supervisor of nats-server, on a `data_directory` of its own;
//! - `jetstream`: the connection to the server; `monitor`: its monitoring pages; `snapshot`: what
//!   both say, at most every so often;
//! - `streams`: the wanted streams beside the running ones ([`stream_settings`]), `copies`: streams
//!   beside Klinecast's own;
//! - `http`: the API and its page; `tokens`: who may use it;
//! - `events`: what the broker says on the bus; `log_lines`: its log there.

mod clock;
pub mod config;
mod copies;
mod data_directory;
mod default_streams;
mod events;
mod health;
mod http;
mod jetstream;
mod keeper;
mod log_lines;
mod metric_help;
mod monitor;
mod nats_config;
pub mod nats_process;
mod snapshot;
pub mod stream_settings;
mod streams;
mod subjects;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use service::{HttpBounds, LogTap, Service, serve_http};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{info, warn};

pub use config::{BrokerArgs, Config};

use config::file::{BROKER_USER, Secret};
use data_directory::DataDirectory;
use events::Events;
use http::state::Api;
use jetstream::JetStream;
use keeper::Keeper;
use log_lines::LogLines;
use monitor::Monitor;
use nats_process::{Supervised, Supervisor};
use snapshot::Snapshots;
use streams::Streams;
use tokens::Tokens;

/// The configuration that a nats-server would be started with, without the broker's password.
///
/// # Errors
/// If the data directory's path cannot be made absolute.
pub fn nats_configuration(config: &Config) -> anyhow::Result<String> {
    let directory = std::path::absolute(&config.nats.data_dir).context("nats.data_dir")?;
    let password = Secret("(made at the first start)".to_owned());
    Ok(nats_config::render(config, &directory, &password))
}

/// Runs a broker until its service is shut down. It publishes what `log` has.
///
/// # Errors
/// If nats-server cannot be started, or cannot be connected to.
pub async fn run(
    config: Config,
    listener: TcpListener,
    service: Service,
    log: Option<LogTap>,
) -> anyhow::Result<()> {
    metric_help::describe();
    let ready = service.readiness.condition("nats");
    let tokens = match &config.api.tokens_file {
        None => None,
        Some(file) => Some(Tokens::read(file).map_err(anyhow::Error::msg)?),
    };
    let listens = listener
        .local_addr()
        .context("the listener has no address")?;
    if tokens.is_none() && !listens.ip().is_loopback() {
        warn!(address = %listens, "other hosts can read without a token and nobody can write: set --tokens-file");
    }
    let monitor = Monitor::new(config.monitor_url()).context("failed to make an http client")?;
    let config = Arc::new(config);
    let (supervisor, supervised, credentials) = match config.auto_start_nats {
        false => (None, None, config.nats.credentials()),
        true => {
            let (supervisor, supervised, password) =
                start_server(&config, monitor.clone(), &service).await?;
            let credentials = (BROKER_USER.to_owned(), password);
            (Some(supervisor), Some(supervised), Some(credentials))
        }
    };
    let shutdown = service.shutdown.clone();
    let supervision = supervisor.map(|mut supervisor| {
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            supervisor.run(&shutdown).await;
            supervisor
        })
    });
    let outcome = serve(
        config,
        listener,
        service,
        Parts {
            monitor,
            supervised,
            credentials,
            tokens,
            ready,
            log,
        },
    )
    .await;
    // Whatever ended it, the server is stopped in order.
    shutdown.trigger();
    if let Some(supervision) = supervision {
        supervision
            .await
            .context("the supervisor panicked")?
            .finish()
            .await;
    }
    outcome
}

async fn start_server(
    config: &Config,
    monitor: Monitor,
    service: &Service,
) -> anyhow::Result<(Supervisor, Supervised, Secret)> {
    let directory = DataDirectory::open(&config.nats.data_dir)?;
    let password = directory.own_password()?;
    let (supervisor, supervised) =
        Supervisor::start(config, directory, monitor, &service.shutdown).await?;
    Ok((supervisor, supervised, password))
}

/// What is there before anything is served.
struct Parts {
    monitor: Monitor,
    supervised: Option<Supervised>,
    credentials: Option<(String, Secret)>,
    tokens: Option<Tokens>,
    ready: service::Condition,
    log: Option<LogTap>,
}

async fn serve(
    config: Arc<Config>,
    listener: TcpListener,
    service: Service,
    parts: Parts,
) -> anyhow::Result<()> {
    let shutdown = service.shutdown;
    let listens = listener
        .local_addr()
        .context("the listener has no address")?;
    let jetstream = JetStream::connect(&config, parts.credentials.clone()).await?;
    let streams = Streams::new(&config, jetstream.clone());
    let snapshots = Arc::new(Snapshots::new(
        jetstream.clone(),
        parts.monitor,
        streams.clone(),
        config.nats.jetstream_enabled,
    ));
    let events = Events::new(&config, jetstream.clone());
    let (kept, kept_server) = watch::channel(String::new());
    let keeper = Keeper::new(
        config.clone(),
        jetstream.clone(),
        streams.clone(),
        parts.credentials,
    );
    let keeper = tokio::spawn(keeper.run(events.clone(), kept, parts.ready, shutdown.clone()));
    let log_lines = parts.log.map(|log| {
        let lines = LogLines::new(&config, log, jetstream.clone(), kept_server.clone());
        tokio::spawn(lines.run(shutdown.clone()))
    });
    let watching = tokio::spawn(events.clone().run(
        config.clone(),
        snapshots.clone(),
        parts.supervised.clone(),
        kept_server,
        shutdown.clone(),
    ));
    let bounds = HttpBounds {
        connections_max: config.api.connections_max,
        idle: Duration::from_millis(config.api.idle_ms),
    };
    let api = Api::new(
        config,
        jetstream.clone(),
        streams,
        snapshots,
        parts.supervised,
        parts.tokens,
        listens,
    );
    info!(address = %listens, "broker serves http");
    serve_http(
        "broker",
        listener,
        http::router(api),
        bounds,
        shutdown.token(),
    )
    .await;
    watching.await.context("the events panicked")?;
    keeper.await.context("the keeper of streams panicked")?;
    events.service("stopped", json!({})).await;
    if let Some(log_lines) = log_lines {
        let mut lines = log_lines.await.context("the log lines panicked")?;
        lines.publish_waiting().await;
    }
    jetstream.close().await;
    Ok(())
}
