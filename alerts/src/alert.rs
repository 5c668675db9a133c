//! A rule that fired.

use std::sync::Arc;

use market_core::wire::AlertMessage;
use market_core::{Symbol, UnixMillis};

use crate::rule::Rule;
use crate::watch::{Firing, Watch};

/// A rule, and the number of its alerts' sequence. Clones share the rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ActiveRule {
    /// The rule.
    pub rule: Arc<Rule>,
    /// Rises each time that the rule is made or changed, and its alerts are numbered anew.
    pub epoch: u64,
}

impl ActiveRule {
    /// When it was made or changed, as its epoch says.
    pub(crate) fn made_ms(&self) -> UnixMillis {
        UnixMillis::try_from(self.epoch).unwrap_or(UnixMillis::MAX)
    }
}

/// A rule fired at a symbol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alert {
    /// The rule as it was then.
    pub rule: ActiveRule,
    /// The venue; empty if neither the symbol names it nor any bar came.
    pub exchange: Box<str>,
    /// The symbol.
    pub symbol: Symbol,
    /// Its number among the alerts of the rule at the symbol, from 1.
    pub seq: u64,
    /// What happened.
    pub firing: Firing,
}

impl Alert {
    /// As it is published.
    #[must_use]
    pub fn message(&self, raised_ms: UnixMillis) -> AlertMessage {
        let ActiveRule { rule, epoch } = &self.rule;
        let firing = &self.firing;
        AlertMessage {
            topic: AlertMessage::topic_of(rule.name.as_str(), &self.symbol),
            seq: self.seq,
            epoch: *epoch,
            exchange: self.exchange.to_string(),
            symbol: self.symbol.clone(),
            rule: rule.name.to_string(),
            kind: rule.when.kind().to_owned(),
            level: rule.level.as_str().to_owned(),
            direction: firing.way.as_str().to_owned(),
            start_ms: firing.start_ms,
            end_ms: firing.end_ms,
            value: firing.value.clone(),
            reference: firing.reference.clone(),
            raised_ms,
        }
    }
}

/// The alerts of a watch that fired.
pub(crate) fn numbered(
    watch: &mut Watch,
    rule: &ActiveRule,
    (exchange, symbol): (&str, &Symbol),
    fired: impl IntoIterator<Item = Firing>,
) -> Vec<Alert> {
    let mut alerts = Vec::new();
    for firing in fired {
        watch.seq = watch.seq.saturating_add(1);
        alerts.push(Alert {
            rule: rule.clone(),
            exchange: exchange.into(),
            symbol: symbol.clone(),
            seq: watch.seq,
            firing,
        });
    }
    alerts
}
