//! Keeps one connection up for a share of a venue's symbols.
//!
//! A connection that is to be replaced stays until its successor carries every symbol, and a little
//! longer, so that no trade is missed in between. Duplicates are removed by trade id.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use market_core::VenueClock;
use metrics::Histogram;
use rand::Rng;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, debug_span, info, warn};

use super::backoff::Backoff;
use super::connection::{CloseReason, ConnectionTiming};
use super::dial::VenueTls;
use super::router::Router;
use super::socket::{self, Ended};
use super::status::{FeedStatus, SymbolHealth};
use super::symbols::SymbolBoard;
use crate::budget::WindowBudget;
use crate::exchange::{Exchange, Limits};
use crate::host_clock::now_ms;
use crate::inbox::Inbox;
use crate::instrument::InstrumentId;

/// A connection that lasted for this long was not a failure.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// How long both connections live once the new one carries every symbol.
const OVERLAP: Duration = Duration::from_millis(1_000);
/// How long a failed rotation waits before the next.
const ROTATION_RETRY: Duration = Duration::from_secs(30);

/// A share of a venue's symbols, and everything that its connections need.
pub struct Shard {
    /// Its number among the venue's.
    pub index: usize,
    /// The venue's protocol.
    pub exchange: &'static dyn Exchange,
    /// The socket's address.
    pub url: String,
    /// What it carries, with the venue's names.
    pub symbols: Vec<(InstrumentId, String)>,
    /// By instrument: its worker.
    pub worker_of: Arc<[usize]>,
    /// By worker.
    pub workers: Arc<[Inbox]>,
    /// Which certificates are trusted.
    pub tls: VenueTls,
    /// Longest time for a connection to open.
    pub connect_timeout: Duration,
    /// The connection's timing; rotation is spread by `Shard::timing`.
    pub base_timing: ConnectionTiming,
    /// Waits between attempts.
    pub backoff: Backoff,
    /// The venue's budget of attempts, shared by its shards.
    pub attempts: Arc<Mutex<WindowBudget>>,
    /// Where it stands.
    pub status: Arc<FeedStatus>,
    /// Dead symbols.
    pub health: Arc<SymbolHealth>,
    /// Where each symbol stands.
    pub board: Arc<SymbolBoard>,
    /// Stage times.
    pub meters: StageMeters,
}

/// Histograms of the stages at a socket.
#[derive(Clone)]
pub struct StageMeters {
    /// From the venue's event to the received frame, seconds.
    pub feed: Histogram,
    /// From a received batch of frames to its trades, seconds.
    pub decode: Histogram,
}

impl StageMeters {
    /// The venue's histograms.
    #[must_use]
    pub fn new(exchange: &'static str) -> Self {
        let stage = |stage: &'static str| metrics::histogram!("marketdata_stage_seconds", "stage" => stage, "exchange" => exchange);
        Self {
            feed: stage("feed"),
            decode: stage("decode"),
        }
    }
}

/// What a connection reports while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// It carries every symbol.
    Ready,
    /// It must be replaced.
    Rotate,
}

impl Shard {
    pub(crate) fn router(&self) -> Router {
        Router::new(Arc::clone(&self.worker_of), Arc::clone(&self.workers))
    }

    /// The timing of the next connection: shards do not all rotate at once.
    pub(crate) fn timing(&self) -> ConnectionTiming {
        let age_ms = self.base_timing.rotation_age_ms;
        let earlier_ms = rand::rng().random_range(0..=age_ms / 20);
        ConnectionTiming {
            rotation_age_ms: age_ms - earlier_ms,
            ..self.base_timing
        }
    }

    /// Takes an attempt from the venue's budget, or returns the time to wait.
    fn attempt(&self) -> Result<(), Duration> {
        let mut attempts = self
            .attempts
            .lock()
            .expect("no code panics while it holds the budget");
        attempts
            .take(now_ms(), 1)
            .map_err(|wait_ms| Duration::from_millis(wait_ms.unsigned_abs()))
    }
}

/// How long a shard waits before its first attempt. The attempts of earlier processes, which may
/// have ended a moment ago, again and again, are unknown. So the shards of a new process take no
/// more of the venue's budget in any time than the venue permits in the long run. `random` is in
/// `0.0..1.0`.
fn first_wait(limits: &Limits, index: usize, random: f64) -> Duration {
    let window_ms = limits.attempts_window_ms.unsigned_abs() as f64;
    let spacing_ms = window_ms / limits.attempts_max.max(1) as f64;
    Duration::from_millis((spacing_ms * (index as f64) * random) as u64)
}

/// A connection that lives in its own task.
struct Running {
    stop: CancellationToken,
    task: AbortOnDropHandle<Ended>,
    reports: mpsc::Receiver<Report>,
    is_ready: bool,
}

/// See the module.
pub struct Supervisor {
    shard: Arc<Shard>,
    backoff: Backoff,
    clock: Option<VenueClock>,
    /// Most symbols in a frame. A venue that ignores frames with an unknown symbol is asked with
    /// smaller and smaller frames.
    frame_max: usize,
    current: Option<Running>,
    successor: Option<Running>,
    /// Replaced connections that are still closing.
    leaving: JoinSet<()>,
    /// When to open the next connection, if one is needed.
    open_at: Option<Instant>,
    /// When the current connection is closed because its successor is up.
    switch_at: Option<Instant>,
}

impl Supervisor {
    /// A supervisor that has opened nothing.
    #[must_use]
    pub fn new(shard: Shard) -> Self {
        let limits = shard.exchange.limits();
        let first_wait = first_wait(&limits, shard.index, rand::rng().random());
        Self {
            backoff: shard.backoff.clone(),
            shard: Arc::new(shard),
            clock: None,
            frame_max: usize::MAX,
            current: None,
            successor: None,
            leaving: JoinSet::new(),
            open_at: Some(Instant::now() + first_wait),
            switch_at: None,
        }
    }

    /// Keeps the shard's symbols carried until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(left) = self.leaving.join_next() => {
                    ended_or_panic(left);
                }
                () = sleep_until(self.open_at.unwrap_or_else(Instant::now)), if self.open_at.is_some() => self.open(),
                () = sleep_until(self.switch_at.unwrap_or_else(Instant::now)), if self.switch_at.is_some() => self.switch(),
                event = next_event(&mut self.current) => match event {
                    RunningEvent::Report(report) => self.current_reports(report),
                    RunningEvent::Ended(ended) => self.current_ended(ended),
                },
                event = next_event(&mut self.successor) => match event {
                    RunningEvent::Report(report) => self.successor_reports(report),
                    RunningEvent::Ended(ended) => self.successor_ended(ended.reason),
                },
            }
        }
        for running in [self.current.take(), self.successor.take()]
            .into_iter()
            .flatten()
        {
            running.stop.cancel();
            ended_or_panic(running.task.await);
        }
        while let Some(left) = self.leaving.join_next().await {
            ended_or_panic(left);
        }
        self.shard.status.set_carried(self.shard.index, false);
    }

    /// Opens a connection, if there are symbols to ask for and the venue's budget has an attempt
    /// left.
    fn open(&mut self) {
        let symbols = &self.shard.symbols;
        if let Some(wait_ms) = self.shard.board.all_refused_for_ms(symbols, now_ms()) {
            self.open_at = Some(Instant::now() + Duration::from_millis(wait_ms.unsigned_abs()));
            return;
        }
        if let Err(wait) = self.shard.attempt() {
            let exchange = self.shard.exchange.name();
            metrics::counter!("marketdata_connect_attempts_held_total", "exchange" => exchange)
                .increment(1);
            self.open_at = Some(Instant::now() + wait);
            return;
        }
        self.open_at = None;
        let (sender, reports) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let shard = Arc::clone(&self.shard);
        let clock = self.clock.clone();
        let frame_max = self.frame_max;
        let task = {
            let stop = stop.clone();
            AbortOnDropHandle::new(tokio::spawn(async move {
                let exchange = shard.exchange.name();
                metrics::counter!("marketdata_connect_attempts_total", "exchange" => exchange)
                    .increment(1);
                shard.status.connected();
                let report = |report| {
                    // The few messages fit; while stopping, nobody waits for them.
                    let _ = sender.try_send(report);
                };
                let span = debug_span!("feed", exchange, shard = shard.index);
                let ended = socket::run(&shard, clock, frame_max, report, &stop)
                    .instrument(span)
                    .await;
                shard.status.disconnected();
                metrics::counter!("marketdata_disconnects_total", "exchange" => exchange, "reason" => ended.reason.name())
                    .increment(1);
                ended
            }))
        };
        let running = Running {
            stop,
            task,
            reports,
            is_ready: false,
        };
        if self.current.is_none() {
            self.current = Some(running);
        } else {
            self.successor = Some(running);
        }
    }

    fn current_reports(&mut self, report: Report) {
        match report {
            Report::Ready => {
                if let Some(current) = &mut self.current {
                    current.is_ready = true;
                }
                self.shard.status.set_carried(self.shard.index, true);
                info!(
                    exchange = self.shard.exchange.name(),
                    shard = self.shard.index,
                    symbols = self.shard.symbols.len(),
                    "feed connected"
                );
            }
            Report::Rotate if self.successor.is_none() && self.open_at.is_none() => {
                info!(
                    exchange = self.shard.exchange.name(),
                    shard = self.shard.index,
                    "replacing the connection"
                );
                metrics::counter!("marketdata_rotations_total", "exchange" => self.shard.exchange.name())
                    .increment(1);
                self.open_at = Some(Instant::now());
            }
            Report::Rotate => {}
        }
    }

    fn successor_reports(&mut self, report: Report) {
        if report == Report::Ready {
            if let Some(successor) = &mut self.successor {
                successor.is_ready = true;
            }
            self.switch_at = Some(Instant::now() + OVERLAP);
        }
    }

    /// The successor takes over.
    fn switch(&mut self) {
        self.switch_at = None;
        let Some(successor) = self.successor.take() else {
            return;
        };
        if let Some(replaced) = self.current.replace(successor) {
            // It closes by itself, within its deadline.
            replaced.stop.cancel();
            self.leaving.spawn(async move {
                ended_or_panic(replaced.task.await);
            });
        }
        info!(
            exchange = self.shard.exchange.name(),
            shard = self.shard.index,
            "connection replaced"
        );
    }

    fn current_ended(&mut self, ended: Ended) {
        self.current = self.successor.take();
        self.switch_at = None;
        let is_carried = self
            .current
            .as_ref()
            .is_some_and(|running| running.is_ready);
        self.shard.status.set_carried(self.shard.index, is_carried);
        let exchange = self.shard.exchange.name();
        if ended.was_ready_for >= STABLE_AFTER {
            self.backoff.reset();
        }
        self.frame_max = if ended.was_ignored {
            (self.frame_max.min(self.shard.symbols.len()) / 2).max(1)
        } else {
            usize::MAX
        };
        if self.current.is_none() {
            let wait_ms = self.backoff.next_ms(rand::rng().random());
            let at = Instant::now() + Duration::from_millis(wait_ms);
            self.open_at = Some(self.open_at.map_or(at, |planned| planned.min(at)));
            let failures = self.backoff.failures();
            // During a long outage, fewer and fewer lines.
            if failures.is_power_of_two() {
                warn!(
                    exchange,
                    shard = self.shard.index,
                    url = self.shard.url,
                    reason = ended.reason.name(),
                    error = ended.detail,
                    wait_ms,
                    failures,
                    "feed lost, reconnecting"
                );
            }
        }
        self.clock = ended.clock.or(self.clock.take());
    }

    fn successor_ended(&mut self, reason: CloseReason) {
        self.successor = None;
        self.switch_at = None;
        warn!(
            exchange = self.shard.exchange.name(),
            shard = self.shard.index,
            reason = reason.name(),
            "replacement failed, trying again"
        );
        self.open_at = Some(Instant::now() + ROTATION_RETRY);
    }
}

enum RunningEvent {
    Report(Report),
    Ended(Ended),
}

/// The next report of a connection; without a connection it waits for ever. Cancel safe.
async fn next_event(running: &mut Option<Running>) -> RunningEvent {
    let Some(running) = running else {
        return std::future::pending().await;
    };
    tokio::select! {
        biased;
        Some(report) = running.reports.recv() => RunningEvent::Report(report),
        ended = &mut running.task => match ended_or_panic(ended) {
            Some(ended) => RunningEvent::Ended(ended),
            None => std::future::pending().await,
        },
    }
}

/// A connection that panicked has not told its workers that it is gone: their symbols would have no
/// feed and no gap. So the panic continues here, and ends the program. `None` if the runtime is
/// shutting down.
fn ended_or_panic<T>(ended: Result<T, JoinError>) -> Option<T> {
    match ended {
        Ok(ended) => Some(ended),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::registry::EXCHANGES;

    #[tokio::test]
    async fn a_connection_that_panics_takes_its_supervisor_with_it() {
        let (_sender, reports) = mpsc::channel(1);
        let mut running = Some(Running {
            stop: CancellationToken::new(),
            task: AbortOnDropHandle::new(tokio::spawn(async { panic!("fault of the test") })),
            reports,
            is_ready: false,
        });
        let supervisor = tokio::spawn(async move {
            next_event(&mut running).await;
        });
        let ended = supervisor.await.expect_err("the panic goes on");
        assert!(ended.is_panic());
    }

    #[test]
    fn the_first_attempts_of_a_program_are_spread_over_what_the_venue_grants_in_the_long_run() {
        for exchange in EXCHANGES {
            let limits = exchange.limits();
            assert_eq!(first_wait(&limits, 0, 0.99), Duration::ZERO);
            let all = limits.attempts_max;
            let window = Duration::from_millis(limits.attempts_window_ms.unsigned_abs());
            let last = first_wait(&limits, all, 0.999);
            assert!(last > window / 2 && last <= window, "{}", exchange.name());
            assert!(first_wait(&limits, all, 0.25) <= last / 3);
        }
    }
}
