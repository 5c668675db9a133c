//! The updates that sessions get.

use super::*;

#[test]
fn sessions_in_lockstep_share_one_encoded_frame() {
    let mut world = World::new();
    let clients: Vec<_> = (0..10).map(|_| world.join()).collect();
    for (id, _) in &clients {
        // Subscribed at different versions all the same.
        world.publish("x:y", 0, 0, false);
        world.ask(*id, r#"{"op":"sub","topics":["kline:1s:A-B"]}"#);
    }
    world.publish(A, 1, 1, false);
    world.flush();
    world.publish(A, 1, 2, false);
    world.shard.counts = Counts::default();
    world.flush();
    assert_eq!(
        (world.shard.counts.frames, world.shard.counts.encoded),
        (10, 1)
    );
    for (_, client) in &clients {
        let objects = client.take();
        assert_eq!(ops(&objects), ["ack", "bar", "bar"]);
    }
}

/// A gateway that starts during a takeover has newer bars before older ones, and clients come in
/// between.
#[test]
fn a_session_that_gets_a_late_bar_gets_the_bars_between_it_and_its_first_one() {
    let mut world = World::new();
    let join = |world: &mut World| {
        let (id, client) = world.join();
        world.ask(id, r#"{"op":"sub","topics":["kline:1s:A-B"]}"#);
        (id, client)
    };
    let starts = |client: &Client| -> Vec<i64> {
        let objects = client.take();
        assert!(objects.iter().all(|bar| bar.get("skipped").is_none()));
        let seconds = |bar: &Value| Some(bar["start_ms"].as_i64()? / 1_000);
        objects.iter().filter_map(seconds).collect()
    };
    let (_, early) = join(&mut world);
    world.publish(A, 31, 31, true);
    world.publish(A, 32, 32, true);
    world.publish(A, 33, 33, true);
    world.flush();
    assert_eq!(starts(&early), [31, 32, 33]);
    let young: Vec<_> = (0..2).map(|_| join(&mut world)).collect();
    // A topic that a session goes on with has not begun here for it.
    world.publish("kline:1s:C-D", 1, 1, true);
    world.ask(
        young[1].0,
        r#"{"op":"sub","topics":["kline:1s:C-D"],"since":{"epoch":1,"seq":{"kline:1s:C-D":1},"closed_ms":{"kline:1s:C-D":2000}}}"#,
    );
    for (_, client) in &young {
        assert_eq!(starts(client), [33]);
    }
    world.publish(A, 30, 30, true);
    world.flush();
    assert_eq!(starts(&early), [30], "it has the others");
    for (_, client) in &young {
        assert_eq!(starts(client), [30, 31, 32, 33]);
    }
    world.publish(A, 34, 34, true);
    world.flush();
    for client in young.iter().map(|(_, client)| client).chain([&early]) {
        assert_eq!(starts(client), [34]);
    }
}

/// Sessions that began at many versions are a few groups.
#[test]
fn sessions_that_began_at_many_versions_share_few_frames_of_a_late_bar() {
    let depth = Depth {
        closed_bars: 64,
        ..Depth::default()
    };
    let mut world = World::holding(depth, Pace::default(), Names::any(), usize::MAX);
    let mut clients = Vec::new();
    for index in 2..40 {
        world.publish(A, index, index.unsigned_abs(), true);
        let (id, client) = world.join();
        world.ask(id, r#"{"op":"sub","topics":["kline:1s:A-B"]}"#);
        clients.push(client);
    }
    world.flush();
    for client in &clients {
        client.take();
    }
    world.shard.counts = Counts::default();
    world.publish(A, 1, 1, true);
    world.flush();
    assert_eq!(world.shard.counts.encoded, 8);
    for (at, client) in clients.iter().enumerate() {
        // All that were here before it came, and at most those of its group.
        let bars = client.take().len();
        assert!((at + 2..=at + 7).contains(&bars), "{bars} at {at}");
    }
}

#[test]
fn each_encoding_is_made_once_for_all_sessions_that_have_it() {
    let mut world = World::new();
    let (plain, usual) = (Encoding::default(), Some(Window::Usual));
    let deflated = Encoding {
        window: usual,
        ..plain
    };
    let protobuf = Encoding {
        dialect: Dialect::Protobuf,
        window: usual,
    };
    // The first set has its topics in common with the second, and no frame.
    for topics in [r#"["kline:1s:A-B"]"#, r#"["kline:1s:A-B","kline:1s:C-D"]"#] {
        for encoding in [plain, deflated, protobuf] {
            for _ in 0..3 {
                let client = Arc::new(Client {
                    encoding,
                    state: Mutex::default(),
                    heard_at: world.start,
                    ip: None,
                });
                let id = world.shard.join(client, world.now);
                world.ask(id, &format!(r#"{{"op":"sub","topics":{topics}}}"#));
            }
        }
    }
    world.publish(A, 1, 1, false);
    let _ = world.shard.take_counts();
    world.flush();
    let counts = world.shard.take_counts();
    assert_eq!((counts.frames, counts.encoded), (18, 6));
    // A frame for each set and encoding, but the bar itself is compressed once in each dialect.
    // What it lacks of a bar makes it JSON in protobuf, too.
    let (_, bar) = bar(1, 1, 1, false);
    let once_each = 2 * bar.len() as u64;
    assert!(counts.deflate_in_bytes.abs_diff(once_each) < 8);
    assert!(counts.compressed == 12 && counts.bytes < counts.plain_bytes);
}

#[test]
fn a_stalled_session_gets_the_newest_state_once_it_can_take_it() {
    let mut world = World::new();
    let (slow, slow_client) = world.join();
    let (quick, quick_client) = world.join();
    for id in [slow, quick] {
        world.ask(id, r#"{"op":"sub","topics":["kline:1s:A-B"]}"#);
    }
    slow_client.state().is_stalled = true;
    for seq in 1..=20 {
        world.publish(A, seq as i64, seq, true);
        world.flush();
    }
    world.publish(A, 21, 21, false);
    world.flush();
    assert_eq!(quick_client.take().len(), 1 + 21);
    assert_eq!(slow_client.take().len(), 1);
    slow_client.state().is_stalled = false;
    world.shard.writable(slow, world.now);
    world.flush();
    let objects = slow_client.take();
    // The ring holds 4 closed bars here; the forming one comes after them.
    assert_eq!(objects.len(), 5);
    assert_eq!(objects[0]["skipped"], 16);
    assert_eq!(objects[4]["seq"], 21);
    assert!(
        objects[1..]
            .iter()
            .all(|object| object.get("skipped").is_none())
    );
}

#[test]
fn a_session_that_missed_bars_is_in_the_log_once_it_is_told() {
    let log = testkit::log::Log::start();
    let mut world = World::new();
    let (slow, slow_client) = world.join();
    world.ask(slow, r#"{"op":"sub","topics":["kline:1s:A-B"]}"#);
    slow_client.state().is_stalled = true;
    for seq in 1..=20 {
        world.publish(A, seq as i64, seq, true);
        world.flush();
    }
    let told = "session is told what it missed";
    assert!(log.events(told).is_empty());
    slow_client.state().is_stalled = false;
    world.shard.writable(slow, world.now);
    world.flush();
    // The ring holds 4 closed bars here.
    let events = log.events(told);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(
        (&events[0]["skipped"], &events[0]["skipped_entries"]),
        (&16.into(), &0.into())
    );
    assert!(events[0]["session_id"].is_u64(), "{events:?}");
}

#[test]
fn max_rate_holds_frames_back_and_can_be_changed() {
    let mut world = World::new();
    let (id, client) = world.join();
    world.ask(id, r#"{"op":"sub","topics":["kline:1s:A-B"],"max_rate":2}"#);
    client.take();
    for seq in 1..=10 {
        world.publish(A, 1, seq, false);
        world.flush();
    }
    assert_eq!(client.take().len(), 0, "the snapshot counts as a frame");
    world.pass(SECOND / 2);
    world.flush();
    let objects = client.take();
    assert_eq!((objects.len(), &objects[0]["seq"]), (1, &Value::from(10)));
    world.ask(id, r#"{"op":"sub","topics":["kline:1s:A-B"],"max_rate":0}"#);
    client.take();
    for seq in 11..=13 {
        world.publish(A, 1, seq, false);
        world.flush();
    }
    assert_eq!(client.take().len(), 3);
}

#[test]
fn what_is_held_back_comes_by_the_new_rate() {
    let mut world = World::new();
    let (id, client) = world.join();
    world.ask(
        id,
        r#"{"op":"sub","topics":["kline:1s:A-B"],"max_rate":0.1}"#,
    );
    client.take();
    world.publish(A, 1, 1, false);
    world.flush();
    world.ask(id, r#"{"op":"rate","id":7,"max_rate":2}"#);
    world.flush();
    let objects = client.take();
    assert_eq!((ops(&objects), &objects[0]["id"]), (vec!["ack"], &7.into()));
    world.pass(SECOND / 2);
    world.flush();
    assert_eq!(client.take()[0]["seq"], 1, "and not in ten seconds");
    world.publish(A, 1, 2, false);
    world.flush();
    world.ask(id, r#"{"op":"rate","max_rate":0}"#);
    world.flush();
    assert_eq!(ops(&client.take()), ["ack", "bar"]);
    world.ask(id, r#"{"op":"rate","max_rate":5000}"#);
    assert_eq!(client.take()[0]["code"], "bad_option");
    world.ask(id, r#"{"op":"rate"}"#);
    assert_eq!(client.take()[0]["code"], "bad_request");
}

#[test]
fn a_second_subscription_brings_what_is_lacking_of_the_first() {
    let mut world = World::new();
    let (id, client) = world.join();
    world.publish("kline:1s:C-D", 1, 1, false);
    world.ask(id, r#"{"op":"sub","topics":["kline:1s:A-B"]}"#);
    client.take();
    world.publish(A, 1, 1, true);
    world.publish(A, 2, 2, true);
    world.ask(id, r#"{"op":"sub","topics":["kline:1s:C-D"]}"#);
    let objects = client.take();
    assert_eq!(ops(&objects), ["ack", "bar", "bar", "bar"]);
    world.flush();
    assert_eq!(client.take().len(), 0, "nothing comes twice");
    world.ask(id, r#"{"op":"sub","topics":["kline:1s:A-B"]}"#);
    let objects = client.take();
    assert_eq!(
        (ops(&objects), &objects[1]["seq"]),
        (vec!["ack", "bar"], &Value::from(2))
    );
}

#[test]
fn a_client_resumes_from_its_sequence_number() {
    let mut world = World::new();
    for seq in 1..=3 {
        world.publish(A, seq as i64, seq, true);
    }
    let (id, client) = world.join();
    world.ask(
        id,
        r#"{"op":"sub","topics":["kline:1s:A-B"],"since":{"epoch":1,"seq":{"kline:1s:A-B":1}}}"#,
    );
    let objects = client.take();
    let seqs: Vec<_> = objects[1..].iter().map(|bar| bar["seq"].as_u64()).collect();
    assert_eq!(seqs, [Some(2), Some(3)]);
    assert!(objects[0].get("not_resumed").is_none());
    let (id, client) = world.join();
    world.ask(
        id,
        r#"{"op":"sub","topics":["kline:1s:A-B"],"since":{"epoch":9,"seq":{"kline:1s:A-B":1}}}"#,
    );
    let objects = client.take();
    assert_eq!(
        (objects.len(), &objects[0]["not_resumed"][0]),
        (4, &Value::from(A))
    );
}

#[test]
fn a_snapshot_is_kept_only_while_several_share_it_and_nothing_changes() {
    let mut world = World::new();
    world.publish(A, 1, 1, false);
    let members: Vec<_> = (0..4).map(|_| world.join().0).collect();
    let is_kept = |world: &World| {
        let set = world.shard.members.get(members[0]).expect("a member").set;
        world.shard.subscriptions.sets.get(set).snapshot.is_some()
    };
    let request = r#"{"op":"sub","topics":["kline:1s:A-B"]}"#;
    world.ask(members[0], request);
    assert!(!is_kept(&world));
    world.ask(members[1], request);
    assert!(is_kept(&world));
    world.shard.counts = Counts::default();
    world.ask(members[2], request);
    assert_eq!(world.shard.counts.encoded, 0);
    world.publish(A, 1, 2, false);
    world.flush();
    assert!(!is_kept(&world));
    world.ask(members[3], request);
    assert!(is_kept(&world));
    for &id in &members[1..] {
        world.shard.leave(id);
    }
    assert!(!is_kept(&world));
}

#[test]
fn what_a_closed_connection_does_not_take_is_not_counted_as_sent() {
    let mut world = World::new();
    world.publish(A, 1, 1, true);
    let ((open, _), (closed, client)) = (world.join(), world.join());
    client.close(CloseCode::IDLE);
    for id in [closed, open] {
        world.ask(id, r#"{"op":"sub","topics":["kline:1s:A-B"]}"#);
        world.ask(id, r#"{"op":"ping"}"#);
        let counts = &world.shard.counts;
        let counted = [
            counts.snapshots,
            counts.updates,
            counts.bytes,
            counts.answer_bytes,
        ];
        assert_eq!(counted.map(|count| count > 0), [id == open; 4]);
    }
}
