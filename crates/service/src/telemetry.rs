//! What a program tells about itself: log lines, metrics, the times of its stages, and traces.

pub(crate) mod log_config;
mod log_layer;
pub(crate) mod logs;
pub(crate) mod metric_help;
pub(crate) mod metrics;
pub(crate) mod otlp;
mod process;
pub(crate) mod tap;
pub(crate) mod traces;
