//! One WebSocket client as the market sees it: a bounded queue, and a way to end it.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use axum::extract::ws::Message;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::instrument::Venue;

/// How a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The TCP connection ends without a WebSocket close.
    Abrupt,
    /// With a close frame.
    Close {
        /// WebSocket close code.
        code: u16,
        /// Text of the close frame.
        reason: String,
    },
    /// It read too slowly; each venue has its own close code for this.
    SlowConsumer,
}

/// A connected client. Shared by its socket and by the topics that it subscribed to.
#[derive(Debug)]
pub(crate) struct Client {
    /// Id of the connection, unique in the process.
    pub(crate) id: u64,
    /// Whose protocol it speaks.
    pub(crate) venue: Venue,
    /// Where it comes from.
    pub(crate) peer: IpAddr,
    /// When it connected, milliseconds since the epoch.
    pub(crate) connected_ms: i64,
    /// Number of its subscriptions.
    pub(crate) subscriptions: AtomicUsize,
    /// Frames written to its socket.
    pub(crate) frames: AtomicU64,
    /// When a frame was last written, milliseconds since the epoch.
    pub(crate) written_ms: AtomicI64,
    /// The encoding of its frames; the venue defines the meaning.
    variant: AtomicU8,
    queue: mpsc::Sender<Message>,
    ended: CancellationToken,
    end: Mutex<Option<End>>,
}

impl Client {
    /// A client with room for `frames_max` waiting frames, and the other end of its queue.
    pub(crate) fn new(
        id: u64,
        venue: Venue,
        peer: IpAddr,
        now_ms: i64,
        frames_max: usize,
    ) -> (Client, mpsc::Receiver<Message>) {
        let (queue, frames) = mpsc::channel(frames_max);
        let client = Client {
            id,
            venue,
            peer,
            connected_ms: now_ms,
            subscriptions: AtomicUsize::new(0),
            frames: AtomicU64::new(0),
            written_ms: AtomicI64::new(now_ms),
            variant: AtomicU8::new(0),
            queue,
            ended: CancellationToken::new(),
            end: Mutex::new(None),
        };
        (client, frames)
    }

    /// Queues a frame. A client whose queue is full is ended, as the venues do.
    pub(crate) fn send(&self, frame: Message) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(frame) {
            if !self.ended.is_cancelled() {
                metrics::counter!("exchange_sim_slow_clients_total", "exchange" => self.venue.name()).increment(1);
            }
            self.end(End::SlowConsumer);
        }
    }

    /// Ends the connection; the first reason counts.
    pub(crate) fn end(&self, end: End) {
        self.end
            .lock()
            .expect("no holder panics")
            .get_or_insert(end);
        self.ended.cancel();
    }

    /// Completes when the connection must end.
    pub(crate) async fn ended(&self) -> End {
        self.ended.cancelled().await;
        self.end
            .lock()
            .expect("no holder panics")
            .clone()
            .unwrap_or(End::Abrupt)
    }

    /// The encoding of its frames.
    pub(crate) fn variant(&self) -> u8 {
        self.variant.load(Ordering::Relaxed)
    }

    /// Changes the encoding of the frames from now on.
    pub(crate) fn set_variant(&self, variant: u8) {
        self.variant.store(variant, Ordering::Relaxed);
    }
}
