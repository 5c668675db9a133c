mod answers;
mod faults;
mod shared;
mod world;

use super::*;

use crate::lease::beat::Beat;

use self::world::{SILENCE_MS, STEP_MS, World};

#[test]
fn a_program_that_does_not_have_an_instrument_delays_no_takeover_of_it() {
    // The lowest name has only the second instrument.
    let mut world = World::of(&[
        ("c", &[true, true]),
        ("a", &[false, true]),
        ("b", &[true, true]),
    ]);
    world.pass(2_000);
    let holder = world.publishers(0)[0];
    assert_eq!(holder, 2, "the lowest name that has it");
    assert_eq!(world.publishers(1), [1]);
    world.programs[holder].is_dead = true;
    world.pass(SILENCE_MS - 100);
    assert_eq!(world.publishers(0), [] as [usize; 0]);
    world.pass(250);
    assert_eq!(world.publishers(0), [0], "within one silence");
}

#[test]
fn a_program_that_has_not_said_what_it_has_is_waited_for() {
    let carriers = Carriers::new([("b".to_owned(), vec![true, false])].into_iter());
    for (program, may_take) in [("b", [true, false]), ("new", [true, true])] {
        assert_eq!([0, 1].map(|id| carriers.may_take(program, id)), may_take);
    }
}

#[test]
fn a_program_alone_takes_every_lease_after_it_has_listened() {
    let mut world = World::new(&["a"], 3);
    world.pass(200);
    assert_eq!(
        world.publishers(0),
        [] as [usize; 0],
        "another one may be there"
    );
    world.pass(200);
    for instrument in 0..3 {
        assert_eq!(world.publishers(instrument), [0]);
    }
    // And keeps them, however long.
    world.pass(60_000);
    assert_eq!(world.leases[0].as_ref().map(|lease| lease.number), Some(1));
}

#[test]
fn of_two_that_start_at_once_one_publishes_everything_and_the_other_is_a_standby() {
    let mut world = World::new(&["b", "a"], 4);
    world.pass(2_000);
    for instrument in 0..4 {
        assert_eq!(world.publishers(instrument), [1]);
        assert!(world.programs[0].tenure.is_standby(instrument));
    }
}

#[test]
fn a_standby_takes_over_once_the_holder_is_silent_and_not_before() {
    let mut world = World::new(&["a", "b"], 2);
    world.pass(2_000);
    world.programs[0].is_dead = true;
    world.pass(SILENCE_MS - 100);
    assert_eq!(world.publishers(0), [] as [usize; 0]);
    world.pass(250);
    assert_eq!(world.publishers(0), [1]);
    assert_eq!(world.publishers(1), [1]);
    assert_eq!(world.leases[0].as_ref().map(|lease| lease.number), Some(2));
}

#[test]
fn a_holder_that_stood_still_publishes_nothing_before_it_has_looked() {
    let mut world = World::new(&["a", "b"], 1);
    world.pass(2_000);
    for (stop_ms, publisher) in [(300, 0), (3_000, 1)] {
        world.programs[0].stopped_until = world.now + stop_ms;
        world.pass(stop_ms - STEP_MS);
        // The moment at which it wakes, before it has done anything.
        world.now += STEP_MS;
        assert_eq!(world.publishers(0), [publisher], "{stop_ms}");
        world.now -= STEP_MS;
        world.pass(1_000);
        assert_eq!(world.publishers(0), [publisher], "{stop_ms}");
    }
    assert!(world.programs[0].tenure.is_standby(0));
    // Nothing was stored under the old lease after the new one.
    assert!(world.stored.is_sorted_by_key(|(_, _, number)| *number));
}

#[test]
fn a_lone_holder_that_stood_still_goes_on_under_its_lease() {
    let mut world = World::new(&["a"], 1);
    world.pass(1_000);
    for has_stream in [true, false] {
        world.has_stream = has_stream;
        world.programs[0].stopped_until = world.now + 5_000;
        world.pass(5_500);
        assert_eq!(world.publishers(0), [0], "with a stream: {has_stream}");
    }
    assert_eq!(world.leases[0].as_ref().map(|lease| lease.number), Some(1));
}

#[test]
fn nobody_takes_over_while_the_bus_or_the_stream_is_away() {
    let mut world = World::new(&["a", "b"], 1);
    world.pass(2_000);
    // Without the bus, silence says nothing.
    for program in &mut world.programs {
        program.cut_until = world.now + 10_000;
    }
    world.pass(11_000);
    assert_eq!(world.publishers(0), [0]);
    // Without the stream, the holder goes on, and its death is found out when the stream is back.
    world.has_stream = false;
    world.pass(10_000);
    assert_eq!(world.publishers(0), [0]);
    world.programs[0].is_dead = true;
    world.pass(5_000);
    assert_eq!(world.publishers(0), [] as [usize; 0]);
    world.has_stream = true;
    world.pass(500);
    assert_eq!(world.publishers(0), [1]);
}

#[test]
fn a_lease_that_is_released_is_taken_at_once_by_another_program() {
    for names in [["a", "b"], ["b", "a"]] {
        let mut world = World::new(&names, 1);
        world.pass(2_000);
        let holder = world.publishers(0)[0];
        world.release(holder, 0);
        world.pass(STEP_MS);
        assert_eq!(world.publishers(0), [1 - holder], "{names:?}");
    }
}

#[test]
fn a_lease_that_went_missing_is_taken_anew() {
    let mut world = World::new(&["a"], 1);
    world.pass(1_000);
    world.leases[0] = None;
    world.pass(300);
    assert_eq!(world.publishers(0), [0]);
    assert!(world.leases[0].is_some());
}

#[test]
fn beats_that_cannot_be_true_and_floods_of_them_change_nothing() {
    let mut world = World::new(&["m"], 1);
    world.pass(1_000);
    let now = world.now;
    let beat = |instance: &str, sent_ms| Beat {
        instance: instance.to_owned(),
        sent_ms,
        takes: true,
    };
    let tenure = &mut world.programs[0].tenure;
    let until_ms = tenure.valid_until_ms();
    tenure.heard(&beat("m", i64::MAX), now);
    tenure.heard(&beat("m", i64::MIN), now - 10_000);
    assert!(tenure.valid_until_ms() <= until_ms);
    for number in 0..10_000 {
        tenure.heard(&beat(&format!("a{number}"), i64::MIN), now);
    }
    tenure.heard(&beat(&"a".repeat(100_000), now), now);
    assert_eq!(tenure.others.len(), OTHERS_MAX);
    world.pass(2_000);
    assert_eq!(world.publishers(0), [0]);
    assert_eq!(world.leases[0].as_ref().map(|lease| lease.number), Some(1));
}

#[test]
fn who_restarts_beside_a_program_of_another_part_does_not_take_its_marks_for_its_own() {
    let may_share = |world: &World, index: usize| {
        let program = &world.programs[index];
        program.tenure.may_share(world.now)
    };
    // A fleet split by hand.
    let mut world = World::of(&[("a", &[true, false]), ("b", &[false, true])]);
    world.pass(2_000);
    assert_eq!([0, 1].map(|index| may_share(&world, index)), [true, true]);
    world.programs[1].is_dead = true;
    world.pass(2 * SILENCE_MS);
    assert!(!may_share(&world, 0), "it is alone");
    // A holder, its standby, and a program that has said nothing yet.
    let mut world = World::new(&["a", "b"], 2);
    world.pass(2_000);
    assert_eq!([0, 1].map(|index| may_share(&world, index)), [false, false]);
    let new = Beat {
        instance: "new".to_owned(),
        sent_ms: world.now,
        takes: true,
    };
    let now = world.now;
    world.programs[0].tenure.heard(&new, now);
    assert!(may_share(&world, 0));
}
