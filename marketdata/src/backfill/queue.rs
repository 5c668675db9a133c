//! Waiting jobs: short ones come first, but no job waits for ever.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use market_core::{BackfillRequest, UnixMillis};

use super::job::BackfillJob;

/// For how long a job lets younger jobs pass, for each page that it may take, ms.
const PASSED_FOR_PAGE_MS: u64 = 1_000;
/// The assumed pages of a span without a known end: more than a short gap, because the next trade
/// of the stream may still show that nothing was missed.
const PAGES_OF_TAIL: u64 = 5;
/// The longest such time, ms.
const PASSED_MAX_MS: u64 = 60_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// (the time by which it is ordered, number).
    order: BinaryHeap<Reverse<(UnixMillis, u64, Waiting)>>,
    next: u64,
}

/// A job with its position; positions are ordered by the numbers before it.
#[derive(Debug)]
struct Waiting(BackfillJob);

impl PartialEq for Waiting {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Waiting {}
impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiting {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl Queue {
    /// Takes a job that came at `now`. A page has `rows_max` rows.
    pub(crate) fn push(&mut self, job: BackfillJob, rows_max: usize, now: UnixMillis) {
        let passed_ms = passed_for_ms(&job.request, rows_max);
        let turn_ms = now.saturating_add_unsigned(passed_ms);
        self.order.push(Reverse((turn_ms, self.next, Waiting(job))));
        self.next += 1;
    }

    /// The next job that is still wanted; earlier unwanted jobs are appended to `unwanted`.
    pub(crate) fn pop(&mut self, unwanted: &mut Vec<BackfillJob>) -> Option<BackfillJob> {
        while let Some(Reverse((_, _, Waiting(job)))) = self.order.pop() {
            if job.is_wanted() {
                return Some(job);
            }
            unwanted.push(job);
        }
        None
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }
}

/// For how long younger jobs pass.
fn passed_for_ms(request: &BackfillRequest, rows_max: usize) -> u64 {
    let pages = match request.last_id {
        Some(last) => last.saturating_sub(request.first_id) / rows_max.max(1) as u64,
        None => PAGES_OF_TAIL,
    };
    pages.saturating_mul(PASSED_FOR_PAGE_MS).min(PASSED_MAX_MS)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn job(id: u64, first_id: u64, last_id: Option<u64>) -> BackfillJob {
        BackfillJob {
            instrument: 0,
            assignment: 1,
            native: "X".into(),
            request: BackfillRequest {
                id,
                first_id,
                last_id,
                from_ms: 0,
                failures: 0,
            },
            wanted: Arc::new(AtomicBool::new(true)),
        }
    }

    fn order(queue: &mut Queue) -> Vec<u64> {
        let mut unwanted = Vec::new();
        std::iter::from_fn(|| queue.pop(&mut unwanted))
            .map(|job| job.request.id)
            .collect()
    }

    #[test]
    fn short_gaps_come_first_then_open_ends_then_wide_gaps() {
        let mut queue = Queue::default();
        queue.push(job(1, 1, Some(400_000)), 1_000, 0);
        queue.push(job(2, 1, None), 1_000, 1);
        queue.push(job(3, 1, Some(900)), 1_000, 2);
        queue.push(job(4, 1, Some(2)), 1_000, 3);
        queue.push(job(5, 0, Some(u64::MAX)), 1_000, 4);
        assert_eq!(order(&mut queue), [3, 4, 2, 1, 5]);
    }

    #[test]
    fn a_wide_gap_is_passed_for_a_minute_at_most() {
        let mut queue = Queue::default();
        queue.push(job(1, 0, Some(u64::MAX)), 1_000, 0);
        for id in 2..100 {
            queue.push(job(id, 1, Some(2)), 1_000, id as i64 * 1_000);
        }
        let order = order(&mut queue);
        let place = order.iter().position(|&id| id == 1);
        assert_eq!(place, Some(58), "after those of the first 60 s");
    }

    #[test]
    fn a_job_that_is_no_longer_wanted_is_given_back_unasked() {
        let mut queue = Queue::default();
        let unwanted = job(1, 1, None);
        unwanted.wanted.store(false, Ordering::Relaxed);
        queue.push(unwanted, 1_000, 0);
        queue.push(job(2, 1, None), 1_000, 1);
        let mut given_back = Vec::new();
        let next = queue.pop(&mut given_back).expect("the wanted one");
        assert_eq!((next.request.id, given_back[0].request.id), (2, 1));
        assert_eq!(queue.len(), 0);
    }
}
