//! Spreads the sessions evenly over the fleet when an operator asks: `/rebalance` on the admin side.
//!
//! Each gateway tells the others once a second over the bus how many sessions it has. During a
//! rebalance, a gateway with more than its share closes some of them each second, and a balancer
//! sends the clients to the gateways with fewer.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bus::{Bus, Delivery, LogLimit, Message, Subscription};
use bytes::Bytes;
use market_core::subject;
use serde::{Deserialize, Serialize};
use service::Service;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{debug, info, warn};

use crate::fleet::report::GatewayReport;
use crate::fleet::view::{Fleet, REPORT_INTERVAL};
use crate::metrics::Metrics;
use crate::sessions::command::{Command, ShardSender};
use crate::sessions::session_counts::SessionCounts;

/// Time between two log lines about the same thing.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Most waiting requests of operators.
const ASKS_MAX: usize = 16;
/// Longest wait of an operator for an answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// Between attempts to subscribe.
const SUBSCRIBE_REST: Duration = Duration::from_secs(1);

/// Splits `count` over the shards in proportion to their sessions.
fn split(count: usize, loads: &[usize]) -> Vec<usize> {
    let total = loads.iter().sum::<usize>();
    let count = count.min(total);
    let (mut load_sum, mut given) = (0, 0);
    loads
        .iter()
        .map(|load| {
            load_sum += load;
            let upto = count * load_sum / total.max(1);
            let part = upto - given;
            given = upto;
            part
        })
        .collect()
}

/// An operator's request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AdminCommand {
    /// Return the state of the fleet.
    See,
    /// All gateways should have the same number of sessions.
    Level,
    /// This gateway should have at most this many.
    AtMost(u64),
    /// Cancel the earlier requests to all gateways.
    Cancel,
}

type Answer = Result<Status, &'static str>;
type Ask = (AdminCommand, oneshot::Sender<Answer>);

/// What is answered.
#[derive(Serialize)]
struct Status {
    /// The target number of this gateway's sessions, while a request is active.
    target: Option<u64>,
    /// Most sessions that it closes a second.
    shed_rate: u64,
    /// This one first.
    gateways: Vec<GatewayStatus>,
}

#[derive(Serialize)]
struct GatewayStatus {
    #[serde(flatten)]
    report: GatewayReport,
    /// Age of its report.
    age_ms: u64,
}

/// An operator's side of a gateway. Clones share it; it serves one gateway.
#[derive(Clone, Debug)]
pub struct Control {
    asks: mpsc::Sender<Ask>,
    inbox: Arc<Mutex<Option<mpsc::Receiver<Ask>>>>,
}

impl Default for Control {
    fn default() -> Self {
        let (asks, inbox) = mpsc::channel(ASKS_MAX);
        Self {
            asks,
            inbox: Arc::new(Mutex::new(Some(inbox))),
        }
    }
}

#[derive(Deserialize)]
struct Parameters {
    target: Option<u64>,
}

impl Control {
    /// The routes of the admin side. `GET /rebalance` returns the number of sessions of each
    /// gateway of the fleet. `POST /rebalance` makes all of them take their share. `POST
    /// /rebalance?target=N` leaves this one with at most N. `DELETE /rebalance` ends both at all
    /// gateways.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/rebalance", get(see).post(rebalance).delete(cancel))
            .with_state(self.clone())
    }

    async fn ask(&self, command: AdminCommand, done: StatusCode) -> Response {
        let (answer, answered) = oneshot::channel();
        let asked = tokio::time::timeout(ANSWER_DEADLINE, async {
            self.asks.send((command, answer)).await.ok()?;
            answered.await.ok()
        });
        match asked.await {
            Ok(Some(Ok(status))) => (done, Json(status)).into_response(),
            Ok(Some(Err(why))) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
            Ok(None) | Err(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "the gateway is stopping\n").into_response()
            }
        }
    }
}

async fn see(State(control): State<Control>) -> Response {
    control.ask(AdminCommand::See, StatusCode::OK).await
}

async fn rebalance(
    State(control): State<Control>,
    Query(parameters): Query<Parameters>,
) -> Response {
    let command = parameters
        .target
        .map_or(AdminCommand::Level, AdminCommand::AtMost);
    control.ask(command, StatusCode::ACCEPTED).await
}

async fn cancel(State(control): State<Control>) -> Response {
    control
        .ask(AdminCommand::Cancel, StatusCode::ACCEPTED)
        .await
}

/// The task of a gateway that knows the fleet.
pub(crate) struct Rebalancer<C> {
    bus: Arc<dyn Bus>,
    fleet: Fleet,
    shed_rate: u64,
    session_counts: Arc<SessionCounts>,
    shards: Vec<ShardSender<C>>,
    metrics: Arc<Metrics>,
    ask_log: LogLimit,
    refusal_log: LogLimit,
}

impl<C> Rebalancer<C> {
    /// The task's state. `address` is where the gateway serves.
    #[must_use]
    pub(crate) fn new(
        address: String,
        shed_rate: u64,
        bus: Arc<dyn Bus>,
        session_counts: Arc<SessionCounts>,
        shards: Vec<ShardSender<C>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let own = GatewayReport {
            id: format!("{:016x}", rand::random::<u64>()),
            address,
            sessions: 0,
            is_leaving: false,
            is_rebalancing: false,
        };
        Self {
            bus,
            fleet: Fleet::new(own),
            shed_rate,
            session_counts,
            shards,
            metrics,
            ask_log: LogLimit::new(LOG_INTERVAL),
            refusal_log: LogLimit::new(LOG_INTERVAL),
        }
    }

    /// Runs until the service is shut down.
    pub(crate) async fn run(mut self, control: Control, service: Service) {
        let inbox = control.inbox.lock().expect("no holder panics").take();
        let mut asks = inbox.unwrap_or_else(|| mpsc::channel(1).1);
        let mut rounds = interval(REPORT_INTERVAL);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut subscription: Option<Subscription> = None;
        loop {
            tokio::select! {
                () = service.shutdown.triggered() => break,
                _ = rounds.tick() => {
                    // A gateway that is not ready gets no sessions, and should not count.
                    if service.readiness.is_ready() {
                        self.report().await;
                    }
                    self.rebalance_step().await;
                }
                delivery = next(&self.bus, &mut subscription) => {
                    if let Some(Delivery::Message(message)) = delivery {
                        self.take(&message);
                    }
                }
                Some((command, answer)) = asks.recv() => {
                    let _ = answer.send(self.grant(command).await);
                }
            }
        }
        self.fleet.leave();
        self.report().await;
    }

    async fn report(&mut self) {
        let own = self.fleet.own();
        let subject = format!("{}{}", subject::GATEWAY_REPORTS, own.id);
        let payload = serde_json::to_vec(own).expect("a report is valid JSON");
        if let Err(error) = self.bus.publish(&subject, Bytes::from(payload)).await {
            // The next report will do; meanwhile the others continue without this gateway.
            debug!(%error, "report not sent");
        }
    }

    fn take(&mut self, message: &Message) {
        let now = Instant::now();
        let is_cancel = &*message.subject == subject::FLEET_CANCEL;
        if is_cancel || &*message.subject == subject::FLEET_REBALANCE {
            if let Some(asked) = self.ask_log.pass(now, 1) {
                info!(asked, is_cancel, "rebalance asked for");
            }
            match is_cancel {
                true => self.fleet.cancel(),
                false => self.fleet.level(now),
            }
            return;
        }
        let id = message.subject.strip_prefix(subject::GATEWAY_REPORTS);
        match id.and_then(|id| GatewayReport::read(id, &message.payload)) {
            Some(report) => self.fleet.heard(report, now),
            None => {
                self.metrics.fleet_refused.increment(1);
                if let Some(refused) = self.refusal_log.pass(now, 1) {
                    warn!(
                        refused,
                        "messages between gateways refused: run gateways of one build only"
                    );
                }
            }
        }
    }

    /// Checks the fleet, and closes sessions if there are too many here.
    async fn rebalance_step(&mut self) {
        let loads = self.session_counts.by_shard();
        let sessions = loads.iter().sum::<usize>();
        self.fleet.count(sessions as u64);
        let excess = self
            .fleet
            .rebalance_step(Instant::now())
            .min(self.shed_rate);
        let gateways = 1 + self.fleet.others().count();
        self.metrics.fleet_gateways.set(gateways as f64);
        self.metrics.fleet_sessions.set(self.fleet.total() as f64);
        self.metrics
            .rebalance_target
            .set(self.fleet.target().unwrap_or(0) as f64);
        if excess == 0 {
            return;
        }
        info!(sessions, excess, "closing sessions for the rebalance");
        let parts = split(usize::try_from(excess).unwrap_or(usize::MAX), &loads);
        for (shard, part) in self.shards.iter().zip(parts) {
            // A shard that has ended has no sessions.
            let _ = shard.send(Command::Shed(part, REPORT_INTERVAL)).await;
        }
    }

    async fn tell_all(&self, subject: &str) -> Result<(), &'static str> {
        let told = self.bus.publish(subject, Bytes::from_static(b"{}"));
        told.await.map_err(|error| {
            warn!(%error, subject, "the other gateways could not be told");
            "the bus does not accept the request: try again\n"
        })
    }

    async fn grant(&mut self, command: AdminCommand) -> Answer {
        let now = Instant::now();
        match command {
            AdminCommand::See => {}
            AdminCommand::AtMost(sessions) => self.fleet.at_most(sessions, now),
            AdminCommand::Level => {
                self.tell_all(subject::FLEET_REBALANCE).await?;
                self.fleet.level(now);
            }
            AdminCommand::Cancel => {
                // This one stops in any case.
                self.fleet.cancel();
                self.tell_all(subject::FLEET_CANCEL).await?;
            }
        }
        let own = GatewayStatus {
            report: self.fleet.own().clone(),
            age_ms: 0,
        };
        let others = self.fleet.others().map(|(report, heard_at)| GatewayStatus {
            report: report.clone(),
            age_ms: now.saturating_duration_since(*heard_at).as_millis() as u64,
        });
        Ok(Status {
            target: self.fleet.target(),
            shed_rate: self.shed_rate,
            gateways: std::iter::once(own).chain(others).collect(),
        })
    }
}

/// The next delivery; subscribes if there is no subscription. Cancel safe.
async fn next(bus: &Arc<dyn Bus>, subscription: &mut Option<Subscription>) -> Option<Delivery> {
    let Some(subscribed) = subscription else {
        match bus.subscribe(subject::ALL_FLEET).await {
            Ok(new) => *subscription = Some(new),
            Err(error) => {
                debug!(%error, "failed to subscribe to the fleet's reports");
                sleep(SUBSCRIBE_REST).await;
            }
        }
        return None;
    };
    let delivery = subscribed.recv().await;
    if delivery.is_none() {
        *subscription = None;
        sleep(SUBSCRIBE_REST).await;
    }
    delivery
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_split_gives_each_shard_its_part_and_none_more_than_it_has(
            loads in proptest::collection::vec(0usize..1_000, 1..8),
            count in 0usize..5_000,
        ) {
            let parts = split(count, &loads);
            let total: usize = loads.iter().sum();
            prop_assert_eq!(parts.iter().sum::<usize>(), count.min(total));
            for (part, load) in parts.iter().zip(&loads) {
                prop_assert!(part <= load);
                let fair = (count.min(total) * load) as f64 / total.max(1) as f64;
                prop_assert!((*part as f64 - fair).abs() <= 1.0, "{} {}", part, fair);
            }
        }
    }
}
