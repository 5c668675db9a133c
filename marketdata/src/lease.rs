//! Who publishes an instrument: of the programs that follow it, the one that holds its lease.
//!
//! [`tenure`] decides when to take leases and when to doubt them: a pure state machine. [`task`]
//! carries its decisions out on the bus, and follows what others publish. [`beat`] is the message by
//! which a program says that it lives, and [`carriers`] knows which instruments each program has.

pub(crate) mod beat;
pub(crate) mod carriers;
pub(crate) mod command;
pub(crate) mod doubts;
pub(crate) mod followed;
pub(crate) mod parts;
pub(crate) mod progress;
mod reading;
pub(crate) mod task;
pub(crate) mod tenure;
