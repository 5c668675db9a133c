//! Keeps the wanted streams there: after the start, and after each restart of the server.

use std::sync::Arc;
use std::time::Duration;

use bus::BusConfig;
use serde_json::json;
use service::{Condition, Shutdown};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use crate::config::Config;
use crate::config::file::Secret;
use crate::events::Events;
use crate::jetstream::JetStream;
use crate::streams::Streams;

/// How often it looks. A server that was restarted lost its streams in memory, and copies of their
/// messages are missing until the next look.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Looks without a problem after which it looks seldom.
const LOOKS_SELDOM: u32 = 5;
/// Longest time for one look.
const LOOK_DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Keeper {
    config: Arc<Config>,
    jetstream: JetStream,
    streams: Streams,
    credentials: Option<(String, Secret)>,
    /// Klinecast's own streams: it makes them again by itself when they go missing.
    own: Option<Arc<dyn bus::Bus>>,
}

impl Keeper {
    pub(crate) fn new(
        config: Arc<Config>,
        jetstream: JetStream,
        streams: Streams,
        credentials: Option<(String, Secret)>,
    ) -> Self {
        Self {
            config,
            jetstream,
            streams,
            credentials,
            own: None,
        }
    }

    /// Looks until the shutdown.
    pub(crate) async fn run(
        mut self,
        events: Events,
        kept: watch::Sender<String>,
        ready: Condition,
        shutdown: Shutdown,
    ) {
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut said = String::new();
        let mut is_started = false;
        // The server's id changes with each start: its streams in memory are gone then.
        let mut known_server = String::new();
        let mut quiet_looks = 0;
        loop {
            tokio::select! {
                () = shutdown.triggered() => break,
                _ = looks.tick() => {}
            }
            let server = self.jetstream.server_info().server_id;
            if server == known_server && self.jetstream.is_connected() {
                quiet_looks += 1;
            } else {
                quiet_looks = 0;
            }
            if quiet_looks > LOOKS_SELDOM && !quiet_looks.is_multiple_of(LOOKS_SELDOM) {
                continue;
            }
            let look = tokio::select! {
                () = shutdown.triggered() => break,
                look = timeout(LOOK_DEADLINE, self.look()) => look,
            };
            match look.unwrap_or_else(|_| Err("nats-server takes too long".to_owned())) {
                Ok(()) => {
                    kept.send_if_modified(|kept| {
                        let has_changed = *kept != server;
                        kept.clone_from(&server);
                        has_changed
                    });
                    known_server = server;
                    said.clear();
                    ready.met();
                    if !is_started {
                        is_started = true;
                        info!("broker is ready");
                        events.service("started", json!({})).await;
                    }
                }
                Err(reason) => {
                    quiet_looks = 0;
                    // The same reason is said once.
                    if reason != said {
                        warn!(reason, "the streams cannot be kept");
                        said.clone_from(&reason);
                    }
                    ready.unmet(reason);
                }
            }
        }
        if let Some(own) = self.own {
            let _ = own.drain().await;
        }
    }

    async fn look(&mut self) -> Result<(), String> {
        if !self.jetstream.is_connected() {
            return Err("no connection to nats-server".to_owned());
        }
        if !self.config.nats.jetstream_enabled {
            return Ok(());
        }
        if self.config.auto_create_streams {
            self.make_own().await?;
            self.streams
                .create_missing()
                .await
                .map_err(|error| error.to_string())?;
        } else {
            self.jetstream
                .streams()
                .await
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Klinecast's own streams come first: another stream on their subjects would keep Klinecast's
    /// programs from starting.
    async fn make_own(&mut self) -> Result<(), String> {
        let Some(prefix) = &self.config.klinecast_prefix else {
            return Ok(());
        };
        if self.own.is_some() {
            return Ok(());
        }
        let login = match &self.credentials {
            None => String::new(),
            Some((user, password)) => format!(
                "{}:{}@",
                percent_encoded(user),
                percent_encoded(&password.0)
            ),
        };
        let servers = self.config.servers().into_iter();
        let servers = servers.map(|url| url.replacen("://", &format!("://{login}"), 1));
        let address = servers.collect::<Vec<_>>().join(",");
        let config = BusConfig {
            bus: address
                .parse()
                .map_err(|error: bus::BusError| error.to_string())?,
            bus_prefix: prefix.clone(),
            bus_ca_file: self
                .config
                .nats
                .tls
                .as_ref()
                .and_then(|tls| tls.ca_file.clone()),
            bus_connect_deadline_ms: 5_000,
            ..BusConfig::default()
        };
        let own = bus::connect(&config, &service::streams()).await;
        self.own = Some(own.map_err(|error| error.to_string())?);
        Ok(())
    }
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() {
            true => encoded.push(char::from(byte)),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
