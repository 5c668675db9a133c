//! The help text of every metric of history.

use service::{MetricHelp, NameAndHelp};

const COUNTERS: &[NameAndHelp] = &[
    (
        "history_auth_key_reloads_total",
        "Times that the key files were read again, by outcome",
    ),
    (
        "history_auth_total",
        "Tokens that clients sent, by source and outcome",
    ),
    ("history_bars_sent_total", "Bars in answers over HTTP"),
    (
        "history_cache_entries_total",
        "Values for the cache, by fate: written, older than what it has (a tick still takes its place among the last ones), poisoned because something else has the key, or dropped because too many waited",
    ),
    (
        "history_cache_errors_total",
        "Writes that the cache did not take, or looks whether it is there",
    ),
    (
        "history_cache_reads_total",
        "Questions of clients to the cache, by outcome: hit, miss or failed",
    ),
    (
        "history_commits_total",
        "Transactions with rows of the bus, by kind of rows",
    ),
    (
        "history_feed_states_unread_total",
        "Looks at the states of feeds that failed; outages of that time are not stored",
    ),
    (
        "history_fill_requests_total",
        "Questions for a venue's own bars, by venue and result",
    ),
    (
        "history_filled_bars_total",
        "Bars of the venues that were stored, by venue",
    ),
    (
        "history_fills_on_demand_refused_total",
        "Questions that reached back further than the store and were answered from it alone, because too many series were being filled (fills) or too many questions waited (waiting)",
    ),
    (
        "history_fills_unavailable_total",
        "Spans without bars that were not filled, because the venue has no bars of this timeframe",
    ),
    (
        "history_fills_given_up_total",
        "Spans without bars for which the venue had no answer",
    ),
    (
        "history_store_request_errors_total",
        "Requests that a store that is a server did not answer in time, or not at all",
    ),
    (
        "history_outages_deleted_total",
        "Outages of feeds that were deleted, because there are more than 20,000 of their exchange, or that could not be stored",
    ),
    (
        "history_books_total",
        "Order books for the store by fate: written, dropped (the store was away, or too many or too long ones), unreadable, refused (of a time that no row can have, or the server did not take it)",
    ),
    (
        "history_books_waiting",
        "Order books that wait for the end of their interval",
    ),
    (
        "history_forbidden_total",
        "Questions about bars or trades that the client's token does not permit",
    ),
    (
        "history_holes_dropped_total",
        "Spans without bars for which nobody asks the venue, because too many wait",
    ),
    (
        "history_holes_total",
        "Spans without bars between stored bars and new ones, and bars of an hour or more that are partial",
    ),
    (
        "history_latest_lost_total",
        "Newest bars that were lost because they came faster than they were taken; the next ones replace them",
    ),
    (
        "history_latest_refused_total",
        "Newest bars of series beyond the bound of series",
    ),
    (
        "history_messages_lost_total",
        "Messages that the bus kept no longer when they were to be stored, by stream",
    ),
    (
        "history_messages_unreadable_total",
        "Messages that are no bars or trades, and were skipped",
    ),
    (
        "history_months_dropped_total",
        "Months of rows that were deleted because they were too old",
    ),
    (
        "history_rows_refused_total",
        "Rows that no store can hold, and were skipped, by kind of rows",
    ),
    (
        "history_rows_total",
        "Rows of the bus that were stored, repeated ones included, by kind of rows",
    ),
    (
        "history_store_errors_total",
        "Times that the store did not take rows, which were kept and tried again, by kind of rows",
    ),
    (
        "history_store_rows_expired_total",
        "Rows that InfluxDB did not take, because they are older than its retention policy keeps",
    ),
    (
        "history_store_trades_collided_total",
        "Trades that were lost in InfluxDB, because another one of their batch and millisecond has the same last six digits of its id",
    ),
    (
        "history_streams_created_anew_total",
        "Times that the bus had another stream than the one that was stored last",
    ),
    (
        "history_streams_put_back_total",
        "Times that the bus was put back to an older copy of a stream, by stream; all of it was read again",
    ),
    (
        "history_questions_total",
        "Questions of other programs over the bus, by outcome",
    ),
    (
        "history_read_errors_total",
        "Questions that failed because the store could not be read; the log says why",
    ),
    (
        "history_reads_refused_total",
        "Questions that were refused because too many waited for the store",
    ),
    (
        "history_quotes_old_total",
        "Quotes that were left out of answers because they were old and their feed was not live",
    ),
    (
        "history_quotes_unreadable_total",
        "Quotes that the bus retains and that could not be read",
    ),
    (
        "history_requests_limited_total",
        "Requests that were answered with 429 because their address asked too often",
    ),
    (
        "history_requests_total",
        "Requests over HTTP, by route and status",
    ),
    (
        "history_unmetered_addresses_total",
        "Times that an address was let through because those in use fill the budget's memory",
    ),
];

const GAUGES: &[NameAndHelp] = &[
    ("history_auth_keys", "Keys for checking tokens"),
    (
        "history_cache_lag_seconds",
        "How long the value that has waited longest has waited for the cache",
    ),
    ("history_cache_pending", "Values that wait for the cache"),
    (
        "history_cache_up",
        "1 if the last call of the cache succeeded",
    ),
    (
        "history_fills_on_demand",
        "Series whose older bars the venues are asked for, because questions reach back further than the store",
    ),
    (
        "history_fills_waiting",
        "Spans without bars for which the venues are to be asked",
    ),
    (
        "history_lag_messages",
        "Messages of the bus that are not stored yet, by stream",
    ),
    (
        "history_lag_seconds",
        "Age of the newest stored message while older ones than the newest are stored, or how long nothing could be stored, by stream",
    ),
    (
        "history_latest_series",
        "Series whose newest bars are remembered",
    ),
    ("history_reads_running", "Questions that read the store now"),
    ("history_series", "Series of bars that are stored"),
    (
        "history_store_bytes",
        "Bytes of the store's files, or tables",
    ),
    (
        "history_store_up",
        "1 if the last request to a store that is a server was answered",
    ),
];

const HISTOGRAMS: &[NameAndHelp] = &[
    (
        "history_cache_write_seconds",
        "Time until the cache took what waited for it, at most 1,024 values",
    ),
    (
        "history_commit_seconds",
        "Time until the rows of a page of the bus were on disk, by kind of rows",
    ),
    (
        "history_request_seconds",
        "Time from a request to its answer, by route",
    ),
    (
        "history_store_request_seconds",
        "Time until a store that is a server answered, or the request was given up",
    ),
];

/// Describes all metrics of history.
pub(crate) fn describe() {
    service::describe_metrics(&MetricHelp {
        counters: COUNTERS,
        gauges: GAUGES,
        histograms: HISTOGRAMS,
    });
}
