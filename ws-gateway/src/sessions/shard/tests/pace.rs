//! When updates go out.

use super::*;

#[test]
fn a_lone_update_goes_out_after_a_moment_and_the_next_after_the_interval() {
    let mut world = World::with(PACE);
    let (id, client) = world.join();
    world.ask(id, r#"{"op":"sub","topics":["kline:1s:*"]}"#);
    client.take();
    world.pass(SECOND);
    world.publish(A, 1, 1, false);
    world.flush();
    assert_eq!(client.take().len(), 0);
    assert_eq!(world.shard.flush_at(), Some(world.now + MS));
    world.pass(MS);
    let sent_at = world.now;
    world.flush();
    assert_eq!((client.take().len(), world.shard.flush_at()), (1, None));
    assert_eq!(world.shard.flushing_since(), Some(sent_at - MS));
    world.pass(2 * MS);
    world.publish(A, 1, 2, false);
    world.flush();
    assert_eq!(world.shard.flush_at(), Some(sent_at + 10 * MS));
    world.pass(8 * MS);
    world.flush();
    assert_eq!(client.take()[0]["seq"], 2);
}

#[test]
fn a_burst_is_one_frame_and_one_without_end_is_cut_by_the_linger() {
    let mut world = World::with(PACE);
    let (id, client) = world.join();
    world.ask(id, r#"{"op":"sub","topics":["kline:1s:*"]}"#);
    client.take();
    world.pass(SECOND);
    // Eight topics change within 2 ms, and the shard looks between them.
    for number in 0..8 {
        world.publish(&format!("kline:1s:A{number}-B"), 1, 1, false);
        world.flush();
        if number % 4 == 3 {
            world.pass(MS);
        }
    }
    assert_eq!((client.take().len(), client.state().frames), (0, 0));
    world.flush();
    assert_eq!((client.take().len(), client.state().frames), (8, 1));
    world.pass(SECOND);
    for seq in 2..22 {
        world.publish("kline:1s:A0-B", 1, seq, false);
        world.flush();
        world.pass(MS / 2);
    }
    // From the first change on: one frame after 5 ms, the next is due at 15.
    assert_eq!(
        (client.take()[0]["seq"].as_u64(), client.state().frames),
        (Some(12), 2)
    );
}

#[test]
fn sets_are_paced_apart_and_lockstep_holds() {
    let mut world = World::with(PACE);
    let clients: Vec<_> = (0..3).map(|_| world.join()).collect();
    for (id, topic) in clients.iter().map(|(id, _)| id).zip(["A-B", "C-D", "C-D"]) {
        world.ask(
            *id,
            &format!(r#"{{"op":"sub","topics":["kline:1s:{topic}"]}}"#),
        );
    }
    world.pass(SECOND);
    world.publish(A, 1, 1, false);
    world.pull_and_pass(MS);
    world.flush();
    world.publish(A, 1, 2, false);
    world.publish("kline:1s:C-D", 1, 1, false);
    world.pull_and_pass(MS);
    world.shard.counts = Counts::default();
    world.flush();
    // The one that was just sent waits; the other is encoded once for both.
    let counts = &world.shard.counts;
    assert_eq!((counts.frames, counts.encoded), (2, 1));
    world.pass(9 * MS);
    world.flush();
    assert_eq!(world.shard.counts.frames, 3);
}
