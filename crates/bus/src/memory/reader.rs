//! The place of a consumer in a stream: messages that it took, and messages in flight.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::ConsumerSpec;
use crate::consumer::Answer;
use crate::subject::Pattern;

/// Where a consumer is.
pub(super) struct Reader {
    pub(super) pattern: Pattern,
    pub(super) next_sequence: u64,
    pub(super) last_taken: u64,
    pub(super) in_flight: BTreeMap<u64, Flight>,
    /// When those in flight are given out again.
    pub(super) due: BTreeSet<(Instant, u64)>,
    pub(super) in_flight_max: usize,
    pub(super) ack_wait: Duration,
}

pub(super) struct Flight {
    due_at: Instant,
    deliveries: u64,
}

impl Reader {
    pub(super) fn new(pattern: Pattern, next_sequence: u64, spec: &ConsumerSpec) -> Reader {
        Reader {
            pattern,
            next_sequence,
            last_taken: next_sequence.saturating_sub(1),
            in_flight: BTreeMap::new(),
            due: BTreeSet::new(),
            in_flight_max: spec.in_flight_max,
            ack_wait: spec.ack_wait,
        }
    }

    /// Takes over what may change of a running consumer.
    pub(super) fn set(&mut self, spec: &ConsumerSpec) {
        self.in_flight_max = spec.in_flight_max;
        self.ack_wait = spec.ack_wait;
    }

    pub(super) fn fly(&mut self, sequence: u64, due_at: Instant, deliveries: u64) {
        self.land(sequence);
        self.due.insert((due_at, sequence));
        self.in_flight
            .insert(sequence, Flight { due_at, deliveries });
    }

    /// Takes a message out of the air; says how often it was given out.
    pub(super) fn land(&mut self, sequence: u64) -> Option<u64> {
        let flight = self.in_flight.remove(&sequence)?;
        self.due.remove(&(flight.due_at, sequence));
        Some(flight.deliveries)
    }

    pub(super) fn answer(&mut self, sequence: u64, answer: Answer, now: Instant) {
        let Some(deliveries) = self.land(sequence) else {
            return;
        };
        match answer {
            Answer::Done => {}
            Answer::Again(after) => self.fly(sequence, now + after, deliveries),
            Answer::Working => self.fly(sequence, now + self.ack_wait, deliveries),
        }
    }
}
