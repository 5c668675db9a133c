//! Exchange frames in, bars out.
//!
//! # Flow
//!
//! [`feed`] keeps sockets up and decodes their frames through [`exchange`]; trades go through a
//! worker's [`inbox`] to the [`worker`], which owns the pipelines of its symbols; what is missing
//! is fetched by [`backfill`]; bars go out through [`publish`]. [`recovery`] lets a restart go on
//! where the last run stopped, and [`replay`] runs recorded frames the same way without a socket.

pub mod config;
pub mod instrument;

pub mod exchange;
pub mod feed;
pub mod inbox;

pub mod worker;

pub mod backfill;
pub mod publish;
pub mod recovery;

pub mod replay;

mod budget;
mod host_clock;
mod program;

pub use config::{Config, ConfigError};
pub use program::{Error, run};
