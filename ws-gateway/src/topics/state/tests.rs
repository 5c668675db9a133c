//! A slot without a hub.

use std::collections::{BTreeMap, BTreeSet};

use market_core::protocol::Filter;
use proptest::prelude::*;

use super::closed::ClosedBars;
use super::testing::bar;
use super::*;
use crate::encode::payload::Payload;

const NONE: Filter = Filter {
    closed_only: false,
    no_fill: false,
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
fn bars_beyond_what_is_held_are_counted_as_skipped() {
    let mut slot = Slot::new();
    for index in 0..7 {
        slot.offer(index, index as u64 + 1, 1, true);
    }
    let delta = slot.delta(1);
    assert_eq!((delta.updates.len(), delta.skipped), (4, 2));
    assert_eq!(slot.delta(4).skipped, 0);
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
    assert_eq!(slot.closed().since(0, 8, no_fill, &mut updates), 2);
    assert_eq!(updates.len(), 2);
    assert_eq!(slot.snapshot(no_fill), Some(bar(6, 7, 1, true).1.into()));
}

#[test]
fn a_client_resumes_where_it_was_or_is_told_that_it_cannot() {
    let mut slot = Slot::new();
    for index in 0..6 {
        slot.offer(index, index as u64 + 1, 7, true);
    }
    slot.offer(6, 7, 7, false);
    let resume = |epoch, seq| slot.resume(epoch, seq, None);
    let (delta, is_whole) = resume(7, 4);
    assert_eq!((delta.updates.len(), delta.skipped, is_whole), (3, 0, true));
    let (delta, is_whole) = resume(7, 1);
    assert_eq!((delta.updates.len(), delta.skipped, is_whole), (5, 1, true));
    let (delta, is_whole) = resume(7, 7);
    assert_eq!((delta.updates.len(), delta.skipped, is_whole), (0, 0, true));
    let (delta, is_whole) = resume(6, 900);
    assert_eq!((delta.updates.len(), is_whole), (5, false));
    // Another gateway was a message ahead: nothing is lost, and nothing comes twice.
    let (delta, is_whole) = resume(7, 9);
    assert_eq!((delta.updates.len(), delta.skipped, is_whole), (0, 0, true));
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

#[test]
fn a_new_epoch_is_resumed_by_bars_where_those_that_are_held_reach_back() {
    let mut slot = Slot::new();
    for index in 0..4 {
        slot.offer(index, index as u64 + 11, 7, true);
    }
    // The publisher starts anew: it goes on with the bar that was forming.
    slot.offer(4, 1, 8, false);
    slot.offer(4, 2, 8, true);
    slot.offer(5, 3, 8, false);
    let closed = |index: i64| Some(index * 1_000);
    // The client has closed bars up to 2, and a forming bar 3 of the epoch before.
    let (delta, is_whole) = slot.resume(7, 13, closed(3));
    let lacking = [
        bar(3, 14, 7, true).1,
        bar(4, 2, 8, true).1,
        bar(5, 3, 8, false).1,
    ];
    assert_eq!(delta.updates, lacking);
    assert_eq!((delta.skipped, is_whole), (0, true));
    // Four closed bars are held here: what lies before them is counted.
    let (delta, is_whole) = slot.resume(7, 11, closed(0));
    assert_eq!((delta.updates.len(), delta.skipped, is_whole), (5, 1, true));
    // Of what lies before all that is known, nothing can be said.
    let (_, is_whole) = slot.resume(6, 900, closed(-1));
    assert!(!is_whole);
    // A gateway that has no closed bar knows what the client lacks if its forming bar follows.
    let mut young = Slot::new();
    young.offer(5, 3, 8, false);
    let (delta, is_whole) = young.resume(7, 13, closed(5));
    assert_eq!((delta.updates.len(), is_whole), (1, true));
    let (_, is_whole) = young.resume(7, 13, closed(4));
    assert!(!is_whole);
}

/// A gateway that has started has the bars that the bus retained, and not those before them.
#[test]
fn a_client_from_before_the_first_bar_of_a_young_gateway_is_told_that_it_may_lack_more() {
    let mut young = Slot::new();
    for index in 10..14 {
        young.offer(index, index as u64 * 2, 7, true);
    }
    young.offer(14, 28, 7, false);
    let closed = |index: i64| Some(index * 1_000);
    for (seq, closed_ms, is_whole) in [
        (7, closed(4), false),
        (17, closed(9), false),
        (19, closed(10), true),
        (25, closed(13), true),
        // It comes from a gateway that was ahead.
        (30, closed(15), true),
        (7, None, false),
        (18, None, false),
        (19, None, true),
        (20, None, true),
        (30, None, true),
    ] {
        let (delta, whole) = young.resume(7, seq, closed_ms);
        assert_eq!((delta.skipped, whole), (0, is_whole), "{seq} {closed_ms:?}");
        let lacking = (20..=26).step_by(2).chain([28]).filter(|held| *held > seq);
        assert_eq!(seqs(&delta), lacking.collect::<Vec<_>>(), "what is held");
    }
    // A revision of the first bar is newer than the bar that the client has.
    young.revise(10, 29, 1);
    assert!(young.resume(7, 22, None).1);
    // No bar has closed yet: the forming bar must be the client's, or the next.
    let mut first = Slot::new();
    first.offer(5, 3, 7, false);
    assert!(first.resume(7, 1, closed(5)).1);
    assert!(!first.resume(7, 1, closed(4)).1);
    assert!(first.resume(7, 1, None).1);
}

#[test]
fn a_revision_of_an_old_bar_hides_no_hole_from_a_client_that_resumes() {
    let mut slot = Slot::new();
    // A gateway that starts reads the last messages: the revision of an old bar is one of them.
    for index in 51..54 {
        slot.offer(index, index.unsigned_abs(), 1, true);
    }
    slot.revise(32, 60, 1);
    // The client has the bars before 50, so it lacks one that never came here.
    let (delta, is_whole) = slot.resume(1, 48, Some(50_000));
    assert_eq!((seqs(&delta), is_whole), (vec![60, 51, 52, 53], false));
    // A client that has the bar before the first lacks nothing.
    assert!(slot.resume(1, 48, Some(51_000)).1);
    // A hole that is counted is known.
    slot.offer(56, 70, 1, true);
    let (delta, is_whole) = slot.resume(1, 60, Some(54_000));
    assert_eq!((delta.skipped, is_whole), (2, true));
}

#[test]
fn a_revision_of_a_new_epoch_is_not_kept_from_a_client_that_has_the_bar() {
    let mut slot = Slot::new();
    for index in 0..3 {
        slot.offer(index, index as u64 + 1, 7, true);
    }
    slot.offer(2, 1, 8, true);
    let (delta, is_whole) = slot.resume(7, 3, Some(3_000));
    assert_eq!(delta.updates, [bar(2, 1, 8, true).1]);
    assert_eq!((delta.skipped, is_whole), (0, true));
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
fn a_revision_of_an_older_epoch_is_not_newer_than_the_bar_of_a_restarted_publisher() {
    let mut slot = Slot::new();
    assert_eq!(slot.revise_in(1, 1, 1, 0), NEW);
    assert_eq!(slot.revise_in(1, 1, 2, 3), NEW);
    // It begins to count its revisions anew.
    assert_eq!(slot.revise_in(2, 1, 1, 0), NEW);
    let seen = slot.version;
    // Both are retained, and read again at each resync.
    for _ in 0..3 {
        assert_eq!(slot.revise_in(1, 1, 2, 3), Offered::Duplicate);
        assert_eq!(slot.revise_in(2, 1, 1, 0), Offered::Duplicate);
    }
    assert_eq!(slot.lacking(seen), (Vec::new(), 0));
    assert_eq!(slot.revise_in(2, 1, 2, 1), NEW);
}

#[test]
fn a_burst_of_revisions_reaches_who_reads_whole() {
    let mut slot = Slot::new();
    slot.depth.closed_bars = 32;
    slot.depth.closed_log = 256;
    for index in 0..400 {
        slot.offer(index, index as u64 + 1, 1, true);
    }
    let seen = slot.version;
    slot.old_upto = seen;
    for index in 0..400 {
        assert_eq!(slot.revise(index, index as u64 + 401, 1), NEW);
    }
    assert_eq!(slot.lacking(seen), ((401..=800).collect(), 0));
    // Once their time is over, the last are held, by their start.
    slot.told_upto = slot.version;
    for index in 0..400 {
        let version = seen + 1 + index as u64;
        slot.state.let_go(index * 1_000, version, slot.keep());
    }
    assert_eq!((slot.closed().whole(), slot.closed().len()), (32, 256));
    assert_eq!(slot.delta(0).updates.len(), 32);
    assert_eq!(slot.early, 0);
}

#[test]
fn revisions_of_a_bar_take_one_place_and_count_once() {
    let mut slot = Slot::new();
    for index in 0..6 {
        slot.offer(index, index as u64 + 1, 1, true);
    }
    let seen = slot.version;
    for rev in 1..=50 {
        slot.revise(1, 100 + u64::from(rev), rev);
        slot.revise(4, 200 + u64::from(rev), rev);
    }
    // The second is one of the last, so it comes; the first is counted once.
    assert_eq!(slot.lacking(seen), (vec![250], 1));
    assert_eq!(slot.lacking(slot.version), (Vec::new(), 0));
    // Who has seen neither gets each once, in its place.
    assert_eq!(slot.lacking(0), (vec![3, 4, 250, 6], 2));
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
fn a_topic_holds_no_more_than_its_burst_and_says_what_it_let_go() {
    let mut slot = Slot::new();
    slot.depth.burst_max = 10;
    slot.depth.closed_log = 64;
    slot.old_upto = 0;
    for index in 0..30 {
        slot.offer(index, index as u64 + 1, 1, true);
    }
    assert_eq!((slot.closed().whole(), slot.early), (10, 20));
    assert_eq!(slot.lacking(0), ((21..=30).collect(), 20));
}

#[test]
fn a_subscriber_to_closed_bars_starts_from_the_last_and_not_from_a_revision() {
    let mut slot = Slot::new();
    let closed_only = Filter {
        closed_only: true,
        ..NONE
    };
    for index in 1..=3 {
        slot.offer(index, index as u64, 1, true);
    }
    slot.revise(1, 4, 1);
    assert_eq!(
        slot.snapshot(closed_only),
        Some(bar(3, 3, 1, true).1.into())
    );
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
fn what_is_made_of_a_bar_for_an_encoding_is_kept_no_longer_than_its_time() {
    let closed_only = Filter {
        closed_only: true,
        ..NONE
    };
    let mut slot = Slot::new();
    slot.old_upto = 0;
    slot.offer(1, 1, 1, true);
    let encode = |slot: &Slot| {
        let update = slot.snapshot(closed_only).expect("a bar");
        let was_bare = update.is_bare();
        assert!(!update.body(crate::dialect::Dialect::Protobuf).is_empty());
        was_bare
    };
    assert!(encode(&slot), "made for the first");
    assert!(!encode(&slot), "and shared by the next");
    slot.state.let_go(1_000, 1, slot.keep());
    for _ in 0..3 {
        assert!(encode(&slot), "each makes its own, and nothing stays");
    }
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
fn what_a_long_stall_skips_is_counted_however_much_it_is() {
    let mut slot = Slot::new();
    for index in 0..301 {
        slot.offer(index, index as u64 + 1, 1, true);
    }
    assert_eq!(slot.lacking(1), ((298..=301).collect(), 296));
    assert_eq!(slot.lacking(200), ((298..=301).collect(), 97));
    // Nobody is behind any more.
    slot.told_upto = slot.version;
    slot.offer(301, 302, 1, true);
    assert_eq!(slot.closed().len(), 8);
    assert_eq!(slot.lacking(301), (vec![302], 0));
}

#[test]
fn a_stall_beyond_all_that_is_remembered_is_told_of_too_much_and_never_of_too_little() {
    let mut slot = Slot::new();
    slot.depth.burst_max = 20;
    for index in 0..100 {
        slot.offer(index, index as u64 + 1, 1, true);
    }
    assert_eq!(slot.closed().len(), 20);
    assert_eq!(slot.lacking(0), ((97..=100).collect(), 96));
    assert_eq!(slot.lacking(40), ((97..=100).collect(), 96));
    assert_eq!(slot.lacking(80), ((97..=100).collect(), 16));
    slot.told_upto = slot.version;
    slot.offer(100, 101, 1, true);
    assert_eq!(slot.lacking(100), (vec![101], 0));
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
