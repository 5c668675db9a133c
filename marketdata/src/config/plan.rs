//! What follows from a configuration, or why it cannot be used.

use std::collections::HashMap;

use market_core::{PipelineConfig, Symbol};

use super::Config;
use super::endpoint::with_path;
use super::error::ConfigError;
use crate::discovery::pattern::Wish;
use crate::exchange::{Endpoints, Exchange, registry};
use crate::instrument::{Instrument, InstrumentSpec, Venue};

/// A configuration that has been checked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The venues that have instruments.
    pub venues: Vec<Venue>,
    /// All instruments; an instrument's id is its index.
    pub instruments: Vec<Instrument>,
    /// How bars are made.
    pub pipeline: PipelineConfig,
    /// `live` or `sim`.
    pub mode: String,
    /// Number of workers, at least one.
    pub workers: usize,
}

impl Config {
    /// How bars are made.
    #[must_use]
    pub fn pipeline(&self) -> PipelineConfig {
        PipelineConfig {
            timeframes: self.timeframes.clone(),
            reorder_window_ms: i64::from(self.reorder_window_ms),
            late_horizon_ms: i64::from(self.late_horizon_ms),
            gap_grace_ms: i64::from(self.gap_grace_ms),
            gap_hold_ms: i64::from(self.gap_hold_ms),
            gap_retry_ms: i64::from(self.gap_retry_ms),
            gap_give_up_ms: i64::from(self.gap_give_up_ms),
            gap_answers_min: self.gap_answers_min,
            checkpoint_age_max_ms: i64::from(self.checkpoint_age_max_ms),
        }
    }

    /// Checks everything that can be checked without a network. Venues of patterns are in the plan,
    /// what the patterns mean is not.
    ///
    /// # Errors
    /// What is wrong, and what to write instead.
    pub fn plan(&self) -> Result<Plan, ConfigError> {
        self.check_values()?;
        self.check_patterns()?;
        if self.instruments.is_empty() {
            return Err(ConfigError::NoInstruments);
        }
        for given in &self.endpoints {
            find(&given.exchange, &given.to_string())?;
        }
        let specs: Vec<InstrumentSpec> = self.named_instruments().cloned().collect();
        let mut plan = self.plan_of(&specs)?;
        for pattern in self.patterns() {
            let exchange = find(&pattern.exchange, &pattern.to_string())?;
            self.venue(&mut plan.venues, exchange);
        }
        Ok(plan)
    }

    /// The instruments that the configuration names.
    pub fn named_instruments(&self) -> impl Iterator<Item = &InstrumentSpec> {
        self.instruments.iter().filter_map(|wish| match wish {
            Wish::One(spec) => Some(spec),
            Wish::Pattern(_) => None,
        })
    }

    /// The plan of these instruments, whatever the configuration names.
    ///
    /// # Errors
    /// As [`Config::plan`].
    pub fn plan_of(&self, specs: &[InstrumentSpec]) -> Result<Plan, ConfigError> {
        let mut venues: Vec<Venue> = Vec::new();
        let mut instruments: Vec<Instrument> = Vec::new();
        let mut by_symbol: HashMap<&Symbol, &InstrumentSpec> = HashMap::new();
        let mut by_native: HashMap<(usize, String), &InstrumentSpec> = HashMap::new();
        for spec in specs {
            let exchange = find(&spec.exchange, &spec.to_string())?;
            check_venue(spec)?;
            if let Some(&first) = by_symbol.get(&spec.symbol) {
                return Err(claimed_twice(first, spec));
            }
            by_symbol.insert(&spec.symbol, spec);
            let venue = self.venue(&mut venues, exchange);
            let native = exchange.native_name(spec.symbol.base(), spec.symbol.quote());
            if let Some(&first) = by_native.get(&(venue, native.clone())) {
                return Err(ConfigError::InstrumentTwice {
                    first: first.clone(),
                    second: spec.clone(),
                });
            }
            by_native.insert((venue, native.clone()), spec);
            venues[venue].instruments.push(instruments.len());
            instruments.push(Instrument {
                exchange: exchange.name(),
                venue,
                symbol: spec.symbol.clone(),
                native,
            });
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = if self.workers == 0 {
            cores
        } else {
            self.workers
        };
        Ok(Plan {
            workers: workers.min(instruments.len()).max(1),
            venues,
            instruments,
            pipeline: self.pipeline(),
            mode: match self.sim {
                Some(_) => "sim".to_owned(),
                None => self.feed_mode_label.clone(),
            },
        })
    }

    /// The place of a venue among those of a plan.
    fn venue(&self, venues: &mut Vec<Venue>, exchange: &'static dyn Exchange) -> usize {
        let mut known = venues.iter();
        let place = known.position(|venue| venue.exchange.name() == exchange.name());
        place.unwrap_or_else(|| {
            venues.push(Venue {
                exchange,
                endpoints: self.endpoints_of(exchange),
                instruments: Vec::new(),
            });
            venues.len() - 1
        })
    }

    fn check_values(&self) -> Result<(), ConfigError> {
        let positive: &[(&'static str, u64)] = &[
            ("--forming-interval-ms", self.forming_interval_ms.into()),
            ("--connect-timeout-ms", self.connect_timeout_ms.into()),
            ("--backoff-base-ms", self.backoff_base_ms.into()),
            ("--symbol-silence-ms", self.symbol_silence_ms.into()),
            ("--refused-retry-ms", self.refused_retry_ms.into()),
            ("--stale-after-ms", self.stale_after_ms.into()),
            ("--proof-hold-ms", self.proof_hold_ms.into()),
            ("--store-stall-ms", self.store_stall_ms.into()),
            (
                "--checkpoint-interval-ms",
                self.checkpoint_interval_ms.into(),
            ),
            ("--rest-timeout-ms", self.rest_timeout_ms.into()),
            ("--inbox-batches-max", self.inbox_batches_max as u64),
            ("--bars-waiting-max", self.bars_waiting_max as u64),
            ("--trades-waiting-max", self.trades_waiting_max as u64),
            ("--backfill-jobs-max", self.backfill_jobs_max as u64),
            ("--backfill-concurrency", self.backfill_concurrency as u64),
            (
                "--streams-per-connection",
                self.streams_per_connection.unwrap_or(1) as u64,
            ),
        ];
        for &(flag, value) in positive {
            if value == 0 {
                return Err(ConfigError::Value {
                    flag,
                    value: value.to_string(),
                    instead: "a number above 0",
                });
            }
        }
        // Publishers speak each half second: a publisher that was late once is not gone.
        if self.rival_silence_ms < 1_000 {
            return Err(ConfigError::Value {
                flag: "--rival-silence-ms",
                value: self.rival_silence_ms.to_string(),
                instead: "1000 or more",
            });
        }
        if self.takeover_silence_ms < 100 {
            return Err(ConfigError::Value {
                flag: "--takeover-silence-ms",
                value: self.takeover_silence_ms.to_string(),
                instead: "100 or more",
            });
        }
        if self.backoff_max_ms < self.backoff_base_ms {
            return Err(ConfigError::Value {
                flag: "--backoff-max-ms",
                value: self.backoff_max_ms.to_string(),
                instead: "a number not below --backoff-base-ms",
            });
        }
        if !matches!(self.feed_mode_label.as_str(), "live" | "sim") {
            return Err(ConfigError::Value {
                flag: "--feed-mode-label",
                value: self.feed_mode_label.clone(),
                instead: "live or sim",
            });
        }
        Ok(())
    }

    /// Where a venue listens.
    pub(crate) fn endpoints_of(&self, exchange: &'static dyn Exchange) -> Endpoints {
        let public = exchange.endpoints();
        let mut endpoints = match &self.sim {
            Some(sim) => exchange.sim_endpoints(&sim.authority),
            None => public.clone(),
        };
        for given in &self.endpoints {
            if given.exchange != exchange.name() {
                continue;
            }
            if given.is_websocket {
                endpoints.websocket = with_path(&given.url, &public.websocket);
            } else {
                given
                    .url
                    .trim_end_matches('/')
                    .clone_into(&mut endpoints.rest);
            }
        }
        endpoints
    }
}

fn find(name: &str, given: &str) -> Result<&'static dyn Exchange, ConfigError> {
    registry::find(name).ok_or_else(|| ConfigError::UnknownExchange {
        name: name.to_owned(),
        given: given.to_owned(),
        known: registry::names(),
    })
}

/// Whether the venue in front of a symbol, if any, is its own.
fn check_venue(spec: &InstrumentSpec) -> Result<(), ConfigError> {
    let own = spec.exchange.to_ascii_uppercase();
    match spec.symbol.venue() {
        Some(venue) if venue != own => Err(ConfigError::OtherVenue {
            given: spec.clone(),
            exchange: spec.exchange.clone(),
            venue: venue.to_owned(),
            suggestion: format!("{}:{own}:{}", spec.exchange, spec.symbol.pair()),
        }),
        _ => Ok(()),
    }
}

fn claimed_twice(first: &InstrumentSpec, second: &InstrumentSpec) -> ConfigError {
    let venue = second.exchange.to_ascii_uppercase();
    ConfigError::SymbolClaimedTwice {
        first: first.clone(),
        second: second.clone(),
        symbol: second.symbol.clone(),
        suggestion: format!("{}:{venue}:{}", second.exchange, second.symbol.pair()),
    }
}
