mod venue;

use proptest::prelude::*;

use self::venue::*;
use super::*;

const LIMITS: BookLimits = BookLimits {
    levels_min: 3,
    levels_max: 1_000,
    waiting_max: 8,
    waiting_levels_max: 1_000,
};
/// What reaches the client, as a network and an exchange may mix it up.
#[derive(Clone, Copy, Debug)]
enum Arrival {
    /// The next changes, as one update.
    Next(usize),
    /// The next changes are lost.
    Lost(usize),
    /// An update of some earlier changes: repeated, late, or cut in another way.
    Again(usize, usize),
    /// A snapshot that is so many changes old.
    Snapshot(usize),
}

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let arrival = prop_oneof![
        6 => (1usize..4).prop_map(Arrival::Next),
        1 => (1usize..4).prop_map(Arrival::Lost),
        2 => (0usize..12, 1usize..6).prop_map(|(back, len)| Arrival::Again(back, len)),
        2 => (0usize..10).prop_map(Arrival::Snapshot),
    ];
    proptest::collection::vec(arrival, 1..80)
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    proptest::collection::vec((1u64..40, 0u64..4), 400)
}

proptest! {
    #[test]
    fn a_book_of_ranges_is_the_venues_book_or_none(changes in changes(), arrivals in arrivals()) {
        let venue = Venue(changes);
        let mut sync = BookSync::new(LIMITS);
        let mut newest = 1;
        for arrival in arrivals {
            let had = book_of(&sync);
            let update = match arrival {
                Arrival::Next(len) => {
                    newest += len;
                    venue.range(newest + 1 - len, newest)
                }
                Arrival::Lost(len) => {
                    newest += len;
                    continue;
                }
                Arrival::Again(back, len) => {
                    let last = newest.saturating_sub(back).max(1);
                    venue.range(last.saturating_sub(len).max(1), last)
                }
                Arrival::Snapshot(age) => venue.range_snapshot(newest.saturating_sub(age).max(1)),
            };
            let applied = sync.apply(update);
            let has = book_of(&sync);
            if let Some((number, book)) = &has {
                prop_assert_eq!(book, &venue.book(*number as usize), "{:?}", arrival);
            }
            match applied {
                Applied::Changed => prop_assert!(has.is_some()),
                Applied::Repeated => prop_assert_eq!(has, had),
                Applied::Waiting | Applied::Invalid(_) => prop_assert_eq!(has, None),
                Applied::TooOld => prop_assert!(has.is_none()),
            }
        }
        // One new snapshot is enough, and then every update is taken.
        if !sync.is_valid() {
            prop_assert_eq!(sync.apply(venue.range_snapshot(newest)), Applied::Changed);
        }
        let (number, _) = book_of(&sync).expect("a book");
        let last = sync.apply(venue.range(number as usize + 1, newest + 3));
        prop_assert_eq!(last, Applied::Changed);
        prop_assert_eq!(book_of(&sync), Some((newest as u64 + 3, venue.book(newest + 3))));
    }

    #[test]
    fn a_book_of_a_chain_is_the_venues_book_or_none_also_when_numbers_fall(
        changes in changes(), arrivals in arrivals(), restart in 1usize..200,
    ) {
        let venue = Venue(changes);
        // The venue restarts its numbers below those that it has used.
        let number = |index: usize| match index < restart {
            true => 1_000 + index as u64,
            false => index as u64,
        };
        let index_of = |number: u64| match number > 1_000 {
            true => number as usize - 1_000,
            false => number as usize,
        };
        let delta = |index: usize| venue.update(index, index, UpdateNumbers::Chain {
            previous: Some(number(index - 1)),
            number: number(index),
        });
        let snapshot = |index: usize| venue.snapshot(index, UpdateNumbers::Chain {
            previous: None,
            number: number(index),
        });
        let mut sync = BookSync::new(LIMITS);
        let mut newest = 2;
        for arrival in arrivals {
            let updates: Vec<BookUpdate> = match arrival {
                Arrival::Next(len) => {
                    newest += len;
                    (newest + 1 - len..=newest).map(delta).collect()
                }
                Arrival::Lost(len) => {
                    newest += len;
                    Vec::new()
                }
                Arrival::Again(back, _) => vec![delta(newest.saturating_sub(back).max(2))],
                Arrival::Snapshot(age) => vec![snapshot(newest.saturating_sub(age).max(2))],
            };
            for update in updates {
                let is_snapshot = update.is_snapshot;
                let index = update.event_ms.expect("a time") as usize;
                let had = book_of(&sync);
                let applied = sync.apply(update);
                let has = book_of(&sync);
                if let Some((number, book)) = &has {
                    prop_assert_eq!(book, &venue.book(index_of(*number)), "{:?}", arrival);
                }
                match applied {
                    Applied::Changed => prop_assert!(has.is_some()),
                    Applied::Repeated => prop_assert_eq!(&has, &had),
                    Applied::Waiting | Applied::Invalid(_) => prop_assert_eq!(has, None),
                    Applied::TooOld => prop_assert!(false, "a snapshot of the stream is never too old"),
                }
                // A stream that goes back is not believed.
                let goes_back = had.is_some_and(|(had, _)| index_of(had) > index);
                match is_snapshot {
                    true if goes_back => prop_assert_eq!(applied, Applied::Invalid(BookFault::Hole)),
                    true => prop_assert_eq!(applied, Applied::Changed),
                    false => {}
                }
            }
        }
        prop_assert_eq!(sync.apply(snapshot(newest)), Applied::Changed);
        prop_assert_eq!(sync.apply(delta(newest + 1)), Applied::Changed);
        prop_assert_eq!(book_of(&sync), Some((number(newest + 1), venue.book(newest + 1))));
    }
}

fn timed(event_ms: i64, changes: &[Change]) -> BookUpdate {
    let venue = Venue(changes.to_vec());
    BookUpdate {
        event_ms: Some(event_ms),
        ..venue.update(1, changes.len(), UpdateNumbers::None)
    }
}

#[test]
fn a_book_without_numbers_ends_at_an_update_that_is_older_than_the_last() {
    let mut sync = BookSync::new(LIMITS);
    assert_eq!(sync.apply(timed(5, &[(3, 1)])), Applied::Waiting);
    assert!(!sync.is_waiting(), "the snapshot will have it");
    let snapshot = BookUpdate {
        is_snapshot: true,
        event_ms: None,
        ..timed(0, &[(3, 1), (30, 1)])
    };
    assert_eq!(sync.apply(snapshot.clone()), Applied::Changed);
    for event_ms in [7, 9, 9] {
        let applied = sync.apply(timed(event_ms, &[(4, 2)]));
        assert_eq!(applied, Applied::Changed);
    }
    let late = sync.apply(timed(8, &[(4, 1)]));
    assert_eq!(late, Applied::Invalid(BookFault::Hole));
    assert_eq!(sync.top(9), None);
    assert_eq!(sync.apply(timed(10, &[(4, 1)])), Applied::Waiting);
    assert_eq!(sync.apply(snapshot), Applied::Changed);
    assert_eq!(sync.top(9).expect("a book").bids.len(), 1);
}

#[test]
fn a_book_that_is_crossed_or_too_deep_is_none() {
    let check = |changes: &[Change], limits: BookLimits, fault: BookFault| {
        let mut sync = BookSync::new(limits);
        let snapshot = BookUpdate {
            is_snapshot: true,
            ..timed(0, &[(3, 1), (30, 1)])
        };
        assert_eq!(sync.apply(snapshot), Applied::Changed);
        let mut update = timed(1, changes);
        if fault == BookFault::Crossed {
            std::mem::swap(&mut update.bids, &mut update.asks);
        }
        assert_eq!(sync.apply(update), Applied::Invalid(fault));
        assert_eq!(sync.top(9), None);
    };
    check(&[(30, 1)], LIMITS, BookFault::Crossed);
    check(&[(3, 1)], LIMITS, BookFault::Crossed);
    let shallow = BookLimits {
        levels_max: 2,
        ..LIMITS
    };
    check(&[(4, 1), (5, 1)], shallow, BookFault::TooDeep);
}

proptest! {
    #[test]
    fn the_first_levels_of_a_book_are_right_also_after_a_snapshot_that_was_cut(
        changes in changes(), cut_after in 3usize..9, age in 0usize..200,
    ) {
        let venue = Venue(changes);
        let first = 300 - age;
        let mut sync = BookSync::new(LIMITS);
        let mut snapshot = venue.range_snapshot(first);
        let cut = |mut levels: Vec<LevelChange>, is_bids: bool| {
            levels.retain(|change| change.quantity.is_some());
            if is_bids {
                levels.reverse();
            }
            levels.truncate(cut_after);
            levels
        };
        snapshot.bids = cut(snapshot.bids, true);
        snapshot.asks = cut(snapshot.asks, false);
        snapshot.cut_after = Some(cut_after);
        let mut applied = sync.apply(snapshot);
        prop_assert_eq!(applied, Applied::Changed);
        for number in first + 1..=400 {
            let Some(top) = sync.top(LIMITS.levels_min) else {
                prop_assert_eq!(applied, Applied::Invalid(BookFault::TooThin));
                return Ok(());
            };
            let (mut bids, mut asks) = venue.book(number - 1);
            bids.truncate(LIMITS.levels_min);
            asks.truncate(LIMITS.levels_min);
            prop_assert_eq!((texts(&top.bids), texts(&top.asks)), (bids, asks));
            applied = sync.apply(venue.range(number, number));
        }
    }
}

#[test]
fn updates_that_wait_are_bounded_and_a_snapshot_before_the_first_is_too_old() {
    let venue = Venue((1..=40).map(|price| (price, 1)).collect());
    let mut sync = BookSync::new(LIMITS);
    for first in 1..=20 {
        assert_eq!(sync.apply(venue.range(first, first)), Applied::Waiting);
    }
    assert_eq!(sync.take_dropped(), 12);
    assert_eq!(sync.take_dropped(), 0);
    assert_eq!(sync.apply(venue.range_snapshot(11)), Applied::TooOld);
    assert_eq!(sync.apply(venue.range_snapshot(12)), Applied::Changed);
    assert_eq!(book_of(&sync), Some((20, venue.book(20))));
}

#[test]
fn a_snapshot_from_before_an_update_that_came_is_too_old_also_if_the_update_was_thrown_away() {
    let venue = Venue((1..=40).map(|price| (price, 1)).collect());
    let crossing = |number: usize| {
        let mut update = venue.range(number, number);
        update.bids = vec![level((FIRST_ASK + 9, 1))];
        update
    };
    let ways: [&dyn Fn(&mut BookSync); 4] = [
        // It crossed the book.
        &|sync| {
            sync.apply(venue.range_snapshot(35));
            let crossed = sync.apply(crossing(36));
            assert_eq!(crossed, Applied::Invalid(BookFault::Crossed));
        },
        // It crossed a snapshot when it had waited.
        &|sync| {
            sync.apply(crossing(36));
            let crossed = sync.apply(venue.range_snapshot(35));
            assert_eq!(crossed, Applied::Invalid(BookFault::Crossed));
        },
        // It waited, or the book had it, and then an update could not be read.
        &|sync| {
            sync.apply(venue.range(36, 36));
            sync.lose();
        },
        &|sync| {
            sync.apply(venue.range_snapshot(35));
            sync.apply(venue.range(36, 36));
            sync.lose();
        },
    ];
    for (at, way) in ways.into_iter().enumerate() {
        let mut sync = BookSync::new(LIMITS);
        way(&mut sync);
        let before = sync.apply(venue.range_snapshot(35));
        assert_eq!(before, Applied::TooOld, "{at}");
        let after = sync.apply(venue.range_snapshot(36));
        assert_eq!(after, Applied::Changed, "{at}");
    }
}

#[test]
fn numbers_that_no_snapshot_reaches_are_not_believed_for_ever() {
    let venue = Venue((1..=40).map(|price| (price, 1)).collect());
    let absurd = venue.update(
        9,
        9,
        UpdateNumbers::Range {
            first: u64::MAX,
            last: u64::MAX,
        },
    );
    let mut sync = BookSync::new(LIMITS);
    sync.apply(venue.range_snapshot(30));
    assert_eq!(sync.apply(absurd), Applied::Invalid(BookFault::Hole));
    for number in 32..35 {
        sync.apply(venue.range(number, number));
        let applied = sync.apply(venue.range_snapshot(number));
        assert_eq!(applied, Applied::TooOld);
    }
    sync.apply(venue.range(36, 36));
    assert_eq!(sync.apply(venue.range_snapshot(35)), Applied::Changed);
    assert_eq!(book_of(&sync), Some((36, venue.book(36))));
}

#[test]
fn a_book_whose_stream_counts_below_it_does_not_stand_still_for_ever() {
    let venue = Venue((1..=400).map(|at| (1 + at % 39, 1 + at)).collect());
    let limits = BookLimits {
        levels_min: 0,
        ..LIMITS
    };
    // The venue counts again: what it sends later has lower numbers.
    let mut sync = BookSync::new(limits);
    sync.apply(venue.range_snapshot(200));
    sync.apply(venue.range(201, 201));
    let mut restarted = venue.range(3, 3);
    restarted.event_ms = Some(202);
    assert_eq!(sync.apply(restarted), Applied::Invalid(BookFault::Hole));
    let mut snapshot = venue.range_snapshot(5);
    snapshot.event_ms = None;
    assert_eq!(sync.apply(snapshot), Applied::Changed);
    // A snapshot that is far ahead of its stream.
    let mut sync = BookSync::new(limits);
    let mut ahead = venue.range_snapshot(400);
    ahead.event_ms = None;
    assert_eq!(sync.apply(ahead), Applied::Changed);
    let ended =
        (1..400).find(|&number| sync.apply(venue.range(number, number)) != Applied::Repeated);
    assert_eq!(ended, Some(51));
    assert!(!sync.is_valid());
    assert_eq!(sync.apply(venue.range_snapshot(51)), Applied::Changed);
}

#[test]
fn the_levels_of_updates_that_wait_are_bounded() {
    let venue = Venue((1..=40).map(|price| (price, 1)).collect());
    let limits = BookLimits {
        waiting_levels_max: 30,
        ..LIMITS
    };
    let mut sync = BookSync::new(limits);
    for first in [1, 11, 21] {
        sync.apply(venue.range(first, first + 9));
    }
    assert_eq!((sync.levels(), sync.take_dropped()), (30, 0));
    sync.apply(venue.range(31, 35));
    assert_eq!((sync.levels(), sync.take_dropped()), (25, 1));
    // One that is too long alone is dropped, too, and its number is known.
    sync.apply(venue.range(1, 40));
    assert_eq!((sync.levels(), sync.take_dropped()), (0, 4));
    assert_eq!(sync.apply(venue.range_snapshot(39)), Applied::TooOld);
    assert_eq!(sync.apply(venue.range_snapshot(40)), Applied::Changed);
    assert_eq!(sync.levels(), 40);
}

#[test]
fn a_stream_that_ends_leaves_no_book_and_nothing_that_waits() {
    let venue = Venue((1..=40).map(|price| (price, 1)).collect());
    let mut sync = BookSync::new(LIMITS);
    sync.apply(venue.range_snapshot(10));
    assert!(sync.is_valid());
    sync.lose();
    assert_eq!((sync.is_valid(), sync.top(1)), (false, None));
    sync.apply(venue.range(11, 12));
    sync.lose();
    assert!(!sync.is_waiting());
}

#[test]
fn extreme_numbers_do_not_overflow() {
    let venue = Venue(vec![(3, 1), (30, 1)]);
    let range = |first, last| venue.update(1, 2, UpdateNumbers::Range { first, last });
    let mut sync = BookSync::new(LIMITS);
    let snapshot = BookUpdate {
        is_snapshot: true,
        ..range(u64::MAX, u64::MAX)
    };
    assert_eq!(sync.apply(range(u64::MAX, 0)), Applied::Waiting);
    assert_eq!(sync.apply(snapshot), Applied::Changed);
    assert_eq!(sync.apply(range(0, u64::MAX)), Applied::Repeated);
    assert_eq!(sync.apply(range(u64::MAX, 1)), Applied::Repeated);
}
