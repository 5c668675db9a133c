//! What must survive a restart, in one SQLite file: rules, the state of the engine, the place in the
//! stream, and the alerts that are not delivered everywhere yet.
//!
//! All that follows from a page of the stream is one transaction with the page's end. So no alert is
//! lost or raised twice, whenever the program is killed.

mod error;
mod json;
mod kept;
mod outbox;
mod schema;
mod state;

use std::fs::{self, File};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use market_core::wire::AlertMessage;
use rusqlite::Connection;

pub use self::error::StoreError;
pub use self::kept::{Commit, Committed, Loaded, Outlets, Place, Source, StoredRule};
pub use self::outbox::{Delivery, Queued};

/// See the module. Clones share the file.
#[derive(Clone, Debug)]
pub struct Store {
    connection: Arc<Mutex<Connection>>,
    outlets: Arc<Outlets>,
    /// Locked as long as the store is open.
    _lock: Arc<File>,
}

impl Store {
    /// Opens the store of a directory, and makes it if it is missing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(directory: &Path, outlets: Outlets) -> Result<Self, StoreError> {
        let io = |error| StoreError::Io(directory.to_owned(), error);
        fs::create_dir_all(directory).map_err(io)?;
        let lock = File::create(directory.join("lock")).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(StoreError::InUse(directory.to_owned()));
            }
            Err(fs::TryLockError::Error(error)) => return Err(io(error)),
        }
        let connection = schema::open(&directory.join("alerts.sqlite"))?;
        outbox::forget_hooks(&connection, &outlets.hooks)?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            outlets: Arc::new(outlets),
            _lock: Arc::new(lock),
        })
    }

    /// All that an engine begins with.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn load(&self) -> Result<Loaded, StoreError> {
        state::load(&self.lock())
    }

    /// Where the stream is read on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn place(&self) -> Result<Option<Place>, StoreError> {
        state::place(&self.lock())
    }

    /// Stores a commit, whole or not at all.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was stored then.
    pub fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        state::write(&transaction, commit)?;
        let (left_out, too_old) = outbox::write(&transaction, &commit.alerts, &self.outlets)?;
        let unpublished = outbox::count_unpublished(&transaction)?;
        transaction.commit()?;
        Ok(Committed {
            left_out,
            too_old,
            unpublished,
        })
    }

    /// How many alerts are not on the bus yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn count_unpublished(&self) -> Result<u64, StoreError> {
        outbox::count_unpublished(&self.lock())
    }

    /// The oldest alert that is not on the bus yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn unpublished(&self) -> Result<Option<Queued>, StoreError> {
        outbox::unpublished(&self.lock())
    }

    /// An alert is on the bus.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn published(&self, id: i64) -> Result<(), StoreError> {
        outbox::published(&self.lock(), id)
    }

    /// The newest alerts, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn recent(&self, limit: u32) -> Result<Vec<AlertMessage>, StoreError> {
        outbox::recent(&self.lock(), limit)
    }

    /// The oldest alert that a webhook lacks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn undelivered(&self, hook: &str) -> Result<Option<Delivery>, StoreError> {
        outbox::undelivered(&self.lock(), hook)
    }

    /// A webhook has an alert, or will never get it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn delivered(&self, hook: &str, id: i64) -> Result<(), StoreError> {
        outbox::delivered(&self.lock(), hook, id)
    }

    /// An attempt to deliver an alert has failed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn failed(&self, hook: &str, id: i64) -> Result<(), StoreError> {
        outbox::failed(&self.lock(), hook, id)
    }

    /// How many alerts wait for a webhook.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn waiting(&self, hook: &str) -> Result<u64, StoreError> {
        outbox::waiting(&self.lock(), hook)
    }

    /// Makes a call on a thread that may wait for the disk.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        tokio::task::spawn_blocking(move || call(&store))
            .await
            .map_err(|error| StoreError::Task(error.to_string()))?
    }

    /// A panic of another caller leaves a transaction that is rolled back.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
