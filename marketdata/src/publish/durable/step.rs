//! The next task of a lane, and how it ends.

use std::time::Instant;

use bus::BusError;

use crate::publish::item::{Item, Snapshot};

/// An attempt to store an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trying {
    /// Time of the first try.
    pub since: Instant,
    /// The last error of the bus, if there was one.
    pub error: Option<BusError>,
}

/// What became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The bus has it.
    Stored,
    /// The bus will never take it.
    Dropped,
    /// Its lease is not ours any more.
    Fenced,
}

/// The next task of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Store this.
    Store(Item),
    /// Encode this and store it.
    Encode(Snapshot),
    /// Wait until this time, or for another item.
    WaitUntil(Instant),
    /// Wait for another item.
    Wait,
}
