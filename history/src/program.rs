//! The program: its parts run until it is told to stop or one of them ends.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use service::{HttpBounds, Service, serve_http};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing::info;

use crate::config::Config;
use crate::consume::Reader;
use crate::error::{Error, PartEnd};
use crate::fill::{Background, Patience};
use crate::history::History;
use crate::store::{StoreAddress, StoreError};
use crate::{outages, retention, snapshots};

/// How often the bus is asked whether it is connected.
const BUS_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Runs history until the shutdown. Without a `listener` it serves no HTTP: then somebody else
/// serves [`crate::api::router`].
///
/// Readiness has the conditions `bus` (connected), `store` (rows can be stored) and `cache`, which is
/// always met: its note says why the cache is away.
///
/// # Errors
/// If the bus or the listener cannot be used, or a part of the program ends too early.
pub async fn run(
    history: History,
    config: Config,
    listener: Option<TcpListener>,
    service: Service,
) -> Result<(), Error> {
    crate::metric_help::describe();
    let connected = service.readiness.condition("bus");
    connected.unmet("the bus is not connected");
    let mut parts: JoinSet<PartEnd> = JoinSet::new();
    for (stream, content) in config.streams()? {
        let (history, service) = (history.clone(), service.clone());
        let reader = Reader::new(history, stream, content, config.pace(), service);
        parts.spawn(reader.run());
    }
    // With 0, history does not ask: holes are only counted.
    if config.fill_bars > 0
        && let Some(holes) = history.filler.holes()
    {
        let background = Background {
            history: history.clone(),
            bars: config.fill_bars,
            patience: Patience::default(),
        };
        parts.spawn(background.run(holes, service.shutdown.clone()));
    }
    if let Some(auth) = history.auth.clone() {
        let shutdown = service.shutdown.clone();
        parts.spawn(async move {
            tokio::select! {
                () = auth.watch_keys() => {}
                () = shutdown.triggered() => {}
            }
            Ok(())
        });
    }
    let keep = config.history_keep_days.clone();
    parts.spawn(retention::run(
        history.clone(),
        keep,
        service.shutdown.clone(),
    ));
    parts.spawn(retention::measure(
        history.clone(),
        service.shutdown.clone(),
    ));
    let cache = history.cache.clone();
    if cache.is_on() {
        let condition = service.readiness.condition("cache");
        let shutdown = service.shutdown.clone();
        let writes = cache.clone().run(condition, shutdown);
        parts.spawn(async move {
            writes.await;
            Ok(())
        });
    }
    if cache.wants_books() {
        let (bus, shutdown) = (Arc::clone(&history.bus), service.shutdown.clone());
        let books = crate::books::feed(cache, bus, shutdown);
        parts.spawn(async move {
            books.await;
            Ok(())
        });
    }
    if config.books.store_books_ms > 0 {
        if !matches!(config.address(), StoreAddress::ClickHouse(_)) {
            return Err(StoreError::NoBooks.into());
        }
        let (history, shutdown) = (history.clone(), service.shutdown.clone());
        parts.spawn(snapshots::run(history, config.books, shutdown));
    }
    let latest = history.latest.clone();
    let (bus, shutdown) = (Arc::clone(&history.bus), service.shutdown.clone());
    parts.spawn(async move { Ok(latest.follow(bus, shutdown).await?) });
    parts.spawn(outages::follow(history.clone(), service.shutdown.clone()));
    parts.spawn(watch(history.clone(), connected, service.clone()));
    let answers = crate::api::bus::serve(history.clone(), service.shutdown.clone());
    parts.spawn(async move { Ok(answers.await?) });
    if let Some(listener) = listener {
        info!(address = %listener.local_addr()?, "history listens");
        let bounds = HttpBounds {
            connections_max: config.history_connections_max,
            idle: Duration::from_millis(config.history_idle_ms),
        };
        let router = crate::api::router(history);
        let stop = service.shutdown.token();
        parts.spawn(async move {
            serve_http("history", listener, router, bounds, stop).await;
            Ok(())
        });
    }
    while let Some(ended) = parts.join_next().await {
        ended.map_err(|error| Error::panicked(&error))??;
        if !service.shutdown.is_triggered() {
            let why = "it returned before the shutdown".to_owned();
            return Err(Error::Part { why });
        }
    }
    info!("history is drained");
    Ok(())
}

/// Updates the readiness and the gauges that no other part updates.
fn watch(
    history: History,
    connected: service::Condition,
    service: Service,
) -> impl Future<Output = Result<(), Error>> {
    let series = metrics::gauge!("history_series");
    async move {
        loop {
            if history.bus.is_connected() {
                connected.met();
            } else {
                connected.unmet("the bus is not connected");
            }
            series.set(history.index.len() as f64);
            tokio::select! {
                () = tokio::time::sleep(BUS_CHECK_INTERVAL) => {}
                () = service.shutdown.triggered() => return Ok(()),
            }
        }
    }
}
