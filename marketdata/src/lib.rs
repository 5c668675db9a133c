//! Reads the trade feeds of exchanges and publishes bars on the bus.
//!
//! # Flow
//!
//! [`feed`] keeps sockets open and decodes their frames through [`exchange`]. Trades go through a
//! worker's [`inbox`] to a worker of [`series`], which owns the pipelines of its symbols. [`backfill`]
//! fetches missing trades, and [`publish`] sends bars to the bus. [`recovery`] lets a restart
//! continue where the last run stopped. `lease` says which of several programs with an
//! instrument publishes it; the others are its standbys. [`ownership`] takes instruments over from
//! other programs and hands them on while the program runs, as an operator wants. [`discovery`] finds instruments by patterns. [`replay`] runs recorded frames in the same way without a
//! socket. [`order_books`] follows order books beside the trades. [`reconcile`] compares bars with the venue's own.
//!
//! # Metrics
//!
//! | name | what |
//! |---|---|
//! | `marketdata_frames_total{exchange,kind}` | text frames: any, and of them malformed, unknown, refused |
//! | `marketdata_trades_total{exchange}` | trades decoded from sockets |
//! | `marketdata_trades_not_for_bars_total`, `_unsubscribed_total` | trades that are none of ours |
//! | `marketdata_trades_offered_total{exchange,fate}` | what became of them: in_bar, duplicate, conflict (as a duplicate, with other content), overlap, before_join, future, implausible (ids that jump far or start again; taken when others confirm them) |
//! | `marketdata_late_trades_total{exchange,fate}`, `marketdata_lateness_seconds` | late ones: revised, beyond_horizon |
//! | `marketdata_inbox_dropped_trades_total{worker}`, `marketdata_inbox_depth` | trades that did not fit, and what waits |
//! | `marketdata_gaps_total{exchange,state}` | spans of missing ids: open, filled, lost |
//! | `marketdata_id_restarts_total{exchange}` | symbols joined again because the venue started its ids again |
//! | `marketdata_rounded_bars_total{exchange}` | bars with a sum of more than 38 digits, which say gap |
//! | `marketdata_checkpoints_skipped_total{exchange}` | states not saved in the middle of a long backfill; the one before serves |
//! | `marketdata_backfills_total{exchange,result}`, `marketdata_backfilled_trades_total`, `marketdata_backfill_seconds` | refetches |
//! | `marketdata_backfills_waiting{exchange}` | refetches that wait for their turn |
//! | `marketdata_rest_requests_total{exchange,status}` | REST requests |
//! | `marketdata_rest_pauses_total{exchange,status}` | answers upon which the venue was left alone for a while |
//! | `marketdata_rest_rows_unreadable_total{exchange}` | rows of pages of trades or bars that could not be read |
//! | `marketdata_archive_answers_total{exchange,result}` | questions of other programs about the venue's own bars: answered, refused |
//! | `marketdata_reconciled_bars_total{exchange,result}` | published bars looked up at the venue: equal, partial, mismatch, healed afterwards |
//! | `marketdata_reconcile_mismatches_total{exchange,cause}` | of them, those that are not the venue's: missing_bar, extra_bar, gap, venue_differs |
//! | `marketdata_reconciled_tickers_total{exchange,field,result}` | fields of tickers that were compared with published bars: equal, mismatch, uncovered (no bars for it) |
//! | `marketdata_suspicions_total`, `marketdata_zombies_total{exchange}` | silences asked about, and sockets found dead by it |
//! | `marketdata_connection_doubts_total{exchange,reason}`, `marketdata_unproved_total{exchange}` | connections whose silence was no proof: stood_still, silent; and symbols whose bars stopped waiting for proof |
//! | `marketdata_connect_attempts_total`, `_held_total{exchange}` | attempts, and those that waited for the venue's budget |
//! | `marketdata_disconnects_total{exchange,reason}`, `marketdata_rotations_total` | connections ended, and replaced |
//! | `marketdata_symbols{exchange,state}` | symbols that are waiting for a connection, subscribed, silent, refused, or unknown to the venue |
//! | `marketdata_book_frames_total{exchange,kind}` | frames on connections for order books: any, and of them malformed, unknown, refused |
//! | `marketdata_book_updates_total{exchange,fate}` | changes and snapshots of books: changed, repeated, waiting for a snapshot, dropped (too many waited), unsubscribed |
//! | `marketdata_book_faults_total{exchange,reason}`, `marketdata_books_valid{exchange}` | times that a book became wrong: hole, crossed, too_deep, too_thin, lost; and the books that are right now |
//! | `marketdata_book_snapshots_total{exchange,result}`, `marketdata_book_disconnects_total{exchange,reason}` | snapshots: streamed, fetched, too_old, unreadable, failed; and connections for books that ended |
//! | `marketdata_feed_live`, `_connections`, `_age_seconds{exchange}` | the feed's status |
//! | `marketdata_published_total{kind}`, `marketdata_publish_dropped_total{kind}`, `marketdata_publish_failures_total` | to the bus |
//! | `marketdata_bars_waiting{lane}` | closed bars not stored yet |
//! | `marketdata_store_waiting_seconds` | how long the bus has not stored what it was given |
//! | `marketdata_checkpoint_bytes`, `marketdata_checkpoints_refused_total` | sizes of saved states, and those that the bus refused |
//! | `marketdata_checkpoints_unreadable_total{exchange}`, `marketdata_states_lost` | saved states that could not be used; symbols with published bars and no state, of those looked at |
//! | `marketdata_rival_publishers`, `marketdata_rivals_appeared_total` | other publishers with symbols of ours, now and so far |
//! | `marketdata_epochs_taken_total`, `marketdata_epochs_refused_total`, `marketdata_publishers_ignored_total` | new epochs after a rival was gone; epochs that cannot be; announcements that could not be read or kept |
//! | `marketdata_instruments_owned`, `marketdata_ownership_changes_total{change}` | instruments that are followed here; instruments assigned, revoked, and failed to be assigned |
//! | `marketdata_instruments_held`, `marketdata_instruments_standby` | of them, those that this program publishes, and those that another one publishes |
//! | `marketdata_instruments_moved_total` | instruments that were handed to another program, because programs share them (`--share-instruments`) |
//! | `marketdata_discoveries_total{exchange,result}`, `marketdata_discovered_changes_total{exchange,change}`, `marketdata_discovered_instruments{exchange}` | looks at a venue's list for patterns: answered, failed; what they changed: listed, delisted, ranked_out; and what is followed |
//! | `marketdata_markets_left_out{exchange,reason}`, `marketdata_replans_total` | markets that match and are not followed: rank, paused, unwritable, claimed, bound; and new plans because of new listings |
//! | `marketdata_leases_taken_total`, `marketdata_leases_lost_total`, `marketdata_lease_doubts_total` | leases taken; leases that another program took; pauses because this program was not heard on the bus |
//! | `marketdata_records_refused_total` | messages of the record that are no bars, or whose numbers cannot be true |
//! | `marketdata_records_unread_total` | instruments whose published bars could not be read because a server of the cluster lagged |
//! | `marketdata_instruments_doubted_total` | instruments that were read again because a bar was heard that the bus may have refused |
//! | `marketdata_bar_batches_total{outcome}` | batches of closed bars: stored, refused because a lease of one was taken, failed, or not taken by the stream. After a refusal its halves are stored by themselves, and after the last two its bars one by one |
//! | `marketdata_fenced_bars_total` | closed bars that the bus refused because the lease was taken by another program |
//! | `marketdata_clock_step_seconds` | how far the wall clock was set since the start |
//! | `marketdata_stage_seconds{stage,exchange}` | feed: from the venue's event to the frame; decode and aggregate: a batch; publish: a closed bar's way to the bus |
//! | `marketdata_frame_to_bar_seconds` | from a frame's receipt to its trades in forming bars; the oldest of a batch, one sample for 16 trades |
//! | `marketdata_boundary_marks_total{result}`, `marketdata_boundary_missing_symbols_total` | marks that an interval is over: whole, or without symbols that were not waited for longer |
//! | `marketdata_close_to_publish_seconds{trigger}` | from the frame or tick that closed a bar to its publication |
//! | `marketdata_frame_to_publish_seconds` | age of a forming bar's newest frame when it is published |

pub mod assignment;
pub mod config;
pub mod discovery;
pub mod instrument;

pub mod exchange;
pub mod feed;
pub mod inbox;

pub mod series;

pub mod backfill;
mod lease;
pub mod order_books;
pub mod ownership;
pub mod publish;
pub mod recovery;

pub mod replay;

pub mod reconcile;

mod archive;
mod budget;
mod host_clock;
mod metric_help;
mod parts;
mod presence;
mod program;
mod rivals;
mod teller;
mod ticks;

pub use config::{Assigned, Config, ConfigError};
pub use ownership::control::Control;
pub use parts::PartEnded;
pub use presence::Epoch;
pub use program::{Error, run, run_controlled};
