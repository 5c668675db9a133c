//! Simulates Binance, Coinbase and OKX with their real wire protocols, and with scripted faults.
//!
//! # Layout
//!
//! From the market to the client:
//!
//! - `market` makes the trades of a time span, as a pure function of a seed; `capture` reads
//!   recorded ones;
//! - `engine` is the clock. It puts the trades on the `tape` of their symbol, where REST finds
//!   them, and passes them to the `exchange`;
//! - `exchange` has the tapes and the clients; `delivery` sends trades through the `faults` to the
//!   `topic`s that clients subscribed to, and the `delay_queue` has what faults hold back;
//!   `periodic` sends periodic messages;
//! - `venues` has the differences between the venues: names, encodings, sessions and REST, all
//!   pure;
//! - `server` and `socket` are the wire; `control` is `/sim`.

mod bar;
mod book;
mod book_changes;
mod capture;
mod capture_line;
mod client;
mod clock;
mod config;
mod control;
mod delay_queue;
mod delivery;
mod engine;
mod exchange;
mod fault_spec;
mod faults;
mod fixed;
mod instrument;
mod interval;
mod listing;
mod market;
mod metric_help;
mod periodic;
mod raw_query;
mod server;
mod socket;
mod symbol;
mod tape;
mod topic;
mod trade;
mod venues;
mod verdict;
mod window;

use std::sync::Arc;

use tokio::net::TcpListener;

pub use capture::CaptureError;
pub use config::Config;
pub use fault_spec::{FaultKind, FaultSpec};
pub use instrument::Venue;

/// Why the simulator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A capture cannot be played.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A part of the simulator has panicked: a bug.
    #[error("a task of the simulator panicked")]
    Task(#[from] tokio::task::JoinError),
}

impl Error {
    /// Whether running again may help.
    pub fn is_retryable(&self) -> bool {
        false
    }
}

/// Serves the simulated venues on `listener` until the service shuts down and all connections have
/// ended.
///
/// # Errors
/// [`Error::Capture`] if a capture cannot be read.
pub async fn run(
    config: Config,
    listener: TcpListener,
    service: service::Service,
) -> Result<(), Error> {
    metric_help::describe();
    let condition = service.readiness.condition("market");
    // Generating history and reading captures take a moment of pure computation.
    let prepared = tokio::task::spawn_blocking(move || prepare(config)).await??;
    let Prepared {
        exchange,
        markets,
        records,
    } = prepared;
    tracing::info!(
        symbols = exchange.listing.all().len(),
        captured_frames = records.len(),
        listen = ?listener.local_addr().ok(),
        "exchange simulator is serving"
    );
    let exchange = Arc::new(exchange);
    let engine = tokio::spawn(engine::run(Arc::clone(&exchange), markets, records));
    let server = tokio::spawn(server::serve(Arc::clone(&exchange), listener));
    condition.met();
    service.shutdown.triggered().await;
    exchange.stop.cancel();
    engine.await?;
    server.await?;
    Ok(())
}

struct Prepared {
    exchange: exchange::Exchange,
    markets: Vec<engine::Market>,
    records: Vec<capture::Record>,
}

fn prepare(config: Config) -> Result<Prepared, Error> {
    if config.capture.is_empty() {
        let instruments = instrument::listing(config.symbols);
        let exchange = exchange::Exchange::new(config, instruments);
        let markets = if exchange.config.manual {
            Vec::new()
        } else {
            engine::generate_history(&exchange)
        };
        return Ok(Prepared {
            exchange,
            markets,
            records: Vec::new(),
        });
    }
    let mut captures = capture::Captures::default();
    for path in &config.capture {
        captures.read(path, config.capture_bytes_max)?;
    }
    tracing::info!(skipped = captures.skipped, "captures read");
    let exchange = exchange::Exchange::new(config, captures.instruments());
    let records = captures.into_records(&exchange.listing);
    exchange.set_playback(exchange::Playback {
        frames: records.len(),
        played: 0,
        done: records.is_empty(),
    });
    Ok(Prepared {
        exchange,
        markets: Vec::new(),
        records,
    })
}
