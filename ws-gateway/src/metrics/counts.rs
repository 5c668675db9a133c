//! What happened in a shard, for the metrics.

use client_frames::encode::batch::{Encoded, Prepared};

/// Counts for the metrics: the owner reads and resets them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Frames with updates given to sockets.
    pub frames: u64,
    /// Updates in them.
    pub updates: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Bytes of answers to requests.
    pub answer_bytes: u64,
    /// Bytes of them if none were compressed.
    pub plain_bytes: u64,
    /// How many of them are compressed.
    pub compressed: u64,
    /// Frames encoded; the rest were shared.
    pub encoded: u64,
    /// Closed bars that sessions were told of as skipped.
    pub skipped: u64,
    /// Entries of logs that sessions were told of as skipped.
    pub skipped_entries: u64,
    /// Times that a session could not take its updates.
    pub refused: u64,
    /// Snapshots sent.
    pub snapshots: u64,
    /// Topics that a session lacks because of its bound.
    pub beyond_bound: u64,
    /// Wildcards that were compared with all topics.
    pub expanded: u64,
    /// Sets of topics that were made, each as long as the subscriptions of its sessions.
    pub sets_made: u64,
    /// Topics that were checked for updates that sessions lack.
    pub looked_at: u64,
    /// Wildcards that were looked up when topics appeared.
    pub pattern_lookups: u64,
    /// Topics that were compared with a token's permissions for `list`.
    pub listed: u64,
    /// Requests refused, and sessions kept waiting, because slow clients use too many bytes.
    pub overloaded: u64,
    /// Pings sent.
    pub pings: u64,
    /// Requests refused with an error.
    pub errors: u64,
    /// Bytes before compression.
    pub deflate_in_bytes: u64,
    /// Bytes after compression.
    pub deflate_out_bytes: u64,
    /// Sessions closed so that other gateways take them.
    pub sheds: u64,
    /// Bars of the past given to sockets.
    pub past_bars: u64,
    /// Topics that went live after a complete past.
    pub recovered: u64,
    /// Topics that went live without an answer of history.
    pub unrecovered_history: u64,
    /// Topics that went live with a hole after their past.
    pub unrecovered_gap: u64,
    /// Topics that went live with more bars in between than are sent.
    pub unrecovered_too_many: u64,
    /// Replays that were refused because the session had its share of places.
    pub replays_refused_session: u64,
    /// Replays that were refused because the address had its share of places.
    pub replays_refused_address: u64,
    /// Replays that were refused because all places of the gateway were taken.
    pub replays_refused_gateway: u64,
    /// Holes in the past through which replays did not wait.
    pub replay_holes: u64,
    /// Topics and patterns that were not permitted to a session.
    pub forbidden: u64,
}

impl Counts {
    /// Frames were given to a socket.
    pub(crate) fn sent(&mut self, data: &Prepared, encoded: &Encoded) {
        self.frames += encoded.count;
        self.updates += data.updates();
        self.bytes += encoded.bytes;
        self.plain_bytes += encoded.plain_bytes;
        self.compressed += encoded.compressed;
        self.skipped += data.skipped;
        self.skipped_entries += data.skipped_entries;
    }
}
