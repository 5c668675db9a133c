//! Holes between closed bars: intervals of which no closed bar has come.

use super::{Bar, ClosedBars};

impl ClosedBars {
    /// The number of bars between the last one and this one, by their times.
    pub(super) fn missed_before(&self, bar: &Bar) -> u32 {
        self.bars
            .back()
            .map_or(0, |last| between(last.end_ms, bar.start_ms, bar.width_ms()))
    }

    /// A bar has come late, before the one at `at`: the bar after its hole no longer counts it as
    /// missed. False if it is in no hole.
    pub(super) fn no_longer_missed(&mut self, at: usize, late: &Bar) -> bool {
        // Other late bars of the hole may be between the two.
        match self.bars.range_mut(at..).find(|bar| bar.missed > 0) {
            Some(bar) if bar.hole_ms <= late.start_ms => {
                bar.missed -= 1;
                self.tell_again(at, late.version);
                true
            }
            _ => false,
        }
    }

    /// Whoever gets a late bar may lack the holes after it, and have come after they were told.
    fn tell_again(&mut self, at: usize, version: u64) {
        for bar in self.bars.range_mut(at..).filter(|bar| bar.missed > 0) {
            bar.hole_version = version;
        }
    }

    /// A bar has come late, and it is in no hole: those between it and the one at `at` are missed
    /// from now on. Clients have the one at `at`, and get this one. Returns their number.
    ///
    /// A revision says nothing of the bars after it, and neither does a bar that begins before one
    /// that was here and is forgotten.
    pub(super) fn open_hole(&mut self, at: usize, late: &Bar) -> u32 {
        let is_before_forgotten = self
            .forgotten
            .is_some_and(|last| late.start_ms <= last.start_ms);
        let next = &mut self.bars[at];
        if late.rev > 0 || is_before_forgotten || next.missed > 0 {
            return 0;
        }
        next.missed = between(late.end_ms, next.start_ms, late.width_ms());
        next.hole_ms = late.end_ms;
        let missed = next.missed;
        self.tell_again(at, late.version);
        missed
    }
}

impl Bar {
    fn width_ms(&self) -> i64 {
        self.end_ms.saturating_sub(self.start_ms)
    }
}

/// The number of bars of a width between two times.
pub(super) fn between(end_ms: i64, start_ms: i64, width_ms: i64) -> u32 {
    if start_ms <= end_ms || width_ms <= 0 {
        return 0;
    }
    // Months differ in width; rounding up never makes a hole vanish.
    let hole_ms = start_ms.saturating_sub(end_ms).unsigned_abs();
    u32::try_from(hole_ms.div_ceil(width_ms.unsigned_abs())).unwrap_or(u32::MAX)
}
