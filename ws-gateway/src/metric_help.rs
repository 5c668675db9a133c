//! The help text of every metric of a gateway.

use service::{MetricHelp, NameAndHelp};

const COUNTERS: &[NameAndHelp] = &[
    (
        "gateway_auth_key_reloads_total",
        "Times that the files of keys were read again, by outcome",
    ),
    (
        "gateway_auth_total",
        "Tokens that clients brought, by source and outcome",
    ),
    (
        "gateway_boundary_marks_overdue_total",
        "Boundary marks that went out before all of their bars had come",
    ),
    (
        "gateway_closed_bars_let_go_early_total",
        "Closed bars that were let go before their time for want of room",
    ),
    (
        "gateway_closes_total",
        "Sessions that ended, by close code and by who closed",
    ),
    (
        "gateway_compressed_frames_total",
        "Frames to clients that were compressed",
    ),
    (
        "gateway_conflated_forming_total",
        "Forming bars that were replaced by the next one",
    ),
    (
        "gateway_deflate_in_bytes_total",
        "Bytes that were compressed",
    ),
    (
        "gateway_deflate_out_bytes_total",
        "Bytes that came of compressing",
    ),
    (
        "gateway_evictions_total",
        "Sessions that were closed for what their client did, by reason",
    ),
    (
        "gateway_fleet_messages_refused_total",
        "Messages between gateways that were refused",
    ),
    (
        "gateway_forbidden_topics_total",
        "Topics that a client's token does not permit",
    ),
    (
        "gateway_frames_encoded_total",
        "Frames that were made, each for one client or for several",
    ),
    ("gateway_frames_total", "Frames to clients"),
    (
        "gateway_handshake_failures_total",
        "Connections that did not become sessions, by reason",
    ),
    (
        "gateway_ingest_lost_total",
        "Messages of the bus that were lost before this gateway took them",
    ),
    (
        "gateway_ingest_messages_total",
        "Messages of the bus, by outcome",
    ),
    (
        "gateway_ingest_resubscribes_total",
        "Subscriptions to the bus that ended and were made anew",
    ),
    (
        "gateway_late_closed_bars_total",
        "Closed bars of gateway_missed_closed_bars_total that came after all",
    ),
    (
        "gateway_missed_closed_bars_total",
        "Closed bars that had not come when a later one did; gateway_late_closed_bars_total of them came after all",
    ),
    (
        "gateway_negotiated_total",
        "Sessions by compression and subprotocol",
    ),
    ("gateway_pings_total", "Pings to clients"),
    (
        "gateway_request_errors_total",
        "Requests of clients that were answered with an error",
    ),
    ("gateway_requests_total", "Messages of clients"),
    (
        "gateway_resync_failures_total",
        "Readings of the retained messages that failed",
    ),
    (
        "gateway_resyncs_total",
        "Times that the retained messages had to be read again, by reason",
    ),
    (
        "gateway_sent_bytes_total",
        "Bytes of frames to clients, compressed where they are",
    ),
    ("gateway_sessions_total", "Sessions since the start"),
    ("gateway_sheds_total", "Sessions that a rebalance closed"),
    (
        "gateway_skipped_closed_bars_total",
        "Closed bars that clients were told they do not get",
    ),
    (
        "gateway_snapshots_total",
        "First states of a topic to a client",
    ),
    (
        "gateway_stalled_sends_total",
        "Frames that a full socket did not take",
    ),
    (
        "gateway_standstills_total",
        "Times that the process stood still for three seconds or more",
    ),
    (
        "gateway_topics_beyond_bound_total",
        "Topics that a session's wildcard stands for beyond the session's bound",
    ),
    (
        "gateway_uncompressed_bytes_total",
        "Bytes of frames to clients as they would be without compression",
    ),
    (
        "gateway_updates_total",
        "Updates to clients, several a frame",
    ),
    (
        "gateway_wildcard_expansions_total",
        "Wildcards that were looked for among all topics",
    ),
];

const GAUGES: &[NameAndHelp] = &[
    ("gateway_auth_keys", "Keys that tokens are checked with"),
    ("gateway_connections", "Connections now, sessions included"),
    (
        "gateway_fleet_gateways",
        "Gateways of the fleet that were heard of lately, this one included",
    ),
    (
        "gateway_fleet_sessions",
        "Sessions of all gateways of the fleet",
    ),
    (
        "gateway_held_closed_bytes",
        "Bytes of closed bars that are held for their time",
    ),
    (
        "gateway_rebalance_target_sessions",
        "Sessions that this gateway is to have; 0 while it does not rebalance",
    ),
    ("gateway_sessions", "Sessions now"),
    ("gateway_stalled_sessions", "Sessions whose socket is full"),
    ("gateway_topic_sets", "Sets of topics that sessions share"),
    ("gateway_topics", "Topics held"),
    (
        "gateway_unsynced_patterns",
        "Patterns whose retained messages are being read or wait for it",
    ),
];

const HISTOGRAMS: &[NameAndHelp] = &[
    (
        "gateway_bar_age_seconds",
        "Age of live bars when they are taken, by their published_us and this host's clock",
    ),
    (
        "gateway_fanout_seconds",
        "Time from taking a message of the bus to writing it; what it waited before is in gateway_bar_age_seconds",
    ),
    ("gateway_flush_seconds", "Time that a shard's flush took"),
    (
        "gateway_resync_seconds",
        "Time to read the retained messages of a pattern",
    ),
];

/// Gives the metrics their help texts; to be called once the recorder is installed.
pub(crate) fn describe() {
    service::describe_metrics(&MetricHelp {
        counters: COUNTERS,
        gauges: GAUGES,
        histograms: HISTOGRAMS,
    });
}
