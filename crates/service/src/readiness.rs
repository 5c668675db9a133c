//! The conditions under which a program can serve.

use std::sync::{Arc, Mutex, MutexGuard};

use tracing::info;

use crate::Shutdown;

/// The conditions under which a program is ready, for a load balancer that asks `/readyz`.
///
/// Ready means: not draining, and every condition is met. A program that has not registered any
/// condition is still starting, and not ready. Clones share the state.
#[derive(Clone, Debug)]
pub struct Readiness {
    conditions: Arc<Mutex<Vec<State>>>,
    shutdown: Shutdown,
}

#[derive(Debug)]
struct State {
    name: &'static str,
    /// `None` when met.
    why_unmet: Option<String>,
    /// What an operator should know although it is met.
    note: Option<String>,
}

/// A condition that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmetCondition {
    /// The name it was registered with, or `draining`.
    pub name: &'static str,
    /// Why it does not hold, for a person.
    pub why: String,
}

/// A part of the program uses this handle to say whether its condition is met.
#[derive(Clone, Debug)]
pub struct Condition {
    conditions: Arc<Mutex<Vec<State>>>,
    index: usize,
}

impl Readiness {
    pub(crate) fn new(shutdown: Shutdown) -> Readiness {
        Readiness {
            conditions: Arc::default(),
            shutdown,
        }
    }

    /// Registers a condition, which is not met at first. Two conditions with one name are two: both
    /// must be met.
    pub fn condition(&self, name: &'static str) -> Condition {
        let mut conditions = lock(&self.conditions);
        conditions.push(State {
            name,
            why_unmet: Some("not met yet".to_owned()),
            note: None,
        });
        Condition {
            conditions: Arc::clone(&self.conditions),
            index: conditions.len() - 1,
        }
    }

    /// Whether the program can serve.
    pub fn is_ready(&self) -> bool {
        self.unmet().is_empty()
    }

    /// The notes on conditions that are met, in order of registration.
    pub fn notes(&self) -> Vec<String> {
        let conditions = lock(&self.conditions);
        let met = conditions.iter().filter(|state| state.why_unmet.is_none());
        met.filter_map(|state| state.note.clone()).collect()
    }

    /// The unmet conditions, in order of registration; empty when the program is ready.
    pub fn unmet(&self) -> Vec<UnmetCondition> {
        let mut unmet = Vec::new();
        if self.shutdown.is_triggered() {
            unmet.push(UnmetCondition {
                name: "draining",
                why: "the program is stopping".to_owned(),
            });
        }
        let conditions = lock(&self.conditions);
        if conditions.is_empty() {
            unmet.push(UnmetCondition {
                name: "starting",
                why: "no part of the program has started yet".to_owned(),
            });
        }
        for condition in conditions.iter() {
            if let Some(why) = &condition.why_unmet {
                unmet.push(UnmetCondition {
                    name: condition.name,
                    why: why.clone(),
                });
            }
        }
        unmet
    }
}

impl Condition {
    /// The condition is met from now on.
    pub fn met(&self) {
        self.set_met(None);
    }

    /// The condition is met from now on, in a way that an operator should know: `/readyz` shows
    /// `note`, and the program is ready.
    pub fn met_but(&self, note: impl Into<String>) {
        self.set_met(Some(note.into()));
    }

    fn set_met(&self, note: Option<String>) {
        let mut conditions = lock(&self.conditions);
        let state = &mut conditions[self.index];
        state.note = note;
        if state.why_unmet.take().is_some() {
            info!(condition = state.name, "readiness condition met");
        }
    }

    /// The condition is not met from now on; `/readyz` shows `why`.
    pub fn unmet(&self, why: impl Into<String>) {
        let why = why.into();
        let mut conditions = lock(&self.conditions);
        let state = &mut conditions[self.index];
        if state.why_unmet.is_none() {
            info!(
                condition = state.name,
                why = why.as_str(),
                "readiness condition lost"
            );
        }
        state.why_unmet = Some(why);
    }

    /// Whether the condition holds.
    pub fn is_met(&self) -> bool {
        lock(&self.conditions)[self.index].why_unmet.is_none()
    }
}

fn lock(conditions: &Mutex<Vec<State>>) -> MutexGuard<'_, Vec<State>> {
    conditions
        .lock()
        .expect("no code panics while it holds the conditions")
}

#[cfg(test)]
mod tests {
    use crate::{Service, UnmetCondition};

    #[test]
    fn ready_only_when_every_condition_is_met() {
        let readiness = Service::for_test().readiness;
        let bus = readiness.condition("bus");
        let warm = readiness.condition("slots_warm");
        assert!(!readiness.is_ready());
        bus.met();
        assert!(!readiness.is_ready());
        warm.met();
        assert!(readiness.is_ready());
        bus.unmet("nats is gone");
        let expected = UnmetCondition {
            name: "bus",
            why: "nats is gone".to_owned(),
        };
        assert_eq!(readiness.unmet(), [expected]);
    }

    #[test]
    fn program_that_has_not_said_what_it_needs_is_starting() {
        let readiness = Service::for_test().readiness;
        assert!(!readiness.is_ready());
        assert_eq!(readiness.unmet()[0].name, "starting");
        readiness.condition("bus").met();
        assert!(readiness.is_ready());
    }

    #[test]
    fn conditions_of_one_name_are_independent() {
        let readiness = Service::for_test().readiness;
        let first = readiness.condition("bus");
        let second = readiness.condition("bus");
        first.met();
        assert!(!readiness.is_ready());
        second.met();
        assert!(readiness.is_ready());
    }

    #[test]
    fn draining_is_not_ready_at_once() {
        let service = Service::for_test();
        service.readiness.condition("bus").met();
        assert!(service.readiness.is_ready());
        service.shutdown.trigger();
        assert!(!service.readiness.is_ready());
        assert_eq!(service.readiness.unmet()[0].name, "draining");
    }
}
