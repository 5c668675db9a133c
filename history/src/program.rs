//! The program: what it holds, and its parts, which run until it is told to stop.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, BusError};
use serde::Serialize;
use service::{HttpBounds, Service, serve_http};
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tracing::info;

use crate::BarRow;
use crate::api::ApiConfig;
use crate::catalog::SeriesIndex;
use crate::config::Config;
use crate::consume::Reader;
use crate::fill::{Background, Filler};
use crate::latest::Latest;
use crate::progress::{Progress, StreamProgress};
use crate::reads::Reads;
use crate::retention;
use crate::store::{BarSeries, SqliteOptions, SqliteStore, Store, StoreError, Watermark};

/// Pause after the bus could not do what was asked.
pub(crate) const BUS_REST: Duration = Duration::from_millis(500);

/// How a part of the program ends.
pub(crate) type PartEnd = Result<(), Error>;

/// Why history could not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be used; the text says what to do.
    #[error("the store cannot be used: {0}")]
    Store(#[from] StoreError),
    /// The bus cannot be used.
    #[error("the bus cannot be used: {0}")]
    Bus(#[from] BusError),
    /// The configuration cannot be used; the text says what to write.
    #[error("{0}")]
    Config(&'static str),
    /// The listener cannot be used.
    #[error("failed to serve history: {0}")]
    Listener(#[from] std::io::Error),
    /// A part of the program ended that must run as long as the program.
    #[error(
        "a part of history has ended, and history cannot run without it: {why}; start it again and report the log"
    )]
    Part {
        /// How it ended.
        why: String,
    },
}

/// A store, what it holds, and the newest bars of the bus. Clones share all of it.
#[derive(Clone)]
pub struct History {
    /// The stored bars and trades. Its calls block: see [`History::read`].
    pub store: Arc<dyn Store>,
    /// What the store holds.
    pub index: Arc<SeriesIndex>,
    /// The newest bars of the bus.
    pub latest: Latest,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// How far the streams of the bus are stored.
    pub progress: Arc<Progress>,
    /// Bounds the questions that read the store at once.
    pub(crate) reads: Reads,
    /// Asks the venues for bars.
    pub(crate) filler: Filler,
    /// How much may be asked.
    pub(crate) api: Arc<ApiConfig>,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").finish_non_exhaustive()
    }
}

/// What `/api/v1/status` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The program's version.
    pub version: &'static str,
    /// How many series of bars are stored.
    pub series: usize,
    /// How many series have new bars.
    pub latest_series: usize,
    /// The streams of the bus that are stored: `bars`, and `trades` if they are.
    pub streams: BTreeMap<&'static str, StreamProgress>,
}

impl History {
    /// Opens the store.
    ///
    /// # Errors
    /// If its directory cannot be used.
    pub async fn open(config: &Config, bus: Arc<dyn Bus>) -> Result<Self, Error> {
        let directory = config.directory();
        let options = SqliteOptions {
            file_bytes_max: Some(config.history_file_bytes_max).filter(|bytes| *bytes > 0),
        };
        info!(directory = %directory.display(), "history is kept here");
        let opened = spawn_blocking(move || {
            let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&directory, options)?);
            let index = SeriesIndex::of(&*store)?;
            Ok::<_, StoreError>((store, index))
        });
        let (store, index) = opened.await.map_err(|error| Error::panicked(&error))??;
        Ok(Self {
            store,
            index: Arc::new(index),
            latest: Latest::new(config.history_latest_series_max),
            filler: Filler::new(Arc::clone(&bus)),
            bus,
            progress: Arc::default(),
            reads: Reads::new(
                config.api.history_reads_max,
                config.api.history_reads_waiting_max,
            ),
            api: Arc::new(config.api.clone()),
        })
    }

    /// Runs a call of the store on a thread that may block.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn read<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Error> {
        let store = Arc::clone(&self.store);
        let result = spawn_blocking(move || call(&*store)).await;
        Ok(result.map_err(|error| Error::panicked(&error))??)
    }

    /// Stores bars, and how far their stream has come: see
    /// [`append_bars`](crate::store::BarStore::append_bars).
    ///
    /// # Errors
    /// Those of the store.
    pub async fn append_bars(
        &self,
        batch: Vec<(BarSeries, Vec<BarRow>)>,
        watermark: Option<Watermark>,
    ) -> Result<(), Error> {
        let (index, latest) = (Arc::clone(&self.index), self.latest.clone());
        let call = move |store: &dyn Store| {
            store.append_bars(&batch, watermark.as_ref())?;
            index.stored(&batch);
            latest.stored(&batch);
            Ok(())
        };
        self.read(call).await
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION"),
            series: self.index.len(),
            latest_series: self.latest.known().len(),
            streams: self.progress.all(),
        }
    }
}

/// Runs history until the shutdown. Without a `listener` it serves no HTTP: then somebody else
/// serves [`crate::api::router`].
///
/// Readiness has the conditions `bus` (connected) and `store` (rows can be stored).
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
    // With 0, nobody asks: holes are only counted.
    if config.fill_bars > 0
        && let Some(holes) = history.filler.holes()
    {
        let background = Background {
            history: history.clone(),
            bars: config.fill_bars,
        };
        parts.spawn(background.run(holes, service.shutdown.clone()));
    }
    let keep = config.history_keep_days.clone();
    parts.spawn(retention::run(
        history.clone(),
        keep,
        service.shutdown.clone(),
    ));
    let latest = history.latest.clone();
    let (bus, shutdown) = (Arc::clone(&history.bus), service.shutdown.clone());
    parts.spawn(async move { Ok(latest.follow(bus, shutdown).await?) });
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

impl Error {
    pub(crate) fn panicked(error: &JoinError) -> Self {
        let why = error.to_string();
        Self::Part { why }
    }
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
                () = tokio::time::sleep(BUS_REST) => {}
                () = service.shutdown.triggered() => return Ok(()),
            }
        }
    }
}
