//! The help text of every metric of marketdata.

use service::{MetricHelp, NameAndHelp};

const COUNTERS: &[NameAndHelp] = &[
    (
        "marketdata_values_conflated_total",
        "Quotes, tickers and books that were replaced by a newer one before they were published, by kind",
    ),
    (
        "marketdata_values_older_total",
        "Quotes that came from a connection that was behind another one, and were left out",
    ),
    (
        "marketdata_values_total",
        "Quotes and tickers of subscribed symbols, by exchange",
    ),
    (
        "marketdata_book_disconnects_total",
        "Connections for order books that ended, by reason",
    ),
    (
        "marketdata_book_faults_total",
        "Times that an order book became wrong and was said to be invalid, by reason",
    ),
    (
        "marketdata_book_frames_total",
        "Text frames on connections for order books, and of them malformed, unknown and refused ones",
    ),
    (
        "marketdata_book_snapshots_total",
        "Snapshots of order books, by result",
    ),
    (
        "marketdata_book_updates_total",
        "Changes and snapshots of order books, by fate",
    ),
    (
        "marketdata_archive_answers_total",
        "Questions of other programs about a venue's own bars, by result",
    ),
    (
        "marketdata_backfilled_trades_total",
        "Trades that came over REST",
    ),
    (
        "marketdata_backfills_total",
        "Backfills over REST, by outcome",
    ),
    (
        "marketdata_boundary_marks_total",
        "Boundary marks published",
    ),
    (
        "marketdata_boundary_missing_symbols_total",
        "Symbols that had not closed their bar when the mark went out",
    ),
    (
        "marketdata_instruments_doubted_total",
        "Instruments that were read again because a bar was heard that the bus may have refused",
    ),
    (
        "marketdata_lease_doubts_total",
        "Times that this program stopped publishing because it was not heard on the bus",
    ),
    (
        "marketdata_leases_lost_total",
        "Leases of instruments that another program took",
    ),
    (
        "marketdata_leases_taken_total",
        "Leases of instruments that this program took",
    ),
    (
        "marketdata_ownership_changes_total",
        "Instruments assigned, revoked, and failed to be assigned",
    ),
    (
        "marketdata_checkpoints_refused_total",
        "Checkpoints too large to be stored",
    ),
    (
        "marketdata_checkpoints_skipped_total",
        "Checkpoints that were not taken because of a long backfill",
    ),
    (
        "marketdata_checkpoints_withheld_total",
        "Checkpoints and positions of marks that were not stored because another program publishes by now",
    ),
    (
        "marketdata_checkpoints_unreadable_total",
        "Checkpoints that could not be used",
    ),
    (
        "marketdata_connect_attempts_held_total",
        "Attempts to connect that were held back by a venue's budget",
    ),
    (
        "marketdata_connect_attempts_total",
        "Attempts to connect to a venue",
    ),
    (
        "marketdata_connection_doubts_total",
        "Times that a silent connection did not prove that it was read, by reason",
    ),
    (
        "marketdata_discovered_changes_total",
        "Instruments that patterns mean and that were listed, delisted, or fell in rank, by exchange and change",
    ),
    (
        "marketdata_discoveries_total",
        "Looks at the markets that an exchange lists, by exchange and result",
    ),
    (
        "marketdata_disconnects_total",
        "Connections to venues that ended, by reason",
    ),
    (
        "marketdata_epochs_refused_total",
        "Epochs of others more than a day ahead of the clock, which are ignored",
    ),
    (
        "marketdata_epochs_taken_total",
        "New epochs taken after a rival publisher was gone",
    ),
    (
        "marketdata_bar_batches_total",
        "Batches of closed bars that were stored together, refused because of a lease, failed, or not taken by the stream, by outcome",
    ),
    (
        "marketdata_fenced_bars_total",
        "Closed bars that the bus refused because another program holds the lease",
    ),
    ("marketdata_frames_total", "Frames from venues"),
    (
        "marketdata_instruments_moved_total",
        "Instruments that were handed to another program, because programs share them",
    ),
    ("marketdata_gaps_total", "Gaps in trade ids, by outcome"),
    (
        "marketdata_id_restarts_total",
        "Symbols that joined again because the venue renumbered its trades",
    ),
    (
        "marketdata_inbox_dropped_trades_total",
        "Trades dropped because a worker's inbox was full",
    ),
    (
        "marketdata_late_trades_total",
        "Trades that came after their bar had closed, by outcome",
    ),
    (
        "marketdata_publish_dropped_total",
        "Messages dropped because the bus did not accept them in time",
    ),
    (
        "marketdata_publish_failures_total",
        "Publications that the bus did not accept",
    ),
    ("marketdata_published_total", "Messages published, by kind"),
    (
        "marketdata_publishers_ignored_total",
        "Messages of other publishers that were ignored",
    ),
    (
        "marketdata_reconcile_mismatches_total",
        "Bars that differ from a venue's own",
    ),
    (
        "marketdata_reconciled_bars_total",
        "Bars that were compared with a venue's own",
    ),
    (
        "marketdata_reconciled_tickers_total",
        "Fields of venues' tickers that were compared with published bars, by result",
    ),
    (
        "marketdata_records_read_total",
        "Closed bars that were read from the bus to know what is published",
    ),
    (
        "marketdata_records_refused_total",
        "Messages of the record that are no bars, or whose numbers cannot be true",
    ),
    (
        "marketdata_records_unread_total",
        "Instruments whose published bars could not be read because a server of the cluster lagged",
    ),
    (
        "marketdata_rest_pauses_total",
        "Times that a venue's REST interface asked for a pause",
    ),
    (
        "marketdata_rest_requests_total",
        "Requests to venues' REST interfaces, by status",
    ),
    (
        "marketdata_rest_rows_unreadable_total",
        "Rows of REST answers that could not be read and were left out",
    ),
    (
        "marketdata_rivals_appeared_total",
        "Times that another publisher of the same symbols appeared",
    ),
    (
        "marketdata_rotations_total",
        "Connections that were replaced before the venue ended them",
    ),
    (
        "marketdata_replans_total",
        "Times that the parts of the program started again, because an exchange listed new instruments",
    ),
    (
        "marketdata_rounded_bars_total",
        "Bars with a sum of more than 38 digits, which say gap",
    ),
    (
        "marketdata_suspicions_total",
        "Silent symbols about which REST was asked",
    ),
    (
        "marketdata_trades_not_for_bars_total",
        "Trades that venues exclude from bars",
    ),
    (
        "marketdata_trades_offered_total",
        "Trades offered to the pipelines, by verdict",
    ),
    ("marketdata_trades_total", "Trades from venues' sockets"),
    (
        "marketdata_trades_unsubscribed_total",
        "Trades of symbols that were not subscribed",
    ),
    (
        "marketdata_unproved_total",
        "Symbols whose bars stopped waiting for the proof that their connection was read",
    ),
    (
        "marketdata_zombies_total",
        "Symbols whose socket was open but dead",
    ),
];

const GAUGES: &[NameAndHelp] = &[
    (
        "marketdata_book_levels",
        "Levels of order books that are kept in memory, with those of changes that wait for a snapshot, by exchange",
    ),
    (
        "marketdata_books_valid",
        "Order books that are right now, by exchange",
    ),
    (
        "marketdata_backfills_waiting",
        "Backfills that wait for a venue's REST interface",
    ),
    (
        "marketdata_bars_waiting",
        "Closed bars that wait to be stored",
    ),
    (
        "marketdata_clock_step_seconds",
        "Last observed step of the host's clock",
    ),
    (
        "marketdata_feed_age_seconds",
        "Time since the last frame of a venue",
    ),
    ("marketdata_feed_connections", "Connections to a venue"),
    (
        "marketdata_feed_live",
        "1 while a venue's feed is live, 0 while not",
    ),
    ("marketdata_inbox_depth", "Batches that wait for a worker"),
    (
        "marketdata_standbys",
        "Programs that would take over symbols of an exchange's feed",
    ),
    (
        "marketdata_rival_publishers",
        "Other publishers of the same symbols",
    ),
    (
        "marketdata_states_lost",
        "Symbols with published bars and no checkpoint, of the symbols checked",
    ),
    (
        "marketdata_store_waiting_seconds",
        "Time for which the oldest message has waited to be stored",
    ),
    (
        "marketdata_discovered_instruments",
        "Instruments that patterns in --instruments mean and that are followed, by exchange",
    ),
    (
        "marketdata_markets_known",
        "Whether an exchange that patterns in --instruments name has said which markets it lists, 1 or 0, by exchange",
    ),
    (
        "marketdata_markets_left_out",
        "Markets that match a pattern and are not followed, by exchange and reason",
    ),
    (
        "marketdata_instruments_held",
        "Instruments whose lease this program holds, so that it publishes them",
    ),
    (
        "marketdata_instruments_owned",
        "Instruments that are followed here",
    ),
    (
        "marketdata_instruments_standby",
        "Instruments that are followed here and published by another program",
    ),
    ("marketdata_symbols", "Symbols by venue and state"),
];

const HISTOGRAMS: &[NameAndHelp] = &[
    ("marketdata_backfill_seconds", "Time that a backfill took"),
    ("marketdata_checkpoint_bytes", "Size of checkpoints"),
    (
        "marketdata_checkpoint_encode_seconds",
        "Time to encode a checkpoint, outside the worker",
    ),
    (
        "marketdata_close_to_publish_seconds",
        "Time from the closing of a bar to its publication",
    ),
    (
        "marketdata_frame_to_bar_seconds",
        "Time from a venue's frame to the bar that it changed",
    ),
    (
        "marketdata_frame_to_publish_seconds",
        "Time from a venue's frame to the publication of the bar that it changed",
    ),
    ("marketdata_lateness_seconds", "Lateness of late trades"),
    (
        "marketdata_stage_seconds",
        "Time of a stage: feed from the venue's event to the frame, decode and aggregate for each batch, publish for each closed bar",
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
