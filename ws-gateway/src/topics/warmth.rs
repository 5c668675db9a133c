//! Readiness of the gateway's data: whether the retained messages are loaded.

use std::sync::{Arc, Mutex};

use service::Condition;

/// Readiness: met when every pattern has been synced since the start or a standstill.
#[derive(Debug)]
pub(crate) struct Warmth {
    condition: Condition,
    cold: Mutex<usize>,
}

impl Warmth {
    /// Not met before `patterns` have reported.
    #[must_use]
    pub(crate) fn new(condition: Condition, patterns: usize) -> Arc<Self> {
        condition.unmet("the retained messages are not loaded yet");
        Arc::new(Self {
            condition,
            cold: Mutex::new(patterns),
        })
    }

    /// Nothing is awaited.
    #[cfg(test)]
    pub(crate) fn warm() -> Arc<Self> {
        Self::new(service::Service::for_test().readiness.condition("warm"), 0)
    }

    /// Whether every pattern has all retained messages.
    #[must_use]
    pub(crate) fn is_warm(&self) -> bool {
        *self.cold.lock().expect("no holder panics") == 0
    }

    /// A pattern has all retained messages.
    pub(crate) fn one_is_warm(&self) {
        let mut cold = self.cold.lock().expect("no holder panics");
        *cold = cold.saturating_sub(1);
        if *cold == 0 {
            self.condition.met();
        }
    }

    /// The data of a pattern may be old.
    pub(crate) fn one_is_cold(&self) {
        let mut cold = self.cold.lock().expect("no holder panics");
        *cold = cold.saturating_add(1);
        self.condition
            .unmet("the process stood still, and the retained messages are not loaded yet");
    }
}
