//! Keeps one connection up for a share of a venue's symbols.
//!
//! A connection that is to be replaced stays until its successor carries every symbol, and a little
//! longer, so that no trade is missed in between. Duplicates are removed by trade id. In the same
//! way a connection is replaced after some of its symbols were assigned to this program or revoked.

use std::sync::Arc;
use std::time::Duration;

use market_core::VenueClock;
use rand::Rng;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, debug_span, info, warn};

use super::backoff::Backoff;
use super::connection::CloseReason;
use super::connection_spec::{ConnectionEvent, ConnectionSpec};
use super::socket::{self, Ended};
use super::symbols::Share;
use crate::exchange::Limits;
use crate::host_clock::now_ms;

/// A connection that lasted for this long was not a failure.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// How long both connections live once the new one carries every symbol.
const OVERLAP: Duration = Duration::from_millis(1_000);
/// How long a failed rotation waits before the next.
const ROTATION_RETRY: Duration = Duration::from_secs(30);

/// How long the connection of a share of symbols waits before its first attempt. The attempts of
/// earlier processes, which may have ended a moment ago, again and again, are unknown. So the
/// connections of a new process take no more of the venue's budget in any time than the venue
/// permits in the long run. `random` is in `0.0..1.0`.
fn first_wait(limits: &Limits, index: usize, random: f64) -> Duration {
    let window_ms = limits.attempts_window_ms.unsigned_abs() as f64;
    let spacing_ms = window_ms / limits.attempts_max.max(1) as f64;
    Duration::from_millis((spacing_ms * (index as f64) * random) as u64)
}

/// A connection that lives in its own task.
struct Running {
    share: Share,
    stop: CancellationToken,
    task: AbortOnDropHandle<Ended>,
    events: mpsc::Receiver<ConnectionEvent>,
    is_ready: bool,
}

/// See the module.
pub struct Supervisor {
    spec: Arc<ConnectionSpec>,
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
    pub fn new(spec: ConnectionSpec) -> Self {
        let limits = spec.exchange.limits();
        let first_wait = first_wait(&limits, spec.index, rand::rng().random());
        Self {
            backoff: spec.backoff.clone(),
            spec: Arc::new(spec),
            clock: None,
            frame_max: usize::MAX,
            current: None,
            successor: None,
            leaving: JoinSet::new(),
            open_at: Some(Instant::now() + first_wait),
            switch_at: None,
        }
    }

    /// Keeps its symbols carried until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut assignments = self.spec.board.changes();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Ok(()) = assignments.changed() => self.follow_share(),
                Some(left) = self.leaving.join_next() => {
                    ended_or_panic(left);
                }
                () = sleep_until(self.open_at.unwrap_or_else(Instant::now)), if self.open_at.is_some() => self.open(),
                () = sleep_until(self.switch_at.unwrap_or_else(Instant::now)), if self.switch_at.is_some() => self.switch(),
                event = next_event(&mut self.current) => match event {
                    RunningEvent::Live(event) => self.current_tells(event),
                    RunningEvent::Ended(ended) => self.current_ended(ended),
                },
                event = next_event(&mut self.successor) => match event {
                    RunningEvent::Live(event) => self.successor_tells(event),
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
        self.spec.status.set_carried(self.spec.index, false);
    }

    /// Opens a connection, if there are symbols to ask for and the venue's budget has an attempt
    /// left.
    fn open(&mut self) {
        let share = self.spec.board.share(&self.spec.symbols);
        if share.symbols().is_empty() {
            self.carry_nothing();
            return;
        }
        if let Some(wait_ms) = self
            .spec
            .board
            .all_refused_for_ms(share.symbols(), now_ms())
        {
            self.open_at = Some(Instant::now() + Duration::from_millis(wait_ms.unsigned_abs()));
            return;
        }
        if let Err(wait) = self.spec.attempt() {
            let exchange = self.spec.exchange.name();
            metrics::counter!("marketdata_connect_attempts_held_total", "exchange" => exchange)
                .increment(1);
            self.open_at = Some(Instant::now() + wait);
            return;
        }
        self.open_at = None;
        let (sender, events) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let spec = Arc::clone(&self.spec);
        let clock = self.clock.clone();
        let frame_max = self.frame_max;
        let task = {
            let stop = stop.clone();
            let share = share.clone();
            AbortOnDropHandle::new(tokio::spawn(async move {
                let exchange = spec.exchange.name();
                metrics::counter!("marketdata_connect_attempts_total", "exchange" => exchange)
                    .increment(1);
                spec.status.connected();
                let tell = |event| {
                    // The few messages fit; while stopping, nobody waits for them.
                    let _ = sender.try_send(event);
                };
                let span = debug_span!("feed", exchange, shard = spec.index);
                let ended = socket::run(&spec, &share, clock, frame_max, tell, &stop)
                    .instrument(span)
                    .await;
                spec.status.disconnected();
                metrics::counter!("marketdata_disconnects_total", "exchange" => exchange, "reason" => ended.reason.name())
                    .increment(1);
                ended
            }))
        };
        let running = Running {
            share,
            stop,
            task,
            events,
            is_ready: false,
        };
        if self.current.is_none() {
            self.current = Some(running);
        } else {
            self.successor = Some(running);
        }
    }

    /// None of its symbols is ours: no connection is needed.
    fn carry_nothing(&mut self) {
        self.open_at = None;
        self.switch_at = None;
        for running in [self.current.take(), self.successor.take()]
            .into_iter()
            .flatten()
        {
            self.leave(running);
        }
        self.spec.status.set_carried(self.spec.index, true);
    }

    /// Replaces a connection that carries other symbols than our present ones.
    fn follow_share(&mut self) {
        let share = self.spec.board.share(&self.spec.symbols);
        if share.symbols().is_empty() {
            self.carry_nothing();
            return;
        }
        let is_stale = match &self.current {
            Some(current) => current.share != share,
            None => {
                self.spec.status.set_carried(self.spec.index, false);
                true
            }
        };
        // A successor that is on its way takes over first, and is replaced then.
        if is_stale && self.successor.is_none() && self.open_at.is_none() {
            self.open_at = Some(Instant::now());
        }
    }

    /// A connection closes by itself, within its deadline.
    fn leave(&mut self, running: Running) {
        running.stop.cancel();
        self.leaving.spawn(async move {
            ended_or_panic(running.task.await);
        });
    }

    fn current_tells(&mut self, event: ConnectionEvent) {
        match event {
            ConnectionEvent::Ready => {
                let mut carried = 0;
                if let Some(current) = &mut self.current {
                    current.is_ready = true;
                    carried = current.share.symbols().len();
                }
                self.spec.status.set_carried(self.spec.index, true);
                info!(
                    exchange = self.spec.exchange.name(),
                    shard = self.spec.index,
                    symbols = carried,
                    "feed connected"
                );
            }
            ConnectionEvent::Rotate if self.successor.is_none() && self.open_at.is_none() => {
                info!(
                    exchange = self.spec.exchange.name(),
                    shard = self.spec.index,
                    "replacing the connection"
                );
                metrics::counter!("marketdata_rotations_total", "exchange" => self.spec.exchange.name())
                    .increment(1);
                self.open_at = Some(Instant::now());
            }
            ConnectionEvent::Rotate => {}
        }
    }

    fn successor_tells(&mut self, event: ConnectionEvent) {
        if event == ConnectionEvent::Ready {
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
            self.leave(replaced);
        }
        info!(
            exchange = self.spec.exchange.name(),
            shard = self.spec.index,
            "connection replaced"
        );
        self.follow_share();
    }

    fn current_ended(&mut self, ended: Ended) {
        self.current = self.successor.take();
        self.switch_at = None;
        let is_carried = self
            .current
            .as_ref()
            .is_some_and(|running| running.is_ready);
        self.spec.status.set_carried(self.spec.index, is_carried);
        let exchange = self.spec.exchange.name();
        if ended.was_ready_for >= STABLE_AFTER {
            self.backoff.reset();
        }
        self.frame_max = if ended.was_ignored {
            (self.frame_max.min(self.spec.symbols.len()) / 2).max(1)
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
                    shard = self.spec.index,
                    url = self.spec.url,
                    reason = ended.reason.name(),
                    error = ended.detail,
                    wait_ms,
                    failures,
                    "feed lost, reconnecting"
                );
            }
        }
        self.clock = ended.clock.or(self.clock.take());
        self.follow_share();
    }

    fn successor_ended(&mut self, reason: CloseReason) {
        self.successor = None;
        self.switch_at = None;
        warn!(
            exchange = self.spec.exchange.name(),
            shard = self.spec.index,
            reason = reason.name(),
            "replacement failed, trying again"
        );
        let share = self.spec.board.share(&self.spec.symbols);
        let is_stale = self
            .current
            .as_ref()
            .is_none_or(|current| current.share != share);
        // A symbol that was assigned has no feed until then.
        let wait = if is_stale {
            Duration::from_millis(self.backoff.next_ms(rand::rng().random()))
        } else {
            ROTATION_RETRY
        };
        self.open_at = Some(Instant::now() + wait);
    }
}

enum RunningEvent {
    Live(ConnectionEvent),
    Ended(Ended),
}

/// The next event of a connection; without a connection it waits for ever. Cancel safe.
async fn next_event(running: &mut Option<Running>) -> RunningEvent {
    let Some(running) = running else {
        return std::future::pending().await;
    };
    tokio::select! {
        biased;
        Some(event) = running.events.recv() => RunningEvent::Live(event),
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
        let (_sender, events) = mpsc::channel(1);
        let mut running = Some(Running {
            share: Share::default(),
            stop: CancellationToken::new(),
            task: AbortOnDropHandle::new(tokio::spawn(async { panic!("fault of the test") })),
            events,
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
