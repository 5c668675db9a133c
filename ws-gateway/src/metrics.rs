//! A gateway's counters. Handles are made once, so counting costs an atomic add.

mod counts;
pub(crate) mod help;

use market_core::protocol::Unrecovered;
use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, gauge, histogram,
};

pub(crate) use self::counts::Counts;
use client_frames::encode::encoding::Encoding;

/// The gateway's metrics.
#[derive(Clone)]
pub(crate) struct Metrics {
    /// Sessions now.
    pub sessions: Gauge,
    /// Sessions since the start.
    pub sessions_total: Counter,
    /// Connections now, sessions included.
    pub connections: Gauge,
    /// Topics held.
    pub topics: Gauge,
    /// Sets of topics that sessions share.
    pub topic_sets: Gauge,
    /// Sessions whose socket is full.
    pub stalled: Gauge,
    /// From the bus's delivery to the write.
    pub fanout_seconds: Histogram,
    /// Time that a flush took.
    pub flush_seconds: Histogram,
    /// Time that a shard took to find what has changed.
    pub conflate_seconds: Histogram,
    /// Time of a flush in which frames were made and written.
    pub write_seconds: Histogram,
    /// Gateways of the fleet that were heard of lately, this one included.
    pub fleet_gateways: Gauge,
    /// Sessions of all of them.
    pub fleet_sessions: Gauge,
    /// How many sessions this gateway is to have; 0 while it does not rebalance.
    pub rebalance_target: Gauge,
    /// Messages between gateways that were refused.
    pub fleet_refused: Counter,
    /// Messages of clients.
    pub requests: Counter,
    frames: Counter,
    frames_encoded: Counter,
    updates: Counter,
    bytes: Counter,
    answer_bytes: Counter,
    plain_bytes: Counter,
    compressed: Counter,
    deflate_in_bytes: Counter,
    deflate_out_bytes: Counter,
    skipped: Counter,
    skipped_entries: Counter,
    refused: Counter,
    snapshots: Counter,
    beyond_bound: Counter,
    pings: Counter,
    errors: Counter,
    sheds: Counter,
    forbidden: Counter,
    expanded: Counter,
    sets_made: Counter,
    looked_at: Counter,
    overloaded: Counter,
    /// Bytes of frames made for few that are held.
    pub pending_bytes: Gauge,
    pattern_lookups: Counter,
    listed: Counter,
    held_bytes: Gauge,
    let_go_early: Counter,
    held_entry_bytes: Gauge,
    let_go_early_entries: Counter,
    /// Reads of the past that sessions wait for.
    pub past_reads: Gauge,
    past_bars: Counter,
    replays_refused_session: Counter,
    replays_refused_address: Counter,
    replays_refused_gateway: Counter,
    replay_holes: Counter,
    recovered: Counter,
    unrecovered_history: Counter,
    unrecovered_gap: Counter,
    unrecovered_too_many: Counter,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        describe_gauge!(
            "gateway_held_closed_bytes",
            Unit::Bytes,
            "Closed bars that are younger than --closed-hold-ms, with what is made of them"
        );
        describe_counter!(
            "gateway_closed_bars_let_go_early_total",
            Unit::Count,
            "Closed bars let go before --closed-hold-ms: raise --closed-burst-max or --closed-hold-bytes-max"
        );
        describe_counter!(
            "gateway_wildcard_expansions_total",
            Unit::Count,
            "Wildcards of requests that were looked for among all topics"
        );
        describe_gauge!(
            "gateway_pending_bytes",
            Unit::Bytes,
            "Answers, and what sessions lack that fell behind, until clients have taken them"
        );
        describe_counter!(
            "gateway_overloaded_total",
            Unit::Count,
            "Requests refused and sessions kept waiting at --pending-bytes-max"
        );
        describe_counter!(
            "gateway_topics_looked_at_total",
            Unit::Count,
            "Topics looked at for what sessions lack of them"
        );
        describe_counter!(
            "gateway_pattern_lookups_total",
            Unit::Count,
            "Wildcards looked for as topics appeared"
        );
        describe_counter!(
            "gateway_permission_checks_total",
            Unit::Count,
            "Topics that were held against what a token permits, for lists"
        );
        describe_counter!(
            "gateway_answer_bytes_total",
            Unit::Bytes,
            "Bytes of answers to requests that connections have taken"
        );
        Self {
            sessions: gauge!("gateway_sessions"),
            sessions_total: counter!("gateway_sessions_total"),
            connections: gauge!("gateway_connections"),
            topics: gauge!("gateway_topics"),
            topic_sets: gauge!("gateway_topic_sets"),
            stalled: gauge!("gateway_stalled_sessions"),
            fanout_seconds: histogram!("gateway_fanout_seconds", "stage" => "write"),
            flush_seconds: histogram!("gateway_flush_seconds"),
            conflate_seconds: histogram!("gateway_stage_seconds", "stage" => "conflate"),
            write_seconds: histogram!("gateway_stage_seconds", "stage" => "write"),
            requests: counter!("gateway_requests_total"),
            frames: counter!("gateway_frames_total"),
            frames_encoded: counter!("gateway_frames_encoded_total"),
            updates: counter!("gateway_updates_total"),
            bytes: counter!("gateway_sent_bytes_total"),
            answer_bytes: counter!("gateway_answer_bytes_total"),
            plain_bytes: counter!("gateway_uncompressed_bytes_total"),
            compressed: counter!("gateway_compressed_frames_total"),
            deflate_in_bytes: counter!("gateway_deflate_in_bytes_total"),
            deflate_out_bytes: counter!("gateway_deflate_out_bytes_total"),
            skipped: counter!("gateway_skipped_closed_bars_total"),
            skipped_entries: counter!("gateway_skipped_entries_total"),
            refused: counter!("gateway_stalled_sends_total"),
            snapshots: counter!("gateway_snapshots_total"),
            beyond_bound: counter!("gateway_topics_beyond_bound_total"),
            pings: counter!("gateway_pings_total"),
            errors: counter!("gateway_request_errors_total"),
            sheds: counter!("gateway_sheds_total"),
            fleet_gateways: gauge!("gateway_fleet_gateways"),
            fleet_sessions: gauge!("gateway_fleet_sessions"),
            rebalance_target: gauge!("gateway_rebalance_target_sessions"),
            fleet_refused: counter!("gateway_fleet_messages_refused_total"),
            forbidden: counter!("gateway_forbidden_topics_total"),
            expanded: counter!("gateway_wildcard_expansions_total"),
            sets_made: counter!("gateway_topic_sets_made_total"),
            overloaded: counter!("gateway_overloaded_total"),
            pending_bytes: gauge!("gateway_pending_bytes"),
            looked_at: counter!("gateway_topics_looked_at_total"),
            pattern_lookups: counter!("gateway_pattern_lookups_total"),
            listed: counter!("gateway_permission_checks_total"),
            held_bytes: gauge!("gateway_held_closed_bytes"),
            let_go_early: counter!("gateway_closed_bars_let_go_early_total"),
            held_entry_bytes: gauge!("gateway_held_entry_bytes"),
            let_go_early_entries: counter!("gateway_entries_let_go_early_total"),
            past_reads: gauge!("gateway_past_reads"),
            past_bars: counter!("gateway_past_bars_total"),
            replays_refused_session: replay_refused("session"),
            replays_refused_address: replay_refused("address"),
            replays_refused_gateway: replay_refused("gateway"),
            replay_holes: counter!("gateway_replay_holes_skipped_total"),
            recovered: gone_live("recovered"),
            unrecovered_history: gone_live(Unrecovered::History.as_str()),
            unrecovered_gap: gone_live(Unrecovered::Gap.as_str()),
            unrecovered_too_many: gone_live(Unrecovered::TooMany.as_str()),
        }
    }
}

fn gone_live(outcome: &'static str) -> Counter {
    counter!("gateway_past_total", "outcome" => outcome)
}

fn replay_refused(limit: &'static str) -> Counter {
    counter!("gateway_replays_refused_total", "limit" => limit)
}

impl Metrics {
    /// Adds a shard's counts.
    pub(crate) fn add(&self, counts: &Counts) {
        for (counter, count) in [
            (&self.frames, counts.frames),
            (&self.frames_encoded, counts.encoded),
            (&self.updates, counts.updates),
            (&self.bytes, counts.bytes),
            (&self.answer_bytes, counts.answer_bytes),
            (&self.plain_bytes, counts.plain_bytes),
            (&self.compressed, counts.compressed),
            (&self.deflate_in_bytes, counts.deflate_in_bytes),
            (&self.deflate_out_bytes, counts.deflate_out_bytes),
            (&self.skipped, counts.skipped),
            (&self.skipped_entries, counts.skipped_entries),
            (&self.refused, counts.refused),
            (&self.snapshots, counts.snapshots),
            (&self.beyond_bound, counts.beyond_bound),
            (&self.expanded, counts.expanded),
            (&self.sets_made, counts.sets_made),
            (&self.looked_at, counts.looked_at),
            (&self.overloaded, counts.overloaded),
            (&self.pattern_lookups, counts.pattern_lookups),
            (&self.listed, counts.listed),
            (&self.pings, counts.pings),
            (&self.errors, counts.errors),
            (&self.sheds, counts.sheds),
            (&self.forbidden, counts.forbidden),
            (&self.past_bars, counts.past_bars),
            (
                &self.replays_refused_session,
                counts.replays_refused_session,
            ),
            (
                &self.replays_refused_address,
                counts.replays_refused_address,
            ),
            (
                &self.replays_refused_gateway,
                counts.replays_refused_gateway,
            ),
            (&self.replay_holes, counts.replay_holes),
            (&self.recovered, counts.recovered),
            (&self.unrecovered_history, counts.unrecovered_history),
            (&self.unrecovered_gap, counts.unrecovered_gap),
            (&self.unrecovered_too_many, counts.unrecovered_too_many),
        ] {
            if count > 0 {
                counter.increment(count);
            }
        }
    }

    /// Bytes of the closed bars within their hold time, and the number of bars released early.
    pub(crate) fn held(&self, (bytes, early): (usize, u64)) {
        self.held_bytes.set(bytes as f64);
        if early > 0 {
            self.let_go_early.increment(early);
        }
    }

    /// Bytes of the entries of logs within their hold time, and the number of entries released
    /// early.
    pub(crate) fn held_entries(&self, (bytes, early): (usize, u64)) {
        self.held_entry_bytes.set(bytes as f64);
        if early > 0 {
            self.let_go_early_entries.increment(early);
        }
    }

    /// A session has begun with this encoding.
    pub(crate) fn negotiated(&self, encoding: Encoding) {
        let compression = if encoding.window.is_some() {
            "deflate"
        } else {
            "none"
        };
        let subprotocol = encoding.dialect.label();
        counter!("gateway_negotiated_total", "compression" => compression, "subprotocol" => subprotocol)
            .increment(1);
    }

    /// A session has ended; `code` is the close code, 1006 if there was none.
    pub(crate) fn closed(&self, code: u16, by: &'static str) {
        // A peer may send any of 64 K codes: codes without a meaning here share a label.
        let code = match code {
            1000..=1015 | 4000..=4006 => code.to_string(),
            _ => "other".to_owned(),
        };
        counter!("gateway_closes_total", "code" => code, "by" => by).increment(1);
    }

    /// A session was closed because of its client.
    pub(crate) fn evicted(&self, reason: &'static str) {
        counter!("gateway_evictions_total", "reason" => reason).increment(1);
    }

    /// A connection did not become a session.
    pub(crate) fn handshake_failed(&self, reason: &'static str) {
        counter!("gateway_handshake_failures_total", "reason" => reason).increment(1);
    }
}
