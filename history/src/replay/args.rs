//! What is replayed.

use std::sync::Arc;

use clap::Args;
use market_core::{Symbol, Timeframe, UnixMillis};

use crate::api::time;
use crate::offline::{OpenError, StoreArgs};
use crate::store::{Instrument, Store};

/// Publishes what is stored onto the bus, in the order in which it happened.
///
/// Each bar comes at its end, each trade at its time, on a clock that begins at --from. Subjects have a prefix: programs that are started with it as their --bus-prefix hear the replay, and nobody else does. SIGTERM ends it.
#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    #[command(flatten)]
    store: StoreArgs,

    /// First instant [default: the first row]
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    pub from: Option<UnixMillis>,

    /// First instant after the replay [default: the last row]
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    pub to: Option<UnixMillis>,

    /// How many seconds of the past go by in a second; 0 publishes as fast as the bus takes
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR", value_parser = speed)]
    pub speed: f64,

    /// Prefix of the replay's subjects, after --bus-prefix
    #[arg(long, default_value = "replay", value_name = "TOKENS", value_parser = prefix)]
    prefix: String,

    /// Only this venue
    #[arg(long, value_name = "NAME")]
    pub exchange: Option<String>,

    /// Only these symbols, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub symbols: Vec<Symbol>,

    /// Only these stored timeframes, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub timeframes: Vec<Timeframe>,

    /// Also the stored trades
    #[arg(long)]
    pub trades: bool,

    /// Most series (one symbol and timeframe, or the trades of one symbol) at once; memory grows with them
    #[arg(long, default_value_t = 10_000, value_name = "COUNT")]
    pub(super) series_max: usize,
}

fn speed(text: &str) -> Result<f64, &'static str> {
    let speed: f64 = text.parse().map_err(|_| "write a number, such as 60")?;
    if speed.is_finite() && speed >= 0.0 {
        Ok(speed)
    } else {
        Err("write 0 or more")
    }
}

fn prefix(text: &str) -> Result<String, String> {
    bus::check_subject(text)
        .map(|()| text.to_owned())
        .map_err(|error| error.to_string())
}

impl ReplayArgs {
    /// The prefix of the replay's subjects on a bus.
    #[must_use]
    pub fn bus_prefix(&self, of_bus: &str) -> String {
        if of_bus.is_empty() {
            self.prefix.clone()
        } else {
            format!("{of_bus}.{}", self.prefix)
        }
    }

    /// Whether an instrument is to be replayed.
    pub(super) fn chooses(&self, instrument: &Instrument) -> bool {
        let exchange = self.exchange.as_deref();
        exchange.is_none_or(|wanted| wanted == &*instrument.exchange)
            && (self.symbols.is_empty() || self.symbols.contains(&instrument.symbol))
    }

    /// Opens the store.
    ///
    /// # Errors
    /// If there is none.
    pub fn open(&self) -> Result<Arc<dyn Store>, OpenError> {
        self.store.open_existing()
    }
}
