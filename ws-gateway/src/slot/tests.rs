//! A slot without a hub.

use market_core::protocol::Filter;

use super::testing::bar;
use super::*;

const NONE: Filter = Filter {
    closed_only: false,
    no_fill: false,
};

struct Slot {
    state: SlotState,
    version: u64,
    depth: Depth,
}

impl Slot {
    fn new() -> Self {
        Self {
            state: SlotState::default(),
            version: 0,
            depth: Depth {
                closed_bars: 4,
                closed_log: 8,
            },
        }
    }

    fn offer(&mut self, index: i64, seq: u64, epoch: u64, closed: bool) -> Offered {
        let (head, payload) = bar(index, seq, epoch, closed);
        self.offer_head(head, payload)
    }

    fn offer_head(&mut self, head: BarHead<'_>, payload: Bytes) -> Offered {
        self.version += 1;
        self.state
            .offer_bar(&head, payload, self.version, self.depth)
    }

    fn delta(&self, seen: u64) -> Delta {
        delta(
            &self.state,
            self.state.forming().as_ref(),
            seen,
            self.version,
            NONE,
        )
    }

    fn resume(&self, epoch: u64, seq: u64, closed_ms: Option<i64>) -> (Delta, bool) {
        let place = Place {
            epoch,
            seq,
            closed_ms,
        };
        let forming = self.state.forming();
        resume(&self.state, forming.as_ref(), self.version, NONE, place)
    }

    fn snapshot(&self, filter: Filter) -> Option<Payload> {
        snapshot(
            &self.state,
            self.state.forming().as_ref(),
            self.version,
            filter,
        )
    }
}

const NEW: Offered = Offered::New {
    missed: 0,
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
    assert_eq!(slot.state.closed_since(0, 8, no_fill, &mut updates), 2);
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
    let (_, is_whole) = resume(7, 900);
    assert!(!is_whole, "a number that was never given");
}

#[test]
fn a_bar_that_came_late_is_not_counted_as_missed_as_well() {
    let mut slot = Slot::new();
    slot.offer(1, 1, 1, true);
    slot.offer(4, 5, 1, true);
    assert_eq!(slot.delta(1).skipped, 2);
    slot.offer(3, 4, 1, true);
    let delta = slot.delta(1);
    assert_eq!((delta.updates.len(), delta.skipped), (2, 1));
}

/// A gateway lost the closed bar 3, went on, and got it late: its client may have left
/// meanwhile, having seen newer numbers.
#[test]
fn a_closed_bar_that_a_gateway_got_late_is_not_missed_at_the_next() {
    let mut next = Slot::new();
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
