//! How a server is measured.

use std::time::Duration;

/// How it is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// Load client processes; 0 for as many as the files ask for.
    pub(crate) client_processes: u32,
    /// Source addresses.
    pub(crate) sources: u8,
    /// How long the clients stay idle for the idle CPU to be read.
    pub(crate) idle: Duration,
    /// How long to wait at most for other processes to leave the machine alone.
    pub(crate) quiet: Duration,
}
