//! The configuration of nats-server, from ours.
//!
//! It is written as JSON, which nats-server reads: so quotes and backslashes in names and passwords
//! end no string. The check of the configuration refuses control characters, which nats-server's
//! strings do not have.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::config::file::{ANONYMOUS, BROKER_USER, Permissions, Secret, SyncInterval, Tls};

/// The account that everything is in: limits on streams and consumers need one with a name.
const ACCOUNT: &str = "KLINECAST";
/// Size at which nats-server begins a new log file, and how many old ones it keeps.
const LOG_BYTES_MAX: u64 = 10 << 20;
const LOG_FILES_MAX: u32 = 5;

/// The name of the log below the data directory.
pub(crate) const LOG_FILE: &str = "nats-server.log";
/// The name of the generated file below the data directory.
pub(crate) const CONFIG_FILE: &str = "nats-server.conf";
/// The name of the file with the process id.
pub(crate) const PID_FILE: &str = "nats-server.pid";

/// The text of the file. `data_dir` is absolute.
pub(crate) fn render(config: &Config, data_dir: &Path, own_password: &Secret) -> String {
    let nats = &config.nats;
    let path = |name: &str| data_dir.join(name).to_string_lossy().into_owned();
    let mut root = json!({
        "server_name": nats.server_name(),
        "listen": std::net::SocketAddr::from((nats.host, nats.nats_port)).to_string(),
        // The monitoring pages have no authentication.
        "http": format!("127.0.0.1:{}", nats.http_port),
        "pid_file": path(PID_FILE),
        "log_file": path(LOG_FILE),
        "logfile_size_limit": LOG_BYTES_MAX,
        "logfile_max_num": LOG_FILES_MAX,
        "max_connections": nats.max_connections,
        "max_payload": nats.max_payload,
        "max_pending": nats.max_pending,
        "write_deadline": nats.write_deadline.nats_text(),
        "ping_interval": nats.ping_interval.nats_text(),
        "ping_max": nats.max_pings_out,
        "accounts": { ACCOUNT: account(config, own_password) },
    });
    if let Some(limit) = nats.max_subscriptions {
        root["max_subscriptions"] = json!(limit);
    }
    if nats.users.is_empty() {
        root["no_auth_user"] = json!(ANONYMOUS);
    }
    if nats.jetstream_enabled {
        root["jetstream"] = json!({
            "store_dir": data_dir.to_string_lossy(),
            "max_memory_store": nats.jetstream_max_memory,
            "max_file_store": nats.jetstream_max_storage,
            // The server acknowledges what is not on the disk yet, for up to this long.
            "sync_interval": match nats.sync_interval {
                SyncInterval::Always => "always".to_owned(),
                SyncInterval::Every(period) => period.nats_text(),
            },
        });
    }
    if nats.is_clustered() {
        let listen = nats.cluster_listen.clone();
        let routes: Vec<&str> = nats
            .cluster_routes
            .iter()
            .map(|url| url.0.as_str())
            .collect();
        root["cluster"] = json!({
            "name": nats.cluster_name.as_deref().unwrap_or("klinecast"),
            "listen": listen.unwrap_or_else(|| format!("{}:{}", nats.host, nats.cluster_port)),
            "routes": routes,
        });
    }
    if let Some(tls) = &nats.tls {
        root["tls"] = certificates(tls);
    }
    format!("# Made by broker at each start: change its configuration, not this file.\n{root:#}\n")
}

fn account(config: &Config, own_password: &Secret) -> Value {
    let nats = &config.nats;
    let mut users = vec![json!({"user": BROKER_USER, "password": own_password.0})];
    if nats.users.is_empty() {
        users.push(json!({"user": ANONYMOUS, "password": own_password.0}));
    }
    for user in &nats.users {
        let mut entry = json!({"user": user.user, "password": user.password.0});
        if let Some(Permissions { publish, subscribe }) = &user.permissions {
            let mut permissions = Map::new();
            for (verb, subjects) in [("publish", publish), ("subscribe", subscribe)] {
                if let Some(subjects) = subjects {
                    permissions.insert(verb.to_owned(), json!(subjects));
                }
            }
            entry["permissions"] = Value::Object(permissions);
        }
        users.push(entry);
    }
    let mut account = json!({ "users": users });
    if nats.jetstream_enabled {
        let mut limits = Map::new();
        for (name, limit) in [
            ("max_streams", nats.jetstream_max_streams),
            ("max_consumers", nats.jetstream_max_consumers),
        ] {
            if let Some(limit) = limit {
                limits.insert(name.to_owned(), json!(limit));
            }
        }
        account["jetstream"] = match limits.is_empty() {
            true => json!("enabled"),
            false => Value::Object(limits),
        };
    }
    if !nats.mappings.is_empty() {
        account["mappings"] = json!(nats.mappings);
    }
    account
}

fn certificates(tls: &Tls) -> Value {
    let mut block = json!({
        "cert_file": tls.cert_file,
        "key_file": tls.key_file,
        "verify": tls.verify,
    });
    if let Some(file) = &tls.ca_file {
        block["ca_file"] = json!(file);
    }
    block
}
