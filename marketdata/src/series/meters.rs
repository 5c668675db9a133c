//! The metrics of a worker and of its symbols.

use market_core::{GapEventState, Offered};
use metrics::{Counter, Gauge, Histogram};

/// What one worker measures.
pub(super) struct WorkerMeters {
    /// A batch of inputs, from the first one taken to the last bar handed on.
    pub(super) stage: Histogram,
    pub(super) frame_to_bar: Histogram,
    pub(super) depth: Gauge,
}

impl WorkerMeters {
    pub(super) fn new(worker: usize) -> Self {
        Self {
            frame_to_bar: metrics::histogram!("marketdata_frame_to_bar_seconds"),
            stage: metrics::histogram!("marketdata_stage_seconds", "stage" => "aggregate"),
            depth: metrics::gauge!("marketdata_inbox_depth", "worker" => worker.to_string()),
        }
    }
}

/// What is counted for a symbol, by its exchange.
pub(super) struct SymbolMeters {
    exchange: &'static str,
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

impl SymbolMeters {
    pub(super) fn new(exchange: &'static str) -> Self {
        let offered = |fate: &'static str| metrics::counter!("marketdata_trades_offered_total", "exchange" => exchange, "fate" => fate);
        let gaps = |state: &'static str| metrics::counter!("marketdata_gaps_total", "exchange" => exchange, "state" => state);
        Self {
            exchange,
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

    pub(super) fn offered(&self, offered: Offered) {
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

    pub(super) fn gap(&self, state: GapEventState) {
        match state {
            GapEventState::Open => self.gaps_open.increment(1),
            GapEventState::Filled => self.gaps_filled.increment(1),
            GapEventState::Lost => self.gaps_lost.increment(1),
        }
    }

    pub(super) fn suspicion(&self) {
        metrics::counter!("marketdata_suspicions_total", "exchange" => self.exchange).increment(1);
    }

    pub(super) fn zombie(&self) {
        metrics::counter!("marketdata_zombies_total", "exchange" => self.exchange).increment(1);
    }

    pub(super) fn unproved(&self) {
        metrics::counter!("marketdata_unproved_total", "exchange" => self.exchange).increment(1);
    }

    pub(super) fn rounded_bar(&self) {
        metrics::counter!("marketdata_rounded_bars_total", "exchange" => self.exchange)
            .increment(1);
    }

    pub(super) fn id_restart(&self) {
        metrics::counter!("marketdata_id_restarts_total", "exchange" => self.exchange).increment(1);
    }

    pub(super) fn backfill_queue_full(&self) {
        metrics::counter!("marketdata_backfills_total", "exchange" => self.exchange, "result" => "queue_full")
            .increment(1);
    }

    pub(super) fn checkpoint_skipped(&self) {
        metrics::counter!("marketdata_checkpoints_skipped_total", "exchange" => self.exchange)
            .increment(1);
    }
}
