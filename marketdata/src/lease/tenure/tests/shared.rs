//! Programs that share the instruments.

use super::super::surplus::{PAUSE_MS, SETTLED_MS};
use super::world::{STEP_MS, World};

const INSTRUMENTS: usize = 60;

/// How many instruments each program publishes. Each has a publisher.
fn held(world: &World) -> Vec<usize> {
    let mut held = vec![0; world.programs.len()];
    for instrument in 0..INSTRUMENTS {
        let publishers = world.publishers(instrument);
        assert_eq!(publishers.len(), 1, "{instrument}: {publishers:?}");
        held[publishers[0]] += 1;
    }
    held
}

#[test]
fn programs_that_start_together_share_the_instruments_and_move_none() {
    let mut world = World::shared(&["a", "b", "c"], INSTRUMENTS);
    world.pass(60_000);
    let held = held(&world);
    assert!(held.iter().all(|held| *held >= INSTRUMENTS / 6), "{held:?}");
    assert_eq!(world.moves, 0);
}

#[test]
fn a_program_that_comes_gets_its_part_one_by_one_and_without_a_pause_for_the_others() {
    let mut world = World::shared(&["a", "b", "c"], INSTRUMENTS);
    world.programs[2].is_dead = true;
    world.pass(30_000);
    let before = held(&world);
    assert_eq!(before[2], 0, "{before:?}");
    world.restart(2, "c");
    let came = world.now;
    let mut moves = world.moves;
    while world.now < came + 60_000 {
        world.pass(STEP_MS);
        assert!(world.moves - moves <= 2, "each of two moves one at a time");
        moves = world.moves;
        let silent = (0..INSTRUMENTS).filter(|id| world.publishers(*id).is_empty());
        let silent = silent.count();
        assert!(
            silent <= 2,
            "{silent} at once: the next one waits until the last was taken"
        );
        if world.now < came + SETTLED_MS {
            assert_eq!(world.moves, 0, "it has just come");
        }
    }
    let after = held(&world);
    assert!(after[2] >= INSTRUMENTS / 6, "{after:?}");
    // Nothing moved between the two others.
    assert_eq!(world.moves, after[2]);
    assert!(after[0] <= before[0] && after[1] <= before[1]);
    assert!(i64::try_from(moves).expect("few") * PAUSE_MS < 60_000);
    // Its part goes back when it dies.
    world.programs[2].is_dead = true;
    world.pass(3_000);
    assert_eq!(held(&world), before);
}

#[test]
fn a_program_whose_venues_are_cut_off_gives_its_part_away_and_gets_it_back_when_it_is_fed() {
    let mut world = World::shared(&["a", "b", "c"], INSTRUMENTS);
    world.pass(SETTLED_MS + 2_000);
    let before = held(&world);
    assert!(before[2] > 0, "{before:?}");
    world.programs[2].is_unfed = true;
    world.pass(20_000);
    let cut_off = held(&world);
    assert_eq!(cut_off[2], 0, "{cut_off:?}");
    // Nothing goes back to it, and a free lease is not its own.
    world.programs[0].is_dead = true;
    world.pass(SETTLED_MS + 2_000);
    assert_eq!(held(&world), [0, INSTRUMENTS, 0]);
    world.restart(0, "a");
    world.programs[2].is_unfed = false;
    world.pass(SETTLED_MS + 30_000);
    assert_eq!(held(&world), before);
}
