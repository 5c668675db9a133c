//! One WebSocket connection: its reader, and the gate through which everything is written.
//!
//! The shard writes straight to the socket; this task only reads. When the socket is full, the
//! task waits for room, writes what is left and tells the shard; until then it reads nothing, so
//! that a client that asks without reading fills its own buffers and not ours.

use std::future::poll_fn;
use std::io;
use std::net::Shutdown as SocketShutdown;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use market_core::protocol::{CloseCode, Op, Request, RequestError, RequestLimits, Selection};
use tokio::net::TcpStream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::timeout_at;
use tokio_tungstenite::tungstenite::Message;
use tracing::debug;

use crate::auth::{Auth, Grant};
use crate::config::Config;
use crate::deflate::{Compression, Deflater};
use crate::encoding::{Codec, Encoding};
use crate::flush::{Checked, Command, ShardSender};
use crate::frame::{self, Kind};
use crate::gate::{Gate, Sent, Sink};
use crate::intake::Intake;
use crate::limits::{Permit, TokenBucket};
use crate::metrics::Metrics;
use crate::protobuf;
use crate::reader::{NoMessage, Reader, Wire};
use crate::shard::MemberId;

/// Messages that a token counts for: its signature has to be checked.
const TOKEN_COST: u32 = 5;
/// Messages that a list counts for: it may name all topics.
const LIST_COST: u32 = 10;
/// So many wildcards of a request cost as much as a message more: they are looked for among all
/// topics.
const WILDCARDS_A_MESSAGE: usize = 10;
/// So many topics of a request, wildcards or not, cost as much as a message more.
const TOPICS_A_MESSAGE: usize = 100;
/// Largest message and frame in echo mode.
const ECHO_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes read and thrown away while a close is under way.
const LINGER_BYTES_MAX: usize = 256 * 1024;
/// As what a session is counted that ended by an error of ours (RFC 6455, 7.4.1).
const CLOSE_INTERNAL_ERROR: u16 = 1011;

/// What every connection needs, made once.
#[derive(Debug)]
pub(crate) struct Settings {
    limits: RequestLimits,
    message_rate: u32,
    message_burst: u32,
    message_bytes_max: usize,
    write_deadline: Duration,
    stall_deadline: Duration,
    close_deadline: Duration,
    compression: Compression,
    /// Times of connections are counted from here.
    start: Instant,
    metrics: Arc<Metrics>,
    /// Checks tokens, where they are looked at.
    auth: Option<Arc<Auth>>,
}

impl Settings {
    /// Takes what connections need from the configuration.
    #[must_use]
    pub(crate) fn new(config: &Config, metrics: Arc<Metrics>, auth: Option<Arc<Auth>>) -> Self {
        Self {
            limits: config.request_limits(),
            message_rate: config.message_rate,
            message_burst: config.message_burst,
            message_bytes_max: config.message_bytes_max,
            write_deadline: Duration::from_millis(config.write_deadline_ms),
            stall_deadline: Duration::from_millis(config.stall_deadline_ms),
            close_deadline: Duration::from_millis(config.close_ms),
            compression: config.compression(),
            start: Instant::now(),
            metrics,
            auth,
        }
    }

    /// What is counted.
    #[must_use]
    pub(crate) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }
}

/// One connection, shared by its reader and its shard.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    settings: Arc<Settings>,
    encoding: Encoding,
    gate: Mutex<Gate>,
    /// For the reader: something is unsent, a request is answered, or a close has begun.
    wake: Wake,
    member: OnceLock<MemberId>,
    /// Requests that the shard has answered.
    answers: AtomicU32,
    /// When something was last heard, ms since the settings' start.
    heard_ms: AtomicU64,
    /// Code of the close that we began; 0 for none.
    close_code: AtomicU16,
}

/// Wakes the one reader of a connection: a flag and a waker instead of a queue of waiters.
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

    /// Ready once notified since the last time that it was.
    fn poll(&self, context: &std::task::Context<'_>) -> Poll<()> {
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
    /// A connection whose handshake is done.
    #[must_use]
    pub(crate) fn new(stream: TcpStream, settings: Arc<Settings>, encoding: Encoding) -> Self {
        let heard_ms = settings.start.elapsed().as_millis() as u64;
        Self {
            stream,
            settings,
            encoding,
            gate: Mutex::default(),
            wake: Wake::default(),
            member: OnceLock::new(),
            answers: AtomicU32::new(0),
            heard_ms: AtomicU64::new(heard_ms),
            close_code: AtomicU16::new(0),
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().expect("no holder panics")
    }

    /// Writes what is unsent, as far as the socket takes it.
    fn resume(&self) -> Sent {
        self.gate().resume(&mut self.sink(), Instant::now())
    }

    fn sink(&self) -> SocketSink<'_> {
        SocketSink(&self.stream)
    }

    /// Wakes the reader if it has something to do after a write.
    fn after(&self, sent: Sent) -> Sent {
        if matches!(sent, Sent::Pending | Sent::Closed) {
            self.wake.notify();
        }
        sent
    }

    pub(crate) fn send_updates(&self, frames: &[Bytes]) -> Sent {
        let sent = self.gate().send(frames, &mut self.sink(), Instant::now());
        self.after(sent)
    }

    pub(crate) fn send_answers(&self, frames: &[Bytes]) -> Sent {
        let sent = self.gate().reply(frames, &mut self.sink(), Instant::now());
        self.after(sent)
    }

    /// How its frames look.
    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    pub(crate) fn send_ping(&self) {
        let mut gate = self.gate();
        // A connection that has something unsent has its deadline already.
        if !gate.is_pending() {
            let ping = Bytes::from_static(frame::PING);
            let sent = gate.control(ping, &mut self.sink(), Instant::now());
            drop(gate);
            self.after(sent);
        }
    }

    pub(crate) fn begin_close(&self, code: CloseCode) {
        let is_first = self
            .close_code
            .compare_exchange(0, code.code, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if is_first {
            let close = frame::close(code.code, code.reason);
            let _ = self.gate().close(close, &mut self.sink(), Instant::now());
            self.settings.metrics.closed(code.code, "gateway");
            let is_moved = code == CloseCode::DRAIN || code == CloseCode::REBALANCE;
            if code.code >= 1002 && !is_moved {
                self.settings.metrics.evicted(code.name);
            }
        }
        self.wake.notify();
    }

    fn is_closing(&self) -> bool {
        self.close_code.load(Ordering::Acquire) != 0
    }

    pub(crate) fn joined(&self, id: MemberId) {
        self.member.set(id).expect("a connection joins once");
    }

    pub(crate) fn member(&self) -> Option<MemberId> {
        self.member.get().copied()
    }

    pub(crate) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::AcqRel);
        self.wake.notify();
    }

    pub(crate) fn last_heard(&self) -> Instant {
        self.settings.start + Duration::from_millis(self.heard_ms.load(Ordering::Relaxed))
    }

    fn heard(&self, now: Instant) {
        let ms = now
            .saturating_duration_since(self.settings.start)
            .as_millis() as u64;
        self.heard_ms.store(ms, Ordering::Relaxed);
    }
}

impl Wire for Connection {
    fn try_read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.try_read(bytes)
    }

    fn send_control(&self, frame: Bytes) -> Sent {
        self.gate().control(frame, &mut self.sink(), Instant::now())
    }
}

/// A client's request, or what is wrong with it.
pub(crate) type Asked = Result<Request, RequestError>;

/// What a session begins with.
#[derive(Debug)]
pub(crate) struct Opening {
    /// Bytes that came with the handshake.
    pub leftover: Vec<u8>,
    /// What the handshake brings and asks for.
    pub first: Option<Box<First>>,
}

/// What a handshake brings and asks for.
#[derive(Debug)]
pub(crate) struct First {
    /// What its token permits.
    pub grant: Option<Box<Grant>>,
    /// What it subscribes to.
    pub request: Option<Asked>,
}

/// What a session holds for as long as it lasts. However it ends, its place is free afterwards and
/// its shard forgets it.
#[derive(Debug)]
pub(crate) struct SessionGuard {
    connection: Arc<Connection>,
    shard: ShardSender,
    permit: Permit,
    has_left: bool,
}

impl SessionGuard {
    /// A session begins, with its place among the counted.
    #[must_use]
    pub(crate) fn new(connection: Arc<Connection>, shard: ShardSender, permit: Permit) -> Self {
        let metrics = &connection.settings.metrics;
        metrics.sessions.increment(1.0);
        metrics.sessions_total.increment(1);
        Self {
            connection,
            shard,
            permit,
            has_left: false,
        }
    }

    /// Has the shard forget the session.
    async fn leave(&mut self) {
        let leave = Command::Leave(Arc::clone(&self.connection));
        let _ = self.shard.send(leave).await;
        self.has_left = true;
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let metrics = &self.connection.settings.metrics;
        metrics.sessions.decrement(1.0);
        if self.has_left {
            return;
        }
        // The task has panicked, or was dropped with its runtime.
        metrics.closed(CLOSE_INTERNAL_ERROR, "gateway");
        let leave = Command::Leave(Arc::clone(&self.connection));
        if let Err(TrySendError::Full(leave)) = self.shard.try_send(leave)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let shard = self.shard.clone();
            runtime.spawn(async move { shard.send(leave).await });
        }
    }
}

/// Why a session has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// The client closed, with this code.
    ByClient(u16),
    /// The connection broke.
    Broken,
    /// We close, and the close frame is on its way.
    ByUs,
    /// We have to close with this code.
    Close(CloseCode),
}

/// Runs a session until it has ended.
pub(crate) async fn session(mut guard: SessionGuard, opening: Opening) {
    let end = serve(&guard, opening).await;
    guard.leave().await;
    Box::pin(finish(&guard.connection, end)).await;
}

/// Closes a connection at once that is not to become a session.
pub(crate) async fn turn_away(connection: Connection, code: CloseCode) {
    finish(&connection, End::Close(code)).await;
}

async fn serve(guard: &SessionGuard, opening: Opening) -> End {
    let settings = &guard.connection.settings;
    let mut reader = Reader::new(
        opening.leftover,
        settings.message_bytes_max,
        guard.connection.encoding.window.is_some(),
        Intake::new(
            settings.message_rate,
            settings.message_burst,
            Instant::now(),
        ),
    );
    let mut bucket = TokenBucket::new(
        settings.message_rate,
        settings.message_burst,
        Instant::now(),
    );
    let join = Command::Join(Arc::clone(&guard.connection), opening.first);
    if let Some(end) = ask(&guard.connection, &guard.shard, join).await {
        return end;
    }
    loop {
        let message = match next(&guard.connection, &mut reader, &guard.shard).await {
            Ok(message) => message,
            Err(end) => return end,
        };
        let now = Instant::now();
        guard.connection.heard(now);
        match message {
            Message::Text(_) | Message::Binary(_) => {
                let Some(request) = parse(&guard.connection, &message) else {
                    return End::Close(CloseCode::UNSUPPORTED);
                };
                settings.metrics.requests.increment(1);
                let request = Box::new(request);
                if !bucket.take(cost(&request), now) {
                    return End::Close(CloseCode::MESSAGE_RATE);
                }
                drop(message);
                let command = authenticate(&guard.connection, &request, &guard.permit)
                    .unwrap_or_else(|| Command::Request(Arc::clone(&guard.connection), request));
                if let Some(end) = ask(&guard.connection, &guard.shard, command).await {
                    return end;
                }
            }
            Message::Ping(_) | Message::Pong(_) if !bucket.take(1, now) => {
                return End::Close(CloseCode::MESSAGE_RATE);
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            Message::Close(close) => {
                // The parser answers it when it is asked for the next message.
                let code = close.map_or(1005, |close| u16::from(close.code));
                while next(&guard.connection, &mut reader, &guard.shard)
                    .await
                    .is_ok()
                {}
                return End::ByClient(code);
            }
        }
    }
}

/// What a message asks; none if it is of a kind that the session does not take.
fn parse(connection: &Connection, message: &Message) -> Option<Asked> {
    let limits = connection.settings.limits;
    match message {
        Message::Text(text) => Some(Request::parse(text, limits)),
        Message::Binary(bytes) if connection.encoding.codec == Codec::Protobuf => {
            Some(protobuf::parse_request(bytes, limits))
        }
        _ => None,
    }
}

/// What the shard is told of a token, where tokens are looked at. It is checked here, which takes
/// a while, and goes no further.
fn authenticate(connection: &Arc<Connection>, request: &Asked, permit: &Permit) -> Option<Command> {
    let auth = connection.settings.auth.as_ref()?;
    let Ok(Request {
        id,
        op: Op::Auth(token),
    }) = request
    else {
        return None;
    };
    let client = permit.ip().expect("a session's address is known");
    let outcome = auth.check_message(token.reveal(), client);
    let checked = Checked {
        echo: id.clone(),
        outcome,
    };
    Some(Command::Auth(Arc::clone(connection), Box::new(checked)))
}

/// What a request costs of the message rate: wildcards are looked for among all topics, and what
/// is no topic is looked at and named in the answer as those that are.
fn cost(request: &Asked) -> u32 {
    let (selections, malformed): (&[Selection], usize) = match request {
        Ok(Request { op, .. }) => match op {
            Op::Sub(wanted) => (&wanted.selections, wanted.malformed.len()),
            Op::Unsub(selections) => (selections, 0),
            Op::Auth(_) => return TOKEN_COST,
            Op::List => return LIST_COST,
            Op::Rate(_) | Op::Ping => return 1,
        },
        Err(error) => (&[], error.topics.len()),
    };
    let wildcards = selections
        .iter()
        .filter(|selection| selection.is_wildcard())
        .count();
    let topics = selections.len().saturating_add(malformed);
    let more = wildcards / WILDCARDS_A_MESSAGE + topics / TOPICS_A_MESSAGE;
    u32::try_from(more.saturating_add(1)).unwrap_or(u32::MAX)
}

/// Gives the shard a command and waits until it is answered: a session has one request in
/// progress, so what it can make the gateway hold is bounded.
async fn ask(connection: &Connection, shard: &ShardSender, command: Command) -> Option<End> {
    let before = connection.answers.load(Ordering::Acquire);
    if shard.send(command).await.is_err() {
        return Some(End::Close(CloseCode::GOING_AWAY));
    }
    while connection.answers.load(Ordering::Acquire) == before {
        poll_fn(|context| connection.wake.poll(context)).await;
    }
    None
}

/// The next message, or why there is none.
async fn next(
    connection: &Connection,
    reader: &mut Reader,
    shard: &ShardSender,
) -> Result<Message, End> {
    loop {
        if connection.is_closing() {
            return Err(End::ByUs);
        }
        if connection.gate().is_pending() {
            // Boxed, as is the end: an idle connection pays for neither.
            Box::pin(drain_gate(connection)).await?;
            if let Some(id) = connection.member() {
                let _ = shard.send(Command::Writable(id)).await;
            }
        }
        match reader.read(connection) {
            Ok(message) => return Ok(message),
            Err(NoMessage::Yet) => {
                let ready = poll_fn(|context| match connection.wake.poll(context) {
                    Poll::Ready(()) => Poll::Ready(Ok(())),
                    Poll::Pending => connection.stream.poll_read_ready(context),
                });
                if ready.await.is_err() {
                    return Err(End::Broken);
                }
                if connection.gate().is_closed() && !connection.is_closing() {
                    return Err(End::Broken);
                }
            }
            Err(NoMessage::Turn) => tokio::task::yield_now().await,
            Err(NoMessage::TooMany) => return Err(End::Close(CloseCode::MESSAGE_RATE)),
            Err(NoMessage::Ended) => return Err(End::Broken),
            Err(NoMessage::TooBig) => return Err(End::Close(CloseCode::TOO_BIG)),
            Err(NoMessage::InvalidUtf8) => return Err(End::Close(CloseCode::INVALID_UTF8)),
            Err(NoMessage::Malformed) => return Err(End::Close(CloseCode::PROTOCOL)),
        }
    }
}

/// Writes what is unsent as the socket takes it.
async fn drain_gate(connection: &Connection) -> Result<(), End> {
    let settings = &connection.settings;
    settings.metrics.stalled.increment(1.0);
    let mut is_late = false;
    let drained = loop {
        match connection.resume() {
            Sent::Written => break Ok(()),
            Sent::Pending | Sent::Refused => {}
            Sent::Closed => break Err(End::Broken),
        }
        let deadline = connection
            .gate()
            .deadline(settings.write_deadline, settings.stall_deadline);
        let Some(deadline) = deadline else {
            continue;
        };
        if deadline <= Instant::now() {
            if is_late {
                break Err(End::Close(CloseCode::SLOW_CONSUMER));
            }
            // After a standstill of the process time has passed, and nobody has looked at the
            // sockets yet: the runtime does before it goes on here.
            is_late = true;
            tokio::task::yield_now().await;
            continue;
        }
        is_late = false;
        tokio::select! {
            ready = timeout_at(deadline.into(), connection.stream.writable()) => {
                if let Ok(Err(_)) = ready {
                    break Err(End::Broken);
                }
            }
            () = poll_fn(|context| connection.wake.poll(context)) => {
                if connection.is_closing() {
                    break Err(End::ByUs);
                }
            }
        }
    };
    settings.metrics.stalled.decrement(1.0);
    drained
}

/// Ends a connection decently: what is unsent and the close frame go out, and the other side has
/// a moment to answer.
async fn finish(connection: &Connection, end: End) {
    let settings = &connection.settings;
    match end {
        End::ByClient(code) => settings.metrics.closed(code, "client"),
        End::Broken if !connection.is_closing() => settings.metrics.closed(1006, "client"),
        End::Broken | End::ByUs => {}
        End::Close(code) => {
            debug!(close_code = code.code, "session closed");
            connection.begin_close(code);
        }
    }
    if end == End::Broken {
        return;
    }
    let deadline = tokio::time::Instant::now() + settings.close_deadline;
    let _ = timeout_at(deadline, async {
        while connection.resume() == Sent::Pending {
            if connection.stream.writable().await.is_err() {
                return;
            }
        }
        if matches!(end, End::ByClient(_)) {
            return;
        }
        // A socket that is closed with unread bytes in it resets the connection, and the close
        // frame is lost with it. So: say that nothing more comes, and read until the other side
        // has nothing more to say.
        let _ = socket2::SockRef::from(&connection.stream).shutdown(SocketShutdown::Write);
        let mut buffer = [0; 512];
        let mut read_bytes = 0;
        while read_bytes < LINGER_BYTES_MAX {
            match connection.stream.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(bytes) => read_bytes += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if connection.stream.readable().await.is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    })
    .await;
}

/// Echoes messages until the client closes: the same reader and gate as a session's, for
/// conformance tests. What it echoes is compressed if that is agreed on, whatever came.
pub(crate) async fn echo(connection: Arc<Connection>, leftover: Vec<u8>, shard: ShardSender) {
    let window = connection.encoding.window;
    let mut reader = Reader::new(
        leftover,
        ECHO_BYTES_MAX,
        window.is_some(),
        Intake::new(0, 0, Instant::now()),
    );
    let mut deflater = Deflater::new(connection.settings.compression);
    let mut answer = |kind: Kind, payload: &[u8]| match window {
        Some(window) => frame::data(kind.compressed(), deflater.blocks(window, payload)),
        None => frame::data(kind, payload),
    };
    let end = loop {
        match next(&connection, &mut reader, &shard).await {
            Ok(Message::Text(text)) => {
                let _ = connection.send_answers(&[answer(Kind::TEXT, text.as_bytes())]);
            }
            Ok(Message::Binary(bytes)) => {
                let _ = connection.send_answers(&[answer(Kind::BINARY, &bytes)]);
            }
            Ok(Message::Close(close)) => {
                let code = close.map_or(1005, |close| u16::from(close.code));
                while next(&connection, &mut reader, &shard).await.is_ok() {}
                break End::ByClient(code);
            }
            Ok(_) => {}
            Err(end) => break end,
        }
    };
    finish(&connection, end).await;
}

#[cfg(test)]
mod tests;
