//! From the bus to the newest state of every topic.
//!
//! `ingest` passes a message to the slot of its topic in the `hub`, which gives it a version;
//! `publication` checks it. A topic's `state` has the newest bar and the last closed bars, `hold`
//! the hold time of the others, and `boundary_gate` holds a mark back until its bars are here.
//! `book_silence` says that books are invalid whose publisher is not heard any more. `resync`
//! says when to read again what the bus retains, `loaded` the turn of those messages among the live ones, `demand` which channels some session has wanted, `warmth` that it is complete, and `clock_lead`
//! whether this host's clock is believed. `traced` is what is told of a publication that is traced.
//!
//! `folds` makes the bars of widths that nobody publishes (`made`), each with a state machine
//! (`width_bars`). `streams` makes the events of Binance's streams. They stand above the hub, which knows only that slots of theirs end (`endings`) and which of its topics are `followed`.

pub(crate) mod book_silence;
pub(crate) mod boundary_gate;
pub(crate) mod clock_lead;
pub(crate) mod demand;
pub(crate) mod endings;
pub(crate) mod folds;
pub(crate) mod followed;
pub(crate) mod hold;
pub(crate) mod host_clock;
pub(crate) mod hub;
pub(crate) mod ingest;
pub(crate) mod loaded;
pub(crate) mod made;
pub(crate) mod names;
pub(crate) mod publication;
pub(crate) mod resync;
pub(crate) mod slot_id;
pub(crate) mod state;
pub(crate) mod streams;
pub(crate) mod traced;
pub(crate) mod warmth;
pub(crate) mod width_bars;
