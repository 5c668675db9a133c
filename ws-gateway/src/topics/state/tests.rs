//! A slot without a hub.

use std::collections::{BTreeMap, BTreeSet};

use market_core::protocol::{BookForm, Filter};
use proptest::prelude::*;

use super::closed::ClosedBars;
use super::testing::bar;
use super::*;
use client_frames::encode::payload::Payload;

mod books;
mod depth;
mod holes;
mod resume;

const NONE: Filter = Filter {
    closed_only: false,
    no_fill: false,
    book: BookForm::WHOLE,
};

struct Slot {
    state: TopicState,
    version: u64,
    depth: Depth,
    /// Versions up to here have had their time: all, unless a test says otherwise.
    old_upto: u64,
    /// Sessions have been told of the versions up to here: none, unless a test says otherwise.
    told_upto: u64,
    early: u64,
}

impl Slot {
    fn new() -> Self {
        Self {
            state: TopicState::default(),
            version: 0,
            depth: Depth {
                closed_bars: 4,
                closed_log: 8,
                ..Depth::default()
            },
            old_upto: u64::MAX,
            told_upto: 0,
            early: 0,
        }
    }

    fn offer(&mut self, index: i64, seq: u64, epoch: u64, closed: bool) -> Offered {
        let (head, payload) = bar(index, seq, epoch, closed);
        self.offer_head(head, payload)
    }

    fn offer_head(&mut self, head: BarHead<'_>, payload: Bytes) -> Offered {
        self.version += 1;
        let (version, keep) = (self.version, self.keep());
        let offered = self
            .state
            .offer_bar(&head, payload, version, keep, &mut self.early);
        if keep.old_upto == u64::MAX {
            self.state.let_go(head.start_ms, version, keep);
        }
        offered
    }

    fn keep(&self) -> Keep {
        Keep {
            depth: self.depth,
            old_upto: self.old_upto,
            told_upto: self.told_upto,
        }
    }

    /// A revision of a closed bar.
    fn revise(&mut self, index: i64, seq: u64, rev: u32) -> Offered {
        self.revise_in(1, index, seq, rev)
    }

    fn revise_in(&mut self, epoch: u64, index: i64, seq: u64, rev: u32) -> Offered {
        let (mut head, payload) = bar(index, seq, epoch, true);
        head.rev = rev;
        self.offer_head(head, payload)
    }

    /// The numbers of what a session lacks that has seen everything up to `seen`, and how many
    /// bars more it lacks.
    fn lacking(&self, seen: u64) -> (Vec<u64>, u64) {
        let delta = self.delta(seen);
        (seqs(&delta), delta.skipped)
    }

    fn delta(&self, seen: u64) -> Delta {
        delta(
            &self.state,
            self.state.newest().as_ref(),
            seen,
            self.version,
            NONE,
        )
    }

    fn closed(&self) -> &ClosedBars {
        match &self.state {
            TopicState::Series(series) => &series.closed,
            other => panic!("{other:?} has no bars"),
        }
    }

    fn resume(&self, epoch: u64, seq: u64, closed_ms: Option<i64>) -> (Delta, bool) {
        let place = ResumePosition {
            epoch,
            seq,
            closed_ms,
        };
        let forming = self.state.newest();
        resume(&self.state, forming.as_ref(), self.version, NONE, place)
    }

    fn snapshot(&self, filter: Filter) -> Option<Payload> {
        snapshot(
            &self.state,
            self.state.newest().as_ref(),
            self.version,
            filter,
        )
    }
}

fn seqs(delta: &Delta) -> Vec<u64> {
    let seq = |update: &Payload| {
        let bar: serde_json::Value = serde_json::from_slice(update.json()).expect("JSON");
        bar["seq"].as_u64().expect("a bar")
    };
    delta.updates.iter().map(seq).collect()
}

const NEW: Offered = Offered::New {
    missed: 0,
    late: false,
    conflated: false,
};

#[test]
fn closed_bars_come_in_order_before_the_newest_forming_one() {
    let mut slot = Slot::new();
    assert_eq!(slot.offer(1, 1, 1, false), NEW);
    assert_eq!(
        slot.offer(2, 2, 1, false),
        Offered::New {
            missed: 0,
            late: false,
            conflated: true
        }
    );
    assert_eq!(slot.offer(1, 3, 1, true), NEW);
    let delta = slot.delta(0);
    assert_eq!(delta.updates, [bar(1, 3, 1, true).1, bar(2, 2, 1, false).1]);
    assert_eq!(slot.delta(slot.version).updates.len(), 0);
}

#[test]
fn duplicates_and_older_publications_are_dropped() {
    let mut slot = Slot::new();
    slot.offer(1, 5, 1, true);
    slot.offer(2, 7, 1, false);
    assert_eq!(slot.offer(2, 7, 1, false), Offered::Duplicate);
    assert_eq!(slot.offer(2, 6, 1, false), Offered::Stale);
    assert_eq!(slot.offer(1, 5, 1, true), Offered::Duplicate);
    // An older number, but a bar that is not here yet.
    assert_eq!(slot.offer(0, 4, 1, true), NEW);
    // A restarted publisher begins again.
    assert!(matches!(slot.offer(2, 1, 2, false), Offered::New { .. }));
    assert_eq!(slot.offer(2, 8, 1, false), Offered::Stale);
}

#[test]
fn a_revision_of_a_closed_bar_is_new() {
    let mut slot = Slot::new();
    slot.offer(1, 1, 1, true);
    let (mut head, payload) = bar(1, 2, 1, true);
    head.rev = 1;
    assert_eq!(slot.offer_head(head, payload.clone()), NEW);
    assert_eq!(slot.offer_head(head, payload), Offered::Duplicate);
}

#[test]
fn bars_that_never_came_are_counted() {
    let mut slot = Slot::new();
    slot.offer(1, 1, 1, true);
    assert_eq!(
        slot.offer(5, 2, 1, true),
        Offered::New {
            missed: 3,
            late: false,
            conflated: false
        }
    );
    assert_eq!(slot.delta(1).skipped, 3);
    assert_eq!(slot.delta(0).updates.len(), 2);
}

#[test]
fn a_closed_bar_replaces_its_forming_one_in_the_snapshot() {
    let mut slot = Slot::new();
    slot.offer(1, 1, 1, false);
    assert_eq!(slot.snapshot(NONE), Some(bar(1, 1, 1, false).1.into()));
    slot.offer(1, 2, 1, true);
    assert_eq!(slot.snapshot(NONE), Some(bar(1, 2, 1, true).1.into()));
    slot.offer(2, 3, 1, false);
    assert_eq!(slot.snapshot(NONE), Some(bar(2, 3, 1, false).1.into()));
    let closed_only = Filter {
        closed_only: true,
        ..NONE
    };
    assert_eq!(
        slot.snapshot(closed_only),
        Some(bar(1, 2, 1, true).1.into())
    );
}

#[test]
fn flat_bars_can_be_declined_and_are_not_counted_as_skipped_then() {
    let mut slot = Slot::new();
    let no_fill = Filter {
        no_fill: true,
        ..NONE
    };
    for index in 0..8 {
        let (mut head, payload) = bar(index, index as u64 + 1, 1, true);
        head.filled = index % 2 == 1;
        slot.offer_head(head, payload);
    }
    let mut updates = Vec::new();
    assert_eq!(
        slot.closed()
            .since(Progress::default(), 8, no_fill, &mut 0, &mut updates),
        2
    );
    assert_eq!(updates.len(), 2);
    assert_eq!(slot.snapshot(no_fill), Some(bar(6, 7, 1, true).1.into()));
}

#[test]
fn a_bar_that_came_late_is_not_counted_as_missed_as_well() {
    let mut slot = Slot::new();
    slot.depth.closed_bars = 8;
    slot.offer(1, 1, 1, true);
    slot.offer(4, 5, 1, true);
    assert_eq!(slot.delta(1).skipped, 2);
    let late = Offered::New {
        missed: 0,
        late: true,
        conflated: false,
    };
    assert_eq!(slot.offer(3, 4, 1, true), late);
    let delta = slot.delta(1);
    assert_eq!((delta.updates.len(), delta.skipped), (2, 1));
    // One that lies in no hole fills none, and one that is revised neither.
    assert_eq!(slot.offer(0, 6, 1, true), NEW);
    assert_eq!(slot.revise(3, 7, 1), NEW);
    assert_eq!(slot.delta(1).skipped, 1);
    assert_eq!(slot.offer(2, 8, 1, true), late);
    assert_eq!(slot.delta(1).skipped, 0);
}

/// A gateway lost the closed bar 3, went on, and got it late: its client may have left
/// meanwhile, having seen newer numbers.
#[test]
fn a_closed_bar_that_a_gateway_got_late_is_not_missed_at_the_next() {
    let mut next = Slot::new();
    // None of its own sessions is behind.
    next.told_upto = u64::MAX;
    for index in 0..4 {
        next.offer(index, index as u64 + 1, 7, true);
    }
    next.offer(4, 9, 7, false);
    let closed = |index: i64| Some(index * 1_000);
    // The client has closed bars up to 2 and the forming bar of number 9.
    let (delta, is_whole) = next.resume(7, 9, closed(3));
    assert_eq!(delta.updates, [bar(3, 4, 7, true).1]);
    assert_eq!((delta.skipped, is_whole), (0, true));
    let (delta, _) = next.resume(7, 9, closed(4));
    assert_eq!((delta.updates.len(), delta.skipped), (0, 0));
    // What is no longer held is counted, and what is no longer known is said.
    for index in 4..8 {
        next.offer(index, index as u64 + 10, 7, true);
    }
    let (delta, is_whole) = next.resume(7, 17, closed(3));
    assert_eq!((delta.updates.len(), delta.skipped, is_whole), (4, 1, true));
    for index in 8..14 {
        next.offer(index, index as u64 + 10, 7, true);
    }
    let (_, is_whole) = next.resume(7, 23, closed(3));
    assert!(!is_whole);
}

#[test]
fn a_hole_is_not_counted_again_when_the_bar_after_it_is_revised() {
    let mut slot = Slot::new();
    slot.offer(1, 1, 1, true);
    slot.offer(5, 2, 1, true);
    let seen = slot.version;
    slot.revise(5, 3, 1);
    assert_eq!(slot.lacking(seen), (vec![3], 0));
    assert_eq!(slot.lacking(1), (vec![3], 3));
    let (delta, _) = slot.resume(1, 2, Some(6_000));
    assert_eq!((seqs(&delta), delta.skipped), (vec![3], 0));
}

#[test]
fn bars_that_are_offered_again_after_a_late_one_are_duplicates() {
    let mut slot = Slot::new();
    for (number, index) in [1, 2, 3, 5, 6, 4, 7, 8].into_iter().enumerate() {
        assert_ne!(
            slot.offer(index, number as u64 + 1, 1, true),
            Offered::Duplicate
        );
    }
    for (index, seq) in [(5, 4), (6, 5), (4, 6), (7, 7), (8, 8)] {
        assert_eq!(slot.offer(index, seq, 1, true), Offered::Duplicate);
    }
    assert_eq!(slot.lacking(0), (vec![4, 5, 7, 8], 4));
}

#[test]
fn times_beyond_all_reckoning_are_no_holes_and_no_panic() {
    let mut slot = Slot::new();
    for (start_ms, end_ms) in [
        (i64::MIN, i64::MIN + 1),
        (0, 1_000),
        (i64::MAX - 1, i64::MAX),
        (i64::MAX, i64::MIN),
    ] {
        let (mut head, payload) = bar(0, 1, 1, true);
        (head.start_ms, head.end_ms) = (start_ms, end_ms);
        slot.offer_head(head, payload);
    }
    assert_eq!(slot.closed().len(), 4);
}

#[derive(Clone, Debug)]
enum Step {
    /// The next bars close.
    Close(i64),
    /// The bar so many before the last is revised.
    Revise(i64),
    /// The time of so many of the oldest is over.
    Age(usize),
    /// A session takes what it lacks.
    Take(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1i64..4).prop_map(Step::Close),
        4 => (0i64..40).prop_map(Step::Revise),
        2 => (0usize..20).prop_map(Step::Age),
        4 => (0usize..3).prop_map(Step::Take),
    ];
    proptest::collection::vec(step, 1..150)
}

#[test]
fn messages_that_are_no_bars_come_whatever_is_declined() {
    let mut slot = Slot::new();
    slot.version += 1;
    let mark = Bytes::from_static(b"{\"op\":\"boundary\"}");
    slot.state.offer_latest(mark.clone(), slot.version);
    let filter = Filter {
        closed_only: true,
        no_fill: true,
        ..NONE
    };
    assert_eq!(slot.snapshot(filter), Some(mark.clone().into()));
    let forming = slot.state.newest();
    let delta = delta(&slot.state, forming.as_ref(), 0, slot.version, filter);
    assert_eq!(delta.updates, [mark]);
}

proptest! {
    /// Whatever is published and revised, and whenever its time is over: each session gets the
    /// newest revision of each bar that changed since it looked last, or is told of one bar.
    /// Nothing whose time is not over is kept from anyone.
    #[test]
    fn each_bar_that_changed_comes_once_or_is_told_once(steps in steps()) {
        let mut slot = Slot::new();
        slot.old_upto = 0;
        let (mut last, mut seq) = (0, 0);
        // By start: version and number of the newest revision, and how many there were.
        let mut newest: BTreeMap<i64, (u64, u64, u32)> = BTreeMap::new();
        let mut young: std::collections::VecDeque<(i64, u64)> = std::collections::VecDeque::new();
        let mut seen = [0u64; 3];
        for step in steps {
            match step {
                Step::Close(count) => {
                    for _ in 0..count {
                        (last, seq) = (last + 1, seq + 1);
                        prop_assert_eq!(slot.offer(last, seq, 1, true), NEW);
                        newest.insert(last, (slot.version, seq, 0));
                        young.push_back((last, slot.version));
                    }
                }
                Step::Revise(back) => {
                    let index = last - back;
                    if let Some((version, number, rev)) = newest.get_mut(&index) {
                        (seq, *rev) = (seq + 1, *rev + 1);
                        prop_assert_eq!(slot.revise(index, seq, *rev), NEW);
                        (*version, *number) = (slot.version, seq);
                        young.push_back((index, slot.version));
                    }
                }
                Step::Age(count) => {
                    for (index, version) in young.drain(..count.min(young.len())) {
                        slot.old_upto = version;
                        slot.state.let_go(index * 1_000, version, slot.keep());
                    }
                }
                Step::Take(session) => {
                    let (got, skipped) = slot.lacking(seen[session]);
                    let changed: Vec<_> = newest
                        .values()
                        .filter(|(version, ..)| *version > seen[session])
                        .collect();
                    let wanted: BTreeSet<u64> = changed.iter().map(|(_, seq, _)| *seq).collect();
                    prop_assert!(got.iter().all(|seq| wanted.contains(seq)));
                    prop_assert_eq!(got.iter().collect::<BTreeSet<_>>().len(), got.len());
                    prop_assert_eq!(got.len() as u64 + skipped, changed.len() as u64);
                    let held: BTreeSet<u64> = young.iter().map(|(_, version)| *version).collect();
                    for (version, seq, _) in changed {
                        prop_assert!(!held.contains(version) || got.contains(seq));
                    }
                    seen[session] = slot.version;
                    slot.told_upto = seen.into_iter().min().unwrap_or(0);
                }
            }
            let whole = match &slot.state {
                TopicState::Series(series) => series.closed.whole(),
                _ => 0,
            };
            prop_assert!(whole <= young.len() + 4);
        }
    }
}
