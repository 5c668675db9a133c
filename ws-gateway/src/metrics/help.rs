//! The help text of every metric of a gateway.

use service::{MetricHelp, NameAndHelp};

const COUNTERS: &[NameAndHelp] = &[
    (
        "gateway_auth_key_reloads_total",
        "Times that the key files were read again, by outcome",
    ),
    (
        "gateway_auth_total",
        "Tokens that clients sent, by source and outcome",
    ),
    (
        "gateway_book_forms_total",
        "Forms of order books that were made for clients: changes since an earlier book, or the whole book cut to a depth",
    ),
    (
        "gateway_books_silent_total",
        "Order books that were said to be invalid because nothing more came from their publisher",
    ),
    (
        "gateway_boundary_marks_overdue_total",
        "Boundary marks that were sent before all of their bars had come",
    ),
    (
        "gateway_closed_bars_let_go_early_total",
        "Closed bars that were released before the end of their hold time because a bound was reached",
    ),
    (
        "gateway_closes_total",
        "Sessions that ended, by close code and by the side that closed",
    ),
    (
        "gateway_compressed_frames_total",
        "Frames to clients that were compressed",
    ),
    (
        "gateway_conflated_forming_total",
        "Forming bars, quotes and other values that were replaced by a newer one before some session took them",
    ),
    ("gateway_deflate_in_bytes_total", "Bytes before compression"),
    ("gateway_deflate_out_bytes_total", "Bytes after compression"),
    (
        "gateway_entries_let_go_early_total",
        "Trades that were released before the end of their hold time because a bound was reached",
    ),
    (
        "gateway_evictions_total",
        "Sessions that were closed because of their client, by reason",
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
        "Frames that were encoded, each for one or several sessions",
    ),
    ("gateway_frames_total", "Frames to clients"),
    (
        "gateway_handshake_failures_total",
        "Connections that did not become sessions, by reason",
    ),
    (
        "gateway_ingest_lost_total",
        "Messages from the bus that were lost before this gateway took them",
    ),
    (
        "gateway_ingest_messages_total",
        "Messages from the bus, by outcome",
    ),
    (
        "gateway_ingest_resubscribes_total",
        "Subscriptions to the bus that ended and were made again",
    ),
    (
        "gateway_late_closed_bars_total",
        "Closed bars that were counted in gateway_missed_closed_bars_total and arrived later",
    ),
    (
        "gateway_missed_closed_bars_total",
        "Closed bars that had not arrived when a later one did; gateway_late_closed_bars_total of them arrived later",
    ),
    (
        "gateway_missed_entries_total",
        "Trades that a publisher numbered and that never arrived at this gateway",
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
        "Failed attempts to read the retained messages",
    ),
    (
        "gateway_resyncs_total",
        "Times that the retained messages were read again, by reason",
    ),
    (
        "gateway_sent_bytes_total",
        "Bytes of frames to clients, after compression",
    ),
    ("gateway_sessions_total", "Sessions since the start"),
    ("gateway_sheds_total", "Sessions that a rebalance closed"),
    (
        "gateway_skipped_closed_bars_total",
        "Closed bars that were not sent and that clients were told of",
    ),
    (
        "gateway_skipped_entries_total",
        "Trades that were not sent and that clients were told of",
    ),
    (
        "gateway_snapshots_total",
        "Snapshots of topics sent to clients",
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
        "Topics that a session's wildcard matches beyond the session's bound",
    ),
    (
        "gateway_uncompressed_bytes_total",
        "Bytes of frames to clients as they would be without compression",
    ),
    (
        "gateway_trace_links_dropped_total",
        "Traced bars whose flush is not told because too many waited for it",
    ),
    (
        "gateway_unmetered_addresses_total",
        "Times that an address was let through because those in use fill the budget's memory",
    ),
    (
        "gateway_updates_total",
        "Updates to clients; a frame may have several",
    ),
    (
        "gateway_topic_sets_made_total",
        "Sets of topics that were made because a session changed its subscriptions; each costs as much as the session has topics",
    ),
    (
        "gateway_wildcard_expansions_total",
        "Wildcards that were compared with all topics",
    ),
    (
        "gateway_history_reads_total",
        "Questions to history, by outcome",
    ),
    (
        "gateway_past_bars_total",
        "Closed bars of the past that clients got from history",
    ),
    (
        "gateway_past_total",
        "Topics that went live after their past, by outcome: recovered, or why bars may be missing",
    ),
    (
        "gateway_replays_refused_total",
        "Replays that were refused because all places were taken, by the limit that was reached",
    ),
    (
        "gateway_replay_holes_skipped_total",
        "Holes in the past through which replays did not wait",
    ),
    (
        "gateway_binance_streams_refused_total",
        "Streams of Binance's dialect that were refused, by limit",
    ),
    (
        "gateway_binance_window_symbols_left_out_total",
        "Symbols for which a ticker of a window had no room",
    ),
    (
        "gateway_binance_streams_made_total",
        "Streams of Binance's dialect that were begun",
    ),
    (
        "gateway_binance_streams_ended_total",
        "Streams of Binance's dialect that ended after their last session",
    ),
    (
        "gateway_folds_refused_total",
        "Topics of unpublished widths that were refused, by the limit that was reached",
    ),
    (
        "gateway_folds_made_total",
        "Topics of unpublished widths that this gateway began to make",
    ),
    (
        "gateway_folds_ended_total",
        "Topics of unpublished widths that this gateway no longer makes: no session wanted them",
    ),
    (
        "gateway_fold_revisions_given_up_total",
        "Revisions of old bars of unpublished widths that were lost: too many waited for history",
    ),
];

const GAUGES: &[NameAndHelp] = &[
    ("gateway_auth_keys", "Keys for checking tokens"),
    (
        "gateway_clock_behind_patterns",
        "Bus patterns whose bars are refused as ahead, with no publisher whose clock agrees with this host's",
    ),
    ("gateway_connections", "Connections now, sessions included"),
    (
        "gateway_fleet_gateways",
        "Gateways of the fleet, this one included",
    ),
    (
        "gateway_fleet_sessions",
        "Sessions of all gateways of the fleet",
    ),
    (
        "gateway_held_closed_bytes",
        "Bytes of closed bars within their hold time",
    ),
    (
        "gateway_held_entry_bytes",
        "Bytes of trades within their hold time",
    ),
    (
        "gateway_rebalance_target_sessions",
        "Target number of sessions of this gateway; 0 while it does not rebalance",
    ),
    ("gateway_sessions", "Sessions now"),
    ("gateway_stalled_sessions", "Sessions whose socket is full"),
    ("gateway_topic_sets", "Sets of topics that sessions share"),
    ("gateway_topics", "Topics held"),
    (
        "gateway_unsynced_patterns",
        "Patterns whose retained messages have not been read yet",
    ),
    (
        "gateway_history_reads_in_progress",
        "Questions to history that wait for an answer",
    ),
    ("gateway_past_reads", "Topics whose past clients wait for"),
    ("gateway_replays", "Topics that clients replay"),
    (
        "gateway_binance_streams",
        "Streams of Binance's dialect that this gateway makes of books, tickers and trades",
    ),
    (
        "gateway_binance_stream_book_bytes",
        "Bytes of the order books that streams of Binance's dialect remember, and of their encoded changes",
    ),
    (
        "gateway_binance_window_bars",
        "Bars of a minute for which tickers of windows have room",
    ),
    (
        "gateway_binance_streams_unknown",
        "Streams of Binance's dialect of symbols of which nothing has come",
    ),
    (
        "gateway_folds",
        "Topics of unpublished widths whose bars this gateway makes",
    ),
];

const HISTOGRAMS: &[NameAndHelp] = &[
    (
        "gateway_bar_age_seconds",
        "Age of live bars when the gateway takes them, by published_us and this host's clock",
    ),
    (
        "gateway_fanout_seconds",
        "Time from taking a message from the bus to writing it; gateway_bar_age_seconds has the time before",
    ),
    ("gateway_flush_seconds", "Time that a shard's flush took"),
    (
        "gateway_stage_seconds",
        "Time of a stage: ingest for one message in 64, conflate and write for each turn of a shard",
    ),
    (
        "gateway_resync_seconds",
        "Time to read the retained messages of a pattern",
    ),
    (
        "gateway_history_read_seconds",
        "Time that history took for an answer",
    ),
];

/// Describes the metrics. Call it after the recorder is installed.
pub(crate) fn describe() {
    service::describe_metrics(&MetricHelp {
        counters: COUNTERS,
        gauges: GAUGES,
        histograms: HISTOGRAMS,
    });
}
