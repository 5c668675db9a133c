//! The whole fleet as processes on free ports, clients beside it, and an independent truth.
//!
//! # Layout
//!
//! - [`binary`] finds the programs, and builds them where they are missing or old;
//! - [`process`] and [`program`] run one, with its log, ports, metrics and signals;
//! - [`simulator`] and [`nginx`] are the two ends of the fleet, and [`fleet`] all of it;
//! - [`client`] is one WebSocket, [`raw`] one without a library, [`follower`] a client that
//!   reconnects and remembers what it saw;
//! - [`bar`] is what clients get, and [`truth`] what they should have got;
//! - [`wait`] is how everything is waited for.
//!
//! This is test code: what cannot be done panics, and says why. Everything that is started ends
//! when it is dropped, also after a panic.

pub mod wait;

pub mod binary;
pub mod process;
pub mod program;

pub mod nginx;
pub mod simulator;

pub mod fleet;

pub mod client;
pub mod follower;
pub mod raw;

pub mod bar;
pub mod truth;
