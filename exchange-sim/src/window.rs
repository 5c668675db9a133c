//! A count of events in a sliding window of time.

use std::collections::VecDeque;

/// Allows a number of units in any span of a length.
#[derive(Debug)]
pub(crate) struct Window {
    length_ms: i64,
    units_max: u64,
    units: u64,
    events: VecDeque<(i64, u64)>,
}

impl Window {
    /// At most `units_max` in any `length_ms`; zero: no limit.
    pub(crate) fn new(length_ms: i64, units_max: u64) -> Window {
        Window {
            length_ms,
            units_max,
            units: 0,
            events: VecDeque::new(),
        }
    }

    /// Counts `units` now, and returns whether the limit holds; units above it are not counted.
    pub(crate) fn admit(&mut self, units: u64, now_ms: i64) -> bool {
        if self.units_max == 0 {
            return true;
        }
        self.forget(now_ms);
        if self.units + units > self.units_max {
            return false;
        }
        self.add(units, now_ms);
        true
    }

    /// Counts `units` now, whatever the limit is.
    pub(crate) fn count(&mut self, units: u64, now_ms: i64) {
        self.forget(now_ms);
        self.add(units, now_ms);
    }

    fn forget(&mut self, now_ms: i64) {
        while let Some((at_ms, old)) = self.events.front() {
            if now_ms - at_ms < self.length_ms {
                break;
            }
            self.units -= old;
            self.events.pop_front();
        }
    }

    fn add(&mut self, units: u64, now_ms: i64) {
        self.units += units;
        // One entry a millisecond bounds the memory of a window without a limit.
        match self.events.back_mut() {
            Some((at_ms, counted)) if *at_ms == now_ms => *counted += units,
            _ => self.events.push_back((now_ms, units)),
        }
    }

    /// Units counted in the window when it was last asked.
    pub(crate) fn used(&self) -> u64 {
        self.units
    }

    /// Milliseconds from `now_ms` until something leaves the window.
    pub(crate) fn wait_ms(&self, now_ms: i64) -> i64 {
        self.events
            .front()
            .map_or(0, |(at_ms, _)| (at_ms + self.length_ms - now_ms).max(0))
    }

    /// Whether nothing is counted any more at `now_ms`.
    pub(crate) fn is_idle(&self, now_ms: i64) -> bool {
        self.events
            .back()
            .is_none_or(|(at_ms, _)| now_ms - at_ms >= self.length_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_message_of_a_second_is_too_many() {
        let mut window = Window::new(1_000, 5);
        for now_ms in 0..5 {
            assert!(window.admit(1, now_ms));
        }
        assert!(!window.admit(1, 999));
        assert_eq!(window.wait_ms(999), 1);
        assert!(window.admit(1, 1_000));
    }
}
