//! A shard without clock and sockets.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Mutex;

use bytes::Bytes;
use market_core::protocol::{CloseCode, Request, RequestLimits};
use market_core::wire::{BarHead, HistoryQuery};
use proptest::prelude::*;
use serde_json::Value;
use tokio_tungstenite::tungstenite::protocol::frame::FrameSocket;

use super::*;
use crate::dialect::Dialect;
use crate::encode::deflate::{Compression, Window};
use crate::encode::encoding::Encoding;
use crate::encode::frame_budget::FrameBudget;
use crate::sessions::flush_schedule::Pace;
use crate::sessions::past::ReadId;
use crate::topics::folds::{FoldLimits, Folds};
use crate::topics::names::Names;
use crate::topics::state::Depth;
use crate::topics::state::testing::bar;

/// A client's side: takes everything, or nothing while it is stalled.
struct Client {
    state: Mutex<ClientState>,
    heard_at: Instant,
    encoding: Encoding,
}

#[derive(Default)]
struct ClientState {
    is_stalled: bool,
    bytes: Vec<u8>,
    frames: usize,
    pings: usize,
    closed: Option<CloseCode>,
    /// Answers that it does not read.
    held: Vec<Bytes>,
}

impl Client {
    fn new(heard_at: Instant) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            heard_at,
            encoding: Encoding::default(),
        })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, ClientState> {
        self.state.lock().expect("no holder panics")
    }

    /// Every JSON object received since the last call.
    fn take(&self) -> Vec<Value> {
        let bytes = std::mem::take(&mut self.state().bytes);
        let mut socket = FrameSocket::new(Cursor::new(bytes));
        let mut objects = Vec::new();
        while let Some(frame) = socket.read(None).expect("valid frames") {
            let text = frame.into_text().expect("UTF-8");
            objects.extend(
                text.split('\n')
                    .map(|line| serde_json::from_str::<Value>(line).expect("valid JSON")),
            );
        }
        objects
    }
}

impl Outlet for Client {
    fn send(&self, frames: &[Bytes]) -> Sent {
        let mut state = self.state();
        if state.closed.is_some() {
            return Sent::Closed;
        }
        if state.is_stalled {
            return Sent::Refused;
        }
        state.bytes.extend(frames.concat());
        state.frames += frames.len();
        Sent::Written
    }

    fn reply(&self, frames: &[Bytes]) -> Sent {
        let mut state = self.state();
        if state.closed.is_some() {
            return Sent::Closed;
        }
        if state.is_stalled {
            state.held.extend_from_slice(frames);
        }
        state.bytes.extend(frames.concat());
        Sent::Written
    }

    fn ping(&self) {
        self.state().pings += 1;
    }

    fn close(&self, code: CloseCode) {
        self.state().closed.get_or_insert(code);
    }

    fn heard_at(&self) -> Instant {
        self.heard_at
    }

    fn encoding(&self) -> Encoding {
        self.encoding
    }
}

struct World {
    hub: Arc<Hub>,
    folds: Arc<Folds>,
    shard: Shard<Client>,
    now: Instant,
    start: Instant,
    /// Questions to history without an answer.
    questions: Vec<(ReadId, HistoryQuery)>,
}

const SECOND: Duration = Duration::from_secs(1);

impl World {
    /// A world in which what changes is sent at once.
    fn new() -> Self {
        Self::with(Pace::default())
    }

    fn with(pace: Pace) -> Self {
        Self::of(pace, Names::any())
    }

    /// A world that knows these names and no others.
    fn named(names: Names) -> Self {
        Self::of(Pace::default(), names)
    }

    fn of(pace: Pace, names: Names) -> Self {
        Self::bounded(pace, names, usize::MAX)
    }

    /// A world in which so many bytes may wait for slow clients.
    fn bounded(pace: Pace, names: Names, pending_bytes_max: usize) -> Self {
        let depth = Depth {
            closed_bars: 4,
            closed_log: 8,
            hold: Duration::ZERO,
            ..Depth::default()
        };
        Self::holding(depth, pace, names, pending_bytes_max)
    }

    /// A world in which slots hold so much.
    fn holding(depth: Depth, pace: Pace, names: Names, pending_bytes_max: usize) -> Self {
        let budget = FrameBudget::new(pending_bytes_max);
        let hub = Arc::new(Hub::new(1, 100, depth, names).with_budget(budget));
        let folds = Arc::new(Folds::new(Arc::clone(&hub), FoldLimits::default()));
        let now = Instant::now();
        Self {
            shard: Shard::new(
                Self::config(pace),
                Arc::clone(&hub),
                Arc::clone(&folds),
                0,
                7,
                now,
            ),
            hub,
            folds,
            now,
            start: now,
            questions: Vec::new(),
        }
    }

    fn config(pace: Pace) -> ShardConfig {
        ShardConfig {
            subscriptions_max: 5,
            wildcards_max: 5,
            topics_max: 8,
            name_bytes_max: 100_000,
            resume_bytes_max: 100_000,
            log_bytes_max: 100_000,
            history_bars_max: 2_500,
            history_reads_per_session: 2,
            history_wait: 5 * SECOND,
            list_max: 3,
            frame_bytes_max: 10_000,
            compression: Compression {
                level: 4,
                message_bytes_min: 100,
            },
            ping_interval: 25 * SECOND,
            idle_timeout: 60 * SECOND,
            first_message_timeout: 30 * SECOND,
            pace,
            auth: None,
        }
    }

    fn join(&mut self) -> (SessionId, Arc<Client>) {
        let client = Client::new(self.start);
        (self.shard.join(Arc::clone(&client), self.now), client)
    }

    fn publish(&self, topic: &str, index: i64, seq: u64, closed: bool) {
        self.publish_bar(topic, index, seq, closed, false);
    }

    fn publish_bar(&self, topic: &str, index: i64, seq: u64, closed: bool, filled: bool) {
        let slot = self
            .hub
            .slot_of(&topic.parse().expect("topic"))
            .expect("room");
        let (mut head, payload) = bar(index, seq, 1, closed);
        head.filled = filled;
        let payload = String::from_utf8(payload.to_vec())
            .expect("UTF-8")
            .replace("kline:1s:A-B", topic);
        let _ = self
            .hub
            .offer(slot, Some(&head), Bytes::from(payload), self.now);
    }

    fn publish_status(&self, topic: &str, json: &'static str) {
        let slot = self.hub.slot_of(&topic.parse().expect("topic"));
        let payload = Bytes::from_static(json.as_bytes());
        let _ = self.hub.offer(slot.expect("room"), None, payload, self.now);
    }

    fn ask(&mut self, id: SessionId, text: &str) {
        self.shard.pull();
        let request = Request::parse(text, RequestLimits::default());
        self.shard.request(id, request, self.now);
        self.perform();
    }

    fn perform(&mut self) {
        for effect in self.shard.take_effects() {
            match effect {
                Effect::ReadHistory(id, query) => self.questions.push((id, *query)),
                effect => self.shard.perform(effect),
            }
        }
    }

    fn flush(&mut self) {
        self.shard.pull();
        while !self.shard.flush_some(self.now, 1) {}
    }

    /// The shard takes note of what changed at once, and looks again after a while.
    fn pull_and_pass(&mut self, time: Duration) {
        self.shard.pull();
        self.pass(time);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.shard.tick(self.now);
        self.perform();
    }
}

fn ops(objects: &[Value]) -> Vec<&str> {
    objects
        .iter()
        .map(|object| object["op"].as_str().unwrap_or("bar"))
        .collect()
}

const A: &str = "kline:1s:A-B";

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

const MS: Duration = Duration::from_millis(1);
const PACE: Pace = Pace {
    settle: MS,
    linger: Duration::from_millis(5),
    interval: Duration::from_millis(10),
};

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
fn what_is_too_much_is_refused_and_changes_nothing() {
    let mut world = World::new();
    let (id, client) = world.join();
    world.ask(
        id,
        r#"{"op":"sub","topics":["a:1","a:2","a:3","a:4","a:5"]}"#,
    );
    assert_eq!(ops(&client.take()), ["ack"]);
    world.ask(id, r#"{"op":"sub","id":4,"topics":["a:6"]}"#);
    let objects = client.take();
    assert_eq!(
        (&objects[0]["code"], &objects[0]["id"]),
        (&"too_many_subscriptions".into(), &4.into())
    );
    for number in 0..9 {
        world.publish(&format!("b:{number}"), 1, 1, false);
    }
    let (id, client) = world.join();
    world.ask(id, r#"{"op":"sub","topics":["b:*"]}"#);
    assert_eq!(client.take()[0]["code"], "too_many_topics");
    world.ask(id, r#"{"op":"list"}"#);
    let objects = client.take();
    assert_eq!(objects[0]["subscriptions"], Value::Array(Vec::new()));
    assert_eq!(objects[0]["topics"].as_array().map(Vec::len), Some(3));
    assert_eq!(objects[0]["truncated"], true);
    assert_eq!(world.shard.set_count(), 2);
}

#[test]
fn a_wildcard_that_outgrows_the_bound_keeps_what_it_has_and_says_so_in_the_counts() {
    let mut world = World::new();
    let (id, client) = world.join();
    world.ask(id, r#"{"op":"sub","topics":["b:*","c:*"]}"#);
    for number in 0..12 {
        world.publish(&format!("b:{number}"), 1, 1, false);
    }
    world.flush();
    assert_eq!(client.take().len(), 1 + 8);
    assert_eq!(world.shard.counts.beyond_bound, 4);
    world.ask(id, r#"{"op":"unsub","topics":["c:*"]}"#);
    assert_eq!(ops(&client.take()), ["ack"]);
}

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

#[test]
fn sessions_leave_nothing_behind() {
    let mut world = World::new();
    world.publish(A, 1, 1, false);
    for round in 0..3 {
        let members: Vec<_> = (0..5).map(|_| world.join().0).collect();
        for (number, &id) in members.iter().enumerate() {
            let text = format!(
                r#"{{"op":"sub","topics":["kline:1s:A-B","a:{}"]}}"#,
                number % 2
            );
            world.ask(id, &text);
        }
        assert_eq!(world.shard.set_count(), 3);
        world.publish(A, 1, 2 + round, false);
        world.shard.pull();
        for id in members {
            world.shard.leave(id);
            world.shard.leave(id);
            world.shard.writable(id, world.now);
        }
        world.flush();
        assert_eq!(
            (world.shard.set_count(), world.shard.members.places()),
            (1, 5)
        );
        assert!(
            world
                .shard
                .subscriptions
                .views
                .iter()
                .all(|view| view.sets.is_empty())
        );
    }
}

#[derive(Debug, Clone)]
enum Step {
    Forming(usize),
    Closed(usize),
    Flush,
    Stall(usize),
    Resume(usize),
    Pass,
    Resubscribe(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(
        prop_oneof![
            6 => (0usize..3).prop_map(Step::Forming),
            6 => (0usize..3).prop_map(Step::Closed),
            6 => Just(Step::Flush),
            2 => (0usize..4).prop_map(Step::Stall),
            2 => (0usize..4).prop_map(Step::Resume),
            2 => Just(Step::Pass),
            1 => (0usize..4).prop_map(Step::Resubscribe),
        ],
        1..200,
    )
}

proptest! {
    /// Whatever is published, flushed and stalled when: each session gets each closed bar or is
    /// told that it did not, in order, and ends with the newest forming bar.
    #[test]
    fn delivered_and_skipped_is_what_was_published(steps in steps()) {
        let topics = ["kline:1s:A-B", "kline:1s:C-D", "kline:1s:E-F"];
        let subscriptions = [
            r#"{"op":"sub","topics":["kline:1s:*"]}"#,
            r#"{"op":"sub","topics":["kline:1s:*"],"max_rate":5}"#,
            r#"{"op":"sub","topics":["kline:1s:A-B","kline:1s:C-D","kline:1s:E-F"],"closed_only":true}"#,
            r#"{"op":"sub","topics":["kline:1s:*","kline:1s:A-B"]}"#,
        ];
        let mut world = World::new();
        let members: Vec<_> = (0..4).map(|_| world.join()).collect();
        for ((id, _), text) in members.iter().zip(subscriptions) {
            world.ask(*id, text);
        }
        let (mut index, mut seq) = ([1i64; 3], [0u64; 3]);
        let (mut closed_count, mut last_forming) = ([0u64; 3], [None; 3]);
        for step in steps {
            match step {
                Step::Forming(topic) => {
                    seq[topic] += 1;
                    last_forming[topic] = Some(seq[topic]);
                    world.publish(topics[topic], index[topic], seq[topic], false);
                }
                Step::Closed(topic) => {
                    seq[topic] += 1;
                    closed_count[topic] += 1;
                    last_forming[topic] = None;
                    world.publish(topics[topic], index[topic], seq[topic], true);
                    index[topic] += 1;
                }
                Step::Flush => world.flush(),
                Step::Stall(member) => members[member].1.state().is_stalled = true,
                Step::Resume(member) => {
                    members[member].1.state().is_stalled = false;
                    world.shard.writable(members[member].0, world.now);
                }
                Step::Pass => world.pass(SECOND / 4),
                Step::Resubscribe(member) if !members[member].1.state().is_stalled => {
                    world.ask(members[member].0, subscriptions[member]);
                }
                Step::Resubscribe(_) => {}
            }
        }
        for (id, client) in &members {
            client.state().is_stalled = false;
            world.shard.writable(*id, world.now);
        }
        world.flush();
        world.pass(SECOND);
        world.flush();
        for (number, (_, client)) in members.iter().enumerate() {
            let mut closed: BTreeMap<String, Vec<i64>> = BTreeMap::new();
            let (mut skipped, mut newest) = (BTreeMap::new(), BTreeMap::new());
            for object in client.take() {
                let Some(topic) = object["topic"].as_str().map(str::to_owned) else { continue };
                *skipped.entry(topic.clone()).or_insert(0) += object["skipped"].as_u64().unwrap_or(0);
                if object["state"] == "closed" {
                    let bars = closed.entry(topic.clone()).or_default();
                    let start_ms = object["start_ms"].as_i64().expect("a bar");
                    // A subscription that is repeated brings the newest bar once more.
                    if bars.last() != Some(&start_ms) {
                        bars.push(start_ms);
                    }
                } else {
                    prop_assert!(number != 2, "forming bars are declined");
                }
                newest.insert(topic, object["seq"].as_u64());
            }
            for (index, topic) in topics.iter().enumerate() {
                let bars = closed.remove(*topic).unwrap_or_default();
                prop_assert!(bars.is_sorted(), "{topic}: {bars:?}");
                let missed = skipped.get(*topic).copied().unwrap_or(0);
                prop_assert_eq!(bars.len() as u64 + missed, closed_count[index]);
                if let (Some(seq), true) = (last_forming[index], number != 2) {
                    prop_assert_eq!(newest[*topic], Some(seq));
                }
            }
        }
    }
}

mod fold_crowd;
mod folds;
mod memory;
mod names;
mod pasts;
mod tokens;
mod truth;
