//! How many closed bars are held, and how those are counted that are not.

use super::*;

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
        assert!(
            !update
                .body(client_frames::dialect::Dialect::Protobuf)
                .is_empty()
        );
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
