//! The broker as a program, with a real nats-server on free ports.

mod api;
mod attack;
mod cluster;
mod copies;
mod log_lines;
mod readme;
mod supervision;

mod support;
