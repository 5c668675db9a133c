//! Starts nats-server, nginx, programs and clients, for tests and benchmarks only.
//!
//! # Layout
//!
//! - [`binary`] finds our programs, and builds them where they are missing or old;
//! - [`process`] and [`program`] run one, with its log, ports, metrics and signals;
//! - [`clickhouse`], [`influx`], [`nats`], [`nginx`] and [`redis`] are the servers of others;
//! - [`client`] is one WebSocket, [`raw`] one without a library;
//! - [`clock`] is a program's wall clock, which a test sets;
//! - [`collector`] takes traces;
//! - [`json_schema`] holds JSON against our documents;
//! - [`log`] keeps what code logs;
//! - [`link`] is a network that can be cut, and [`network`] one whose kernel drops packets;
//! - [`mint`] makes tokens and key sets;
//! - [`ports`] belong to one process of tests;
//! - [`directory`] is deleted after its test;
//! - [`wait`] is how everything is waited for.
//!
//! This is test code: what cannot be done panics, and says why. Everything that is started ends
//! when it is dropped, also after a panic.

pub mod clock;
pub mod directory;
pub mod network;
pub mod ports;
pub mod wait;

pub mod binary;
pub mod process;
pub mod program;
pub mod server;

pub mod clickhouse;
pub mod influx;
pub mod nats;
pub mod nginx;
pub mod redis;

pub mod client;
pub mod collector;
pub mod json_schema;
pub mod link;
pub mod log;
pub mod mint;
pub mod raw;
