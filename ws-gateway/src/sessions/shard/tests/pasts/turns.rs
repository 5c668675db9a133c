//! Many topics of one request, and pages that bring nothing.

use super::*;

/// A world whose sessions may have many topics, and a session that reads the past of so many.
fn world_that_reads(topics: usize) -> (World, Arc<Client>) {
    let mut world = World::new();
    let config = ShardConfig {
        subscriptions_max: 1_000,
        topics_max: 1_000,
        history_reads_per_session: 4,
        ..World::config(Pace::default())
    };
    let (hub, folds) = (Arc::clone(&world.hub), Arc::clone(&world.folds));
    world.shard = Shard::new(config, hub, folds, streams(&world.hub), 0, 7, world.now);
    let (id, client) = world.join();
    let topics: Vec<String> = (0..topics).map(|it| format!("kline:1s:N{it}-B")).collect();
    let request = serde_json::json!({ "op": "sub", "topics": topics, "from": { "last": 5 } });
    world.ask(id, &request.to_string());
    (world, client)
}

#[test]
fn a_read_costs_the_same_however_many_others_its_session_has() {
    let looks = |topics: usize| {
        let (mut world, _client) = world_that_reads(topics);
        for _ in 0..topics {
            let (question, _) = world.questions.pop().expect("asked");
            world.answer(question, Ok(PastPage::default()));
            world.pass(SECOND / 1_000);
        }
        assert_eq!(world.shard.read_count(), 0);
        world.shard.reads.take_looks() / topics as u64
    };
    let (few, many) = (looks(50), looks(400));
    assert!(
        many <= few + 2,
        "{few} looks at reads for each, then {many}"
    );
}

#[test]
fn many_topics_of_one_message_go_live_in_few_steps() {
    let (mut world, client) = world_that_reads(500);
    let before = world.shard.counts.sets_made;
    // History answers each question in a millisecond; it has no bars of them.
    let mut answered = 0;
    while answered < 500 {
        assert!(world.questions.len() <= 4, "in their turn");
        let (question, _) = world.questions.pop().expect("asked");
        world.answer(question, Ok(PastPage::default()));
        world.pass(SECOND / 1_000);
        answered += 1;
    }
    let objects = client.take();
    let lives = objects.iter().filter(|object| object["op"] == "live");
    assert_eq!(lives.count(), 500, "all are live, without a further wait");
    let made = world.shard.counts.sets_made - before;
    assert!(made <= 500 / 20 + 1, "{made} sets were made");
}

#[test]
fn a_topic_that_is_complete_does_not_wait_long_for_the_others() {
    let (mut world, store) = world_after(0..10);
    for index in 6..10 {
        world.offer(closed(index), true);
    }
    let (id, client) = world.join();
    let request = format!(r#"{{"op":"sub","topics":["{A}","kline:1m:C-D"],"from":{{"last":3}}}}"#);
    world.ask(id, &request);
    let at = world
        .questions
        .iter()
        .position(|(_, query)| query.topic == A);
    let (question, query) = world.questions.remove(at.expect("asked"));
    world.answer(question, Ok(store.answer(&query, 0)));
    assert_eq!(story(&client.take()), ["ack", "7", "8", "9"]);
    // What comes meanwhile is not lost.
    world.offer(closed(10), true);
    world.pass(SECOND / 50);
    assert_eq!(story(&client.take()), ["10", "live"]);
    // One that is given up while it waits does not go live.
    let (id, other) = world.join();
    world.ask(id, &request);
    let at = world
        .questions
        .iter()
        .position(|(_, query)| query.topic == A);
    let (question, query) = world.questions.remove(at.expect("asked"));
    world.answer(question, Ok(store.answer(&query, 0)));
    world.ask(id, &format!(r#"{{"op":"unsub","topics":["{A}"]}}"#));
    world.pass(SECOND);
    let objects = story(&other.take());
    assert!(!objects.contains(&"live".to_owned()), "{objects:?}");
}

/// An empty page, after which something follows.
fn nothing_yet() -> PastAnswer {
    Ok(PastPage {
        bars: Vec::new(),
        next: Some("2".to_owned()),
        asked_ms: 0,
    })
}

#[test]
fn an_empty_page_is_followed_by_the_next_one() {
    for from in [r#"{"ms":0}"#, r#"{"last":8}"#] {
        let (mut world, store) = world_after(0..10);
        for index in 6..10 {
            world.offer(closed(index), true);
        }
        let (id, client) = world.join();
        world.ask(id, &past_of(from));
        let (question, _) = world.questions.pop().expect("asked");
        world.answer(question, nothing_yet());
        world.pass(SECOND);
        let (question, query) = world.questions.pop().expect("asked again");
        assert_eq!(query.cursor.as_deref(), Some("2"));
        world.answer(question, Ok(store.answer(&query, 0)));
        world.answer_from(&store, 0);
        let objects = story(&client.take());
        assert_eq!(
            objects.last().map(String::as_str),
            Some("live"),
            "{objects:?}"
        );
        assert!(objects.len() >= 10, "{objects:?}");
    }
}

#[test]
fn a_history_whose_pages_are_empty_for_ever_is_asked_seldom_and_not_for_ever() {
    for from in [
        r#"{"ms":0}"#,
        r#"{"last":8}"#,
        r#"{"token":"k1.3000.3000"}"#,
    ] {
        let mut world = World::new();
        world.offer(closed(6), true);
        let (id, client) = world.join();
        world.ask(id, &past_of(from));
        let mut questions = 0;
        for _ in 0..100 {
            // It answers at once, as often as it is asked.
            while let Some((question, _)) = world.questions.pop() {
                questions += 1;
                assert!(questions < 100, "{from}: asked without a rest");
                world.answer(question, nothing_yet());
            }
            world.pass(SECOND / 10);
        }
        let objects = story(&client.take());
        assert_eq!(objects, ["ack", "6", "live:history"], "{from}");
        assert_eq!(world.shard.read_count(), 0);
    }
}
