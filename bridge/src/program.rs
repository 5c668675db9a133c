//! The program: its parts run until it is told to stop or one of them ends.

use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use service::Service;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;

use crate::config::Config;
use crate::error::Error;
use crate::inbound::Inbound;
use crate::kafka::Kafka;
use crate::leader::Leader;
use crate::outlet::Outlet;
use crate::topic_map::TopicMap;

/// How often the bus is asked whether it is connected.
const BUS_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Runs the bridge until the shutdown.
///
/// Readiness has the conditions `bus` (connected), `out` for each topic to Kafka (the last write was
/// acknowledged, or another bridge writes), and `in` (the last records from Kafka are on the bus).
///
/// # Errors
/// If the configuration or the bus cannot be used, or a part of the program ends too early.
pub async fn run(
    config: Config,
    bus: Arc<dyn Bus>,
    kafka: Arc<dyn Kafka>,
    service: Service,
) -> Result<(), Error> {
    crate::metric_help::describe();
    let map = match &config.topics_file {
        Some(file) => TopicMap::read(file)?,
        None => TopicMap::default(),
    };
    if map.out.is_empty() && map.into_bus.is_empty() {
        let text = "--topics-file: it has no topic in either direction";
        return Err(Error::Config(text.to_owned()));
    }
    let shutdown = service.shutdown.clone();
    let connected = service.readiness.condition("bus");
    connected.unmet("the bus is not connected");
    let mut parts: JoinSet<Result<(), Error>> = JoinSet::new();
    put_streams(&config, &*bus, &service).await?;
    if !map.out.is_empty() {
        let (tell, term) = watch::channel(None);
        let leader = Leader {
            bus: Arc::clone(&bus),
            site: config.bridge_site.clone(),
            takeover: config.takeover(),
            term: tell,
            shutdown: shutdown.clone(),
        };
        parts.spawn(leader.run());
        let conditions = map.out.keys().map(|_| service.readiness.condition("out"));
        let outlet = Outlet {
            bus: Arc::clone(&bus),
            kafka: Arc::clone(&kafka),
            config: config.clone(),
            conditions: conditions.collect(),
            map: map.clone(),
            term,
            shutdown: shutdown.clone(),
        };
        parts.spawn(outlet.run());
    }
    if !map.into_bus.is_empty() {
        let inbound = Inbound {
            bus: Arc::clone(&bus),
            kafka,
            config,
            map,
            condition: service.readiness.condition("in"),
            shutdown: shutdown.clone(),
        };
        parts.spawn(inbound.run());
    }
    let watched = shutdown.clone();
    parts.spawn(async move {
        loop {
            match bus.is_connected() {
                true => connected.met(),
                false => connected.unmet("the bus is not connected"),
            }
            tokio::select! {
                () = tokio::time::sleep(BUS_CHECK_INTERVAL) => {}
                () = watched.triggered() => return Ok(()),
            }
        }
    });
    while let Some(ended) = parts.join_next().await {
        ended.map_err(|error| Error::Part(error.to_string()))??;
        if !shutdown.is_triggered() {
            return Err(Error::Part("it returned before the shutdown".to_owned()));
        }
    }
    info!("bridge is drained");
    Ok(())
}

/// The streams that are read to their end, or get bars and trades from Kafka, as their publishers and
/// history want them.
async fn put_streams(config: &Config, bus: &dyn Bus, service: &Service) -> Result<(), Error> {
    let mut backoff = crate::backoff::Backoff::new(config.retry_max());
    for stream in config.streams() {
        while let Err(error) = bus.streams().put_stream(stream.clone()).await {
            if !error.is_retryable() || service.shutdown.is_triggered() {
                return Err(error.into());
            }
            backoff.pause(&service.shutdown).await;
        }
    }
    Ok(())
}
