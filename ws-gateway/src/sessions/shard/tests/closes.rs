//! Sessions that the gateway closes: silent ones, and those of a drain or a rebalance.

use super::*;

#[test]
fn the_quiet_are_pinged_and_closed_and_the_silent_newcomer_too() {
    let mut world = World::new();
    let (asking, asking_client) = world.join();
    let (_, silent_client) = world.join();
    world.ask(asking, r#"{"op":"sub","topics":["a:1"]}"#);
    for _ in 0..31 {
        world.pass(SECOND);
    }
    assert_eq!(silent_client.state().closed, Some(CloseCode::FIRST_MESSAGE));
    assert!(asking_client.state().pings >= 1);
    assert_eq!(asking_client.state().closed, None);
    for _ in 0..60 {
        world.pass(SECOND);
    }
    assert_eq!(asking_client.state().closed, Some(CloseCode::IDLE));
}

#[test]
fn nobody_is_closed_for_silence_during_a_standstill_of_the_gateway() {
    for standstill in [40 * SECOND, 600 * SECOND] {
        let mut world = World::new();
        let (asking, asking_client) = world.join();
        world.ask(asking, r#"{"op":"sub","topics":["a:1"]}"#);
        for _ in 0..25 {
            world.pass(SECOND);
        }
        let (_, new_client) = world.join();
        world.pass(standstill);
        // Their pongs and requests wait in the sockets, and are read after this.
        for client in [&asking_client, &new_client] {
            assert_eq!(client.state().closed, None);
        }
        // Who has said nothing since is silent.
        for _ in 0..31 {
            world.pass(SECOND);
        }
        assert_eq!(new_client.state().closed, Some(CloseCode::FIRST_MESSAGE));
        assert_eq!(asking_client.state().closed, None);
        for _ in 0..60 {
            world.pass(SECOND);
        }
        assert_eq!(asking_client.state().closed, Some(CloseCode::IDLE));
    }
}

#[test]
fn a_drain_closes_everyone_within_its_window_and_not_all_at_once() {
    let mut world = World::new();
    let clients: Vec<_> = (0..100).map(|_| world.join().1).collect();
    world.shard.drain(world.now, 10 * SECOND);
    let mut closed_by = Vec::new();
    for _ in 0..11 {
        world.pass(SECOND);
        let closed = clients
            .iter()
            .filter(|client| client.state().closed.is_some());
        closed_by.push(closed.count());
    }
    assert_eq!(closed_by[10], 100);
    assert!((20..80).contains(&closed_by[4]), "{closed_by:?}");
    assert!(
        clients
            .iter()
            .all(|client| client.state().closed == Some(CloseCode::DRAIN))
    );
}

#[test]
fn a_session_that_joins_during_a_drain_is_closed_with_the_others() {
    let mut world = World::new();
    let _first = world.join();
    world.shard.drain(world.now, 10 * SECOND);
    let (_, during) = world.join();
    world.pass(11 * SECOND);
    let (_, after) = world.join();
    world.pass(SECOND);
    for client in [during, after] {
        assert_eq!(client.state().closed, Some(CloseCode::DRAIN));
    }
}

#[test]
fn some_sessions_are_shed_over_the_window_but_no_young_ones_and_none_in_a_drain() {
    let mut world = World::new();
    let old: Vec<_> = (0..50).map(|_| world.join().1).collect();
    world.pass(5 * SECOND);
    let young: Vec<_> = (0..50).map(|_| world.join().1).collect();
    let closed = |clients: &[Arc<Client>]| -> Vec<CloseCode> {
        clients
            .iter()
            .filter_map(|client| client.state().closed)
            .collect()
    };
    world.shard.shed(10, 5 * SECOND, world.now, SECOND);
    let staying = world.shard.staying();
    // Where young ones are looked at too, none may be found.
    assert!((90..97).contains(&staying), "{staying}");
    world.pass(SECOND / 2);
    let halfway = closed(&old).len();
    assert!((1..100 - staying).contains(&halfway), "{halfway}");
    world.pass(SECOND / 2);
    let codes = closed(&old);
    assert_eq!(codes, vec![CloseCode::REBALANCE; 100 - staying]);
    assert_eq!(world.shard.counts.sheds, codes.len() as u64);
    assert_eq!(closed(&young), []);
    world.shard.shed(10, Duration::ZERO, world.now, SECOND);
    world.shard.drain(world.now, 10 * SECOND);
    world.shard.shed(10, Duration::ZERO, world.now, SECOND);
    world.pass(10 * SECOND);
    assert_eq!(world.shard.counts.sheds, codes.len() as u64);
    assert!(closed(&young).iter().all(|code| *code == CloseCode::DRAIN));
    assert_eq!(closed(&young).len(), 50);
}
