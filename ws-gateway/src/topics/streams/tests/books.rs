//! Streams of order books.

use super::*;

#[test]
fn a_session_gets_the_levels_that_differ_in_any_book_since_the_one_that_it_has() {
    let mut world = World::new(StreamLimits::default());
    world.book(1, &[9]);
    world.book(2, &[9, 8]);
    let topic = world.want("btcusdt@depth@100ms", None).expect("room");
    let (first, seen) = world.event(&topic, None).expect("an event");
    // From the oldest book that is held: a client may have a snapshot of it.
    assert_eq!((&first["U"], &first["u"]), (&1_003.into(), &1_004.into()));
    assert_eq!(first["b"], serde_json::json!([["8", "1"]]));
    assert_eq!(world.event(&topic, Some(seen)), None);
    world.book(3, &[9, 8, 7]);
    world.turn(0);
    world.book(4, &[9, 8]);
    world.turn(0);
    let (next, _) = world.event(&topic, Some(seen)).expect("an event");
    assert_eq!((&next["U"], &next["u"]), (&1_005.into(), &1_008.into()));
    // A client with a snapshot of the third book has a level that both others lack.
    assert_eq!(next["b"], serde_json::json!([["7", "0.00000000"]]));
    let (_, seen) = world.event(&topic, None).expect("an event");
    world.book(5, &[]);
    world.turn(0);
    let (gone, _) = world.event(&topic, Some(seen)).expect("an event");
    assert_eq!(
        gone["b"],
        serde_json::json!([["9", "0.00000000"], ["8", "0.00000000"]])
    );
    assert_eq!(gone["a"], serde_json::json!([["99", "0.00000000"]]));
}

#[test]
fn a_book_that_did_not_come_shows_as_a_hole_in_the_numbers() {
    let mut world = World::new(StreamLimits::default());
    world.book(1, &[9]);
    let topic = world.want("btcusdt@depth@100ms", None).expect("room");
    let (_, seen) = world.event(&topic, None).expect("an event");
    world.book(3, &[9]);
    world.turn(0);
    let (next, _) = world.event(&topic, Some(seen)).expect("an event");
    assert_eq!((&next["U"], &next["u"]), (&1_006.into(), &1_006.into()));
}

#[test]
fn a_stream_of_a_second_has_one_event_a_second_and_lacks_no_book() {
    let mut world = World::new(StreamLimits::default());
    world.book(1, &[9]);
    let topic = world.want("btcusdt@depth", None).expect("room");
    let few = world.want("btcusdt@depth5", None).expect("room");
    let (_, seen) = world.event(&topic, None).expect("an event");
    for seq in 2..=10 {
        world.book(seq, &[9, if seq % 2 == 0 { 8 } else { 7 }]);
        world.turn(100);
        assert_eq!(world.event(&topic, Some(seen)), None);
    }
    world.turn(100);
    let (next, _) = world.event(&topic, Some(seen)).expect("an event");
    assert_eq!((&next["U"], &next["u"]), (&1_003.into(), &1_020.into()));
    assert_eq!(
        next["b"],
        serde_json::json!([["8", "1"], ["7", "0.00000000"]])
    );
    let (levels, _) = world.event(&few, None).expect("an event");
    assert_eq!(levels["lastUpdateId"], 1_020);
}

#[test]
fn a_book_is_read_once_for_all_streams_of_it_and_its_bytes_end_with_the_last_of_them() {
    let mut world = World::new(StreamLimits::default());
    let one = world.book(1, &[9]).memory_bytes();
    assert_eq!(world.streams.books.held(), 0);
    let names = [
        "@depth",
        "@depth@100ms",
        "@depth@1000ms",
        "@depth5",
        "@depth20",
    ];
    for name in names {
        world.want(&format!("btcusdt{name}"), None).expect("room");
    }
    assert_eq!(world.streams.books.held(), one);
    for seq in 2..=10 {
        world.book(seq, &[9]);
        world.turn(100);
    }
    let held = world.streams.books.held();
    assert_eq!(held, 10 * one, "{} times", held / one);
    for _ in 0..61 {
        world.turn(1_000);
    }
    let _ = world.hub.pull(0, 0);
    assert_eq!(world.streams.books.held(), 0);
}

#[test]
fn a_stream_that_begins_while_books_are_read_never_goes_back_to_an_older_book() {
    let mut world = World::new(StreamLimits::default());
    world.book(1, &[9]);
    let topic = world.want("btcusdt@depth5@100ms", None).expect("room");
    world.turn(100);
    world.book(2, &[9]);
    let changes = world.streams.changes();
    // Another book, and another stream of it, while the second one is read.
    world.book(3, &[9]);
    let later = world.want("btcusdt@depth10@100ms", None).expect("room");
    let of = |world: &World, topic: &Topic| {
        let (event, _) = world.event(topic, None).expect("an event");
        event["lastUpdateId"].as_u64().expect("a number")
    };
    let newest = of(&world, &later);
    world.streams.make(changes, world.now);
    assert_eq!((of(&world, &topic), of(&world, &later)), (newest, newest));
}

#[test]
fn the_forms_of_changes_count_and_are_few_when_there_is_no_room() {
    let mut world = World::new(StreamLimits::default());
    world.book(1, &[9]);
    let topic = world.want("btcusdt@depth@100ms", None).expect("room");
    let mut seen = Vec::new();
    for seq in 2..=20 {
        seen.push(world.event(&topic, None).expect("an event").1);
        world.book(seq, &[9, if seq % 2 == 0 { 8 } else { 7 }]);
        world.turn(100);
    }
    let forms = |world: &World| {
        let before = world.streams.books.held();
        for seen in &seen {
            let _ = world.event(&topic, Some(*seen));
        }
        world.streams.books.held() - before
    };
    let all = forms(&world);
    assert!(all > 0);
    // They are there.
    assert_eq!(forms(&world), 0);
    world.book(21, &[9]);
    world.turn(100);
    world.streams.books.hold_for_test(1 << 40);
    let few = forms(&world);
    assert!(0 < few && few < all / 3, "{few} of {all}");
}

#[test]
fn streams_of_books_have_no_more_bytes_than_they_may_and_go_on() {
    let mut world = World::new(StreamLimits::default());
    let one = world.book(1, &[9]).memory_bytes();
    let limits = StreamLimits {
        book_bytes_max: 10 * one,
        ..StreamLimits::default()
    };
    world = World::new(limits);
    world.book(1, &[9]);
    let topic = world.want("btcusdt@depth@100ms", None).expect("room");
    for seq in 2..=60 {
        let (_, seen) = world.event(&topic, None).expect("an event");
        world.book(seq, &[9, if seq % 2 == 0 { 8 } else { 7 }]);
        world.turn(100);
        let held = world.streams.books.held();
        // While the next event is made, a frozen event has the books of the last one.
        assert!(held <= 20 * one, "{} books", held / one);
        let (event, _) = world.event(&topic, Some(seen)).expect("an event");
        // A client with the last book goes on.
        assert_eq!(event["U"], 1_000 + 2 * seq - 1);
    }
    world.streams.books.hold_for_test(20 * one);
    let error = world.want("ethusdt@depth", None).expect_err("full");
    assert!(error.contains("no more books"), "{error}");
    world
        .want("btcusdt@depth5", None)
        .expect("its books are there");
    world.want("ethusdt@miniTicker", None).expect("it has none");
}

/// Near the bound of bytes a stream remembers few books, but a session goes on from the last event
/// however many books were published since.
#[test]
fn a_stream_of_a_second_goes_on_from_the_last_event_while_there_is_no_room() {
    let mut world = World::new(StreamLimits::default());
    world.book(1, &[9]);
    let topic = world.want("btcusdt@depth", None).expect("room");
    world.streams.books.hold_for_test(1 << 40);
    world.turn(0);
    let (first, mut seen) = world.event(&topic, None).expect("an event");
    let mut last = first["u"].as_u64().expect("a number");
    for event in 0..3 {
        for book in 2..12 {
            world.book(10 * event + book, &[9, 8]);
            world.turn(90);
        }
        world.turn(100);
        let (next, version) = world.event(&topic, Some(seen)).expect("an event");
        assert_eq!(next["U"], last + 1, "nothing is left out");
        (last, seen) = (next["u"].as_u64().expect("a number"), version);
    }
}
