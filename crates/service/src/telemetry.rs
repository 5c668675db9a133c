//! What a program tells about itself: log lines, metrics, and the times of its stages.

pub(crate) mod log_config;
mod log_layer;
pub(crate) mod logs;
pub(crate) mod metric_help;
pub(crate) mod metrics;
mod process;
pub(crate) mod tap;
pub(crate) mod traces;
