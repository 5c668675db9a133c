//! Aggregation workers: each owns the pipelines of its symbols.

mod handover;

use std::sync::Arc;
use std::time::{Duration, Instant};

use market_core::{Bar, Checkpoint, Offered, Output, Trade, UnixMicros, UnixMillis};
use service::TraceContext;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{Span, warn};

use super::carriers::Carriers;
use super::meters::WorkerMeters;
use super::owned::Owned;
use super::proof_wait::ProofChange;
use super::symbol::Skipped;
use super::timing::WorkerTiming;
use crate::backfill::BackfillJob;
use crate::feed::status::SymbolHealth;
use crate::host_clock::now_us;
use crate::inbox::Input;
use crate::instrument::InstrumentId;
use crate::publish::message::Trigger;
use crate::publish::outbox::Outbox;
use crate::ticks::after_long_tick;

/// How often each symbol is ticked.
const TICK: Duration = Duration::from_millis(50);
/// Symbols that are ticked at once. If there are more, they take turns within a tick. Otherwise the
/// worker would be busy for milliseconds, and the publisher would wait for it.
const SYMBOLS_AT_ONCE: usize = 64;
const TURNS_MAX: usize = 10;
/// Inputs that are taken before the clock is checked again.
const INPUTS_AT_ONCE: usize = 8;
/// Trades for each sample of the time from frame to bar.
const TRADES_PER_SAMPLE: usize = 16;

/// See the module.
pub struct Worker {
    symbols: Vec<Owned>,
    /// By instrument: the index in `symbols`.
    index_of: Vec<Option<usize>>,
    /// Symbols in the outbox, of which some may be elsewhere.
    slots: usize,
    timing: WorkerTiming,
    /// By venue.
    backfills: Vec<mpsc::Sender<BackfillJob>>,
    outbox: Arc<Outbox>,
    health: Arc<SymbolHealth>,
    publish_trades: bool,
    /// Trades that were not seen before, on their way to the outbox.
    fresh: Vec<(usize, Trade)>,
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
    meters: WorkerMeters,
}

impl Worker {
    /// A worker without symbols, for those of `outbox`. `instruments` is how many there are in all,
    /// and `backfills`, by venue, fetches missing trades.
    #[must_use]
    pub fn new(
        index: usize,
        instruments: usize,
        backfills: Vec<mpsc::Sender<BackfillJob>>,
        outbox: Arc<Outbox>,
        health: Arc<SymbolHealth>,
        timing: WorkerTiming,
        publish_trades: bool,
    ) -> Self {
        Self {
            untold: 0,
            symbols: Vec::new(),
            index_of: vec![None; instruments],
            slots: outbox.len(),
            timing,
            backfills,
            outbox,
            health,
            publish_trades,
            fresh: Vec::new(),
            carriers: Carriers::new(timing.reorder_window_ms),
            outputs: Vec::new(),
            forming: Vec::new(),
            touched: Vec::new(),
            is_yield_due: false,
            trigger: Trigger::Tick { due_us: now_us() },
            meters: WorkerMeters::new(index),
        }
    }

    /// Works until every sender of `inbox` is gone, then saves its state.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Input>) {
        let turns = self.slots.div_ceil(SYMBOLS_AT_ONCE).clamp(1, TURNS_MAX);
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
                        passed_on_us: now_us,
                        taken_us: now_us,
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
                    self.meters.stage.record(started.elapsed());
                    self.meters.depth.set(inbox.len() as f64);
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
            let saved = self.symbols[index].symbol.save_at_the_end();
            self.saved(index, saved);
        }
    }

    fn input(&mut self, input: Input, now: UnixMillis) {
        // Sequence, reorder and aggregate are one call here: the pipeline's.
        let span = tracing::trace_span!("aggregate");
        let _in_span = span.enter();
        match input {
            Input::Trades {
                trades,
                offset_ms,
                passed_on_us,
            } => self.live_trades(&trades, offset_ms, passed_on_us, now),
            Input::SocketUp {
                connection,
                instruments,
                offset_ms,
            } => {
                self.carriers.up(connection, now);
                if let (Some(&instrument), Some(offset_ms)) = (instruments.first(), offset_ms) {
                    self.tell_clock(instrument, offset_ms);
                }
                for index in self.indexes(&instruments) {
                    if self.symbols[index].symbol.socket_up(connection, now) {
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
                    if self.symbols[index].symbol.socket_down(connection, now) {
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
                    let owned = &mut self.symbols[index];
                    owned.meters.suspicion();
                    owned.symbol.suspect(now);
                    self.touch(index);
                }
            }
            Input::Refetch {
                instrument,
                from_ms,
                to_ms,
            } => {
                if let Some(index) = self.index_of[instrument] {
                    self.symbols[index].symbol.refetch(from_ms, to_ms, now);
                    self.touch(index);
                }
            }
            Input::Assign(assignment) => self.assign(*assignment, now),
            Input::Revoke {
                instrument,
                released,
            } => {
                self.revoke(instrument, now);
                // Nobody waits any more while the program stops.
                let _ = released.send(());
            }
            Input::Backfilled {
                instrument,
                assignment,
                request_id,
                trades,
            } => {
                if let Some(index) = self.index_under(instrument, assignment) {
                    self.backfilled(index, request_id, &trades, now);
                }
            }
            Input::BackfillEnded {
                instrument,
                assignment,
                request_id,
                outcome,
            } => {
                if let Some(index) = self.index_under(instrument, assignment) {
                    let symbol = &mut self.symbols[index].symbol;
                    symbol.backfill_ended(request_id, outcome, now, &mut self.outputs);
                    self.touch(index);
                    self.emit(index, now);
                }
            }
        }
    }

    /// Until a symbol's own connection has told the venue's clock, another connection of the venue
    /// is enough.
    fn tell_clock(&mut self, instrument: InstrumentId, offset_ms: i64) {
        let Some(index) = self.index_of[instrument] else {
            return;
        };
        let exchange = self.symbols[index].exchange;
        if self.untold > 0 {
            for owned in &mut self.symbols {
                if owned.exchange == exchange && !owned.symbol.is_clock_told() {
                    owned.symbol.tell_clock(offset_ms);
                    self.untold -= 1;
                }
            }
        }
    }

    /// The index of a symbol, if it is still under this assignment: an earlier pipeline of it had
    /// requests of its own.
    fn index_under(&self, instrument: InstrumentId, assignment: u64) -> Option<usize> {
        self.index_of[instrument].filter(|&index| self.symbols[index].assignment == assignment)
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
        passed_on_us: UnixMicros,
        now: UnixMillis,
    ) {
        if let (Some((instrument, _)), Some(offset_ms)) = (trades.first(), offset_ms) {
            self.tell_clock(*instrument, offset_ms);
        }
        if let Some((_, oldest)) = trades.first() {
            self.trigger = self.trigger.or_frame(oldest.received_us, passed_on_us);
        }
        for (instrument, trade) in trades {
            let Some(index) = self.index_of[*instrument] else {
                continue;
            };
            let owned = &mut self.symbols[index];
            if let Some(offset_ms) = offset_ms {
                owned.symbol.tell_clock(offset_ms);
            }
            let offered = owned.symbol.live(trade, now, &mut self.outputs);
            owned.meters.offered(offered);
            // A second connection brings the same trades.
            let is_seen = matches!(offered, Offered::Duplicate | Offered::Conflict);
            if self.publish_trades && !is_seen {
                self.fresh.push((owned.slot, *trade));
            }
            self.touch(index);
            if !self.outputs.is_empty() {
                self.emit(index, now);
            }
        }
        if let Some((_, oldest)) = trades.first() {
            let age_us = (now_us() - oldest.received_us).max(0);
            let samples = trades.len().div_ceil(TRADES_PER_SAMPLE);
            self.meters
                .frame_to_bar
                .record_many(age_us as f64 / 1e6, samples);
        }
        if !self.fresh.is_empty() {
            self.outbox.trades(self.fresh.drain(..));
        }
    }

    fn backfilled(&mut self, index: usize, request_id: u64, trades: &[Trade], now: UnixMillis) {
        let owned = &mut self.symbols[index];
        let meters = &owned.meters;
        let is_zombie =
            owned
                .symbol
                .backfilled(request_id, trades, now, &mut self.outputs, |offered| {
                    meters.offered(offered)
                });
        if is_zombie {
            warn!(
                exchange = owned.exchange,
                symbol = owned.name,
                "the symbol is silent on its socket while the venue has trades, reconnecting"
            );
            owned.meters.zombie();
            self.health.mark_zombie(owned.symbol.instrument());
        }
        self.touch(index);
        self.emit(index, now);
    }

    /// The symbol is ticked after the inputs that wait.
    fn touch(&mut self, index: usize) {
        let owned = &mut self.symbols[index];
        if !owned.is_touched {
            owned.is_touched = true;
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
            let saved = self.symbols[index].symbol.save(now);
            self.saved(index, saved);
        }
    }

    /// Closes due bars, and publishes forming ones.
    fn settle(&mut self, index: usize, now: UnixMillis) {
        let owned = &mut self.symbols[index];
        if let Some(closed_until) = owned.symbol.begin() {
            self.outbox.begin(owned.slot, closed_until);
        }
        let proved_ms = self.carriers.limit_ms(owned.symbol.connections(), now);
        if owned.symbol.prove(proved_ms, now) == Some(ProofChange::GivenUp) {
            owned.meters.unproved();
        }
        if owned.symbol.tick(proved_ms, now, &mut self.outputs) {
            self.emit(index, now);
        }
        let Owned { symbol, slot, .. } = &mut self.symbols[index];
        symbol.forget_requests();
        symbol.forming(now, &mut self.forming);
        for bar in self.forming.drain(..) {
            self.outbox.forming(*slot, &bar);
        }
    }

    /// Carries out the outputs of the symbol's pipeline.
    fn emit(&mut self, index: usize, now: UnixMillis) {
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            let owned = &mut self.symbols[index];
            owned.symbol.gave(&output);
            match output {
                Output::Bar(bar) => {
                    self.is_yield_due = true;
                    if bar.fold.is_some_and(|fold| !fold.is_exact()) {
                        owned.meters.rounded_bar();
                    }
                    self.outbox.closed(owned.slot, &bar, now_us(), self.trigger);
                }
                Output::Gap(event) => {
                    let trace = service::tracer().map(|_| TraceContext::begin());
                    let log = trace.map_or_else(Span::none, TraceContext::log_span);
                    log.in_scope(|| owned.tell_gap(&event));
                    self.outbox.gap(owned.slot, &event, trace);
                }
                Output::IdsRestarted { expected, first_id } => {
                    owned.meters.id_restart();
                    warn!(
                        exchange = owned.exchange,
                        symbol = owned.name,
                        expected,
                        first_id,
                        "the venue renumbered its trades, so the symbol joined again"
                    );
                }
                Output::Backfill(request) => owned.ask(request, now, &mut self.outputs),
            }
        }
        outputs.append(&mut self.outputs);
        self.outputs = outputs;
    }

    fn saved(&self, index: usize, saved: Option<Result<Checkpoint, Skipped>>) {
        let owned = &self.symbols[index];
        match saved {
            Some(Ok(state)) => self.outbox.checkpoint(owned.slot, state),
            Some(Err(Skipped)) => owned.meters.checkpoint_skipped(),
            None => {}
        }
    }
}
