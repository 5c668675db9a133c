//! Carries messages: NATS, or memory. One suite of contract tests runs on both.
//!
//! # Layout
//!
//! - [`Bus`]: the operations of both: publish, subscribe, last values, drain;
//! - [`MemoryBus`]: inside one process, for `klinecast` and for tests;
//! - [`NatsBus`]: between processes, over NATS with JetStream;
//! - [`StreamSpec`]: which subjects keep how many messages, as the caller wants it on both;
//! - [`Message`]: a subject, bytes, headers, and a position where a stream kept it;
//! - [`StreamStore`]: pages of the past ([`Range`]), acknowledged reading ([`Consumer`]), conditional
//!   publications ([`Append`]), and the streams' administration ([`StreamStatus`]);
//! - [`Requests`]: questions and answers;
//! - [`LeaseKey`]: one holder at a time, with a number that only rises;
//! - [`BusLayer`]: a bus on top of another one, for tests;
//! - [`connect`]: the bus that a [`BusConfig`] names.
//!
//! A bus carries subjects and bytes. It does not know what a bar is.
//!
//! # Starting without a hole
//!
//! Subscribe first, then read [`Bus::last_values`]: a message that is published in between arrives
//! in both, never in neither. After [`Delivery::Lagged`] or [`Delivery::Reconnected`], read the
//! last values again, because messages were missed.
//!
//! # Metrics
//!
//! | name | what |
//! |---|---|
//! | `bus_published_total` | messages handed to the bus, or stored by it |
//! | `bus_publish_seconds` | time until a durable publication was stored |
//! | `bus_messages_lost_total{reason}` | `subscriber_queue`: a subscriber read too slowly; `client_queue`: the process read too slowly; `retention_full`: delivered, but not retained |
//! | `bus_questions_refused_total` | questions refused because too many waited |
//! | `bus_redeliveries_total` | messages given out again because nobody acknowledged them |
//! | `bus_reconnects_total` | times that the connection came back |
//! | `bus_streams_created_total` | streams that had gone missing while connected and were created again |
//! | `bus_connected` | 1 while connected, 0 while not |

mod address;
mod admin;
mod append;
mod bus;
mod config;
mod consumer;
mod error;
mod layer;
mod lease;
mod log_limit;
mod memory;
mod message;
mod meter;
mod nats;
mod queue;
mod range;
mod request;
mod spec;
mod store;
mod subject;
mod subscription;

use std::sync::Arc;

pub use address::BusAddress;
pub use admin::{StreamHealth, StreamStatus};
pub use append::{Append, Appended, BATCH_MESSAGES_MAX, DUPLICATE_WINDOW, Expected};
pub use bus::Bus;
pub use config::{BusConfig, StreamStorage};
pub use consumer::{Consumer, ConsumerSpec, ConsumerStatus, IN_FLIGHT_MAX, Taken, WAIT_MAX};
pub use error::BusError;
pub use layer::BusLayer;
pub use lease::{Claim, Holding, Lease, LeaseEvent, LeaseKey, LeaseWatch, Renewal};
pub use log_limit::LogLimit;
pub use memory::MemoryBus;
pub use message::{Delivery, HEADER_BYTES_MAX, HEADERS_MAX, Headers, Message, Position};
pub use nats::NatsBus;
pub use range::{PAGE_MESSAGES_MAX, Page, Range, Start};
pub use request::{Question, Requests, Responder};
pub use spec::StreamSpec;
pub use store::StreamStore;
pub use subject::{Pattern, SUBJECT_BYTES_MAX, check_subject};
pub use subscription::Subscription;

/// Connects to the bus that `config` names, which keeps what `streams` say.
///
/// # Errors
/// As [`NatsBus::connect`], or `Config` if the configuration is invalid.
pub async fn connect(config: &BusConfig, streams: &[StreamSpec]) -> Result<Arc<dyn Bus>, BusError> {
    if config.bus.is_memory() {
        return Ok(Arc::new(MemoryBus::new(config, streams)?));
    }
    Ok(Arc::new(NatsBus::connect(config, streams).await?))
}
