//! From the bus to the newest state of every topic.
//!
//! `ingest` gives a message to the slot of its topic in the `hub`, which gives it a version;
//! `publication` is what it may be. A topic's `state` holds the newest and the last closed bars,
//! `hold` says for how long others stay, and `boundary` holds a mark back until its bars are here.
//! `resync`: when what the bus retains is read again; `warmth` says that it is there, and
//! `clock_lead` whether this host's clock is believed.

pub(crate) mod boundary;
pub(crate) mod clock_lead;
pub(crate) mod hold;
pub(crate) mod host_clock;
pub(crate) mod hub;
pub(crate) mod ingest;
pub(crate) mod names;
pub(crate) mod publication;
pub(crate) mod resync;
pub(crate) mod slot;
pub(crate) mod state;
pub(crate) mod warmth;
