//! The configuration file as it is written.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::units::{Bytes, Period};
use crate::stream_settings::StreamSettings;

/// The user of those who do not log in, where the configuration names no users.
pub(crate) const ANONYMOUS: &str = "anonymous";
/// The broker's own user.
pub(crate) const BROKER_USER: &str = "klinecast-broker";

/// The block `message-broker-service`, or a whole file without that name.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BrokerFile {
    pub(crate) host: IpAddr,
    pub(crate) port: u16,
    pub(crate) auto_start_nats: bool,
    pub(crate) auto_create_streams: bool,
    pub(crate) klinecast_streams: bool,
    pub(crate) klinecast_prefix: String,
    pub(crate) service_events: bool,
    pub(crate) nats: NatsFile,
}

impl Default for BrokerFile {
    fn default() -> Self {
        Self {
            host: IpAddr::from([127, 0, 0, 1]),
            port: 8085,
            auto_start_nats: true,
            auto_create_streams: true,
            klinecast_streams: true,
            klinecast_prefix: String::new(),
            service_events: true,
            nats: NatsFile::default(),
        }
    }
}

/// The block `nats`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NatsFile {
    pub(crate) nats_server: Option<PathBuf>,
    pub(crate) server_name: Option<String>,
    pub(crate) host: IpAddr,
    pub(crate) nats_port: u16,
    pub(crate) cluster_port: u16,
    pub(crate) http_port: u16,
    pub(crate) jetstream_enabled: bool,
    pub(crate) jetstream_max_memory: Bytes,
    pub(crate) jetstream_max_storage: Bytes,
    pub(crate) jetstream_max_streams: Option<u32>,
    pub(crate) jetstream_max_consumers: Option<u32>,
    pub(crate) sync_interval: SyncInterval,
    pub(crate) nats_url: Option<String>,
    pub(crate) client_urls: Vec<String>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) data_dir: PathBuf,
    pub(crate) default_streams: Vec<String>,
    pub(crate) streams: BTreeMap<String, StreamSettings>,
    pub(crate) max_connections: u32,
    pub(crate) max_subscriptions: Option<u32>,
    pub(crate) max_payload: Bytes,
    pub(crate) max_pending: Bytes,
    pub(crate) write_deadline: Period,
    pub(crate) ping_interval: Period,
    pub(crate) max_pings_out: u32,
    pub(crate) cluster_name: Option<String>,
    pub(crate) cluster_listen: Option<String>,
    pub(crate) cluster_routes: Vec<Secret>,
    pub(crate) users: Vec<User>,
    pub(crate) tls: Option<Tls>,
    pub(crate) mappings: BTreeMap<String, String>,
}

impl Default for NatsFile {
    fn default() -> Self {
        Self {
            nats_server: None,
            server_name: None,
            host: IpAddr::from([127, 0, 0, 1]),
            nats_port: 4222,
            cluster_port: 6222,
            http_port: 8222,
            jetstream_enabled: true,
            jetstream_max_memory: Bytes(1 << 30),
            jetstream_max_storage: Bytes(10 << 30),
            jetstream_max_streams: None,
            jetstream_max_consumers: None,
            sync_interval: SyncInterval::Every(Period(std::time::Duration::from_secs(10))),
            nats_url: None,
            client_urls: Vec::new(),
            user: None,
            password: None,
            data_dir: PathBuf::from("data/nats"),
            default_streams: crate::default_streams::NAMES.map(str::to_owned).to_vec(),
            streams: BTreeMap::new(),
            // As docker/nats.conf has them.
            max_connections: 65_536,
            max_subscriptions: None,
            max_payload: Bytes(1 << 20),
            max_pending: Bytes(64 << 20),
            write_deadline: Period(std::time::Duration::from_secs(10)),
            ping_interval: Period(std::time::Duration::from_secs(10)),
            max_pings_out: 2,
            cluster_name: None,
            cluster_listen: None,
            cluster_routes: Vec::new(),
            users: Vec::new(),
            tls: None,
            mappings: BTreeMap::new(),
        }
    }
}

impl NatsFile {
    /// Whether the server is one of several.
    pub(crate) fn is_clustered(&self) -> bool {
        self.cluster_name.is_some() || !self.cluster_routes.is_empty()
    }

    /// The server's name, which is the same after each start and differs between servers.
    pub(crate) fn server_name(&self) -> String {
        if let Some(name) = &self.server_name {
            return name.clone();
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '-';
        let host: String = host.trim().chars().filter(is_plain).collect();
        format!("klinecast-{host}-{}", self.nats_port)
    }

    /// What the broker logs in with, if the file says it.
    pub(crate) fn credentials(&self) -> Option<(String, Secret)> {
        Some((self.user.clone()?, self.password.clone()?))
    }
}

/// When the server writes stored messages to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncInterval {
    /// Before each acknowledgement.
    Always,
    /// At intervals.
    Every(Period),
}

impl<'de> Deserialize<'de> for SyncInterval {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "\"always\", or a time such as \"10s\"")]
        enum Form {
            Always(Always),
            Every(Period),
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Always {
            Always,
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Always(Always::Always) => Self::Always,
            Form::Every(period) => Self::Every(period),
        })
    }
}

/// A user of nats-server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {
    pub(crate) user: String,
    pub(crate) password: Secret,
    pub(crate) permissions: Option<Permissions>,
}

/// The permissions of a user. An action without an entry is not restricted, as in NATS.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Permissions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) publish: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subscribe: Option<Vec<String>>,
}

/// Certificates of nats-server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) cert_file: PathBuf,
    pub(crate) key_file: PathBuf,
    pub(crate) ca_file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) verify: bool,
}

/// A text that is not shown, in errors neither.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(text)),
            _ => Err(serde::de::Error::custom(
                "a text is expected: put quotes around it",
            )),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}
