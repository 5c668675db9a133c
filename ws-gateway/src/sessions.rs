//! The subscriptions of each session, the version that it has seen, and the updates that it lacks.
//!
//! A `shard` is a share of the sessions, as a state machine; `flush` is the task that owns it, and
//! `command` has its commands. All sessions with the same subscriptions share a `topic_set`.
//! `history_reader` asks history for the bars of the `past` for sessions that begin there, and
//! `questions` has what is being asked.
//! `replay_places` bounds the topics whose past is played at a pace.
//! `flush_schedule` says when its changes are sent, and `timer_wheel` has the sessions' timers.

pub(crate) mod called;
pub(crate) mod command;
pub(crate) mod flush;
pub(crate) mod flush_schedule;
pub(crate) mod history_reader;
pub(crate) mod outlet;
pub(crate) mod past;
pub(crate) mod pattern_index;
pub(crate) mod questions;
pub(crate) mod recent;
pub(crate) mod replay_places;
pub(crate) mod session_counts;
pub(crate) mod session_id;
pub(crate) mod set_id;
pub(crate) mod shard;
pub(crate) mod timer_wheel;
pub(crate) mod topic_set;
