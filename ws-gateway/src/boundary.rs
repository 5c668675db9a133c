//! When an interval is over for all symbols: the mark that follows the last bar of a boundary.
//!
//! Nobody tells a gateway which symbols there are. It expects as many bars as closed the boundary
//! before, and does not wait for missing ones longer than the grace.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use market_core::Topic;

/// How long a boundary waits for bars after its first one.
const GRACE: Duration = Duration::from_secs(1);

/// A boundary that is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    interval: Box<str>,
    end_ms: i64,
}

impl Mark {
    /// The topic that carries it.
    pub(crate) fn topic(&self) -> Option<Topic> {
        format!("boundary:{}", self.interval).parse().ok()
    }

    /// As JSON.
    pub(crate) fn payload(&self) -> Bytes {
        let Self { interval, end_ms } = self;
        Bytes::from(format!(
            r#"{{"op":"boundary","topic":"boundary:{interval}","interval":"{interval}","end_ms":{end_ms}}}"#
        ))
    }
}

#[derive(Debug)]
struct Boundary {
    end_ms: i64,
    /// Bars that have closed it.
    closed: usize,
    /// Bars that closed the one before.
    expected: usize,
    /// When it is over at the latest; none once it is.
    due_at: Option<Instant>,
}

/// The current boundary of each interval.
#[derive(Debug, Default)]
pub(crate) struct Boundaries {
    by_interval: HashMap<Box<str>, Boundary>,
}

impl Boundaries {
    /// A bar has closed, not revised, that ends at `end_ms`. Appends what is over by that.
    pub(crate) fn closed(
        &mut self,
        interval: &str,
        end_ms: i64,
        now: Instant,
        out: &mut Vec<Mark>,
    ) {
        let mark = |end_ms| Mark {
            interval: interval.into(),
            end_ms,
        };
        let Some(boundary) = self.by_interval.get_mut(interval) else {
            let first = Boundary {
                end_ms,
                closed: 1,
                expected: usize::MAX,
                due_at: Some(now + GRACE),
            };
            self.by_interval.insert(interval.into(), first);
            return;
        };
        if end_ms < boundary.end_ms {
            return;
        }
        if end_ms > boundary.end_ms {
            if boundary.due_at.is_some() {
                out.push(mark(boundary.end_ms));
            }
            *boundary = Boundary {
                end_ms,
                closed: 0,
                expected: boundary.closed,
                due_at: Some(now + GRACE),
            };
        }
        boundary.closed += 1;
        if boundary.closed >= boundary.expected && boundary.due_at.take().is_some() {
            out.push(mark(end_ms));
        }
    }

    /// When a boundary is over next for want of bars.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.by_interval
            .values()
            .filter_map(|boundary| boundary.due_at)
            .min()
    }

    /// Appends what has waited long enough.
    pub(crate) fn due(&mut self, now: Instant, out: &mut Vec<Mark>) {
        for (interval, boundary) in &mut self.by_interval {
            if boundary.due_at.is_some_and(|at| at <= now) {
                boundary.due_at = None;
                out.push(Mark {
                    interval: interval.clone(),
                    end_ms: boundary.end_ms,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(boundaries: &mut Boundaries, end_ms: i64, now: Instant) -> Vec<i64> {
        let mut marks = Vec::new();
        boundaries.closed("1s", end_ms, now, &mut marks);
        marks.iter().map(|mark| mark.end_ms).collect()
    }

    #[test]
    fn a_boundary_is_over_with_as_many_bars_as_the_one_before() {
        let (mut boundaries, now) = (Boundaries::default(), Instant::now());
        assert!(closed(&mut boundaries, 1, now).is_empty());
        assert!(closed(&mut boundaries, 1, now).is_empty());
        let mut marks = Vec::new();
        boundaries.due(now + GRACE, &mut marks);
        assert_eq!(marks.len(), 1);
        assert!(closed(&mut boundaries, 2, now).is_empty());
        assert_eq!(closed(&mut boundaries, 2, now), [2]);
        // A bar of a symbol that was not there before, and one that is late.
        assert!(closed(&mut boundaries, 2, now).is_empty());
        assert!(closed(&mut boundaries, 1, now).is_empty());
        assert_eq!(boundaries.next_at(), None);
    }

    #[test]
    fn a_silent_symbol_holds_a_boundary_up_for_the_grace_only() {
        let (mut boundaries, now) = (Boundaries::default(), Instant::now());
        closed(&mut boundaries, 1, now);
        closed(&mut boundaries, 1, now);
        assert_eq!(closed(&mut boundaries, 2, now), [1]);
        assert_eq!(boundaries.next_at(), Some(now + GRACE));
        let mut marks = Vec::new();
        boundaries.due(now, &mut marks);
        assert!(marks.is_empty());
        boundaries.due(now + GRACE, &mut marks);
        assert_eq!(marks[0].end_ms, 2);
        assert_eq!(
            marks[0].payload(),
            r#"{"op":"boundary","topic":"boundary:1s","interval":"1s","end_ms":2}"#
        );
        assert_eq!(
            marks[0].topic().map(|topic| topic.to_string()),
            Some("boundary:1s".into())
        );
    }
}
