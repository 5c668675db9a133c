//! Whether a configuration can hold, before anything is started.

use std::collections::BTreeSet;

use super::checked::Config;
use super::error::ConfigError;
use super::file::{ANONYMOUS, BROKER_USER, Permissions, SyncInterval};
use crate::stream_settings::{check_destination, check_name, check_pattern};
use crate::{copies, default_streams, subjects};

/// Largest message that nats-server allows.
const PAYLOAD_MAX: u64 = 64 << 20;

pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    ports(config)?;
    limits(config)?;
    texts(config)?;
    users(config)?;
    connection(config)?;
    streams(config)
}

fn ports(config: &Config) -> Result<(), ConfigError> {
    let nats = &config.nats;
    if !config.auto_start_nats {
        return Ok(());
    }
    let mut ports = vec![
        ("nats.nats_port", nats.nats_port),
        ("nats.http_port", nats.http_port),
        ("port", config.listen.port()),
    ];
    if nats.is_clustered() && nats.cluster_listen.is_none() {
        ports.push(("nats.cluster_port", nats.cluster_port));
    }
    let mut taken = BTreeSet::new();
    for (field, port) in ports {
        // Port 0 of the API is any free one.
        if field == "port" && port == 0 {
            continue;
        }
        if port == 0 {
            return Err(ConfigError::field(
                field,
                "0 is no port that others can know: choose one",
            ));
        }
        if !taken.insert(port) {
            return Err(ConfigError::field(
                field,
                format!("{port} is used twice: choose another port"),
            ));
        }
    }
    Ok(())
}

fn limits(config: &Config) -> Result<(), ConfigError> {
    let nats = &config.nats;
    let at_least_one = [
        ("nats.jetstream_max_memory", nats.jetstream_max_memory.0),
        ("nats.jetstream_max_storage", nats.jetstream_max_storage.0),
        (
            "nats.jetstream_max_streams",
            nats.jetstream_max_streams.unwrap_or(1).into(),
        ),
        (
            "nats.jetstream_max_consumers",
            nats.jetstream_max_consumers.unwrap_or(1).into(),
        ),
        ("nats.max_connections", nats.max_connections.into()),
        (
            "nats.max_subscriptions",
            nats.max_subscriptions.unwrap_or(1).into(),
        ),
        ("nats.max_payload", nats.max_payload.0),
        (
            "nats.write_deadline",
            nats.write_deadline.as_nanos() / 1_000_000,
        ),
        (
            "nats.ping_interval",
            nats.ping_interval.as_nanos() / 1_000_000,
        ),
        ("nats.max_pings_out", nats.max_pings_out.into()),
    ];
    for (field, value) in at_least_one {
        if value == 0 {
            return Err(ConfigError::field(
                field,
                "0 lets nothing through: set 1 or more",
            ));
        }
    }
    if nats.max_payload.0 > PAYLOAD_MAX || nats.max_payload > nats.max_pending {
        return Err(ConfigError::field(
            "nats.max_payload",
            "a message has at most 64MB, and at most max_pending",
        ));
    }
    if let SyncInterval::Every(period) = nats.sync_interval
        && period.0.is_zero()
    {
        return Err(ConfigError::field(
            "nats.sync_interval",
            "set \"always\", or 1ms or more",
        ));
    }
    Ok(())
}

/// Texts go into nats-server's configuration, whose strings have no control characters.
fn texts(config: &Config) -> Result<(), ConfigError> {
    let nats = &config.nats;
    let mut texts = vec![
        ("nats.server_name", nats.server_name.clone()),
        ("nats.cluster_name", nats.cluster_name.clone()),
        ("nats.cluster_listen", nats.cluster_listen.clone()),
        ("nats.nats_url", nats.nats_url.clone()),
        ("nats.user", nats.user.clone()),
        (
            "nats.data_dir",
            Some(nats.data_dir.to_string_lossy().into_owned()),
        ),
    ];
    texts.extend(
        nats.client_urls
            .iter()
            .map(|url| ("nats.client_urls", Some(url.clone()))),
    );
    texts.extend(
        nats.cluster_routes
            .iter()
            .map(|url| ("nats.cluster_routes", Some(url.0.clone()))),
    );
    for (field, text) in texts {
        let Some(text) = text else { continue };
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(ConfigError::field(
                field,
                "it is empty, or has a control character",
            ));
        }
    }
    for (field, name) in [
        ("nats.server_name", &nats.server_name),
        ("nats.cluster_name", &nats.cluster_name),
    ] {
        if name
            .as_ref()
            .is_some_and(|name| name.contains(char::is_whitespace))
        {
            return Err(ConfigError::field(field, "a name has no spaces"));
        }
    }
    if nats.data_dir.to_str().is_none() {
        return Err(ConfigError::field(
            "nats.data_dir",
            "it must be UTF-8: choose another directory",
        ));
    }
    for url in &nats.cluster_routes {
        if !url.0.starts_with("nats-route://") && !url.0.starts_with("nats://") {
            return Err(ConfigError::field(
                "nats.cluster_routes",
                "a route is nats-route://host:port",
            ));
        }
    }
    for (from, to) in &nats.mappings {
        let field = format!("nats.mappings.{from}");
        check_pattern(from).map_err(|reason| ConfigError::field(field.clone(), reason))?;
        if to.is_empty() {
            return Err(ConfigError::field(field, "it needs a subject to go to"));
        }
        check_destination(to).map_err(|reason| ConfigError::field(field, reason))?;
    }
    Ok(())
}

fn users(config: &Config) -> Result<(), ConfigError> {
    let mut names = BTreeSet::new();
    for (index, user) in config.nats.users.iter().enumerate() {
        let field = |name: &str| format!("nats.users[{index}].{name}");
        let is_ours = [ANONYMOUS, BROKER_USER].contains(&user.user.as_str());
        if user.user.is_empty() || user.user.chars().any(char::is_control) || is_ours {
            return Err(ConfigError::field(field("user"), "choose another name"));
        }
        if user.password.0.is_empty() || user.password.0.chars().any(char::is_control) {
            return Err(ConfigError::field(
                field("password"),
                "it is empty, or has a control character",
            ));
        }
        if !names.insert(&user.user) {
            return Err(ConfigError::field(
                field("user"),
                "there is another user of this name",
            ));
        }
        let Some(Permissions { publish, subscribe }) = &user.permissions else {
            continue;
        };
        for pattern in publish.iter().chain(subscribe).flatten() {
            // Permissions may well name the server's own subjects.
            bus::Pattern::new(pattern)
                .map_err(|error| ConfigError::field(field("permissions"), error.to_string()))?;
        }
    }
    Ok(())
}

fn connection(config: &Config) -> Result<(), ConfigError> {
    let nats = &config.nats;
    for url in config.servers() {
        let field = match nats.client_urls.is_empty() {
            true => "nats.nats_url",
            false => "nats.client_urls",
        };
        if !url.starts_with("nats://") && !url.starts_with("tls://") {
            return Err(ConfigError::field(
                field,
                "an address is nats://host:port or tls://host:port",
            ));
        }
        if url.contains('@') {
            return Err(ConfigError::field(
                field,
                "an address has no credentials here: set nats.user and nats.password",
            ));
        }
        let port = url.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        if config.auto_start_nats
            && nats.client_urls.is_empty()
            && port.unwrap_or(4222) != nats.nats_port
        {
            return Err(ConfigError::field(
                field,
                "it is not the server of nats_port: make the ports equal, or set auto_start_nats: false to connect to another server",
            ));
        }
    }
    if nats.user.is_some() != nats.password.is_some() {
        return Err(ConfigError::field(
            "nats.user",
            "set both user and password, or none of them",
        ));
    }
    if config.auto_start_nats && nats.user.is_some() {
        return Err(ConfigError::field(
            "nats.user",
            "a server that the broker starts gives it a user of its own: take it out, or set auto_start_nats: false",
        ));
    }
    let demands_certificates = nats.tls.as_ref().is_some_and(|tls| tls.verify);
    if demands_certificates && config.klinecast_prefix.is_some() {
        return Err(ConfigError::field(
            "nats.tls.verify",
            "Klinecast's programs present no certificate: set verify: false, or klinecast_streams: false for a server without them",
        ));
    }
    Ok(())
}

fn streams(config: &Config) -> Result<(), ConfigError> {
    let nats = &config.nats;
    for name in &nats.default_streams {
        if !default_streams::NAMES.contains(&name.as_str()) {
            let known = default_streams::NAMES.join(", ");
            return Err(ConfigError::field(
                "nats.default_streams",
                format!("{name:?} is none of {known}: own streams are in nats.streams"),
            ));
        }
    }
    if !nats.jetstream_enabled && !nats.streams.is_empty() {
        return Err(ConfigError::field(
            "nats.streams",
            "streams need JetStream: set jetstream_enabled: true",
        ));
    }
    let all: Vec<(&String, &[String])> = config
        .streams
        .iter()
        .map(|(name, settings)| (name, settings.subjects.as_deref().unwrap_or_default()))
        .collect();
    for (index, (name, its)) in all.iter().enumerate() {
        let field = format!("nats.streams.{name}");
        let refused = |reason: String| ConfigError::field(field.clone(), reason);
        check_name(name).map_err(refused)?;
        config.streams[*name].check_whole().map_err(refused)?;
        for (other, others) in &all[..index] {
            let overlaps = |one: &String| others.iter().any(|other| subjects::overlap(one, other));
            if let Some(subject) = its.iter().find(|subject| overlaps(subject)) {
                return Err(refused(format!(
                    "its subject {subject} overlaps with those of {other}: a message can be in one stream only. Leave {other} out of default_streams, or choose other subjects"
                )));
            }
        }
    }
    if let Some(prefix) = &config.klinecast_prefix {
        if !prefix.is_empty() {
            bus::check_subject(prefix)
                .map_err(|error| ConfigError::field("klinecast_prefix", error.to_string()))?;
        }
        for (name, settings) in &config.streams {
            copies::of(settings, &copies::own_subjects(prefix))
                .map_err(|reason| ConfigError::field(format!("nats.streams.{name}"), reason))?;
        }
    }
    Ok(())
}
