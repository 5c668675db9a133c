//! From the bus to two clients without tasks and sockets, for fuzzers: one client reads JSON, the
//! other protobuf.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bus::{MemoryBus, Message};
use bytes::Bytes;
use clap::Parser;
use market_core::protocol::{CloseCode, Request, RequestLimits};
use prost::Message as _;
use service::Service;

use crate::Config;
use crate::sessions::flush_schedule::Pace;
use crate::sessions::outlet::{Outlet, Sent};
use crate::sessions::session_id::SessionId;
use crate::sessions::shard::{Shard, ShardConfig};
use crate::standstill::{Looks, Witness};
use crate::topics::clock_lead::ClockHealth;
use crate::topics::folds::Folds;
use crate::topics::host_clock::latest_us;
use crate::topics::hub::Hub;
use crate::topics::ingest::{Ingest, Shared};
use crate::topics::streams::Streams;
use crate::topics::warmth::Warmth;
use client_frames::dialect::Dialect;
use client_frames::dialect::protobuf::schema;
use client_frames::encode::encoding::Encoding;

/// All topics that a client may have: nothing from the bus is withheld.
const SUBSCRIBE: &str =
    r#"{"op":"sub","topics":["kline:*:*","boundary:*","system:>","trade:*","quote:*","ticker:*"]}"#;

/// What both clients have been sent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Delivered {
    /// The JSON objects, as they came.
    pub json: Vec<String>,
    /// How many messages of the schema.
    pub protobuf: usize,
}

/// A client that takes everything.
struct Screen {
    dialect: Dialect,
    frames: Mutex<Vec<Bytes>>,
    joined_at: Instant,
}

impl Screen {
    fn take(&self) -> Vec<Bytes> {
        std::mem::take(&mut *self.frames.lock().expect("no holder panics"))
    }
}

impl Outlet for Screen {
    fn send(&self, frames: &[Bytes]) -> Sent {
        self.reply(frames)
    }

    fn reply(&self, frames: &[Bytes]) -> Sent {
        let mut kept = self.frames.lock().expect("no holder panics");
        kept.push(Bytes::from(frames.concat()));
        Sent::Written
    }

    fn ping(&self) {}

    fn close(&self, code: CloseCode) {
        panic!("what the bus brings closes no session, and this one was: {code:?}");
    }

    fn heard_at(&self) -> Instant {
        self.joined_at
    }

    fn encoding(&self) -> Encoding {
        Encoding {
            dialect: self.dialect,
            window: None,
        }
    }
}

#[derive(clap::Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

/// A gateway's way from the bus to its clients.
pub struct Receiver {
    ingest: Ingest,
    shard: Shard<Screen>,
    screens: [Arc<Screen>; 4],
    future_max_ms: i64,
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}

impl Receiver {
    /// With the bounds that a gateway has by default, and two clients that are subscribed.
    ///
    /// # Panics
    /// Never with these bounds.
    #[must_use]
    pub fn new() -> Self {
        let Flags { config } = Flags::parse_from(["ws-gateway"]);
        let hub = Arc::new(Hub::new(
            1,
            config.topics_max,
            config.depth(),
            config.names(),
        ));
        let warmth = Warmth::new(Service::for_test().readiness.condition("warm"), 1);
        let folds = Folds::new(Arc::clone(&hub), Arc::clone(&warmth), config.folds());
        let folds = Arc::new(folds);
        let streams = Arc::new(Streams::new(
            Arc::clone(&hub),
            Arc::clone(&warmth),
            config.streams(),
        ));
        let bus = MemoryBus::with_streams(&service::streams());
        let shared = Shared {
            bus: Arc::new(bus),
            hub: Arc::clone(&hub),
            folds: Arc::clone(&folds),
            topics_max: config.topics_max,
            bounds: config.bounds(),
            boundaries: Arc::default(),
            books: Arc::new(config.book_silence()),
            warmth,
            clock: ClockHealth::new(Service::for_test().readiness.condition("clock")),
            witness: Witness::new(&Looks::new(Instant::now())),
        };
        let now = Instant::now();
        let shard_config = ShardConfig {
            pace: Pace::default(),
            ..config.shard(None)
        };
        let mut shard = Shard::new(shard_config, hub, folds, streams, 0, 7, now);
        let screens = Dialect::ALL.map(|dialect| {
            let screen = Arc::new(Screen {
                dialect,
                frames: Mutex::default(),
                joined_at: now,
            });
            let id: SessionId = shard.join(Arc::clone(&screen), now);
            let request = Request::parse(SUBSCRIBE, RequestLimits::default());
            shard.request(id, request, now);
            for effect in shard.take_effects() {
                shard.perform(effect);
            }
            screen
        });
        for screen in &screens {
            screen.take();
        }
        Self {
            ingest: Ingest::new(">".to_owned(), shared),
            shard,
            screens,
            future_max_ms: config.bounds().future_max_ms,
        }
    }

    /// The latest time that a bar may name, unix ms.
    #[must_use]
    pub fn latest_ms(&self) -> i64 {
        latest_us() / 1_000 + self.future_max_ms
    }

    /// Takes a message of the bus: a live one, or one that it has retained.
    pub fn take(&mut self, subject_name: &str, payload: &[u8], is_live: bool) {
        let message = Message::new(subject_name, Bytes::copy_from_slice(payload));
        self.ingest.take(&message, is_live);
    }

    /// The updates that it causes, with marks that wait for their bars.
    ///
    /// # Panics
    /// Where a client could not read it.
    pub fn deliver(&mut self) -> Delivered {
        let now = Instant::now();
        let waited = now + Duration::from_secs(10);
        self.ingest.offer_overdue(waited);
        self.shard.pull();
        while !self.shard.flush_some(now, 16) {}
        let [json, protobuf, binance, combined] = &self.screens;
        let mut delivered = Delivered::default();
        for payload in payloads(&json.take()) {
            let text = String::from_utf8(payload).expect("text is UTF-8");
            delivered.json.extend(text.split('\n').map(str::to_owned));
        }
        for payload in payloads(&protobuf.take()) {
            let batch = Batch::decode(&payload[..]).expect("a batch");
            delivered.protobuf += batch.messages.len();
        }
        for screen in [binance, combined] {
            for payload in payloads(&screen.take()) {
                let text = String::from_utf8(payload).expect("text is UTF-8");
                let _: serde_json::Value = serde_json::from_str(&text).expect("one JSON value");
            }
        }
        delivered
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Batch {
    #[prost(message, repeated, tag = "1")]
    messages: Vec<schema::Message>,
}

/// The payloads of a server's frames: a header without a mask, and its number of bytes.
fn payloads(frames: &[Bytes]) -> Vec<Vec<u8>> {
    let bytes = frames.concat();
    let mut rest = &bytes[..];
    let mut payloads = Vec::new();
    while let [_, short, after @ ..] = rest {
        let (length, after) = match short {
            126 => (
                usize::from(u16::from_be_bytes([after[0], after[1]])),
                &after[2..],
            ),
            127 => {
                let (length, after) = after.split_at(8);
                let length = u64::from_be_bytes(length.try_into().expect("8 bytes"));
                (usize::try_from(length).expect("it is in memory"), after)
            }
            &length => (usize::from(length), after),
        };
        payloads.push(after[..length].to_vec());
        rest = &after[length..];
    }
    payloads
}
