//! What sessions may see, and for how long.

use auth::{Grant, Permissions, TokenError};

use super::*;
use crate::access::AuthRules;

fn permissions(patterns: &[&str]) -> Arc<Permissions> {
    let patterns = patterns.iter().map(|text| text.parse().expect("pattern"));
    Arc::new(Permissions::new(patterns.collect()))
}

fn grant(patterns: &[&str], seconds: u32) -> Grant {
    Grant {
        permissions: permissions(patterns),
        subscriptions_max: None,
        expires_ms: u64::from(seconds) * 1_000,
        expires_in: seconds * SECOND,
        lasts: (seconds + 5) * SECOND,
    }
}

fn world(is_required: bool) -> World {
    let mut world = World::new();
    // The clients here are never heard.
    world.shard.config.idle_timeout = 10_000 * SECOND;
    world.shard.config.auth = Some(AuthRules {
        is_required,
        anonymous: permissions(&["system:feed:*"]),
        notice: 30 * SECOND,
        failures_max: 3,
    });
    world
}

impl World {
    fn authenticate(&mut self, id: SessionId, grant: &Grant) {
        self.shard
            .authenticate(id, Some("9".into()), Ok(grant), self.now);
        self.perform();
    }

    fn pass_seconds(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.pass(SECOND);
        }
    }

    /// Topics of the bars that come with the next flush.
    fn delivered(&mut self, client: &Client) -> Vec<String> {
        self.flush();
        let objects = client.take();
        let topics = objects.iter().filter_map(|object| object["topic"].as_str());
        topics.map(str::to_owned).collect()
    }
}

const SUB_ALL: &str = r#"{"op":"sub","id":1,"topics":["kline:1s:*","system:feed:*"]}"#;

#[test]
fn where_a_token_is_required_nothing_is_answered_before_it() {
    let mut world = world(true);
    world.publish(A, 1, 1, false);
    let (id, client) = world.join();
    for text in [
        SUB_ALL,
        r#"{"op":"list"}"#,
        r#"{"op":"unsub","topics":["a:b"]}"#,
    ] {
        world.ask(id, text);
        let objects = client.take();
        assert_eq!(
            (objects.len(), &objects[0]["code"]),
            (1, &"auth_required".into())
        );
    }
    world.ask(id, r#"{"op":"ping"}"#);
    assert_eq!(ops(&client.take()), ["pong"]);
    assert_eq!(world.delivered(&client), [] as [&str; 0]);
    world.authenticate(id, &grant(&["kline:1s:*"], 100));
    let objects = client.take();
    assert_eq!(
        objects,
        [serde_json::json!({"op": "ack", "id": 9, "expires_ms": 100_000})]
    );
    world.ask(id, r#"{"op":"sub","topics":["kline:1s:*"]}"#);
    assert_eq!(ops(&client.take()), ["ack", "bar"]);
}

#[test]
fn who_brings_no_token_in_time_is_closed_however_much_is_asked() {
    let mut world = world(true);
    let (_, silent) = world.join();
    let (asking, asking_client) = world.join();
    let (good, good_client) = world.join();
    world.shard.admit(good, &grant(&["a:*"], 1_000), world.now);
    world.perform();
    world.ask(good, r#"{"op":"sub","topics":["a:b"]}"#);
    for _ in 0..31 {
        world.ask(asking, r#"{"op":"ping"}"#);
        world.pass(SECOND);
    }
    for client in [&silent, &asking_client] {
        assert_eq!(client.state().closed, Some(CloseCode::UNAUTHORIZED));
    }
    assert_eq!(good_client.state().closed, None);
}

#[test]
fn a_handshakes_token_is_no_request() {
    let mut world = world(true);
    let (id, client) = world.join();
    world.shard.admit(id, &grant(&["a:*"], 1_000), world.now);
    world.perform();
    assert_eq!(
        client.take(),
        [serde_json::json!({"op": "ack", "expires_ms": 1_000_000})]
    );
    world.pass_seconds(31);
    assert_eq!(client.state().closed, Some(CloseCode::FIRST_MESSAGE));
}

#[test]
fn what_is_not_permitted_is_refused_and_the_rest_is_subscribed() {
    let mut world = world(false);
    world.publish(A, 1, 1, false);
    let (id, client) = world.join();
    world.ask(id, SUB_ALL);
    let objects = client.take();
    assert_eq!(ops(&objects), ["error", "ack"]);
    assert_eq!(
        (
            &objects[0]["code"],
            &objects[0]["topics"],
            &objects[0]["id"]
        ),
        (
            &"forbidden".into(),
            &serde_json::json!(["kline:1s:*"]),
            &1.into()
        )
    );
    assert_eq!(objects[1]["topics"], serde_json::json!(["system:feed:*"]));
    world.ask(
        id,
        r#"{"op":"sub","topics":["kline:1s:A-B","*:>","system:>"],"max_rate":1}"#,
    );
    let objects = client.take();
    assert_eq!(ops(&objects), ["error"]);
    assert_eq!(objects[0]["topics"].as_array().map(Vec::len), Some(3));
    assert_eq!(world.shard.counts.forbidden, 4);
    // Nor does anything come of it later.
    world.publish(A, 1, 2, false);
    world.publish("system:feed:okx", 1, 1, false);
    assert_eq!(world.delivered(&client), ["system:feed:okx"]);
}

#[test]
fn a_topic_that_appears_later_comes_only_to_those_who_may_have_it() {
    let mut world = world(true);
    let (one, one_client) = world.join();
    let (other, other_client) = world.join();
    world.authenticate(one, &grant(&["kline:1s:A-B"], 100));
    world.authenticate(other, &grant(&["kline:1s:*"], 100));
    for id in [one, other] {
        world.ask(id, r#"{"op":"sub","topics":["kline:1s:*","kline:1s:A-B"]}"#);
    }
    assert_eq!(ops(&one_client.take()), ["ack", "error", "ack"]);
    assert_eq!(ops(&other_client.take()), ["ack", "ack"]);
    for topic in [A, "kline:1s:C-D", "kline:1s:OKX:A-B"] {
        world.publish(topic, 1, 1, false);
    }
    assert_eq!(world.delivered(&one_client), [A]);
    assert_eq!(other_client.take().len(), 3);
}

#[test]
fn an_exchanges_symbol_does_not_tell_what_there_is() {
    let mut world = world(true);
    let sub = r#"{"op":"sub","channels":["kline_1s"],"symbols":["A-B"],"exchanges":["binance"]}"#;
    world.publish(A, 1, 1, false);
    for (permitted, expected) in [
        (&["kline:1s:A-B"][..], "kline:1s:A-B"),
        (&["kline:1s:BINANCE:*"], "kline:1s:BINANCE:A-B"),
        (&["kline:1s:*"], "kline:1s:A-B"),
        (&["x:y"], "kline:1s:BINANCE:A-B"),
    ] {
        let (id, client) = world.join();
        world.authenticate(id, &grant(permitted, 100));
        world.ask(id, sub);
        assert_eq!(client.take()[1]["topics"][0], expected);
    }
}

#[test]
fn list_names_what_may_be_seen() {
    let mut world = world(true);
    for topic in ["a:1", "b:1", "a:2", "b:2", "a:3", "b:3", "b:4"] {
        world.publish(topic, 1, 1, false);
    }
    for (permitted, expected, is_truncated) in [
        (&["a:*"][..], &["a:1", "a:2", "a:3"][..], false),
        (&["b:*"], &["b:1", "b:2", "b:3"], true),
        (&["a:*"], &["a:1", "a:2", "a:3"], false),
        (&["a:2", "x:y"], &["a:2"], false),
        (&[], &[], false),
    ] {
        let (id, client) = world.join();
        world.authenticate(id, &grant(permitted, 100));
        world.ask(id, r#"{"op":"list"}"#);
        let list = &client.take()[1];
        assert_eq!(list["topics"], serde_json::json!(expected));
        assert_eq!(list.get("truncated").is_some(), is_truncated);
    }
    // The same for who comes later and finds the list made, and a new one once there is more.
    world.publish("a:0", 1, 1, false);
    let (id, client) = world.join();
    world.authenticate(id, &grant(&["a:*"], 100));
    world.ask(id, r#"{"op":"list"}"#);
    assert_eq!(client.take()[1]["topics"][0], "a:0");
}

#[test]
fn a_token_that_permits_less_unsubscribes_the_rest_and_says_so() {
    let mut world = world(true);
    let (id, client) = world.join();
    world.authenticate(id, &grant(&["kline:>"], 100));
    world.ask(id, r#"{"op":"sub","topics":["kline:1s:*","kline:1m:A-B"]}"#);
    client.take();
    world.publish(A, 1, 1, false);
    // Before it is sent: what is not permitted any more must not be.
    world.authenticate(id, &grant(&["kline:1m:*", "x:*"], 100));
    let objects = client.take();
    assert_eq!(
        objects[0]["unsubscribed"],
        serde_json::json!(["kline:1s:*"])
    );
    world.publish("kline:1m:A-B", 1, 1, false);
    assert_eq!(world.delivered(&client), ["kline:1m:A-B"]);
    world.ask(id, r#"{"op":"list"}"#);
    assert_eq!(
        client.take()[0]["subscriptions"],
        serde_json::json!(["kline:1m:A-B"])
    );
    // And wider again.
    world.authenticate(id, &grant(&["kline:>"], 100));
    assert!(client.take()[0].get("unsubscribed").is_none());
    world.ask(id, r#"{"op":"sub","topics":["kline:1s:*"]}"#);
    assert_eq!(ops(&client.take()), ["ack", "bar"]);
}

#[test]
fn a_token_bounds_the_subscriptions() {
    let mut world = world(true);
    let (id, client) = world.join();
    let mut two = grant(&["a:*"], 100);
    two.subscriptions_max = Some(2);
    world.authenticate(id, &grant(&["a:*"], 100));
    world.ask(id, r#"{"op":"sub","topics":["a:1","a:2","a:3"]}"#);
    world.authenticate(id, &two);
    // What there is stays, and may be changed.
    world.ask(id, r#"{"op":"sub","topics":["a:3"],"closed_only":true}"#);
    assert_eq!(ops(&client.take()), ["ack", "ack", "ack", "ack"]);
    world.ask(id, r#"{"op":"sub","topics":["a:4"]}"#);
    assert_eq!(client.take()[0]["code"], "too_many_subscriptions");
    world.ask(id, r#"{"op":"unsub","topics":["a:1","a:2"]}"#);
    world.ask(id, r#"{"op":"sub","topics":["a:4"]}"#);
    assert_eq!(ops(&client.take()), ["ack", "ack"]);
}

#[test]
fn a_session_is_told_before_its_token_expires_and_closed_after() {
    let mut world = world(true);
    let (id, client) = world.join();
    world.authenticate(id, &grant(&["a:*"], 100));
    world.ask(id, r#"{"op":"sub","topics":["a:1"]}"#);
    client.take();
    world.pass_seconds(69);
    assert_eq!(client.take().len(), 0);
    world.pass_seconds(2);
    let expiring = serde_json::json!({"op": "auth_expiring", "expires_ms": 100_000});
    assert_eq!(client.take(), [expiring]);
    world.pass_seconds(33);
    assert_eq!(client.state().closed, None, "the leeway is not over");
    world.pass_seconds(2);
    assert_eq!(client.state().closed, Some(CloseCode::TOKEN_EXPIRED));
    assert_eq!(client.take().len(), 0);
}

/// A client whose token does not expire meanwhile.
fn keep_alive(world: &mut World, id: SessionId, client: &Client, seconds: u32) {
    for _ in 0..seconds {
        world.pass(SECOND);
        world.ask(id, r#"{"op":"ping"}"#);
        assert_eq!(client.state().closed, None);
    }
}

#[test]
fn a_refresh_in_time_keeps_the_session_whichever_token_is_longer() {
    let mut world = world(true);
    let (id, client) = world.join();
    world.authenticate(id, &grant(&["a:*"], 40));
    keep_alive(&mut world, id, &client, 39);
    world.authenticate(id, &grant(&["a:*"], 200));
    keep_alive(&mut world, id, &client, 150);
    // A shorter one counts, too.
    world.authenticate(id, &grant(&["a:*"], 10));
    keep_alive(&mut world, id, &client, 14);
    world.pass_seconds(2);
    assert_eq!(client.state().closed, Some(CloseCode::TOKEN_EXPIRED));
}

#[test]
fn many_refreshes_arm_few_timers_and_a_token_for_ever_is_one() {
    let mut world = world(true);
    let (id, client) = world.join();
    let timers =
        |world: &World| world.shard.members.timer_count() + world.shard.tokens.timer_count();
    let before = timers(&world);
    let mut endless = grant(&["a:*"], 1);
    endless.expires_in = Duration::MAX;
    endless.lasts = Duration::MAX;
    endless.expires_ms = u64::MAX;
    for _ in 0..100 {
        world.authenticate(id, &grant(&["a:*"], 1_000));
        world.authenticate(id, &endless);
    }
    assert_eq!(timers(&world), before + 1);
    keep_alive(&mut world, id, &client, 500);
    assert_eq!(timers(&world), before + 1);
    world.shard.leave(id);
    assert!(world.shard.tokens.is_empty());
    world.pass_seconds(62);
    assert_eq!(timers(&world), 0, "a session leaves no timer behind");
}

#[test]
fn bad_tokens_are_answered_and_end_the_session_at_last() {
    let mut world = world(false);
    let (id, client) = world.join();
    for count in 1..=3 {
        assert_eq!(client.state().closed, None);
        world
            .shard
            .authenticate(id, Some("1".into()), Err(TokenError::Expired), world.now);
        world.perform();
        let objects = client.take();
        assert_eq!(
            (objects.len(), &objects[0]["code"]),
            (1, &"invalid_token".into()),
            "{count}"
        );
    }
    assert_eq!(client.state().closed, Some(CloseCode::UNAUTHORIZED));
}

#[test]
fn a_bad_token_leaves_the_good_one() {
    let mut world = world(true);
    let (id, client) = world.join();
    world.authenticate(id, &grant(&["a:*"], 100));
    world
        .shard
        .authenticate(id, None, Err(TokenError::Signature), world.now);
    world.ask(id, r#"{"op":"sub","topics":["a:1"]}"#);
    assert_eq!(ops(&client.take()), ["ack", "error", "ack"]);
    // Those that are between good ones are not held against the session.
    for _ in 0..5 {
        world
            .shard
            .authenticate(id, None, Err(TokenError::Signature), world.now);
        world.authenticate(id, &grant(&["a:*"], 100));
    }
    assert_eq!(client.state().closed, None);
}

#[test]
fn where_tokens_are_not_looked_at_everything_is_as_before() {
    let mut world = World::new();
    let (id, client) = world.join();
    world.ask(id, r#"{"op":"auth","token":"x"}"#);
    assert_eq!(client.take()[0]["code"], "auth_not_required");
    world.ask(id, r#"{"op":"sub","topics":["*:>"]}"#);
    assert_eq!(ops(&client.take()), ["ack"]);
    assert!(world.shard.tokens.is_empty());
    assert!(
        size_of::<Option<session::Session<Client>>>() <= 96,
        "a session's own part has grown"
    );
}

#[test]
fn a_list_holds_each_topic_against_permissions_once_however_many_ask() {
    let mut world = world(true);
    for topic in ["kline:1s:A-B", "kline:1s:C-D", "system:feed:okx"] {
        world.publish(topic, 1, 1, false);
    }
    let sessions: Vec<_> = (0..40)
        .map(|number| {
            let (id, client) = world.join();
            let own = format!("kline:1m:N{number}-B");
            world.authenticate(id, &grant(&["kline:*:A-B", &own], 1_000));
            client.take();
            (id, client)
        })
        .collect();
    let lists = |world: &mut World| {
        for (id, client) in &sessions {
            world.ask(*id, r#"{"op":"list"}"#);
            let list = client.take().remove(0);
            assert_eq!(list["topics"], serde_json::json!(["kline:1s:A-B"]));
            assert_eq!(list["truncated"], serde_json::json!(null));
        }
        std::mem::take(&mut world.shard.counts.listed)
    };
    assert_eq!(lists(&mut world), 3 * 40);
    assert_eq!(lists(&mut world), 0);
    world.publish("kline:1s:E-F", 1, 1, false);
    assert_eq!(lists(&mut world), 40, "only what is new");
}
