//! What each process of the fleet has of its own, so that it can be cut off, filled and misled.

use std::net::Ipv4Addr;

use loadtest::clock::Clock;
use loadtest::fleet::FleetConfig;
use loadtest::link::Link;
use loadtest::nats::NatsServerError;
use loadtest::nats::cluster::{ClusterOptions, NatsCluster};
use loadtest::nats::disk::SmallDisk;
use loadtest::network::{self, Address};

/// More than the streams of a nats-server take, and more than it reserves for the journal.
const NATS_DISK_BYTES: u64 = 128 << 20;
pub(crate) const JOURNAL_BYTES: &str = "4194304";
pub(crate) const JOURNAL_BYTES_MAX: u64 = 4_194_304;
/// History cares for the journal, too.
pub(crate) const HISTORY: [&str; 2] = ["--journal-bytes-max", JOURNAL_BYTES];
/// More than history takes in the longest run.
pub(crate) const HISTORY_DISK_BYTES: u64 = 64 << 20;

/// A program's own links to each server of the cluster.
pub(crate) struct Links {
    pub(crate) links: Vec<Link>,
    /// Of the near ends, if it can be cut off.
    address: Option<Address>,
}

impl Links {
    /// The `number`th ones of the network.
    pub(crate) async fn to(nats: &NatsCluster, number: u8) -> Self {
        let address = network::is_own().then(|| Address::add(Ipv4Addr::new(10, 77, 9, number)));
        let near = address.map_or(Ipv4Addr::LOCALHOST, Address::get);
        let mut links = Vec::new();
        for server in nats.addresses() {
            links.push(Link::start_at(near, server).await);
        }
        Self { links, address }
    }

    /// The bus at their near ends.
    pub(crate) fn url(&self) -> String {
        let links = self.links.iter();
        let urls = links.map(|link| format!("nats://{}", link.address()));
        urls.collect::<Vec<_>>().join(",")
    }

    pub(crate) fn address(&self) -> Address {
        self.address.expect("the network is the test's own")
    }
}

/// A program of ours, and what is its own.
pub(crate) struct Linked<T> {
    pub(crate) it: T,
    pub(crate) links: Links,
    pub(crate) clock: Option<Clock>,
}

impl<T> Linked<T> {
    pub(crate) fn launcher(&self) -> Vec<String> {
        launcher(self.clock.as_ref())
    }
}

pub(crate) fn launcher(clock: Option<&Clock>) -> Vec<String> {
    clock.map(Clock::launcher).unwrap_or_default()
}

/// With disks that can be filled, and a network in which members can be cut off, where this machine
/// allows it.
pub(crate) fn start_nats() -> Result<NatsCluster, NatsServerError> {
    let options = ClusterOptions {
        disk_bytes: Some(NATS_DISK_BYTES),
        has_network: network::is_own(),
    };
    match NatsCluster::start_with(options) {
        Err(NatsServerError::NoDisk(why)) => {
            println!("skipped: full disks: {why}");
            NatsCluster::start_with(ClusterOptions {
                disk_bytes: None,
                ..options
            })
        }
        started => started,
    }
}

pub(crate) fn with_launcher(config: &FleetConfig, launcher: Vec<String>) -> FleetConfig {
    FleetConfig {
        launcher,
        ..config.clone()
    }
}

/// A launcher that enters the disk first.
pub(crate) fn on_disk(disk: Option<&SmallDisk>, launcher: Vec<String>) -> Vec<String> {
    let mut all = disk.map(SmallDisk::launcher).unwrap_or_default();
    all.extend(launcher);
    all
}
