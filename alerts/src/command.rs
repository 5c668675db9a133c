//! Changes of the rules, on their way to the reader.

use std::sync::{Arc, RwLock};

use tokio::sync::oneshot;

use crate::rule::{Rule, RuleName};
use crate::store::StoredRule;

/// The rules, for those who only look at them.
pub(crate) type RuleList = Arc<RwLock<Vec<StoredRule>>>;

/// A change of the rules, and where its answer goes.
#[derive(Debug)]
pub(crate) struct Command {
    /// What to change.
    pub(crate) change: RuleChange,
    /// The rule as it is now; of a deletion, as it was.
    pub(crate) answer: oneshot::Sender<Result<StoredRule, CommandError>>,
}

/// What to change.
#[derive(Clone, Debug)]
pub(crate) enum RuleChange {
    /// Add a rule.
    Add(Rule),
    /// Put a rule in the place of the one of its name.
    Replace(Rule),
    /// Remove a rule.
    Remove(RuleName),
}

/// Why the rules were not changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// There is a rule of this name.
    #[error("there is a rule {0} already: change it with PUT, or choose another name")]
    Exists(RuleName),
    /// There is none of this name.
    #[error("there is no rule {0}")]
    Unknown(RuleName),
    /// The rule is in the file.
    #[error(
        "rule {0} is in the file of --rules-file: change it there, and start the program again"
    )]
    OfFile(RuleName),
    /// There are as many rules as there may be.
    #[error("there are {0} rules already: --alerts-rules-max says how many there may be")]
    TooMany(usize),
    /// The store does not take it now.
    #[error("the change holds, and will be stored once the store works again: {0}")]
    Unstored(String),
}
