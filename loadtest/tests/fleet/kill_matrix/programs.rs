//! The programs of the fleet, started where each has what is its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bus::{Bus, PAGE_MESSAGES_MAX, Range, Start};
use loadtest::fleet::{FleetConfig, start_gateway, start_history_with, start_marketdata};
use loadtest::program::{Program, arguments, fresh_http};
use loadtest::simulator::Simulator;
use loadtest::wait::{holds, until};
use serde::Deserialize;
use serde_json::{Value, json};

use super::own::{Own, Place};

pub(crate) const JOURNAL_BYTES: &str = "4194304";
pub(crate) const JOURNAL_BYTES_MAX: u64 = 4_194_304;
/// Alerts that the bus keeps of a topic.
const ALERTS_KEPT: usize = 16;
/// What names an alert, and why it was raised.
#[derive(Debug, Deserialize)]
struct Alert {
    topic: String,
    epoch: u64,
    seq: u64,
    start_ms: i64,
    end_ms: i64,
    direction: String,
}

impl Alert {
    fn cause(&self) -> (u64, i64, i64, &str) {
        (self.epoch, self.start_ms, self.end_ms, &self.direction)
    }
}

/// Programs that read the journal care for it, too.
const JOURNAL: [&str; 2] = ["--journal-bytes-max", JOURNAL_BYTES];

pub(crate) async fn start_own_marketdata(
    config: &FleetConfig,
    place: Place,
    simulator: &Simulator,
) -> Own {
    let it = start_marketdata(&place.config(config), &place.links.url(), simulator).await;
    // The first one makes the streams.
    it.until_ready().await;
    Own { it, place }
}

pub(crate) async fn start_own_gateway(config: &FleetConfig, place: Place) -> (Own, SocketAddr) {
    let gateway = start_gateway(&place.config(config), &place.links.url()).await;
    gateway.program.until_ready().await;
    let it = gateway.program;
    (Own { it, place }, gateway.address)
}

pub(crate) async fn start_own_history(place: Place) -> (Own, SocketAddr) {
    let (launcher, url) = (place.launcher(), place.links.url());
    let (it, address) = start_history_with(launcher, &JOURNAL, &url, &place.store()).await;
    (Own { it, place }, address)
}

/// Alerts with a rule that fires often.
pub(crate) async fn start_own_alerts(place: Place) -> Own {
    let when = json!({"type": "move", "percent": "0.01", "window_s": 5});
    let rule = json!({"name": "moves", "symbols": ["*"], "cooldown_s": 0, "when": when});
    let rules = place.write("rules.json", &json!({"rules": [rule]}));
    let store = place.store();
    let flags = [
        "--listen",
        "127.0.0.1:0",
        "--bus",
        &place.links.url(),
        "--rules-file",
        &rules,
        "--data-dir",
        store.to_str().expect("UTF-8"),
    ];
    let flags = arguments(&[&flags[..], &JOURNAL].concat());
    let mut it = Program::start_with(place.launcher(), "alerts", flags).await;
    it.listens("alerts listens", "address").await;
    Own { it, place }
}

/// A broker that administers servers that others start, and streams that others make.
pub(crate) async fn start_own_broker(place: Place) -> (Own, SocketAddr) {
    let urls: Vec<String> = place.links.url().split(',').map(str::to_owned).collect();
    // JSON is YAML.
    let config = json!({"message-broker-service": {
        "auto_start_nats": false, "auto_create_streams": false, "klinecast_streams": false,
        "nats": {"client_urls": urls, "default_streams": []},
    }});
    let config = place.write("services.yaml", &config);
    let flags = arguments(&["--listen", "127.0.0.1:0", "--config", &config]);
    let mut it = Program::start_with(place.launcher(), "broker", flags).await;
    let address = it.listens("broker serves http", "address").await;
    (Own { it, place }, address)
}

/// Waits until the broker names these streams.
pub(crate) async fn until_it_names(broker: SocketAddr, streams: &[&str]) {
    let http = fresh_http();
    until("the broker names every stream", async || {
        let asked = http.get(format!("http://{broker}/api/v1/streams")).send();
        let text = asked.await.map_err(|error| error.to_string())?.text().await;
        let text = text.map_err(|error| error.to_string())?;
        let said: Value =
            serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        let said = said["streams"].as_array().ok_or_else(|| text.clone())?;
        let is_named = |stream: &&&str| said.iter().any(|it| it["name"] == **stream);
        holds(
            streams.iter().filter(is_named).count() == streams.len(),
            || text.clone(),
        )
    })
    .await;
}

/// Each kept alert is on the bus once, in its order, and no two of a topic have the same cause. A topic
/// keeps the newest ones: all of them, unless there are more than that. Says how many there are.
///
/// # Panics
/// If an alert is there twice, one is missing before another one, or there is none at all.
pub(crate) async fn count_alerts(bus: &dyn Bus) -> usize {
    let range = Range::new("alert.>", Start::Oldest, PAGE_MESSAGES_MAX);
    let page = bus.streams().range(&range).await.expect("the cluster runs");
    assert!(page.is_end, "{} alerts are not all", page.messages.len());
    let mut by_topic: BTreeMap<String, Vec<Alert>> = BTreeMap::new();
    for message in &page.messages {
        let alert: Alert = serde_json::from_slice(&message.payload).expect("an alert");
        by_topic.entry(alert.topic.clone()).or_default().push(alert);
    }
    for alerts in by_topic.values() {
        let is_next = |pair: &[Alert]| match pair {
            [before, next] if before.epoch == next.epoch => before.seq + 1 == next.seq,
            // A rule that begins anew has a later epoch.
            [before, next] => before.epoch < next.epoch,
            _ => true,
        };
        assert!(alerts.windows(2).all(is_next), "{alerts:?}");
        let is_whole = alerts.first().is_none_or(|first| first.seq == 1);
        assert!(is_whole || alerts.len() >= ALERTS_KEPT, "{alerts:?}");
        let causes: BTreeSet<_> = alerts.iter().map(Alert::cause).collect();
        assert_eq!(causes.len(), alerts.len(), "the same cause: {alerts:?}");
    }
    let alerts: usize = by_topic.values().map(Vec::len).sum();
    assert!(alerts > 0, "the rule fires often");
    alerts
}
