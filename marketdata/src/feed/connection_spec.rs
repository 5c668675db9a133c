//! The settings of the connections for a share of a venue's symbols, and their reports.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::Rng;

use super::backoff::Backoff;
use super::connection::ConnectionTiming;
use super::dial::VenueTls;
use super::meters::SocketMeters;
use super::router::Router;
use super::status::{FeedStatus, SymbolHealth};
use super::symbols::SymbolBoard;
use crate::budget::WindowBudget;
use crate::exchange::{Exchange, Wanted};
use crate::host_clock::now_ms;
use crate::inbox::Inbox;
use crate::instrument::InstrumentId;
use crate::publish::values::Values;

/// A share of a venue's symbols, and everything that its connections need.
pub struct ConnectionSpec {
    /// Its number among the venue's.
    pub index: usize,
    /// The venue's protocol.
    pub exchange: &'static dyn Exchange,
    /// The socket's address.
    pub url: String,
    /// What it carries, with the venue's names.
    pub symbols: Vec<(InstrumentId, String)>,
    /// By instrument: its worker.
    pub worker_of: Arc<[usize]>,
    /// By worker.
    pub workers: Arc<[Inbox]>,
    /// What is wanted of its symbols besides their trades.
    pub wanted: Wanted,
    /// Where quotes and tickers go.
    pub values: Arc<Values>,
    /// Which certificates are trusted.
    pub tls: VenueTls,
    /// Longest time for a connection to open.
    pub connect_timeout: Duration,
    /// The connection's timing; rotation is spread by `ConnectionSpec::timing`.
    pub base_timing: ConnectionTiming,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// The venue's budget of attempts, shared by all its connections.
    pub attempts: Arc<Mutex<WindowBudget>>,
    /// What is said about the venue's feed.
    pub status: Arc<FeedStatus>,
    /// Dead symbols.
    pub health: Arc<SymbolHealth>,
    /// Where each symbol stands.
    pub board: Arc<SymbolBoard>,
    /// What is measured at a socket.
    pub meters: SocketMeters,
}

/// What a connection reports while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionEvent {
    /// It carries every symbol.
    Ready,
    /// It must be replaced.
    Rotate,
}

impl ConnectionSpec {
    /// A router to the workers of its symbols.
    pub(crate) fn router(&self) -> Router {
        Router::new(Arc::clone(&self.worker_of), Arc::clone(&self.workers))
    }

    /// The timing of the next connection: connections do not all rotate at once.
    pub(crate) fn timing(&self) -> ConnectionTiming {
        let age_ms = self.base_timing.rotation_age_ms;
        let earlier_ms = rand::rng().random_range(0..=age_ms / 20);
        ConnectionTiming {
            rotation_age_ms: age_ms - earlier_ms,
            ..self.base_timing
        }
    }

    /// Takes an attempt from the venue's budget, or returns the time to wait.
    pub(crate) fn attempt(&self) -> Result<(), Duration> {
        let mut attempts = self
            .attempts
            .lock()
            .expect("no code panics while it holds the budget");
        attempts
            .take(now_ms(), 1)
            .map_err(|wait_ms| Duration::from_millis(wait_ms.unsigned_abs()))
    }
}
