//! Three nats-servers that replicate their streams.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use super::{ClusterMember, NatsServer, NatsServerError, NatsServerOptions};
use crate::network::Address;
use crate::ports;

/// Members of a cluster: the fewest that can lose one.
pub const MEMBERS: usize = 3;

/// A cluster of [`MEMBERS`] servers on free ports of 127.0.0.1, gone when dropped.
#[derive(Debug)]
pub struct NatsCluster {
    members: Vec<NatsServer>,
    /// The addresses that lead to or from members that can be cut off.
    paths: Vec<Path>,
    /// Members that are cut off.
    cut: BTreeSet<usize>,
}

/// An address, and the members that it joins, or joins with clients.
#[derive(Debug)]
struct Path {
    address: Address,
    members: Vec<usize>,
}

/// What a cluster has beyond its servers.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClusterOptions {
    /// The size of each server's disk, if they have disks of their own that a test can fill.
    pub disk_bytes: Option<u64>,
    /// Whether the network is the test's own, so that servers can be cut off.
    pub has_network: bool,
}

impl NatsCluster {
    /// Starts the servers. They may still be electing a leader: requests that need one fail until
    /// then.
    ///
    /// # Errors
    /// As [`NatsServer::start`].
    pub fn start() -> Result<NatsCluster, NatsServerError> {
        NatsCluster::start_with(ClusterOptions::default())
    }

    /// The same with disks and a network.
    ///
    /// # Errors
    /// As [`NatsServer::start_with`].
    pub fn start_with(options: ClusterOptions) -> Result<NatsCluster, NatsServerError> {
        // Every member must know the ports of the others before they run.
        let ports: Vec<u16> = (0..MEMBERS).map(|_| ports::reserve()).collect();
        let paths = match options.has_network {
            true => paths(),
            false => Vec::new(),
        };
        let members = (0..MEMBERS).map(|from| {
            let others = (0..MEMBERS).filter(|to| *to != from);
            let (host, listens, hosts) = match options.has_network {
                // Each of the others comes by an address of its own.
                true => (
                    client_host(from),
                    Ipv4Addr::UNSPECIFIED,
                    others.map(|to| (route_host(from, to), to)).collect(),
                ),
                false => (
                    Ipv4Addr::LOCALHOST,
                    Ipv4Addr::LOCALHOST,
                    others
                        .map(|to| (Ipv4Addr::LOCALHOST, to))
                        .collect::<Vec<_>>(),
                ),
            };
            let routes = hosts.into_iter().map(|(host, to)| (host, ports[to]).into());
            NatsServer::start_with(NatsServerOptions {
                host,
                member: Some(Box::new(ClusterMember {
                    name: name(from),
                    listens: (listens, ports[from]).into(),
                    routes: routes.collect(),
                })),
                disk_bytes: options.disk_bytes,
                ..NatsServerOptions::default()
            })
        });
        Ok(NatsCluster {
            members: members.collect::<Result<_, _>>()?,
            paths,
            cut: BTreeSet::new(),
        })
    }

    /// `nats://address:port` of every member, joined by commas.
    #[must_use]
    pub fn url(&self) -> String {
        let urls: Vec<String> = self.members.iter().map(NatsServer::url).collect();
        urls.join(",")
    }

    /// The member of this name, such as a stream's leader.
    pub fn member(&mut self, wanted: &str) -> Option<&mut NatsServer> {
        let index = NatsCluster::index(wanted)?;
        self.members.get_mut(index)
    }

    /// The place of the member of this name.
    #[must_use]
    pub fn index(wanted: &str) -> Option<usize> {
        (0..MEMBERS).find(|&index| name(index) == wanted)
    }

    /// The members.
    pub fn members(&mut self) -> &mut [NatsServer] {
        &mut self.members
    }

    /// Where clients of each member connect.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(NatsServer::address).collect()
    }

    /// From now on the kernel drops all packets between a member and the others, and its clients.
    ///
    /// # Panics
    /// If the cluster has no network of its own.
    pub fn cut_off(&mut self, index: usize) {
        assert!(!self.paths.is_empty(), "it has no network of its own");
        self.cut.insert(index);
        for path in self
            .paths
            .iter()
            .filter(|path| path.members.contains(&index))
        {
            path.address.drop_packets();
        }
    }

    /// The packets of a member pass again, but for those of members that are still cut off.
    pub fn mend(&mut self, index: usize) {
        self.cut.remove(&index);
        let is_whole = |path: &Path| path.members.iter().all(|it| !self.cut.contains(it));
        let ours = self
            .paths
            .iter()
            .filter(|path| path.members.contains(&index));
        ours.filter(|path| is_whole(path))
            .for_each(|path| path.address.pass());
    }
}

fn paths() -> Vec<Path> {
    let ends = |from: usize| {
        let others = (0..MEMBERS).filter(move |to| *to != from);
        let routes = others.map(move |to| (route_host(from, to), vec![from, to]));
        routes.chain([(client_host(from), vec![from])])
    };
    let paths = (0..MEMBERS).flat_map(ends).map(|(host, members)| Path {
        address: Address::add(host),
        members,
    });
    paths.collect()
}

fn name(index: usize) -> String {
    format!("member-{index}")
}

fn number(index: usize) -> u8 {
    u8::try_from(index).expect("a cluster is small")
}

fn client_host(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 1, 1 + number(index))
}

fn route_host(from: usize, to: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 2 + number(from), 1 + number(to))
}
