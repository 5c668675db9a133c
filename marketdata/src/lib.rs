//! Exchange frames in, bars out.

pub mod config;
pub mod exchange;
pub mod instrument;
pub mod replay;

pub use config::{Config, ConfigError};
