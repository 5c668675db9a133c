//! What every bus must do, run on the memory bus and on a real nats-server, and what only a
//! connection can do: go down, come back, be refused.
//!
//! The NATS tests need a nats-server: `NATS_SERVER_BIN`, or on the `PATH`. Without one they print
//! that they are skipped; with `KLINECAST_REQUIRE_NATS` set they fail instead.

mod admin;
mod append;
mod cluster;
mod consumer;
mod headers;
mod lease;
mod outage;
mod permissions;
mod range;
mod recovery;
mod refusal;
mod request;
mod setup;
mod suite;
