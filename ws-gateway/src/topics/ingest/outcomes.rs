//! The outcomes of the messages from the bus, for the metrics.

use std::time::Instant;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::topics::publication::Refusal;
use crate::topics::state::Offered;

pub(super) struct Outcomes {
    pub(super) taken: Counter,
    pub(super) duplicate: Counter,
    pub(super) stale: Counter,
    pub(super) unknown: Counter,
    pub(super) full: Counter,
    pub(super) conflated: Counter,
    pub(super) missed: Counter,
    missed_entries: Counter,
    pub(super) late: Counter,
    pub(super) bar_age: Histogram,
    pub(super) stage: StageTimer,
    pub(super) resync_seconds: Histogram,
    pub(super) resync_failures: Counter,
    pub(super) unsynced: Gauge,
}

pub(super) fn outcome(outcome: &'static str) -> Counter {
    counter!("gateway_ingest_messages_total", "outcome" => outcome)
}

impl Outcomes {
    pub(super) fn new() -> Self {
        for refusal in [
            Refusal::TooLong,
            Refusal::Malformed,
            Refusal::Misplaced,
            Refusal::Implausible,
            Refusal::Ahead,
        ] {
            // Seen at 0 before the first.
            outcome(refusal.label()).increment(0);
        }
        Self {
            taken: outcome("taken"),
            duplicate: outcome("duplicate"),
            stale: outcome("stale"),
            unknown: outcome("unknown_subject"),
            full: outcome("topics_max"),
            conflated: counter!("gateway_conflated_forming_total"),
            missed: counter!("gateway_missed_closed_bars_total"),
            missed_entries: counter!("gateway_missed_entries_total"),
            late: counter!("gateway_late_closed_bars_total"),
            bar_age: histogram!("gateway_bar_age_seconds"),
            stage: StageTimer::new(),
            resync_seconds: histogram!("gateway_resync_seconds"),
            resync_failures: counter!("gateway_resync_failures_total"),
            unsynced: gauge!("gateway_unsynced_patterns"),
        }
    }
}

impl Outcomes {
    /// The slot took, or did not take, an entry or a value of a symbol.
    pub(super) fn placed(&self, offered: Offered, is_entry: bool) {
        match offered {
            Offered::New {
                missed, conflated, ..
            } => {
                self.taken.increment(1);
                if is_entry {
                    self.missed_entries.increment(u64::from(missed));
                }
                if conflated {
                    self.conflated.increment(1);
                }
            }
            Offered::Duplicate => self.duplicate.increment(1),
            Offered::Stale => self.stale.increment(1),
        }
    }
}

/// Messages of which one is timed: two looks at the clock would cost more than some messages do.
const TIMED_ONE_IN: u32 = 64;

/// The time that the gateway takes for one message.
pub(super) struct StageTimer {
    seconds: Histogram,
    messages: u32,
}

impl StageTimer {
    fn new() -> Self {
        Self {
            seconds: histogram!("gateway_stage_seconds", "stage" => "ingest"),
            messages: 0,
        }
    }

    /// A message begins; gives its start if this message is timed.
    pub(super) fn start(&mut self) -> Option<Instant> {
        let is_timed = self.messages.is_multiple_of(TIMED_ONE_IN);
        self.messages = self.messages.wrapping_add(1);
        is_timed.then(Instant::now)
    }

    /// The message that began then is taken.
    pub(super) fn end(&self, start: Option<Instant>) {
        if let Some(start) = start {
            self.seconds.record(start.elapsed().as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_in_sixty_four_is_timed_and_the_first_one_is() {
        let mut timer = StageTimer::new();
        let timed: Vec<u32> = (0..200).filter(|_| timer.start().is_some()).collect();
        assert_eq!(timed, [0, 64, 128, 192]);
    }
}
