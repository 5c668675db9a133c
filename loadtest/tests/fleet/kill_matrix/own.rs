//! What each process of the fleet has of its own, so that it can be cut off, filled and misled.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use loadtest::clock::Clock;
use loadtest::directory::Directory;
use loadtest::fleet::FleetConfig;
use loadtest::link::Link;
use loadtest::nats::NatsServerError;
use loadtest::nats::cluster::{ClusterOptions, NatsCluster};
use loadtest::nats::disk::SmallDisk;
use loadtest::network::{self, Address};
use loadtest::program::Program;
use serde_json::Value;

/// More than the streams of a nats-server take, and more than it reserves for the journal.
const NATS_DISK_BYTES: u64 = 128 << 20;
/// More than a program with a store takes in the longest run.
const STORE_BYTES: u64 = 64 << 20;

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

/// What a program has of its own.
pub(crate) struct Place {
    pub(crate) links: Links,
    pub(crate) clock: Option<Clock>,
    /// Where its store is, if it has one, and before the folder, so that it ends first.
    pub(crate) disk: Option<SmallDisk>,
    folder: Directory,
}

impl Place {
    /// The `number`th one of the network.
    pub(crate) async fn new(nats: &NatsCluster, number: u8) -> Self {
        Self {
            links: Links::to(nats, number).await,
            clock: Clock::new(),
            disk: None,
            folder: Directory::named("matrix"),
        }
    }

    /// The same with a disk for its store, where this machine allows it.
    pub(crate) async fn with_disk(nats: &NatsCluster, number: u8) -> Self {
        let place = Self::new(nats, number).await;
        std::fs::create_dir(place.store()).expect("the folder is ours");
        let disk = SmallDisk::mount(&place.store(), STORE_BYTES).ok();
        Self { disk, ..place }
    }

    /// The folder of its store.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Writes what it is told, and names the file.
    pub(crate) fn write(&self, name: &str, content: &Value) -> String {
        let file = self.folder.path().join(name);
        std::fs::write(&file, content.to_string()).expect("the folder is ours");
        file.to_str().expect("UTF-8").to_owned()
    }

    /// What goes before a program: it enters its disk first.
    pub(crate) fn launcher(&self) -> Vec<String> {
        let disk = self.disk.as_ref().map(SmallDisk::launcher);
        let clock = self.clock.as_ref().map(Clock::launcher);
        [disk, clock].into_iter().flatten().flatten().collect()
    }

    /// A program that starts here.
    pub(crate) fn config(&self, config: &FleetConfig) -> FleetConfig {
        FleetConfig {
            launcher: self.launcher(),
            ..config.clone()
        }
    }
}

/// A program of ours, and what is its own. It is started again with the same arguments and ports.
pub(crate) struct Own {
    pub(crate) it: Program,
    pub(crate) place: Place,
}
