//! When the bars came that are no longer remembered: a few of them stand for all.

use std::collections::VecDeque;

/// Bars from one mark to the next.
const STEP: u32 = 32;
/// Most marks of a topic: about two thousand bars.
const MARKS_MAX: usize = 64;

/// Version and end of some forgotten bars, both ascending.
#[derive(Debug, Default)]
pub(super) struct Marks {
    marks: VecDeque<(u64, i64)>,
    /// Bars since the last mark.
    beyond: u32,
}

impl Marks {
    /// A bar is forgotten. Those before it begin earlier.
    pub(super) fn note(&mut self, version: u64, end_ms: i64) {
        // What began after it lacks it, wherever the marks before it stand.
        for mark in self.marks.iter_mut().rev() {
            if mark.0 <= version {
                break;
            }
            mark.0 = version;
        }
        self.beyond += 1;
        if self.marks.is_empty() || self.beyond >= STEP {
            self.beyond = 0;
            self.marks.push_back((version, end_ms));
            if self.marks.len() > MARKS_MAX {
                self.marks.pop_front();
            }
        }
    }

    /// Up to where, ms, a session that began at a version may lack forgotten bars: never too early.
    /// `None` if it has them all, or began before the first mark.
    pub(super) fn lacking_upto_ms(&self, begun: u64) -> Option<i64> {
        let before = self.marks.partition_point(|(version, _)| *version <= begun);
        let next = self.marks.get(before).map_or(i64::MAX, |mark| mark.1);
        (before > 0).then_some(next)
    }

    /// The versions at which sessions begin to lack more.
    pub(super) fn versions(&self) -> impl Iterator<Item = u64> {
        self.marks.iter().map(|(version, _)| *version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_began_after_a_bar_lacks_it_by_the_marks() {
        let mut marks = Marks::default();
        assert_eq!(marks.lacking_upto_ms(7), None);
        let versions: Vec<u64> = (1..=200)
            .map(|at| if at == 90 { 500 } else { at })
            .collect();
        for (&version, end_ms) in versions.iter().zip(1..) {
            marks.note(version, end_ms);
        }
        for begun in 1..=200 {
            let upto_ms = marks.lacking_upto_ms(begun).expect("after the first");
            let lacking = (1..)
                .zip(&versions)
                .filter(|(_, version)| **version <= begun);
            let last_ms: i64 = lacking.map(|(end_ms, _)| end_ms).max().expect("some");
            let is_near = upto_ms == i64::MAX || upto_ms <= last_ms + 2 * i64::from(STEP);
            assert!(upto_ms >= last_ms && is_near, "{upto_ms} at {begun}");
        }
        for at in 201..=10_000 {
            marks.note(at, i64::try_from(at).expect("few"));
        }
        assert_eq!(marks.marks.len(), MARKS_MAX);
        assert_eq!(marks.lacking_upto_ms(200), None);
    }
}
