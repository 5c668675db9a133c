//! The task that owns a shard: it sends due updates, rests, and checks timers.

mod traces;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::sleep_until;
use tracing::trace_span;

use crate::metrics::Metrics;
use crate::sessions::command::{Checked, Command, ShardSender};
use crate::sessions::history_reader::HistoryReader;
use crate::sessions::outlet::Requester;
use crate::sessions::past::{NoPage, PastAnswer, ReadId};
use crate::sessions::questions::Questions;
use crate::sessions::session_counts::SessionCounts;
use crate::sessions::shard::{Effect, Shard, ShardConfig};
use crate::topics::folds::Folds;
use crate::topics::hub::Hub;
use crate::topics::streams::Streams;

/// Most commands that wait for a shard; beyond it senders wait.
const COMMANDS_MAX: usize = 1_024;
/// Most commands handled, or sessions served, before everything else is checked.
const PORTION: usize = 256;

/// How long commands are handled before updates have their turn: a request may take milliseconds.
const COMMANDS_TIME: Duration = Duration::from_millis(2);

/// The times of a shard's task.
#[derive(Clone, Debug)]
pub(crate) struct RunnerConfig {
    /// Bounds and times of the sessions.
    pub shard: ShardConfig,
    /// Rest after a flush, as a percentage of the flush's time.
    pub rest_percent: u32,
    /// Younger sessions are not moved to other gateways.
    pub shed_age_min: Duration,
}

/// What all shards of a gateway share.
pub(crate) struct Shared {
    /// The topics.
    pub hub: Arc<Hub>,
    /// The widths that are made here.
    pub folds: Arc<Folds>,
    /// The streams of Binance's dialect that are made here.
    pub streams: Arc<Streams>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// How many sessions each shard has.
    pub session_counts: Arc<SessionCounts>,
    /// Whom bars of the past are asked of.
    pub history: Arc<HistoryReader>,
}

/// Makes a shard and the future that runs it until all connections have ended. `drain` completes
/// when the sessions must be closed, with the time over which to spread this.
pub(crate) fn shard<C: Requester>(
    config: RunnerConfig,
    index: usize,
    shared: Shared,
    drain: impl Future<Output = Duration> + Send + 'static,
) -> (ShardSender<C>, impl Future<Output = ()> + Send + 'static) {
    let Shared {
        hub,
        folds,
        streams,
        metrics,
        session_counts,
        history,
    } = shared;
    let (sender, commands) = mpsc::channel(COMMANDS_MAX);
    let settle = config.shard.pace.settle;
    let shard = Shard::new(
        config.shard,
        Arc::clone(&hub),
        folds,
        streams,
        index,
        rand::random(),
        Instant::now(),
    );
    let runner = Runner {
        shard,
        hub,
        index,
        metrics,
        session_counts,
        shed_age_min: config.shed_age_min,
        settle,
        rest_percent: config.rest_percent,
        next_flush: Instant::now(),
        sets_reported: 0,
        history,
        reads: Questions::new(),
        reads_reported: 0,
    };
    (sender, runner.run(commands, drain))
}

struct Runner<C> {
    shard: Shard<C>,
    hub: Arc<Hub>,
    index: usize,
    metrics: Arc<Metrics>,
    session_counts: Arc<SessionCounts>,
    shed_age_min: Duration,
    settle: Duration,
    rest_percent: u32,
    /// No flush before.
    next_flush: Instant,
    sets_reported: usize,
    history: Arc<HistoryReader>,
    /// The questions to history that are under way.
    reads: Questions<ReadId, PastAnswer>,
    reads_reported: usize,
}

impl<C: Requester> Runner<C> {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command<C>>,
        drain: impl Future<Output = Duration>,
    ) {
        let mut drain = std::pin::pin!(drain);
        let hub = Arc::clone(&self.hub);
        let mut batch = Vec::with_capacity(PORTION);
        let mut waiting = VecDeque::with_capacity(PORTION);
        let mut is_draining = false;
        loop {
            let (flush_at, next_at) = (self.flush_at(), self.shard.next_at());
            let wake_at = flush_at.map_or(next_at, |at| at.min(next_at));
            // A flush looks for changes itself: changes that come just before one wait for it.
            let is_soon = flush_at.is_some_and(|at| at <= Instant::now() + self.settle);
            tokio::select! {
                count = commands.recv_many(&mut batch, PORTION), if waiting.is_empty() => {
                    if count == 0 {
                        // Every connection has ended and no more will come.
                        return;
                    }
                    waiting.extend(batch.drain(..));
                }
                () = tokio::task::yield_now(), if !waiting.is_empty() => {}
                Some((id, answer)) = self.reads.next(), if !self.reads.is_empty() => {
                    self.pull();
                    // Its session waits for an answer also where the task has panicked.
                    let answer = answer.unwrap_or(Err(NoPage));
                    self.shard.history(id, answer, Instant::now());
                    self.perform();
                }
                () = hub.changed(self.index), if !is_soon => self.pull(),
                () = sleep_until(wake_at.into()) => {}
                window = &mut drain, if !is_draining => {
                    is_draining = true;
                    self.shard.drain(Instant::now(), window);
                }
            }
            if !waiting.is_empty() {
                self.pull();
                take_turn(&mut waiting, COMMANDS_TIME, Instant::now, |command, now| {
                    self.handle(command, now);
                });
            }
            let now = Instant::now();
            if self.shard.next_at() <= now {
                self.shard.tick(now);
                self.perform();
            }
            if self.flush_at().is_some_and(|at| at <= now) {
                self.flush(now).await;
            }
            self.report();
        }
    }

    /// When due updates are sent; `None` while there are none.
    fn flush_at(&self) -> Option<Instant> {
        let at = self.shard.flush_at()?;
        Some(at.max(self.next_flush))
    }

    fn handle(&mut self, command: Command<C>, now: Instant) {
        match command {
            Command::Join(connection, first) => {
                let id = self.shard.join(Arc::clone(&connection), now);
                connection.joined(id);
                let (grant, request) =
                    first.map_or((None, None), |first| (first.grant, first.request));
                if let Some(grant) = grant {
                    self.shard.admit(id, &grant, now);
                }
                if let Some(request) = request {
                    self.shard.request(id, request, now);
                }
                self.perform();
                connection.answered();
            }
            Command::Request(connection, request) => {
                if let Some(id) = connection.session() {
                    self.shard.request(id, *request, now);
                }
                self.perform();
                connection.answered();
            }
            Command::Auth(connection, checked) => {
                if let Some(id) = connection.session() {
                    let Checked { echo, outcome } = *checked;
                    let outcome = outcome.as_deref().map_err(|error| *error);
                    self.shard.authenticate(id, echo, outcome, now);
                }
                self.perform();
                connection.answered();
            }
            Command::Writable(id) => {
                self.shard.writable(id, now);
                self.perform();
            }
            Command::Leave(connection) => {
                if let Some(id) = connection.session() {
                    self.shard.leave(id);
                }
            }
            Command::Shed(count, window) => {
                self.shard.shed(count, self.shed_age_min, now, window);
            }
        }
    }

    /// Performs the effects that the shard has returned.
    fn perform(&mut self) {
        for effect in self.shard.take_effects() {
            if let Effect::ReadHistory(id, query) = effect {
                let history = Arc::clone(&self.history);
                self.reads
                    .ask(id, async move { history.read(&query).await });
            } else {
                self.shard.perform(effect);
            }
        }
    }

    /// Takes what has changed from the hub.
    fn pull(&mut self) {
        let _stage = trace_span!("conflate", shard = self.index).entered();
        let start = Instant::now();
        self.shard.pull();
        let seconds = start.elapsed().as_secs_f64();
        self.metrics.conflate_seconds.record(seconds);
    }

    async fn flush(&mut self, start: Instant) {
        // Changes since the last check are included.
        self.pull();
        let mut writing = Duration::ZERO;
        let mut frames_sent = 0;
        loop {
            let frames = self.shard.counts.frames;
            let portion_at = Instant::now();
            let is_done = {
                let _stage = trace_span!("write", shard = self.index).entered();
                self.shard.flush_some(start, PORTION)
            };
            writing += portion_at.elapsed();
            let sent = self.shard.counts.frames - frames;
            frames_sent += sent;
            if let Some(since) = self.shard.flushing_since()
                && sent > 0
            {
                let seconds = since.elapsed().as_secs_f64();
                let count = usize::try_from(sent).unwrap_or(usize::MAX);
                self.metrics.fanout_seconds.record_many(seconds, count);
            }
            if is_done {
                break;
            }
            // Readers, ingest and the accept loop get their turn.
            tokio::task::yield_now().await;
        }
        self.metrics.write_seconds.record(writing.as_secs_f64());
        let took = start.elapsed();
        self.metrics.flush_seconds.record(took.as_secs_f64());
        let traced = self.shard.take_traced();
        if !traced.is_empty() {
            traces::tell(&traced, self.index, took, frames_sent);
        }
        self.next_flush = start + took + took * self.rest_percent / 100;
    }

    fn report(&mut self) {
        self.metrics.add(&self.shard.take_counts());
        self.session_counts.set(self.index, self.shard.staying());
        let sets = self.shard.set_count();
        if sets != self.sets_reported {
            let change = sets as f64 - self.sets_reported as f64;
            self.metrics.topic_sets.increment(change);
            self.sets_reported = sets;
        }
        let reads = self.shard.read_count();
        if reads != self.reads_reported {
            let change = reads as f64 - self.reads_reported as f64;
            self.metrics.past_reads.increment(change);
            self.reads_reported = reads;
        }
    }
}

/// Handles waiting commands, at least one, until the time is over.
fn take_turn<T>(
    waiting: &mut VecDeque<T>,
    time: Duration,
    mut clock: impl FnMut() -> Instant,
    mut handle: impl FnMut(T, Instant),
) {
    let mut now = clock();
    let start = now;
    while let Some(first) = waiting.pop_front() {
        handle(first, now);
        now = clock();
        if now.saturating_duration_since(start) >= time {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn requests_that_take_long_let_updates_have_their_turn() {
        const MS: Duration = Duration::from_millis(1);
        let now = Cell::new(Instant::now());
        let mut waiting: VecDeque<u64> = (0..100).collect();
        let mut handled = Vec::new();
        let mut turn = |waiting: &mut VecDeque<u64>, took: Duration| {
            let clock = || now.get();
            take_turn(waiting, 2 * MS, clock, |command, _| {
                handled.push(command);
                now.set(now.get() + took);
            });
            handled.len()
        };
        assert_eq!(turn(&mut waiting, MS), 2);
        assert_eq!(turn(&mut waiting, 50 * MS), 3, "one at least");
        assert_eq!(turn(&mut waiting, MS / 100), 100);
        assert!(waiting.is_empty() && handled.is_sorted());
    }
}
