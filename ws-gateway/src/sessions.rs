//! Who is subscribed to what, what each has seen, and so what it lacks.
//!
//! A `shard` is a share of the sessions, as a state machine; `flush` is the task that owns it, and
//! `command` what it is told. A `topic_set` is shared by all sessions with the same subscriptions;
//! `agenda` says when its changes are sent, and `wheel` keeps the sessions' timers.

pub(crate) mod agenda;
pub(crate) mod called;
pub(crate) mod command;
pub(crate) mod flush;
pub(crate) mod load;
pub(crate) mod outlet;
pub(crate) mod pattern_index;
pub(crate) mod recent;
pub(crate) mod session_id;
pub(crate) mod set_id;
pub(crate) mod shard;
pub(crate) mod topic_set;
pub(crate) mod wheel;
