//! The bridge between a real nats-server and krafka's broker with its faults.

mod inward;
mod outward;
mod processes;
mod setup;
