//! What every part of the program has: the store, what it holds, and the newest bars of the bus.

use std::collections::BTreeMap;
use std::sync::Arc;

use auth::Auth;
use bus::Bus;
use serde::Serialize;
use service::AddressGroups;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use crate::BarRow;
use crate::api::access::METRICS;
use crate::cache::CacheFeed;
use crate::catalog::SeriesIndex;
use crate::config::{ApiConfig, Config};
use crate::error::Error;
use crate::filler::Filler;
use crate::latest::Latest;
use crate::outages::OutageStore;
use crate::progress::{Progress, StreamProgress};
use crate::reads::Reads;
use crate::store::{self, BarSeries, Store, StoreError, Watermark};
use crate::store_health::StoreHealth;

/// A store, what it holds, and the newest bars of the bus. Clones share all of it.
#[derive(Clone)]
pub struct History {
    /// The stored bars and trades. Its calls block: see [`History::read`].
    pub store: Arc<dyn Store>,
    /// What the store holds.
    pub index: Arc<SeriesIndex>,
    /// The newest bars of the bus.
    pub latest: Latest,
    /// Feeds the cache of the newest values.
    pub cache: CacheFeed,
    /// Whether the store does what it is asked.
    pub(crate) store_health: StoreHealth,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// How far the streams of the bus are stored.
    pub progress: Arc<Progress>,
    /// Bounds the questions that read the store at once.
    pub(crate) reads: Reads,
    /// When feeds were not live.
    pub(crate) outages: Arc<OutageStore>,
    /// Asks the venues for bars.
    pub(crate) filler: Filler,
    /// How much may be asked.
    pub(crate) api: Arc<ApiConfig>,
    /// Checks tokens, if clients need them.
    pub(crate) auth: Option<Arc<Auth>>,
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
    /// If its address or directory, or the keys of tokens, cannot be used. A server that is away is no error.
    pub async fn open(config: &Config, bus: Arc<dyn Bus>) -> Result<Self, Error> {
        let groups = AddressGroups::new(config.api.history_ipv6_prefix_bits);
        let auth = Auth::new(&config.tokens, groups, METRICS).map_err(Error::Tokens)?;
        let cache = config.cache.feed(config.is_simulated)?;
        let (address, directory) = (config.address(), config.directory());
        let options = config.store.options(config.history_file_bytes_max);
        info!(store = %address, directory = %directory.display(), "history is kept here");
        let opened = spawn_blocking(move || {
            let store = store::open(&address, &options)?;
            let index = match SeriesIndex::of(&*store) {
                // A server that is away now: its series are read when it is there.
                Err(error) if address.is_remote() && error.is_retryable() => {
                    warn!(%error, "history runs without what the store holds until it answers");
                    SeriesIndex::default()
                }
                index => index?,
            };
            if address.is_remote() {
                std::fs::create_dir_all(&directory).map_err(|error| StoreError::Io {
                    file: directory.clone(),
                    source: Box::new(error),
                })?;
            }
            let outages = OutageStore::open(&directory)?;
            Ok::<_, StoreError>((store, index, outages))
        });
        let (store, index, outages) = opened.await.map_err(|error| Error::panicked(&error))??;
        Ok(Self {
            store,
            index: Arc::new(index),
            outages: Arc::new(outages),
            latest: Latest::new(config.history_latest_series_max, cache.clone()),
            cache,
            store_health: StoreHealth::default(),
            filler: Filler::new(Arc::clone(&bus), config.api.history_fills_max),
            bus,
            progress: Arc::default(),
            reads: Reads::new(
                config.api.history_reads_max,
                config.api.history_reads_waiting_max,
            ),
            api: Arc::new(config.api.clone()),
            auth,
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
