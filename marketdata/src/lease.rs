//! Who publishes an instrument: of the programs that follow it, the one that holds its lease.
//!
//! [`tenure`] decides when to take leases and when to doubt them: a pure state machine. [`task`]
//! carries its decisions out on the bus, and follows what others publish. [`beat`] is the message by
//! which a program says that it lives, [`bridge_epoch`] what the numbers of leases must be above,
//! [`carriers`] knows which instruments each program has, and [`share`] which of them it should publish.

pub(crate) mod beat;
pub(crate) mod bridge_epoch;
pub(crate) mod carriers;
pub(crate) mod command;
pub(crate) mod doubts;
pub(crate) mod followed;
pub(crate) mod parts;
pub(crate) mod progress;
mod reading;
pub(crate) mod share;
pub(crate) mod task;
mod tenure;
