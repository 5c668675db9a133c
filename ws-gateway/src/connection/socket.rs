//! One WebSocket connection, shared by the task that reads it and the shard that writes to it.
//!
//! The shard writes directly to the socket through the write buffer. It leaves the bytes that the
//! socket does not take to the connection's own task, and wakes it.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use market_core::protocol::CloseCode;
use tokio::net::TcpStream;
use tracing::debug;

use crate::connection::reader::Wire;
use crate::connection::settings::Settings;
use crate::connection::write_buffer::{Sink, WriteBuffer};
use crate::sessions::command;
use crate::sessions::outlet::{Outlet, Requester, Sent};
use crate::sessions::session_id::SessionId;
use client_frames::dialect::Dialect;
use client_frames::dialect::binance::request::Property;
use client_frames::encode::encoding::Encoding;
use client_frames::encode::frame::{self, Kind};

/// The channel to a shard.
pub(crate) type ShardSender = command::ShardSender<Connection>;

/// One connection, shared by its reader and its shard.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) settings: Arc<Settings>,
    encoding: Encoding,
    client_ip: IpAddr,
    /// Its number in the log.
    number: u64,
    /// Whether frames of Binance's dialect name their streams: its clients may change it.
    is_combined: AtomicBool,
    write_buffer: Mutex<WriteBuffer>,
    /// For the reading task: bytes wait, a request is answered, or a close has begun.
    wake: Wake,
    session: OnceLock<SessionId>,
    /// Requests that the shard has answered.
    answers: AtomicU32,
    /// The time of the client's last message, ms since the settings' start.
    heard_ms: AtomicU64,
    /// Code of the close that we began; 0 for none.
    close_code: AtomicU16,
}

/// Wakes the one task that reads a connection: a flag and a waker instead of a queue of waiters.
#[derive(Debug, Default)]
struct Wake {
    is_set: AtomicBool,
    waker: AtomicWaker,
}

impl Wake {
    fn notify(&self) {
        self.is_set.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Ready if it was notified since the last time that it was ready.
    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        self.waker.register(context.waker());
        if self.is_set.swap(false, Ordering::AcqRel) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

struct SocketSink<'a>(&'a TcpStream);

impl Sink for SocketSink<'_> {
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }
}

impl Connection {
    /// A connection of a client whose handshake is done.
    #[must_use]
    pub(crate) fn new(
        stream: TcpStream,
        settings: Arc<Settings>,
        encoding: Encoding,
        client_ip: IpAddr,
    ) -> Self {
        let heard_ms = settings.start.elapsed().as_millis() as u64;
        Self {
            stream,
            number: settings.next_number(),
            settings,
            encoding,
            client_ip,
            is_combined: AtomicBool::new(encoding.dialect == Dialect::BinanceCombined),
            write_buffer: Mutex::default(),
            wake: Wake::default(),
            session: OnceLock::new(),
            answers: AtomicU32::new(0),
            heard_ms: AtomicU64::new(heard_ms),
            close_code: AtomicU16::new(0),
        }
    }

    pub(super) fn write_buffer(&self) -> MutexGuard<'_, WriteBuffer> {
        self.write_buffer.lock().expect("no holder panics")
    }

    /// Writes the waiting bytes, as far as the socket takes them.
    pub(super) fn resume(&self) -> Sent {
        self.write_buffer().resume(&mut self.sink(), Instant::now())
    }

    fn sink(&self) -> SocketSink<'_> {
        SocketSink(&self.stream)
    }

    /// Wakes the reader if there is work for it after a write.
    fn after(&self, sent: Sent) -> Sent {
        if matches!(sent, Sent::Pending | Sent::Closed) {
            self.wake.notify();
        }
        sent
    }

    /// Ready when bytes wait, a request is answered, or a close has begun, since the last time that
    /// it was ready.
    pub(super) fn poll_woken(&self, context: &Context<'_>) -> Poll<()> {
        self.wake.poll(context)
    }

    /// Logs the end of the session, with the time for which its client has not read.
    pub(super) fn log_end(&self, close_code: u16, close_reason: &'static str) {
        debug!(
            session_id = self.number,
            close_code,
            close_reason,
            lag_ms = self.write_buffer().waiting(Instant::now()).as_millis() as u64,
            "session ends"
        );
    }

    pub(super) fn is_closing(&self) -> bool {
        self.close_code.load(Ordering::Acquire) != 0
    }

    /// Answers a request about the form of this connection's frames.
    pub(super) fn answer(&self, property: &Property) {
        if let Some(is_combined) = property.combined() {
            self.is_combined.store(is_combined, Ordering::Release);
        }
        let is_combined = self.is_combined.load(Ordering::Acquire);
        let answer = property.answer(is_combined);
        let _ = self.reply(&[frame::data(Kind::TEXT, answer.as_bytes())]);
    }

    /// The number of requests that the shard has answered.
    pub(super) fn answers(&self) -> u32 {
        self.answers.load(Ordering::Acquire)
    }

    /// The client has sent something.
    pub(super) fn heard(&self, now: Instant) {
        let ms = now
            .saturating_duration_since(self.settings.start)
            .as_millis() as u64;
        self.heard_ms.store(ms, Ordering::Relaxed);
    }
}

impl Outlet for Connection {
    fn send(&self, frames: &[Bytes]) -> Sent {
        let sent = self
            .write_buffer()
            .send(frames, &mut self.sink(), Instant::now());
        self.after(sent)
    }

    fn reply(&self, frames: &[Bytes]) -> Sent {
        let sent = self
            .write_buffer()
            .reply(frames, &mut self.sink(), Instant::now());
        self.after(sent)
    }

    fn ping(&self) {
        let mut write_buffer = self.write_buffer();
        // A connection with waiting bytes already has its deadline.
        if !write_buffer.is_pending() {
            let ping = Bytes::from_static(frame::PING);
            let sent = write_buffer.control(ping, &mut self.sink(), Instant::now());
            drop(write_buffer);
            self.after(sent);
        }
    }

    fn close(&self, code: CloseCode) {
        let is_first = self
            .close_code
            .compare_exchange(0, code.code, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if is_first {
            self.log_end(code.code, code.name);
            let close = frame::close(code.code, code.reason);
            let _ = self
                .write_buffer()
                .close(close, &mut self.sink(), Instant::now());
            self.settings.metrics.closed(code.code, "gateway");
            let is_moved = code == CloseCode::DRAIN || code == CloseCode::REBALANCE;
            if code.code >= 1002 && !is_moved {
                self.settings.metrics.evicted(code.name);
            }
        }
        self.wake.notify();
    }

    fn heard_at(&self) -> Instant {
        self.settings.start + Duration::from_millis(self.heard_ms.load(Ordering::Relaxed))
    }

    fn client_ip(&self) -> Option<IpAddr> {
        Some(self.client_ip)
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn encoding(&self) -> Encoding {
        let mut encoding = self.encoding;
        if encoding.dialect.is_binance() {
            encoding.dialect = Dialect::of_binance(self.is_combined.load(Ordering::Acquire));
        }
        encoding
    }
}

impl Requester for Connection {
    fn joined(&self, id: SessionId) {
        self.session.set(id).expect("a connection joins once");
    }

    fn session(&self) -> Option<SessionId> {
        self.session.get().copied()
    }

    fn answered(&self) {
        self.answers.fetch_add(1, Ordering::AcqRel);
        self.wake.notify();
    }
}

impl Wire for Connection {
    fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.try_read(bytes)
    }

    fn send_control(&self, frame: Bytes) -> Sent {
        self.write_buffer()
            .control(frame, &mut self.sink(), Instant::now())
    }
}
