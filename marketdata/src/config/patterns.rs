//! The patterns among the configured instruments.

use super::{Assigned, Config, ConfigError};
use crate::discovery::pattern::{Pattern, Wish};
use crate::exchange::registry;

impl Config {
    /// The patterns in `--instruments`.
    pub fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.instruments.iter().filter_map(|wish| match wish {
            Wish::Pattern(pattern) => Some(pattern),
            Wish::One(_) => None,
        })
    }

    /// Checks the patterns as far as this can be done without asking a venue.
    pub(super) fn check_patterns(&self) -> Result<(), ConfigError> {
        let patterns: Vec<&Pattern> = self.patterns().collect();
        for pattern in &patterns {
            if registry::find(&pattern.exchange).is_none() {
                return Err(ConfigError::UnknownExchange {
                    name: pattern.exchange.clone(),
                    given: pattern.to_string(),
                    known: registry::names(),
                });
            }
        }
        if !patterns.is_empty() && self.assigned == Assigned::None {
            return Err(ConfigError::Value {
                flag: "--assigned",
                value: "none".to_owned(),
                instead: "all, or --instruments without patterns",
            });
        }
        if self.discovery.discovery_interval_ms < 1_000 {
            return Err(ConfigError::Value {
                flag: "--discovery-interval-ms",
                value: self.discovery.discovery_interval_ms.to_string(),
                instead: "1000 or more",
            });
        }
        if self.discovery.discovered_max == 0 {
            return Err(ConfigError::Value {
                flag: "--discovered-max",
                value: "0".to_owned(),
                instead: "a number above 0",
            });
        }
        // Which venue gets a symbol must not depend on which venue answers first.
        for (at, first) in patterns.iter().enumerate() {
            let of_another = |second: &&&Pattern| second.exchange != first.exchange;
            let second = patterns[at + 1..].iter().filter(of_another);
            if let Some(second) = second
                .clone()
                .find(|second| first.may_share_symbols(second))
            {
                return Err(ConfigError::PatternsOverlap {
                    first: first.to_string(),
                    second: second.to_string(),
                    suggestion: second.with_venue().to_string(),
                });
            }
        }
        Ok(())
    }
}
