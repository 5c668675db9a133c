//! Clients that resume.

use super::*;

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
fn a_new_epoch_is_resumed_by_bars_where_those_that_are_held_reach_back() {
    let mut slot = Slot::new();
    for index in 0..4 {
        slot.offer(index, index as u64 + 11, 7, true);
    }
    // The publisher starts again: it goes on with the bar that was forming.
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

#[test]
fn a_revision_of_an_older_epoch_is_not_newer_than_the_bar_of_a_restarted_publisher() {
    let mut slot = Slot::new();
    assert_eq!(slot.revise_in(1, 1, 1, 0), NEW);
    assert_eq!(slot.revise_in(1, 1, 2, 3), NEW);
    // It starts its revisions again.
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
