//! What the broker says of itself on the bus: `system.service.…`, `system.health.…` and
//! `system.alert.…`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use market_core::channel::{ALERT, SYSTEM};
use metrics::counter;
use serde_json::{Value, json};
use service::Shutdown;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock;
use crate::config::Config;
use crate::jetstream::JetStream;
use crate::nats_process::{ServerState, Supervised};
use crate::snapshot::Snapshots;

/// The name of the service, in its answers and events.
pub(crate) const SERVICE: &str = "message-broker-service";
/// How often the health is published.
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);

/// Publishes events. Clones share the connection.
#[derive(Clone)]
pub(crate) struct Events {
    jetstream: JetStream,
    prefix: String,
    is_on: bool,
}

impl Events {
    pub(crate) fn new(config: &Config, jetstream: JetStream) -> Self {
        Self {
            jetstream,
            prefix: match config.klinecast_prefix.as_deref() {
                None | Some("") => String::new(),
                Some(prefix) => format!("{prefix}."),
            },
            is_on: config.service_events,
        }
    }

    /// An event of this service, such as `started`.
    pub(crate) async fn service(&self, event: &str, details: Value) {
        self.send(&format!("service.{SERVICE}.{event}"), details)
            .await;
    }

    /// An alert of a level, such as `critical`, and a kind.
    pub(crate) async fn alert(&self, level: &str, kind: &str, details: Value) {
        let rest = format!("{}.{level}.{kind}", ALERT.root);
        self.send(&rest, details).await;
    }

    async fn send(&self, rest: &str, mut details: Value) {
        if !self.is_on {
            return;
        }
        // The gateways pass it on, and name topics with colons.
        details["topic"] = json!(format!("{}:{}", SYSTEM.root, rest.replace('.', ":")));
        details["service"] = json!(SERVICE);
        details["timestamp"] = json!(clock::now_text());
        let subject = format!("{}{}.{rest}", self.prefix, SYSTEM.root);
        let sent = self
            .jetstream
            .publish_soon(subject, Bytes::from(details.to_string()))
            .await;
        if sent.is_err() {
            counter!("broker_events_lost_total").increment(1);
        }
    }

    /// Publishes the health, and what becomes of the server, until the shutdown. `kept_server` is
    /// the id of the server that has all streams.
    pub(crate) async fn run(
        self,
        config: Arc<Config>,
        snapshots: Arc<Snapshots>,
        supervised: Option<Supervised>,
        mut kept_server: watch::Receiver<String>,
        shutdown: Shutdown,
    ) {
        let mut looks = interval(HEALTH_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut restarts = 0;
        let mut known_server = String::new();
        let mut was_healthy = true;
        let mut state = supervised.map(|supervised| supervised.state);
        loop {
            tokio::select! {
                () = shutdown.triggered() => return,
                _ = looks.tick() => {}
                () = changed(&mut state) => {}
                Ok(()) = kept_server.changed() => {}
            }
            // Read before the process's state: a server of a new id has been started before.
            let kept = kept_server.borrow_and_update().clone();
            let server = state
                .as_mut()
                .map(|state| state.borrow_and_update().clone());
            let started = server.filter(|server| server.restarts > restarts);
            if started.is_none() {
                known_server.clone_from(&kept);
            }
            if let Some(ServerState { restarts: now, last_end, .. }) = started
                // The new server has all streams, so they keep the event.
                && kept != known_server
            {
                restarts = now;
                known_server = kept;
                let details = json!({ "restarts": now, "reason": last_end });
                self.service("nats_restarted", details.clone()).await;
                self.alert("warning", "nats_restarted", details).await;
            }
            let problems = crate::health::problems(&config, &*snapshots.get().await);
            let is_healthy = problems.is_empty();
            let status = if is_healthy { "healthy" } else { "unhealthy" };
            let details = json!({ "status": status, "problems": problems });
            self.send(&format!("health.{SERVICE}"), details.clone())
                .await;
            if was_healthy && !is_healthy {
                self.alert("critical", "broker_unhealthy", details).await;
            }
            was_healthy = is_healthy;
        }
    }
}

async fn changed(state: &mut Option<watch::Receiver<ServerState>>) {
    if let Some(state) = state
        && state.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
