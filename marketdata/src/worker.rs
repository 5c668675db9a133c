//! Aggregation workers: each owns the pipelines of its symbols.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use market_core::{
    BackfillOutcome, Bar, GapEventState, Offered, Origin, Output, Pipeline, Trade, UnixMillis,
};
use metrics::{Counter, Gauge, Histogram};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::backfill::BackfillJob;
use crate::carriers::Carriers;
use crate::feed::status::SymbolHealth;
use crate::host_clock::{now_ms, now_us};
use crate::inbox::{ConnectionId, Input};
use crate::instrument::{Instrument, InstrumentId};
use crate::publish::message::Trigger;
use crate::publish::outbox::Outbox;
use crate::ticks::after_long_tick;

/// How often each symbol is ticked.
const TICK: Duration = Duration::from_millis(50);
/// Symbols that are ticked at once. If there are more, they take turns within a tick. Otherwise the
/// worker would be busy for milliseconds, and the publisher would wait for it.
const SYMBOLS_AT_ONCE: usize = 64;
const TURNS_MAX: usize = 10;
/// How long bars wait for a frame that tells the venue's clock before this host's clock counts.
const CLOCK_WAIT_MS: i64 = 5_000;
/// Inputs that are taken before the clock is checked again.
const INPUTS_AT_ONCE: usize = 8;
/// A symbol that only closes flat bars is saved this many times less often. An older checkpoint is
/// equally good, because the restart closes these bars again, but there should not be too many of
/// them.
const CHECKPOINT_QUIET_FACTOR: i64 = 60;
/// Trades for each sample of the time from frame to bar.
const TRADES_PER_SAMPLE: usize = 16;

/// Timing of a worker; ms.
#[derive(Clone, Copy, Debug)]
pub struct WorkerTiming {
    /// Shortest time between forming bars of a topic.
    pub forming_interval_ms: i64,
    /// Shortest time between checkpoints of a symbol.
    pub checkpoint_interval_ms: i64,
    /// A trade that REST has and that is older than this should have come by the socket.
    pub zombie_age_ms: i64,
    /// How long bars wait for late trades.
    pub reorder_window_ms: i64,
    /// How long bars wait for their connection to prove that it was read.
    pub proof_hold_ms: i64,
}

/// See the module.
pub struct Worker {
    symbols: Vec<SymbolState>,
    /// By instrument: the index in `symbols`.
    index_of: Vec<Option<usize>>,
    outbox: Arc<Outbox>,
    health: Arc<SymbolHealth>,
    timing: WorkerTiming,
    publish_trades: bool,
    started_ms: UnixMillis,
    carriers: Carriers,
    /// Symbols whose venue's clock is not known yet.
    untold: usize,
    outputs: Vec<Output>,
    forming: Vec<Bar>,
    touched: Vec<usize>,
    /// Other tasks must run now: the publisher has got a closed bar, or there is much to do.
    is_yield_due: bool,
    /// The trigger of the bars that close now.
    trigger: Trigger,
    stage: Histogram,
    frame_to_bar: Histogram,
    depth: Gauge,
}

struct SymbolState {
    instrument: InstrumentId,
    exchange: &'static str,
    symbol: String,
    native: Arc<str>,
    pipeline: Pipeline,
    backfills: mpsc::Sender<BackfillJob>,
    /// Connections that carry it.
    connections: Vec<ConnectionId>,
    /// Since when its time waits for the proof that nobody traded.
    waits_since_ms: Option<UnixMillis>,
    /// The proof did not come for long: its bars continue as in an outage.
    is_unproved: bool,
    /// The time up to which it has advanced, host time.
    ticked_ms: UnixMillis,
    offset_ms: Option<i64>,
    formed_ms: UnixMillis,
    /// The boundaries wait for it.
    has_begun: bool,
    is_forming_due: bool,
    is_touched: bool,
    /// Trades or gaps are new since the last checkpoint.
    is_changed: bool,
    /// Bars have closed since the last checkpoint.
    has_closed: bool,
    saved_ms: UnixMillis,
    /// REST is asked because the symbol is silent; the request.
    is_suspect: bool,
    suspect_request: Option<u64>,
    /// Requests in progress, and whether they are still needed.
    requests: Vec<(u64, Arc<AtomicBool>)>,
    meters: Meters,
}

#[derive(Clone)]
struct Meters {
    in_bar: Counter,
    late: Counter,
    beyond_horizon: Counter,
    duplicate: Counter,
    conflict: Counter,
    implausible: Counter,
    overlap: Counter,
    before_join: Counter,
    future: Counter,
    lateness: Histogram,
    gaps_open: Counter,
    gaps_filled: Counter,
    gaps_lost: Counter,
}

impl Meters {
    fn new(exchange: &'static str) -> Self {
        let offered = |fate: &'static str| metrics::counter!("marketdata_trades_offered_total", "exchange" => exchange, "fate" => fate);
        let gaps = |state: &'static str| metrics::counter!("marketdata_gaps_total", "exchange" => exchange, "state" => state);
        Self {
            in_bar: offered("in_bar"),
            duplicate: offered("duplicate"),
            conflict: offered("conflict"),
            implausible: offered("implausible"),
            overlap: offered("overlap"),
            before_join: offered("before_join"),
            future: offered("future"),
            late: metrics::counter!("marketdata_late_trades_total", "exchange" => exchange, "fate" => "revised"),
            beyond_horizon: metrics::counter!("marketdata_late_trades_total", "exchange" => exchange, "fate" => "beyond_horizon"),
            lateness: metrics::histogram!("marketdata_lateness_seconds", "exchange" => exchange),
            gaps_open: gaps("open"),
            gaps_filled: gaps("filled"),
            gaps_lost: gaps("lost"),
        }
    }

    fn count(&self, offered: Offered) {
        match offered {
            Offered::InBar => self.in_bar.increment(1),
            Offered::Late { lateness_ms } => {
                self.late.increment(1);
                self.lateness.record(lateness_ms as f64 / 1e3);
            }
            Offered::BeyondHorizon { lateness_ms } => {
                self.beyond_horizon.increment(1);
                self.lateness.record(lateness_ms as f64 / 1e3);
            }
            Offered::Duplicate => self.duplicate.increment(1),
            Offered::Conflict => self.conflict.increment(1),
            Offered::Implausible => self.implausible.increment(1),
            Offered::Overlap => self.overlap.increment(1),
            Offered::BeforeJoin => self.before_join.increment(1),
            Offered::Future => self.future.increment(1),
        }
    }
}

/// A symbol as a worker is given it.
pub struct WorkerSymbol {
    /// Its id in the plan.
    pub id: InstrumentId,
    /// What it is.
    pub instrument: Instrument,
    /// New, or restored.
    pub pipeline: Pipeline,
    /// Where its missing trades are fetched.
    pub backfills: mpsc::Sender<BackfillJob>,
}

impl Worker {
    /// A worker of `symbols`, in the order of `outbox`. `instruments` is how many there are in all.
    #[must_use]
    pub fn new(
        index: usize,
        symbols: Vec<WorkerSymbol>,
        instruments: usize,
        outbox: Arc<Outbox>,
        health: Arc<SymbolHealth>,
        timing: WorkerTiming,
        publish_trades: bool,
    ) -> Self {
        let mut index_of = vec![None; instruments];
        let now = now_ms();
        let count = symbols.len().max(1) as i64;
        let symbols: Vec<SymbolState> = symbols
            .into_iter()
            .enumerate()
            .map(|(index, mut given)| {
                index_of[given.id] = Some(index);
                // Symbols take turns, so that they are not all saved or published at once.
                let ago_ms = |interval_ms: i64| interval_ms * index as i64 / count;
                // Trades since the checkpoint are unknown until the feed is up, and bars must wait
                // for them as in an outage.
                given.pipeline.feed_down(now);
                SymbolState {
                    instrument: given.id,
                    exchange: given.instrument.exchange,
                    symbol: given.instrument.symbol.to_string(),
                    native: given.instrument.native.as_str().into(),
                    pipeline: given.pipeline,
                    backfills: given.backfills,
                    connections: Vec::new(),
                    waits_since_ms: None,
                    is_unproved: false,
                    ticked_ms: 0,
                    offset_ms: None,
                    formed_ms: now - ago_ms(timing.forming_interval_ms),
                    has_begun: false,
                    is_forming_due: false,
                    is_touched: false,
                    is_changed: false,
                    has_closed: false,
                    saved_ms: now - ago_ms(timing.checkpoint_interval_ms),
                    is_suspect: false,
                    suspect_request: None,
                    requests: Vec::new(),
                    meters: Meters::new(given.instrument.exchange),
                }
            })
            .collect();
        Self {
            untold: symbols.len(),
            symbols,
            index_of,
            outbox,
            health,
            timing,
            publish_trades,
            started_ms: now,
            carriers: Carriers::new(timing.reorder_window_ms),
            outputs: Vec::new(),
            forming: Vec::new(),
            touched: Vec::new(),
            is_yield_due: false,
            trigger: Trigger::Tick { due_us: now_us() },
            frame_to_bar: metrics::histogram!("marketdata_frame_to_bar_seconds"),
            stage: metrics::histogram!("marketdata_stage_seconds", "stage" => "aggregate"),
            depth: metrics::gauge!("marketdata_inbox_depth", "worker" => index.to_string()),
        }
    }

    /// Works until every sender of `inbox` is gone, then saves its state.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Input>) {
        let turns = self
            .symbols
            .len()
            .div_ceil(SYMBOLS_AT_ONCE)
            .clamp(1, TURNS_MAX);
        let mut turn = 0;
        let period = TICK / u32::try_from(turns).unwrap_or(1);
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                due = ticks.tick() => {
                    let now_us = now_us();
                    let late_us = due.elapsed().as_micros();
                    self.trigger = Trigger::Tick {
                        due_us: now_us - i64::try_from(late_us).unwrap_or(0),
                    };
                    turn = (turn + 1) % turns;
                    let began = Instant::now();
                    self.tick(turn, turns, now_us / 1_000);
                    if let Some(at) = after_long_tick(began, Instant::now(), period) {
                        ticks.reset_at(at.into());
                    }
                }
                input = inbox.recv() => {
                    let Some(input) = input else { break };
                    let started = Instant::now();
                    let now_us = now_us();
                    self.trigger = Trigger::Frame {
                        received_us: now_us,
                    };
                    let now = now_us / 1_000;
                    self.input(input, now);
                    let mut inputs = 1;
                    while inputs < INPUTS_AT_ONCE && let Ok(input) = inbox.try_recv() {
                        self.input(input, now);
                        inputs += 1;
                    }
                    self.is_yield_due |= inputs == INPUTS_AT_ONCE;
                    self.settle_touched(now);
                    self.stage.record(started.elapsed());
                    self.depth.set(inbox.len() as f64);
                }
            }
            if std::mem::take(&mut self.is_yield_due) {
                // The publisher was woken on this thread, and runs there when we yield.
                tokio::task::yield_now().await;
            }
        }
        let due_us = now_us();
        self.trigger = Trigger::Tick { due_us };
        self.tick(0, 1, due_us / 1_000);
        for index in 0..self.symbols.len() {
            self.symbols[index].is_changed = true;
            self.save(index, i64::MAX);
        }
    }

    fn input(&mut self, input: Input, now: UnixMillis) {
        // Sequence, reorder and aggregate are one call here: the pipeline's.
        let span = tracing::trace_span!("aggregate");
        let _in_span = span.enter();
        match input {
            Input::Trades { trades, offset_ms } => self.live_trades(&trades, offset_ms, now),
            Input::SocketUp {
                connection,
                instruments,
                offset_ms,
            } => {
                self.carriers.up(connection, now);
                if let (Some(&instrument), Some(_)) = (instruments.first(), offset_ms) {
                    self.tell_clock(instrument, offset_ms);
                }
                for index in self.indexes(&instruments) {
                    let symbol = &mut self.symbols[index];
                    symbol.connections.push(connection);
                    if symbol.connections.len() == 1 {
                        symbol.is_unproved = false;
                        let venue_now = symbol.venue_now(now);
                        symbol.pipeline.feed_up(venue_now);
                        if symbol.offset_ms.is_none() {
                            symbol.pipeline.forget_join_time();
                        }
                        self.touch(index);
                    }
                }
            }
            Input::SocketDown {
                connection,
                instruments,
            } => {
                self.carriers.down(connection);
                for index in self.indexes(&instruments) {
                    let symbol = &mut self.symbols[index];
                    symbol.connections.retain(|&carrier| carrier != connection);
                    if symbol.connections.is_empty() {
                        let venue_now = symbol.venue_now(now);
                        symbol.pipeline.feed_down(venue_now);
                        self.touch(index);
                    }
                }
            }
            Input::Read {
                connection,
                through_ms,
            } => self.carriers.read(connection, through_ms),
            Input::Suspect { instrument } => {
                if let Some(index) = self.index_of[instrument] {
                    let symbol = &mut self.symbols[index];
                    let venue_now = symbol.venue_now(now);
                    metrics::counter!("marketdata_suspicions_total", "exchange" => symbol.exchange)
                        .increment(1);
                    symbol.is_suspect = true;
                    symbol.pipeline.suspect(venue_now);
                    self.touch(index);
                }
            }
            Input::Refetch {
                instrument,
                from_ms,
                to_ms,
            } => {
                if let Some(index) = self.index_of[instrument] {
                    let symbol = &mut self.symbols[index];
                    let venue_now = symbol.venue_now(now);
                    symbol.pipeline.refetch(from_ms, to_ms, venue_now);
                    self.touch(index);
                }
            }
            Input::Backfilled {
                instrument,
                request_id,
                trades,
            } => {
                if let Some(index) = self.index_of[instrument] {
                    self.backfilled(index, request_id, &trades, now);
                }
            }
            Input::BackfillEnded {
                instrument,
                request_id,
                outcome,
            } => {
                if let Some(index) = self.index_of[instrument] {
                    let symbol = &mut self.symbols[index];
                    let venue_now = symbol.venue_now(now);
                    if symbol.suspect_request == Some(request_id) {
                        symbol.suspect_request = None;
                    }
                    symbol.pipeline.backfill_ended(
                        request_id,
                        outcome,
                        venue_now,
                        &mut self.outputs,
                    );
                    self.touch(index);
                    self.emit(index, now);
                }
            }
        }
    }

    /// Until a symbol's own connection has told the venue's clock, another connection of the venue
    /// is enough.
    fn tell_clock(&mut self, instrument: InstrumentId, offset_ms: Option<i64>) {
        let Some(index) = self.index_of[instrument] else {
            return;
        };
        let exchange = self.symbols[index].exchange;
        if self.untold > 0 {
            for symbol in &mut self.symbols {
                if symbol.exchange == exchange && symbol.offset_ms.is_none() {
                    symbol.offset_ms = offset_ms;
                    self.untold -= 1;
                }
            }
        }
    }

    fn indexes(&self, instruments: &[InstrumentId]) -> Vec<usize> {
        let indexes = instruments
            .iter()
            .map(|&instrument| self.index_of[instrument]);
        indexes.flatten().collect()
    }

    fn live_trades(
        &mut self,
        trades: &[(InstrumentId, Trade)],
        offset_ms: Option<i64>,
        now: UnixMillis,
    ) {
        if let (Some((instrument, _)), Some(_)) = (trades.first(), offset_ms) {
            self.tell_clock(*instrument, offset_ms);
        }
        for (instrument, trade) in trades {
            let Some(index) = self.index_of[*instrument] else {
                continue;
            };
            let symbol = &mut self.symbols[index];
            symbol.offset_ms = offset_ms.or(symbol.offset_ms);
            let venue_now = symbol.venue_now(now);
            let offered = symbol
                .pipeline
                .offer(trade, Origin::Live, venue_now, &mut self.outputs);
            symbol.meters.count(offered);
            self.touch(index);
            if !self.outputs.is_empty() {
                self.emit(index, now);
            }
        }
        if let Some((_, oldest)) = trades.first() {
            self.trigger = Trigger::Frame {
                received_us: self.trigger.at_us().min(oldest.received_us),
            };
            let age_us = (now_us() - oldest.received_us).max(0);
            let samples = trades.len().div_ceil(TRADES_PER_SAMPLE);
            self.frame_to_bar.record_many(age_us as f64 / 1e6, samples);
        }
        if self.publish_trades {
            let index_of = &self.index_of;
            self.outbox
                .trades(trades.iter().filter_map(|(instrument, trade)| {
                    index_of[*instrument].map(|index| (index, *trade))
                }));
        }
    }

    fn backfilled(&mut self, index: usize, request_id: u64, trades: &[Trade], now: UnixMillis) {
        let symbol = &mut self.symbols[index];
        let venue_now = symbol.venue_now(now);
        let mut was_missed = false;
        for trade in trades {
            let offered =
                symbol
                    .pipeline
                    .offer(trade, Origin::Backfill, venue_now, &mut self.outputs);
            symbol.meters.count(offered);
            let is_new = matches!(offered, Offered::InBar | Offered::Late { .. });
            was_missed |= is_new && trade.event_ms < venue_now - self.timing.zombie_age_ms;
        }
        if was_missed && symbol.suspect_request == Some(request_id) {
            symbol.suspect_request = None;
            warn!(
                exchange = symbol.exchange,
                symbol = symbol.symbol,
                "the symbol is silent on its socket while the venue has trades, reconnecting"
            );
            metrics::counter!("marketdata_zombies_total", "exchange" => symbol.exchange)
                .increment(1);
            self.health.is_zombie(symbol.instrument);
        }
        self.touch(index);
        self.emit(index, now);
    }

    fn touch(&mut self, index: usize) {
        let symbol = &mut self.symbols[index];
        symbol.is_changed = true;
        symbol.is_forming_due = true;
        if !symbol.is_touched {
            symbol.is_touched = true;
            self.touched.push(index);
        }
    }

    /// Ticks the symbols of the last inputs.
    fn settle_touched(&mut self, now: UnixMillis) {
        let mut touched = std::mem::take(&mut self.touched);
        for index in touched.drain(..) {
            self.symbols[index].is_touched = false;
            self.settle(index, now);
        }
        self.touched = touched;
    }

    /// Ticks the symbols whose turn it is.
    fn tick(&mut self, turn: usize, turns: usize, now: UnixMillis) {
        for index in (turn..self.symbols.len()).step_by(turns) {
            self.settle(index, now);
        }
        // Bars first: a checkpoint can wait.
        for index in (turn..self.symbols.len()).step_by(turns) {
            self.save(index, now);
        }
    }

    /// Closes due bars, and publishes forming ones.
    fn settle(&mut self, index: usize, now: UnixMillis) {
        let symbol = &mut self.symbols[index];
        if !symbol.has_begun && symbol.pipeline.next_id().is_some() {
            symbol.has_begun = true;
            self.outbox.begin(index, symbol.pipeline.closed_until());
        }
        let limit_ms = symbol.prove(&self.carriers, now, self.timing.proof_hold_ms);
        // Until a frame has told the venue's clock, this host's clock could close bars too early.
        let has_clock = symbol.offset_ms.is_some() || now - self.started_ms >= CLOCK_WAIT_MS;
        if has_clock && limit_ms > symbol.ticked_ms {
            symbol.ticked_ms = limit_ms;
            let venue_now = symbol.venue_now(limit_ms);
            symbol.pipeline.tick(venue_now, limit_ms, &mut self.outputs);
            self.emit(index, now);
        }
        let symbol = &mut self.symbols[index];
        symbol.forget_requests();
        if symbol.is_forming_due && now - symbol.formed_ms >= self.timing.forming_interval_ms {
            symbol.is_forming_due = false;
            symbol.pipeline.forming(&mut self.forming);
            if !self.forming.is_empty() {
                symbol.formed_ms = now;
            }
            for bar in self.forming.drain(..) {
                self.outbox.forming(index, &bar);
            }
        }
    }

    fn emit(&mut self, index: usize, now: UnixMillis) {
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            let symbol = &mut self.symbols[index];
            symbol.has_closed = true;
            // The first close of a bar needs no checkpoint: a restart does it again.
            symbol.is_changed |= !matches!(&output, Output::Bar(bar) if bar.rev == 0);
            match output {
                Output::Bar(bar) => {
                    self.is_yield_due = true;
                    if bar.fold.is_some_and(|fold| !fold.is_exact()) {
                        metrics::counter!("marketdata_rounded_bars_total", "exchange" => symbol.exchange)
                            .increment(1);
                    }
                    self.outbox.closed(index, &bar, now_us(), self.trigger);
                }
                Output::Gap(event) => {
                    let (counter, state) = match event.state {
                        GapEventState::Open => (&symbol.meters.gaps_open, "open"),
                        GapEventState::Filled => (&symbol.meters.gaps_filled, "filled"),
                        GapEventState::Lost => (&symbol.meters.gaps_lost, "lost"),
                    };
                    counter.increment(1);
                    info!(
                        exchange = symbol.exchange,
                        symbol = symbol.symbol,
                        state,
                        first_id = event.first_id,
                        last_id = event.last_id,
                        from_ms = event.from_ms,
                        "gap"
                    );
                    self.outbox.gap(index, &event);
                }
                Output::IdsRestarted { expected, first_id } => {
                    metrics::counter!("marketdata_id_restarts_total", "exchange" => symbol.exchange)
                        .increment(1);
                    warn!(
                        exchange = symbol.exchange,
                        symbol = symbol.symbol,
                        expected,
                        first_id,
                        "the venue renumbered its trades, so the symbol joined again"
                    );
                }
                Output::Backfill(request) => {
                    if request.last_id.is_none() && std::mem::take(&mut symbol.is_suspect) {
                        symbol.suspect_request = Some(request.id);
                    }
                    let wanted = Arc::new(AtomicBool::new(true));
                    symbol.requests.push((request.id, Arc::clone(&wanted)));
                    let job = BackfillJob {
                        instrument: symbol.instrument,
                        native: Arc::clone(&symbol.native),
                        request,
                        wanted,
                    };
                    if symbol.backfills.try_send(job).is_err() {
                        metrics::counter!("marketdata_backfills_total", "exchange" => symbol.exchange, "result" => "queue_full")
                            .increment(1);
                        let venue_now = symbol.venue_now(now);
                        symbol.pipeline.backfill_ended(
                            request.id,
                            BackfillOutcome::Failed,
                            venue_now,
                            &mut self.outputs,
                        );
                    }
                }
            }
        }
        outputs.append(&mut self.outputs);
        self.outputs = outputs;
    }

    /// Saves a symbol's state if it has changed and the last checkpoint is old enough.
    fn save(&mut self, index: usize, now: UnixMillis) {
        let symbol = &mut self.symbols[index];
        let interval_ms = if symbol.is_changed {
            self.timing.checkpoint_interval_ms
        } else if symbol.has_closed {
            self.timing.checkpoint_interval_ms * CHECKPOINT_QUIET_FACTOR
        } else {
            return;
        };
        if now.saturating_sub(symbol.saved_ms) >= interval_ms {
            symbol.is_changed = false;
            symbol.has_closed = false;
            symbol.saved_ms = now;
            // A pipeline without trades has no state to continue from.
            if symbol.pipeline.next_id().is_some() {
                match symbol.pipeline.checkpoint() {
                    Some(state) => self.outbox.checkpoint(index, state),
                    None => {
                        symbol.is_changed = true;
                        metrics::counter!("marketdata_checkpoints_skipped_total", "exchange" => symbol.exchange)
                            .increment(1);
                    }
                }
            }
        }
    }
}

impl SymbolState {
    /// Cancels the requests that the pipeline no longer needs.
    fn forget_requests(&mut self) {
        let pipeline = &self.pipeline;
        self.requests.retain(|(id, wanted)| {
            let is_wanted = pipeline.awaits(*id);
            if !is_wanted {
                wanted.store(false, Ordering::Relaxed);
            }
            is_wanted
        });
    }

    /// How far its time may advance at `now`: as far as its connections have proved that they were
    /// read. After `hold_ms` without proof, trades that may be missing count as a gap, as in an
    /// outage, and time continues.
    fn prove(&mut self, carriers: &Carriers, now: UnixMillis, hold_ms: i64) -> UnixMillis {
        let limit_ms = carriers.limit_ms(&self.connections, now);
        if limit_ms >= now {
            self.waits_since_ms = None;
        }
        // Counted from when this was noticed: this process may have stood still itself.
        let is_late = limit_ms < now && now - *self.waits_since_ms.get_or_insert(now) >= hold_ms;
        if is_late != self.is_unproved && !self.connections.is_empty() {
            self.is_unproved = is_late;
            let venue_now = self.venue_now(now);
            if is_late {
                metrics::counter!("marketdata_unproved_total", "exchange" => self.exchange)
                    .increment(1);
                self.pipeline.feed_down(venue_now);
            } else {
                self.pipeline.feed_up(venue_now);
            }
            self.is_changed = true;
        }
        if self.is_unproved { now } else { limit_ms }
    }

    fn venue_now(&self, host_ms: UnixMillis) -> UnixMillis {
        host_ms + self.offset_ms.unwrap_or(0)
    }
}
