//! Changes of the rules, on their way to the reader.

use std::sync::{Arc, RwLock};

use tokio::sync::oneshot;

use crate::rule::{Rule, RuleName};
use crate::store::StoredRule;

/// The rules, for those who only look at them.
pub(crate) type RuleList = Arc<RwLock<Vec<StoredRule>>>;

/// What the reader is asked.
#[derive(Debug)]
pub(crate) enum Command {
    /// To change the rules.
    Change {
        /// What to change.
        change: RuleChange,
        /// The rule as it is now; of a deletion, as it was.
        answer: oneshot::Sender<Result<StoredRule, CommandError>>,
    },
    /// To give a rule, and its alerts that are not on the bus yet, an epoch above this one.
    Lift {
        /// The rule, which may be gone.
        rule: RuleName,
        /// The epoch of an alert that is on the bus.
        above: u64,
        /// Told when it is stored.
        done: oneshot::Sender<()>,
    },
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
    /// Its rules would look at too many bars of a symbol.
    #[error(
        "the rules of one symbol would look at {0} bars for each new bar, and --alerts-symbol-bars-max is {1}: choose shorter windows, or remove rules"
    )]
    TooManyBars(u64, u64),
    /// It names more symbols than can be watched.
    #[error(
        "there is no room for the symbols of rule {0}: --alerts-symbols-max says how many are watched"
    )]
    TooManySymbols(RuleName),
    /// The store takes nothing now.
    #[error("nothing was changed, because the store does not work now: ask again soon ({0})")]
    Busy(String),
    /// The store does not take it now.
    #[error("the change holds, and will be stored once the store works again: {0}")]
    Unstored(String),
}
