//! What the routes share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use service::{AddressBudget, AddressGroups, Allowance};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::config::Config;
use crate::jetstream::JetStream;
use crate::nats_process::Supervised;
use crate::snapshot::Snapshots;
use crate::streams::Streams;
use crate::tokens::Tokens;

/// Seconds' worth of requests that an address may make at once.
const BURST_SECONDS: u32 = 10;
/// IPv6 addresses with these first bits in common are one client.
const IPV6_PREFIX_BITS: u8 = 64;

/// What the routes share.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) config: Arc<Config>,
    pub(crate) jetstream: JetStream,
    pub(crate) streams: Streams,
    pub(crate) snapshots: Arc<Snapshots>,
    /// The server's process, where we supervise it.
    pub(crate) supervised: Option<Supervised>,
    pub(crate) started: Instant,
    /// Publications that failed.
    pub(crate) failed: Arc<AtomicU64>,
    pub(super) tokens: Option<Tokens>,
    pub(super) addresses: Arc<AddressBudget>,
    pub(super) places: Arc<Semaphore>,
    pub(super) deadline: Duration,
    pub(super) listens: SocketAddr,
}

impl Api {
    pub(crate) fn new(
        config: Arc<Config>,
        jetstream: JetStream,
        streams: Streams,
        snapshots: Arc<Snapshots>,
        supervised: Option<Supervised>,
        tokens: Option<Tokens>,
        listens: SocketAddr,
    ) -> Self {
        let limits = &config.api;
        let allowance = Allowance {
            per_second: limits.requests_per_ip,
            burst: limits.requests_per_ip.saturating_mul(BURST_SECONDS),
            holds_for_loopback: true,
        };
        let addresses = AddressBudget::new(
            "requests",
            "broker_unmetered_addresses_total",
            allowance,
            AddressGroups::new(IPV6_PREFIX_BITS),
        );
        Self {
            addresses: Arc::new(addresses),
            places: Arc::new(Semaphore::new(
                limits.requests_max.clamp(1, Semaphore::MAX_PERMITS),
            )),
            deadline: Duration::from_millis(limits.request_deadline_ms.max(1)),
            config,
            jetstream,
            streams,
            snapshots,
            supervised,
            started: Instant::now(),
            failed: Arc::default(),
            tokens,
            listens,
        }
    }
}
