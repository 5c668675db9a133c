//! What the bus answers, and in which order.

use bus::Holding;

use super::world::World;
use crate::lease::beat::Beat;
use crate::lease::tenure::Ask;

#[test]
fn what_was_refused_under_an_older_number_of_ours_is_offered_again() {
    let mut world = World::new(&["a"], 1);
    world.pass(1_000);
    let tenure = &mut world.programs[0].tenure;
    tenure.refused(0);
    let mut asks = Vec::new();
    tenure.tick(world.now, &mut asks);
    assert_eq!(asks, [Ask::Look(0)]);
    asks.clear();
    tenure.looked(0, Ok(world.leases[0].clone()), world.now, &mut asks);
    assert_eq!(asks, [Ask::Repeat(0)]);
}

#[test]
fn a_refusal_during_a_look_asks_for_a_second_look() {
    let mut world = World::new(&["a"], 1);
    world.pass(1_000);
    let (now, ours) = (world.now, world.leases[0].clone());
    let tenure = &mut world.programs[0].tenure;
    let mut asks = Vec::new();
    tenure.refused(0);
    tenure.tick(now, &mut asks);
    assert_eq!(std::mem::take(&mut asks), [Ask::Look(0)]);
    // Somebody takes it after the look was answered, and before the answer is here.
    tenure.refused(0);
    tenure.looked(0, Ok(ours.clone()), now, &mut asks);
    assert_eq!(asks, [], "the answer is older than the refusal");
    tenure.tick(now, &mut asks);
    assert_eq!(std::mem::take(&mut asks), [Ask::Look(0)]);
    tenure.looked(0, Ok(ours), now, &mut asks);
    assert_eq!(asks, [Ask::Repeat(0)]);
}

#[test]
fn a_loss_while_the_records_are_read_asks_for_another_read_before_anything_is_taken() {
    let mut world = World::new(&["a"], 1);
    let tenure = &mut world.programs[0].tenure;
    assert!(tenure.joined(0));
    assert_eq!(tenure.missed(), [0]);
    // The second loss: the running read may have passed what was missed.
    assert_eq!(tenure.missed(), [] as [usize; 0]);
    assert!(!tenure.joined(0));
    let mut asks = Vec::new();
    let beat = |sent_ms| Beat {
        instance: "a".to_owned(),
        sent_ms,
        takes: true,
    };
    for now in (0..1_000).step_by(100) {
        tenure.heard(&beat(now), now);
        tenure.tick(now, &mut asks);
    }
    assert_eq!(asks, []);
    assert!(tenure.joined(0));
    tenure.tick(1_000, &mut asks);
    assert_eq!(asks, [Ask::Look(0)]);
}

#[test]
fn a_lease_that_was_lost_is_looked_at_after_the_records_of_its_successor_were_read() {
    let mut world = World::new(&["a"], 1);
    world.pass(1_000);
    let now = world.now;
    let tenure = &mut world.programs[0].tenure;
    // Records are missed while the lease counts as ours: whether it is, is not known yet.
    assert_eq!(tenure.missed(), [] as [usize; 0]);
    tenure.refused(0);
    let mut asks = Vec::new();
    tenure.tick(now, &mut asks);
    assert_eq!(asks, [Ask::Look(0)]);
    asks.clear();
    let theirs = Holding {
        number: 2,
        holder: Some("b".to_owned()),
        sequence: 9,
    };
    tenure.looked(0, Ok(Some(theirs)), now, &mut asks);
    assert_eq!(asks, [Ask::End(0)]);
    asks.clear();
    tenure.tick(now, &mut asks);
    assert_eq!(asks, [], "not before the records were read");
    assert!(tenure.joined(0));
    tenure.tick(now, &mut asks);
    assert_eq!(asks, [Ask::Look(0)]);
}

/// Lets time pass in which the program hears itself, and the program `other` while it lives.
fn listen(world: &mut World, until: i64, other: Option<&str>, asks: &mut Vec<Ask>) {
    let beat = |instance: &str, sent_ms| Beat {
        instance: instance.to_owned(),
        sent_ms,
        takes: true,
    };
    while world.now < until && asks.is_empty() {
        world.now += 100;
        let (now, tenure) = (world.now, &mut world.programs[0].tenure);
        tenure.heard(&beat("a", now), now);
        if let Some(other) = other {
            tenure.heard(&beat(other, now), now);
        }
        tenure.tick(now, asks);
    }
}

#[test]
fn a_lease_that_was_seen_is_taken_over_without_another_look() {
    let mut world = World::new(&["a"], 1);
    let mut asks = Vec::new();
    assert!(world.programs[0].tenure.joined(0));
    listen(&mut world, 1_000, Some("b"), &mut asks);
    assert_eq!(std::mem::take(&mut asks), [Ask::Look(0)]);
    let lease = |holder: &str, sequence| Holding {
        number: sequence,
        holder: Some(holder.to_owned()),
        sequence,
    };
    let now = world.now;
    let tenure = &mut world.programs[0].tenure;
    tenure.looked(0, Ok(Some(lease("b", 1))), now, &mut asks);
    listen(&mut world, 5_000, Some("b"), &mut asks);
    assert_eq!(asks, [], "its holder lives");
    // Another program takes it, and is seen before it dies.
    let now = world.now;
    world.programs[0].tenure.lease_said(0, Some("c"), now);
    listen(&mut world, now + 900, Some("c"), &mut asks);
    assert_eq!(asks, [], "who takes thousands over is not disturbed");
    listen(&mut world, now + 2_000, Some("c"), &mut asks);
    assert_eq!(std::mem::take(&mut asks), [Ask::Look(0)]);
    let now = world.now;
    let tenure = &mut world.programs[0].tenure;
    tenure.looked(0, Ok(Some(lease("c", 2))), now, &mut asks);
    listen(&mut world, now + 600, None, &mut asks);
    assert_eq!(asks, [Ask::Claim(0, Some(lease("c", 2)))]);
}

fn lease(holder: Option<&str>, sequence: u64) -> Holding {
    Holding {
        number: sequence,
        holder: holder.map(str::to_owned),
        sequence,
    }
}

#[test]
fn a_lease_that_changes_hands_while_it_is_looked_at_is_looked_at_once_more() {
    // Taken by ourselves, in an attempt that had no answer and arrived later; or released.
    for said in [Some("a"), None] {
        let mut world = World::new(&["a"], 1);
        let mut asks = Vec::new();
        assert!(world.programs[0].tenure.joined(0));
        listen(&mut world, 1_000, Some("b"), &mut asks);
        assert_eq!(std::mem::take(&mut asks), [Ask::Look(0)]);
        let now = world.now;
        let tenure = &mut world.programs[0].tenure;
        tenure.lease_said(0, said, now);
        // The answer is older.
        tenure.looked(0, Ok(Some(lease(Some("b"), 1))), now, &mut asks);
        assert_eq!(asks, [], "{said:?}");
        listen(&mut world, now + 2_000, Some("b"), &mut asks);
        assert_eq!(std::mem::take(&mut asks), [Ask::Look(0)], "{said:?}");
        let (now, newer) = (world.now, lease(said, 2));
        let tenure = &mut world.programs[0].tenure;
        tenure.looked(0, Ok(Some(newer.clone())), now, &mut asks);
        assert_eq!(asks, [Ask::Claim(0, Some(newer))], "{said:?}");
    }
}

#[test]
fn a_lease_that_was_seen_wrongly_while_its_holder_lives_is_looked_at_now_and_then() {
    let mut world = World::new(&["a"], 1);
    let mut asks = Vec::new();
    assert!(world.programs[0].tenure.joined(0));
    listen(&mut world, 1_000, Some("b"), &mut asks);
    for _ in 0..3 {
        assert_eq!(std::mem::take(&mut asks), [Ask::Look(0)]);
        let now = world.now;
        let tenure = &mut world.programs[0].tenure;
        tenure.looked(0, Ok(Some(lease(Some("b"), 1))), now, &mut asks);
        assert_eq!(asks, []);
        listen(&mut world, now + 9_000, Some("b"), &mut asks);
        assert_eq!(asks, [], "not often");
        listen(&mut world, now + 12_000, Some("b"), &mut asks);
    }
    assert_eq!(std::mem::take(&mut asks), [Ask::Look(0)]);
    let (now, ours) = (world.now, lease(Some("a"), 2));
    let tenure = &mut world.programs[0].tenure;
    tenure.looked(0, Ok(Some(ours.clone())), now, &mut asks);
    assert_eq!(asks, [Ask::Claim(0, Some(ours))]);
}

#[test]
fn a_doubt_while_a_lease_of_a_living_program_is_looked_at_is_read() {
    let mut world = World::new(&["a"], 1);
    let mut asks = Vec::new();
    assert!(world.programs[0].tenure.joined(0));
    listen(&mut world, 1_000, Some("b"), &mut asks);
    assert_eq!(std::mem::take(&mut asks), [Ask::Look(0)]);
    let now = world.now;
    let tenure = &mut world.programs[0].tenure;
    assert!(!tenure.doubt(0, now), "a takeover reads it anyway");
    tenure.looked(0, Ok(Some(lease(Some("b"), 1))), now, &mut asks);
    listen(&mut world, now + 12_000, Some("b"), &mut asks);
    assert_eq!(std::mem::take(&mut asks), [Ask::Look(0)]);
    let now = world.now;
    let tenure = &mut world.programs[0].tenure;
    assert!(tenure.doubt(0, now));
    tenure.looked(0, Ok(Some(lease(Some("b"), 1))), now, &mut asks);
    assert_eq!(asks, [], "nothing is taken before it was read");
    assert!(tenure.is_joining(0));
}
