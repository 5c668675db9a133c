//! A gateway under attack, and a client beside the attackers that must not notice.

use std::net::SocketAddr;

use loadtest::fleet::{Fleet, FleetConfig, Gateway, topics};
use loadtest::follower::Follower;
use loadtest::program::arguments;
use loadtest::wait::{holds, until};

/// What a connection can make the gateway hold at most, bytes: a message of `--message-bytes-max`
/// that is not whole, in a buffer that grows by doubling (docs/operations.md).
const CONNECTION_BYTES_MAX: u64 = 2 * 64 * 1024;
/// What the allocator, the metrics and the neighbour's bars may take beside, bytes.
const SLACK_BYTES: u64 = 24 * 1024 * 1024;

/// See the module.
pub(crate) struct Siege {
    fleet: Fleet,
    neighbour: Follower,
    peak_before: u64,
}

impl Siege {
    /// A fleet whose gateways have these flags; `None` where NATS is not installed.
    pub(crate) async fn start(flags: &[&str]) -> Option<Self> {
        let config = FleetConfig {
            gateway: arguments(flags),
            has_no_nginx: true,
            ..FleetConfig::default()
        };
        let fleet = Fleet::start(config).await?;
        let neighbour = Follower::start(fleet.gateways[0].url(), topics());
        until_closed_bars(&neighbour, 1).await;
        let peak_before = peak_rss_bytes(&fleet.gateways[0]);
        Some(Self {
            fleet,
            neighbour,
            peak_before,
        })
    }

    /// The gateway that is attacked.
    pub(crate) fn gateway(&self) -> &Gateway {
        &self.fleet.gateways[0]
    }

    /// Where it serves.
    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway().address
    }

    /// A metric, summed over the series with these labels.
    pub(crate) async fn count(&self, name: &str, labels: &[&str]) -> f64 {
        self.gateway().program.metric(name, labels).await
    }

    /// Waits until so many sessions were evicted for this reason and closed with this code.
    pub(crate) async fn until_evicted(&self, reason: &str, code: u16, count: usize) {
        let reason = format!("reason=\"{reason}\"");
        let code = format!("code=\"{code}\"");
        until(&format!("{count} evicted with {code}"), async || {
            let evicted = self.count("gateway_evictions_total", &[&reason]).await;
            let closed = self
                .count("gateway_closes_total", &[&code, "by=\"gateway\""])
                .await;
            let all = self.count("gateway_closes_total", &[]).await;
            let sessions = self.count("gateway_sessions", &[]).await;
            holds(evicted >= count as f64 && closed >= count as f64, || {
                format!("{evicted}; {closed} closed with it, {all} in all; {sessions} are left")
            })
        })
        .await;
    }

    /// The attack is over: the gateway is ready, has let go of all, never held more than so many
    /// attackers may make it hold, and the neighbour has every bar.
    pub(crate) async fn lift(self, attackers: usize) {
        let closed = closed_bars(&self.neighbour);
        until_closed_bars(&self.neighbour, closed + 3).await;
        self.fleet.until_true(&self.neighbour, false).await;
        self.neighbour.seen(|seen| {
            assert_eq!((seen.connects, seen.others.len()), (1, 0));
            for (topic, seen) in &seen.topics {
                assert_eq!(
                    (seen.holes(), seen.skipped, seen.disordered),
                    (Vec::new(), 0, 0),
                    "{topic}"
                );
            }
        });
        self.gateway().program.until_ready().await;
        until("only the neighbour is left", async || {
            let sessions = self.count("gateway_sessions", &[]).await;
            let connections = self.count("gateway_connections", &[]).await;
            holds((sessions, connections) == (1.0, 1.0), || {
                format!("{sessions} sessions, {connections} connections")
            })
        })
        .await;
        let growth = peak_rss_bytes(self.gateway()).saturating_sub(self.peak_before);
        let bound = SLACK_BYTES + attackers as u64 * CONNECTION_BYTES_MAX;
        assert!(
            growth <= bound,
            "{attackers} attackers made the gateway grow by {growth} bytes, {bound} are allowed"
        );
    }
}

/// Closed bars of the topic that has the fewest.
fn closed_bars(neighbour: &Follower) -> usize {
    neighbour.seen(|seen| {
        let counts = topics().into_iter().map(|topic| {
            seen.topics
                .get(&topic)
                .map_or(0, |topic| topic.closed.len())
        });
        counts.min().unwrap_or(0)
    })
}

async fn until_closed_bars(neighbour: &Follower, least: usize) {
    until(&format!("{least} closed bars of every topic"), async || {
        let count = closed_bars(neighbour);
        holds(count >= least, || count.to_string())
    })
    .await;
}

/// The most memory that a gateway has had, bytes.
fn peak_rss_bytes(gateway: &Gateway) -> u64 {
    let path = format!("/proc/{}/status", gateway.program.process.id());
    let status = std::fs::read_to_string(path).expect("the gateway runs");
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.expect("the system tells the peak") * 1_024
}
