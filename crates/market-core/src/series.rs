//! The state machine of one symbol: trades in, bars out.

pub mod aggregate;
pub(crate) mod checkpoint;
pub(crate) mod doubt;
pub mod gap;
pub(crate) mod level;
pub(crate) mod missing;
pub(crate) mod offered;
pub mod pipeline;
pub mod reorder;
pub mod sequence;
