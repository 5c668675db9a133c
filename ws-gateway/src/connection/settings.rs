//! The settings of every connection, made once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use auth::Auth;
use market_core::protocol::RequestLimits;

use crate::metrics::Metrics;
use client_frames::encode::deflate::Compression;

/// Bounds and times of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionConfig {
    /// Of a request.
    pub limits: RequestLimits,
    /// Messages a second in the long run.
    pub message_rate: u32,
    /// Messages at once.
    pub message_burst: u32,
    /// Of a message.
    pub message_bytes_max: usize,
    /// Time within which the socket must take some of the waiting bytes.
    pub write_deadline: Duration,
    /// Time within which the socket must take all waiting bytes.
    pub stall_deadline: Duration,
    /// Time within which the other side must answer a close.
    pub close_deadline: Duration,
    /// What the echo compresses.
    pub compression: Compression,
}

/// The settings of every connection, made once.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(super) config: ConnectionConfig,
    /// The origin of connections' times.
    pub(super) start: Instant,
    pub(super) metrics: Arc<Metrics>,
    /// Checks tokens, if the gateway checks them.
    pub(super) auth: Option<Arc<Auth>>,
    /// Connections so far.
    connections: AtomicU64,
}

impl Settings {
    /// For connections that begin from now on.
    #[must_use]
    pub(crate) fn new(
        config: ConnectionConfig,
        metrics: Arc<Metrics>,
        auth: Option<Arc<Auth>>,
    ) -> Self {
        Self {
            config,
            start: Instant::now(),
            metrics,
            auth,
            connections: AtomicU64::new(0),
        }
    }

    /// A number that no other connection of this gateway has.
    pub(super) fn next_number(&self) -> u64 {
        self.connections
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_add(1)
    }

    /// What is counted.
    #[must_use]
    pub(crate) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }
}
