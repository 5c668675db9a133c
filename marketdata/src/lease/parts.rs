//! What the task needs of the rest of the program.

use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use service::Condition;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::feed::symbols::SymbolBoard;
use crate::instrument::Instrument;
use crate::lease::share::Share;
use crate::presence::{Epoch, Others};
use crate::publish::boundary::Boundaries;
use crate::publish::durable::Lane;
use crate::publish::outbox::Outbox;
use crate::publish::validity::Validity;

/// The parts of the program that the task needs.
pub(crate) struct LeaseParts {
    pub(crate) bus: Arc<dyn Bus>,
    /// The program's name on the bus.
    pub(crate) me: String,
    pub(crate) instruments: Arc<[Instrument]>,
    pub(crate) board: Arc<SymbolBoard>,
    /// By worker.
    pub(crate) outboxes: Vec<Arc<Outbox>>,
    /// By instrument: its worker.
    pub(crate) worker_of: Arc<[usize]>,
    pub(crate) boundaries: Arc<Boundaries>,
    /// The highest epoch of this program, below which no lease is taken.
    pub(crate) epoch: Arc<Epoch>,
    /// Keeps that epoch for builds without leases.
    pub(crate) lane: Arc<Lane>,
    pub(crate) validity: Arc<Validity>,
    pub(crate) others: Arc<Others>,
    pub(crate) silence: Duration,
    /// How programs share the instruments, if they do.
    pub(crate) share: Option<Share>,
    /// Notified when the bus has refused a bar.
    pub(crate) refused: Arc<Notify>,
    /// Cancelled when no more leases are taken.
    pub(crate) leaving: CancellationToken,
    pub(crate) ready: Condition,
}
