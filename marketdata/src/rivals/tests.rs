use super::*;

const NOW: i64 = 1_700_000_000_000;
const SILENCE_MS: i64 = 2_000;

fn said(instance: &str, epoch: u64, symbols: &[&str]) -> Announcement {
    let symbols = symbols.iter().map(|&symbol| symbol.to_owned()).collect();
    Announcement {
        instance: instance.to_owned(),
        epoch,
        leaves: false,
        symbols: BTreeMap::from([("okx".to_owned(), symbols)]),
        follows: BTreeMap::new(),
    }
}

fn epoch(ago_ms: i64) -> u64 {
    (NOW - ago_ms).unsigned_abs()
}

fn rivals(ago_ms: i64) -> Rivals {
    Rivals::new(said("me", epoch(ago_ms), &["A-B", "C-D"]), SILENCE_MS, NOW)
}

/// Both are heard each half second until `ms` after `NOW`, or only we.
fn pass(rivals: &mut Rivals, other: Option<&Announcement>, from_ms: i64, to_ms: i64) -> Vec<Event> {
    let mut events = Vec::new();
    for at in (from_ms..=to_ms).step_by(500) {
        let me = rivals.me().clone();
        rivals.heard(me, NOW + at, &mut events);
        if let Some(other) = other {
            rivals.heard(other.clone(), NOW + at, &mut events);
        }
        rivals.tick(NOW + at, &mut events);
    }
    events
}

#[test]
fn a_survivor_takes_a_new_epoch_once_the_rival_above_it_is_silent() {
    let mut rivals = rivals(60_000);
    let other = said("other", epoch(1_000), &["A-B"]);
    let events = pass(&mut rivals, Some(&other), 0, 5_000);
    assert!(
        matches!(&events[..], [Event::Appeared { common: 1, .. }]),
        "{events:?}"
    );
    assert_eq!((rivals.count(), rivals.of_feed("okx").rivals), (1, 1));
    let events = pass(&mut rivals, None, 5_500, 6_500);
    assert_eq!(events, []);
    let events = pass(&mut rivals, None, 7_000, 7_000);
    let taken = (NOW + 7_000).unsigned_abs();
    assert_eq!(
        events,
        [
            Event::Gone {
                instance: "other".to_owned(),
                has_left: false
            },
            Event::Take { epoch: taken }
        ]
    );
    assert_eq!((rivals.me().epoch, rivals.count()), (taken, 0));
    // Its symbols are ours, so nothing is lost with it.
    assert_eq!(rivals.of_feed("okx"), OthersOfFeed::default());
    assert_eq!(pass(&mut rivals, None, 7_500, 20_000), []);
}

#[test]
fn a_symbol_that_changes_hands_makes_no_rival() {
    let mut rivals = rivals(60_000);
    let mut events = Vec::new();
    // We gave A-B up, and the other says that it has it before we say what is left.
    rivals.heard(said("other", epoch(1_000), &["A-B"]), NOW, &mut events);
    let left = said("me", 0, &["C-D"]).symbols;
    rivals.publish((left, BTreeMap::new()), 0, NOW + 1, &mut events);
    events.extend(pass(&mut rivals, None, 500, 1_500));
    assert_eq!((events, rivals.count()), (Vec::new(), 0));
}

#[test]
fn a_clock_behind_takes_the_epoch_after_the_highest_seen() {
    let mut rivals = rivals(60_000);
    let ahead = epoch(-3_600_000);
    let mut other = said("other", ahead, &["A-B"]);
    pass(&mut rivals, Some(&other), 0, 1_000);
    other.leaves = true;
    let events = pass(&mut rivals, Some(&other), 1_500, 1_500);
    assert_eq!(events.last(), Some(&Event::Take { epoch: ahead + 1 }));
    assert_eq!(epoch_above(Some(ahead), NOW), ahead + 1);
    assert_eq!(epoch_above(Some(3), NOW), NOW.unsigned_abs());
}

#[test]
fn an_epoch_more_than_a_day_ahead_is_told_and_counts_for_nothing() {
    let mut rivals = rivals(0);
    for poison in [epoch(-86_400_001 - 60_000), u64::MAX] {
        let other = said("other", poison, &["A-B"]);
        let events = pass(&mut rivals, Some(&other), 0, 1_000);
        let events: Vec<_> = events
            .iter()
            .filter(|event| matches!(event, Event::Take { .. }))
            .collect();
        assert!(events.is_empty(), "{events:?}");
    }
    let events = pass(&mut rivals, None, 1_500, 10_000);
    assert!(
        !events
            .iter()
            .any(|event| matches!(event, Event::Take { .. })),
        "{events:?}"
    );
    assert_eq!(rivals.me().epoch, epoch(0));
}

#[test]
fn nobody_is_gone_while_we_do_not_hear_ourselves() {
    let mut rivals = rivals(60_000);
    let other = said("other", epoch(1_000), &["A-B"]);
    pass(&mut rivals, Some(&other), 0, 1_000);
    let mut events = Vec::new();
    for at in (1_500..60_000).step_by(500) {
        rivals.tick(NOW + at, &mut events);
    }
    assert_eq!(events, []);
    // Back: it has its time again.
    assert_eq!(pass(&mut rivals, None, 60_000, 61_000), []);
    assert_eq!(pass(&mut rivals, Some(&other), 61_500, 70_000), []);
}

#[test]
fn of_several_survivors_only_the_highest_takes_over() {
    let mut rivals = rivals(60_000);
    let above = said("above", epoch(30_000), &["A-B"]);
    let newest = said("newest", epoch(1_000), &["A-B"]);
    let mut events = Vec::new();
    rivals.heard(newest, NOW, &mut events);
    events.clear();
    events.extend(pass(&mut rivals, Some(&above), 0, 20_000));
    assert!(
        !events
            .iter()
            .any(|event| matches!(event, Event::Take { .. })),
        "{events:?}"
    );
    // Two that began in the same millisecond: one of them goes on above the other.
    let mut twins = [self::rivals(0), self::rivals(0)];
    let twin = said("a twin", epoch(0), &["A-B"]);
    twins[1].me = twin.clone();
    let me = twins[0].me().clone();
    let mut taken = 0;
    for (twin_rivals, other) in twins.iter_mut().zip([&twin, &me]) {
        let events = pass(twin_rivals, Some(other), 0, 1_000);
        taken += usize::from(
            events
                .iter()
                .any(|event| matches!(event, Event::Take { .. })),
        );
    }
    assert_eq!(taken, 1);
}

#[test]
fn a_publisher_of_other_symbols_is_no_rival_and_its_loss_is_told_of_the_feed() {
    let mut rivals = rivals(60_000);
    let mut other = said("other", epoch(1_000), &["E-F"]);
    assert_eq!(pass(&mut rivals, Some(&other), 0, 1_000), []);
    assert_eq!(rivals.of_feed("okx"), OthersOfFeed::default());
    assert_eq!(pass(&mut rivals, None, 1_500, 10_000), []);
    assert_eq!(
        rivals.of_feed("okx"),
        OthersOfFeed {
            rivals: 0,
            lost: 1,
            standbys: 0
        }
    );
    assert_eq!(rivals.of_feed("binance"), OthersOfFeed::default());
    // Back with a goodbye.
    other.leaves = true;
    pass(&mut rivals, Some(&other), 10_500, 10_500);
    assert_eq!(rivals.of_feed("okx"), OthersOfFeed::default());
}

#[test]
fn a_flood_of_publishers_is_bounded() {
    let mut rivals = rivals(0);
    let mut events = Vec::new();
    for number in 0..10 * OTHERS_MAX {
        let other = said(&format!("{number}"), epoch(60_000), &["A-B"]);
        rivals.heard(other, NOW, &mut events);
    }
    assert_eq!(rivals.others.len(), OTHERS_MAX);
}

#[test]
fn what_others_have_is_known_and_a_repeated_announcement_is_no_change() {
    let mut rivals = rivals(0);
    let mut events = Vec::new();
    let mut other = said("other", epoch(1_000), &["A-B"]);
    other.follows = std::mem::take(&mut other.symbols);
    let none = rivals.changes();
    rivals.heard(other.clone(), NOW, &mut events);
    let once = rivals.changes();
    assert_ne!(once, none);
    for _ in 0..10 {
        rivals.heard(other.clone(), NOW, &mut events);
    }
    assert_eq!(rivals.changes(), once);
    let living: Vec<&Announcement> = rivals.living().collect();
    assert_eq!(living, [&other]);
    let has = ["A-B", "C-D"].map(|symbol| living[0].has("okx", symbol));
    assert_eq!(has, [true, false], "it follows the first");
    other.leaves = true;
    rivals.heard(other, NOW, &mut events);
    assert_ne!(rivals.changes(), once);
    assert_eq!(rivals.living().count(), 0);
}
