//! Three nats-servers that replicate their streams.

use std::net::{Ipv4Addr, SocketAddr};

use super::{ClusterMember, NatsServer, NatsServerError, NatsServerOptions};
use crate::ports;

/// Members of a cluster: the fewest that can lose one.
pub const MEMBERS: usize = 3;

/// A cluster of [`MEMBERS`] servers on free ports of 127.0.0.1, gone when dropped.
#[derive(Debug)]
pub struct NatsCluster {
    members: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts the servers. They may still be electing a leader: requests that need one fail until
    /// then.
    ///
    /// # Errors
    /// As [`NatsServer::start`].
    pub fn start() -> Result<NatsCluster, NatsServerError> {
        // Every member must know the ports of the others before they run.
        let cluster_ports: Vec<u16> = (0..MEMBERS).map(|_| ports::reserve()).collect();
        let members = cluster_ports.iter().enumerate().map(|(index, &port)| {
            NatsServer::start_with(NatsServerOptions {
                member: Some(Box::new(ClusterMember {
                    name: name(index),
                    cluster_port: port,
                    cluster_ports: cluster_ports.clone(),
                })),
                ..NatsServerOptions::default()
            })
        });
        Ok(NatsCluster {
            members: members.collect::<Result<_, _>>()?,
        })
    }

    /// `nats://127.0.0.1:port` of every member, joined by commas.
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
        let ports = self.members.iter().map(NatsServer::port);
        ports
            .map(|port| (Ipv4Addr::LOCALHOST, port).into())
            .collect()
    }
}

fn name(index: usize) -> String {
    format!("member-{index}")
}
