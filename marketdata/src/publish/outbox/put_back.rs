//! Messages that the bus did not take come back, and go out again.

use std::collections::VecDeque;

use super::super::message::{Encoded, EncodedBar};
use super::{EVENTS_MAX, Outbox};

impl Outbox {
    /// Takes back messages that could not be published, in front of newer ones. What another program
    /// publishes meanwhile is left out.
    pub fn put_back(&self, mut closed: VecDeque<EncodedBar>, mut events: VecDeque<Encoded>) {
        let mut state = self.state();
        closed.retain(|bar| {
            let is_ours = bar.right.holds();
            if !is_ours {
                state.books[bar.topic].refused(bar.start_ms, bar.rev, bar.epoch);
                state.closed_done += 1;
            }
            is_ours
        });
        events.retain(|event| event.right.holds());
        self.published.notify_waiters();
        closed.append(&mut state.closed);
        while closed.len() > self.bounds.bars_max {
            closed.pop_front();
            state.closed_done += 1;
            self.dropped_bars.increment(1);
        }
        state.closed = closed;
        events.append(&mut state.events);
        while events.len() > EVENTS_MAX {
            events.pop_front();
            self.dropped_events.increment(1);
        }
        state.events = events;
    }
}
