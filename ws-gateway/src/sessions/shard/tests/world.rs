//! A shard without clock and sockets, and its clients.

use std::io::Cursor;
use std::net::IpAddr;

use market_core::protocol::RequestLimits;
use tokio_tungstenite::tungstenite::protocol::frame::FrameSocket;

use super::*;
use crate::limits::{AddressGroups, SharesConfig};
use crate::sessions::replay_places::ReplayPlaces;

/// A client's side: takes everything, or nothing while it is stalled.
pub(super) struct Client {
    pub(super) state: Mutex<ClientState>,
    pub(super) heard_at: Instant,
    pub(super) encoding: Encoding,
    pub(super) ip: Option<IpAddr>,
}

#[derive(Default)]
pub(super) struct ClientState {
    pub(super) is_stalled: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) frames: usize,
    pub(super) pings: usize,
    pub(super) closed: Option<CloseCode>,
    /// Answers that it does not read.
    pub(super) held: Vec<Bytes>,
}

impl Client {
    pub(super) fn new(heard_at: Instant) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            heard_at,
            encoding: Encoding::default(),
            ip: None,
        })
    }

    pub(super) fn state(&self) -> std::sync::MutexGuard<'_, ClientState> {
        self.state.lock().expect("no holder panics")
    }

    /// Every JSON object received since the last call.
    pub(super) fn take(&self) -> Vec<Value> {
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

    fn client_ip(&self) -> Option<IpAddr> {
        self.ip
    }

    fn encoding(&self) -> Encoding {
        self.encoding
    }
}

pub(super) struct World {
    pub(super) hub: Arc<Hub>,
    pub(super) folds: Arc<Folds>,
    pub(super) shard: Shard<Client>,
    pub(super) now: Instant,
    pub(super) start: Instant,
    /// Questions to history without an answer.
    pub(super) questions: Vec<(ReadId, HistoryQuery)>,
}

pub(super) const MS: Duration = Duration::from_millis(1);

pub(super) const PACE: Pace = Pace {
    settle: MS,
    linger: Duration::from_millis(5),
    interval: Duration::from_millis(10),
};

pub(super) const SECOND: Duration = Duration::from_secs(1);

impl World {
    /// A world in which what changes is sent at once.
    pub(super) fn new() -> Self {
        Self::with(Pace::default())
    }

    pub(super) fn with(pace: Pace) -> Self {
        Self::of(pace, Names::any())
    }

    /// A world that knows these names and no others.
    pub(super) fn named(names: Names) -> Self {
        Self::of(Pace::default(), names)
    }

    pub(super) fn of(pace: Pace, names: Names) -> Self {
        Self::bounded(pace, names, usize::MAX)
    }

    /// A world in which so many bytes may wait for slow clients.
    pub(super) fn bounded(pace: Pace, names: Names, pending_bytes_max: usize) -> Self {
        let depth = Depth {
            closed_bars: 4,
            closed_log: 8,
            hold: Duration::ZERO,
            ..Depth::default()
        };
        Self::holding(depth, pace, names, pending_bytes_max)
    }

    /// A world in which slots hold so much.
    pub(super) fn holding(
        depth: Depth,
        pace: Pace,
        names: Names,
        pending_bytes_max: usize,
    ) -> Self {
        let budget = FrameBudget::new(pending_bytes_max);
        let hub = Arc::new(Hub::new(1, 100, depth, names).with_budget(budget));
        let folds = folds(&hub, FoldLimits::default());
        let now = Instant::now();
        Self {
            shard: Shard::new(
                Self::config(pace),
                Arc::clone(&hub),
                Arc::clone(&folds),
                streams(&hub),
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

    pub(super) fn config(pace: Pace) -> ShardConfig {
        ShardConfig {
            subscriptions_max: 5,
            wildcards_max: 5,
            topics_max: 8,
            name_bytes_max: 100_000,
            resume_bytes_max: 100_000,
            log_bytes_max: 100_000,
            history_bars_max: 2_500,
            history_reads_per_session: 2,
            replay_places: Arc::new(ReplayPlaces::new(3, replay_shares(0))),
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

    pub(super) fn join(&mut self) -> (SessionId, Arc<Client>) {
        let client = Client::new(self.start);
        (self.shard.join(Arc::clone(&client), self.now), client)
    }

    pub(super) fn publish(&self, topic: &str, index: i64, seq: u64, closed: bool) {
        self.publish_bar(topic, index, seq, closed, false);
    }

    pub(super) fn publish_bar(
        &self,
        topic: &str,
        index: i64,
        seq: u64,
        closed: bool,
        filled: bool,
    ) {
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

    pub(super) fn publish_status(&self, topic: &str, json: &'static str) {
        let slot = self.hub.slot_of(&topic.parse().expect("topic"));
        let payload = Bytes::from_static(json.as_bytes());
        let _ = self.hub.offer(slot.expect("room"), None, payload, self.now);
    }

    pub(super) fn ask(&mut self, id: SessionId, text: &str) {
        self.shard.pull();
        let request = Request::parse(text, RequestLimits::default());
        self.shard.request(id, request, self.now);
        self.perform();
    }

    pub(super) fn perform(&mut self) {
        for effect in self.shard.take_effects() {
            match effect {
                Effect::ReadHistory(id, query) => self.questions.push((id, *query)),
                effect => self.shard.perform(effect),
            }
        }
    }

    pub(super) fn flush(&mut self) {
        self.shard.pull();
        while !self.shard.flush_some(self.now, 1) {}
    }

    /// The shard takes note of what changed at once, and looks again after a while.
    pub(super) fn pull_and_pass(&mut self, time: Duration) {
        self.shard.pull();
        self.pass(time);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.shard.tick(self.now);
        self.perform();
    }
}

/// Folds with these limits.
pub(super) fn folds(hub: &Arc<Hub>, limits: FoldLimits) -> Arc<Folds> {
    Arc::new(Folds::new(Arc::clone(hub), Warmth::warm(), limits))
}

/// Twenty streams, two of them of symbols of which nothing has come.
pub(super) fn streams(hub: &Arc<Hub>) -> Arc<Streams> {
    let limits = StreamLimits {
        streams_max: 20,
        ..StreamLimits::default()
    };
    Arc::new(Streams::new(Arc::clone(hub), Warmth::warm(), limits))
}

/// Two replays for a session, and so many for an address.
pub(super) fn replay_shares(per_ip: usize) -> SharesConfig {
    SharesConfig {
        per_session: 2,
        per_ip,
        holds_for_loopback: false,
        groups: AddressGroups::new(64),
    }
}

pub(super) fn ops(objects: &[Value]) -> Vec<&str> {
    objects
        .iter()
        .map(|object| object["op"].as_str().unwrap_or("bar"))
        .collect()
}

pub(super) const A: &str = "kline:1s:A-B";
