//! A configuration that was checked.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::file::NatsFile;
use super::flags::{ApiConfig, Supervision};
use crate::stream_settings::StreamSettings;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the HTTP API listens.
    pub listen: SocketAddr,
    /// Whether nats-server is started and supervised, or only connected to.
    pub auto_start_nats: bool,
    /// Whether missing streams are created.
    pub auto_create_streams: bool,
    /// The prefix of Klinecast's own subjects on this server, if its streams are there.
    pub klinecast_prefix: Option<String>,
    /// Whether events of services and their health are published.
    pub service_events: bool,
    /// Most log lines that wait to be published; 0 publishes none.
    pub published_log_lines_max: usize,
    /// Most log lines a second; 0 for no limit.
    pub published_log_lines_rate: u32,
    /// How the server is watched.
    pub supervision: Supervision,
    /// Who may use the HTTP API, and how much.
    pub api: ApiConfig,
    pub(crate) nats: NatsFile,
    /// The wanted streams by name.
    pub(crate) streams: BTreeMap<String, StreamSettings>,
}

impl Config {
    /// How many log lines may wait to be published, none where the broker says nothing on the bus.
    #[must_use]
    pub fn published_log_lines(&self) -> usize {
        match self.service_events {
            true => self.published_log_lines_max,
            false => 0,
        }
    }

    /// Where the broker's own connections go.
    pub(crate) fn servers(&self) -> Vec<String> {
        if !self.nats.client_urls.is_empty() {
            return self.nats.client_urls.clone();
        }
        if let Some(url) = &self.nats.nats_url {
            return vec![url.clone()];
        }
        let scheme = match self.nats.tls {
            Some(_) => "tls",
            None => "nats",
        };
        vec![format!("{scheme}://{}", self.own_server())]
    }

    /// Where a server that the broker starts takes clients.
    pub(crate) fn own_server(&self) -> SocketAddr {
        SocketAddr::from((reachable(self.nats.host), self.nats.nats_port))
    }

    /// Where nats-server's monitoring pages are.
    pub(crate) fn monitor_url(&self) -> String {
        let host = match self.auto_start_nats {
            true => Ipv4Addr::LOCALHOST.to_string(),
            false => host_of(self.servers().first().map_or("", String::as_str)),
        };
        format!("http://{host}:{}", self.nats.http_port)
    }
}

/// The host of `nats://host:port`.
fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => format!("[{host}]"),
        None => rest.split([':', '/']).next().unwrap_or_default().to_owned(),
    }
}

fn reachable(host: IpAddr) -> IpAddr {
    match host.is_unspecified() {
        true => Ipv4Addr::LOCALHOST.into(),
        false => host,
    }
}
