//! The reader changes the rules: between two pages of bars, and stored before who asked is told.

use std::sync::{Arc, PoisonError};

use market_core::clock::EPOCH_AHEAD_MAX_MS;
use metrics::gauge;
use service::wall_clock_ms;

use super::Reader;
use crate::command::{Command, CommandError, RuleChange};
use crate::engine::ActiveRule;
use crate::rule::RuleName;
use crate::store::{Commit, Source, StoreError, StoredRule};

impl Reader {
    pub(super) async fn obey(&mut self, command: Command) {
        match command {
            Command::Change { change, answer } => {
                // Who asked may be gone.
                let _ = answer.send(self.changed(change).await);
            }
            Command::Lift { rule, above, done } => match self.lift(rule, above).await {
                Ok(()) => {
                    let _ = done.send(());
                }
                // Who waits for it asks again.
                Err(error) => self.store_failed(&error),
            },
        }
    }

    /// An epoch above all that a rule ever had.
    fn next_epoch(&mut self) -> u64 {
        self.epoch_max = next_epoch(self.epoch_max);
        self.epoch_max
    }

    async fn lift(&mut self, rule: RuleName, above: u64) -> Result<(), StoreError> {
        self.flush().await?;
        self.epoch_max = self.epoch_max.max(above);
        let epoch = self.next_epoch();
        self.engine.lift(&rule, epoch);
        self.pending = Some(Commit {
            lifted: Some((rule, epoch)),
            epoch_max: Some(self.epoch_max),
            ..Commit::default()
        });
        self.tell_rules();
        self.flush().await
    }

    async fn changed(&mut self, change: RuleChange) -> Result<StoredRule, CommandError> {
        let name = match &change {
            RuleChange::Add(rule) | RuleChange::Replace(rule) => rule.name.clone(),
            RuleChange::Remove(name) => name.clone(),
        };
        let known = self.engine.rule(&name).cloned();
        if known.is_some() && self.sources.get(&name) == Some(&Source::File) {
            return Err(CommandError::OfFile(name));
        }
        match (&change, &known) {
            (RuleChange::Add(_), Some(_)) => return Err(CommandError::Exists(name)),
            (RuleChange::Replace(_) | RuleChange::Remove(_), None) => {
                return Err(CommandError::Unknown(name));
            }
            (RuleChange::Add(_), None) if self.sources.len() >= self.config.alerts_rules_max => {
                return Err(CommandError::TooMany(self.config.alerts_rules_max));
            }
            _ => {}
        }
        if let RuleChange::Add(rule) | RuleChange::Replace(rule) = &change {
            let bars = self.config.bars_of(self.engine.seconds_max_with(rule));
            let bars_max = self.config.alerts_symbol_bars_max;
            if bars > bars_max {
                return Err(CommandError::TooManyBars(bars, bars_max));
            }
            if !self.engine.has_room(rule) {
                return Err(CommandError::TooManySymbols(name));
            }
        }
        // What came before the change is stored before it.
        if let Err(error) = self.flush().await {
            return Err(CommandError::Busy(error.to_string()));
        }
        let mut commit = Commit::default();
        let answer = match change {
            RuleChange::Add(rule) | RuleChange::Replace(rule) => {
                let epoch = self.next_epoch();
                let stored = StoredRule {
                    active: ActiveRule {
                        rule: rule.into(),
                        epoch,
                    },
                    source: Source::Http,
                };
                self.engine.put(stored.active.clone());
                self.sources.insert(name, Source::Http);
                commit.rules_put.push(stored.clone());
                stored
            }
            RuleChange::Remove(_) => {
                let Some(active) = known else {
                    return Err(CommandError::Unknown(name));
                };
                self.engine.remove(&name);
                self.sources.remove(&name);
                commit.rules_removed.push(name);
                StoredRule {
                    active,
                    source: Source::Http,
                }
            }
        };
        commit.epoch_max = Some(self.epoch_max);
        commit.changes = self.engine.take_changes();
        self.pending = Some(commit);
        self.tell_rules();
        let unstored = |error: StoreError| CommandError::Unstored(error.to_string());
        self.flush().await.map_err(unstored)?;
        Ok(answer)
    }

    pub(super) fn tell_rules(&self) {
        let rules: Vec<StoredRule> = self
            .engine
            .rules()
            .map(|active| StoredRule {
                active: active.clone(),
                source: self
                    .sources
                    .get(&active.rule.name)
                    .copied()
                    .unwrap_or(Source::Http),
            })
            .collect();
        gauge!("alerts_rules").set(rules.len() as f64);
        let wanted = self.engine.wanted_quotes();
        self.quotes_wanted.send_if_modified(|known| {
            let is_other = **known != *wanted;
            if is_other {
                *known = Arc::new(wanted.clone());
            }
            is_other
        });
        *self.list.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }
}

/// Above the epoch before, also if the clock was put back. One that gateways would not believe counts
/// for nothing.
pub(crate) fn next_epoch(before: u64) -> u64 {
    let now = wall_clock_ms().unsigned_abs();
    match before {
        before if before < epoch_latest() => now.max(before.saturating_add(1)),
        _ => now,
    }
}

/// The latest epoch that gateways believe, if their clocks are as this one.
pub(crate) fn epoch_latest() -> u64 {
    wall_clock_ms()
        .unsigned_abs()
        .saturating_add(EPOCH_AHEAD_MAX_MS)
}
