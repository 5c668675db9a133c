//! How every program starts, logs, reports, drains and stops.
