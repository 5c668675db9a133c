//! The whole fleet as processes on free ports, clients beside it, and an independent truth.
//!
//! # Layout
//!
//! - `testkit`, whose modules are here, too, starts programs, servers and clients;
//! - [`simulator`] is one end of the fleet, and [`fleet`] all of it;
//! - [`follower`] is a client that reconnects and remembers what it saw, and [`collector`] one that
//!   asks history for what it missed;
//! - [`bar`] is what clients get, and [`truth`] what they should have got;
//! - [`strategy`] trades on paper with the bars of a [`bar_stream`], into an [`account`] with a
//!   [`report`]: an example of what users do.
//!
//! This is test code: what cannot be done panics, and says why. Everything that is started ends
//! when it is dropped, also after a panic.

pub use testkit::{
    binary, client, clock, directory, link, nats, network, nginx, ports, process, program, raw,
    wait,
};

pub mod simulator;

pub mod fleet;

pub mod collector;
pub mod follower;

pub mod bar;
pub mod bar_stream;

pub mod account;
pub mod report;
pub mod strategy;

pub mod truth;
