//! The edge: one connection on a real socket.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{FutureExt, SinkExt, StreamExt};
use market_core::{UnixMicros, VenueClock};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use super::connection::{Action, CloseReason, Connection};
use super::connection_spec::{ConnectionEvent, ConnectionSpec};
use super::dial::{self, Socket};
use super::proof::{Doubt, Proof};
use super::router::{BATCH_MAX, Router};
use super::symbols::{Share, SymbolState};
use crate::host_clock::{now_ms, now_us};
use crate::inbox::{ConnectionId, Input};

/// Connections opened so far.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// Longest frame that is read, bytes.
const FRAME_BYTES_MAX: usize = 16 << 20;
/// Bytes per read. tungstenite zeroes as many before each read.
const READ_BYTES: usize = 32 << 10;
const TICK: Duration = Duration::from_millis(50);
/// How often workers are told up to when data is read.
const READ_TOLD_MS: i64 = 100;
/// Longest time of the closing handshake.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// How a connection ended.
pub(crate) struct Ended {
    pub(crate) reason: CloseReason,
    /// The reason, in the words of the side that ended it.
    pub(crate) detail: String,
    pub(crate) clock: Option<VenueClock>,
    /// For how long it carried all of its symbols.
    pub(crate) was_ready_for: Duration,
    /// It was open, but the venue answered none of its subscriptions.
    pub(crate) was_ignored: bool,
}

/// Runs one connection that carries `share` to its end. It asks for at most `frame_max` symbols in
/// a frame. `stop` closes it in an orderly way.
pub(crate) async fn run(
    spec: &ConnectionSpec,
    share: &Share,
    clock: Option<VenueClock>,
    frame_max: usize,
    tell: impl Fn(ConnectionEvent),
    stop: &CancellationToken,
) -> Ended {
    let failed = |reason, detail: String| Ended {
        reason,
        detail,
        clock: clock.clone(),
        was_ready_for: Duration::ZERO,
        was_ignored: false,
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX));
    let connect = timeout(
        spec.connect_timeout,
        dial::open(&spec.url, &spec.tls, config),
    );
    let socket = tokio::select! {
        () = stop.cancelled() => return failed(CloseReason::Stopped, String::new()),
        connected = connect => match connected {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return failed(CloseReason::ConnectFailed, error.to_string()),
            Err(_) => return failed(CloseReason::ConnectFailed, "not opened in time".to_owned()),
        },
    };
    let connection = Connection::new(
        spec.exchange,
        &spec.board.subscriptions(share.symbols()),
        spec.wanted,
        frame_max,
        spec.timing(),
        clock.clone(),
        now_ms(),
    );
    let mut edge = Edge {
        spec,
        share,
        connection,
        id: CONNECTIONS.fetch_add(1, Ordering::Relaxed),
        proof: Proof::new(now_ms()),
        told_ms: 0,
        ping: None,
        router: spec.router(),
        trades: Vec::new(),
        actions: Vec::new(),
        is_yield_due: false,
        ready_at: None,
        detail: String::new(),
        tell,
    };
    let reason = edge.live(socket, stop).await;
    let up = edge.connection.up();
    spec.board.down(&up);
    let connection = edge.id;
    edge.router
        .tell(&up, |instruments| Input::SocketDown {
            connection,
            instruments,
        })
        .await;
    Ended {
        reason,
        detail: edge.detail,
        was_ignored: reason != CloseReason::Stopped && !edge.connection.was_answered(),
        was_ready_for: edge.ready_at.map_or(Duration::ZERO, |at| at.elapsed()),
        clock: edge.connection.into_clock(),
    }
}

struct Edge<'s, T> {
    spec: &'s ConnectionSpec,
    share: &'s Share,
    id: ConnectionId,
    connection: Connection,
    proof: Proof,
    /// The time up to which workers were told that all data is read.
    told_ms: i64,
    /// A ping to send, and its content.
    ping: Option<i64>,
    router: Router,
    trades: Vec<(usize, market_core::Trade)>,
    actions: Vec<Action>,
    /// Frames wait, but the workers on this thread must run in between.
    is_yield_due: bool,
    ready_at: Option<Instant>,
    detail: String,
    tell: T,
}

impl<T: Fn(ConnectionEvent)> Edge<'_, T> {
    async fn live(&mut self, mut socket: Socket, stop: &CancellationToken) -> CloseReason {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => Some(CloseReason::Stopped),
                _ = ticks.tick() => {
                    // Waiting frames come first: this process may have stood still, and must not
                    // judge frames by the clock before it has read them.
                    let ended = match socket.next().now_or_never() {
                        Some(message) => self.read(message, &mut socket),
                        None => {
                            self.looked(true);
                            None
                        }
                    };
                    if ended.is_none() {
                        self.tick();
                    }
                    ended
                }
                message = socket.next() => self.read(message, &mut socket),
            };
            let reason = match ended {
                Some(reason) => Some(reason),
                None => self.act(&mut socket).await,
            };
            if std::mem::take(&mut self.is_yield_due) {
                tokio::task::yield_now().await;
            }
            if let Some(reason) = reason {
                // The other side may be gone: the result of the close does not matter.
                let _ = timeout(CLOSE_DEADLINE, socket.close(None)).await;
                return reason;
            }
        }
    }

    fn tick(&mut self) {
        self.router.pay_what_is_owed();
        let now = now_ms();
        if self.connection.was_answered() {
            self.ping = self.proof.ask(now).or(self.ping);
        }
        if self.proof.is_catching_up(now) {
            return;
        }
        self.connection.tick(now, &mut self.actions);
        for &(instrument, _) in self.share.symbols() {
            if self.spec.health.take_zombie(instrument) {
                self.connection.zombie_found(instrument, &mut self.actions);
            }
        }
    }

    /// The socket was checked; `is_empty` if it had no data.
    fn looked(&mut self, is_empty: bool) {
        let now = now_ms();
        let stood_still = self.proof.look(now);
        // A task that has used up its turn is told that the socket is empty, even if it is not.
        let is_empty = is_empty && tokio::task::coop::has_budget_remaining();
        let doubt = stood_still.or_else(|| is_empty.then(|| self.proof.empty(now)).flatten());
        if let Some(doubt) = doubt {
            self.tell_doubt(doubt);
        }
    }

    fn tell_doubt(&self, doubt: Doubt) {
        metrics::counter!("marketdata_connection_doubts_total", "exchange" => self.spec.exchange.name(), "reason" => doubt.name())
            .increment(1);
    }

    /// Tells workers up to when data is read, but only after the trades before it are passed on.
    fn tell_read(&mut self) {
        let through_ms = self.proof.through_ms();
        if through_ms - self.told_ms >= READ_TOLD_MS {
            self.told_ms = through_ms;
            self.router
                .read_through(self.id, self.connection.up().into_iter(), through_ms);
        }
    }

    /// Takes a message, and the messages that are already there, as one batch.
    fn read(
        &mut self,
        first: Option<Result<Message, Error>>,
        socket: &mut Socket,
    ) -> Option<CloseReason> {
        let started = Instant::now();
        self.looked(false);
        let mut next = Some(first);
        let mut ended = None;
        let mut is_read = false;
        let mut frames = 0;
        while let Some(message) = next {
            ended = self.message(message);
            frames += 1;
            if frames >= BATCH_MAX || self.trades.len() >= BATCH_MAX {
                self.is_yield_due = true;
                break;
            }
            if ended.is_some() {
                break;
            }
            next = socket.next().now_or_never();
            is_read = next.is_none();
        }
        if is_read {
            self.looked(true);
        }
        self.spec.values.put(self.connection.take_values());
        if !self.trades.is_empty() {
            self.spec.meters.decode.record(started.elapsed());
            if let Some((_, newest)) = self.trades.last()
                && let Some(offset_ms) = self.connection.offset_ms()
            {
                let on_the_way_us =
                    newest.received_us + offset_ms * 1_000 - newest.event_ms * 1_000;
                self.spec
                    .meters
                    .feed
                    .record(on_the_way_us.max(0) as f64 / 1e6);
            }
        }
        // Symbols that come up with their first trade are reported before it.
        if !self
            .actions
            .iter()
            .any(|action| matches!(action, Action::Up(_)))
        {
            self.route();
        }
        ended
    }

    fn route(&mut self) {
        let offset_ms = self.connection.offset_ms();
        self.router.route(&mut self.trades, offset_ms);
    }

    fn message(&mut self, message: Option<Result<Message, Error>>) -> Option<CloseReason> {
        let received_us = now_us();
        self.spec.status.heard(received_us / 1_000);
        match message {
            Some(Ok(Message::Text(text))) => {
                self.proof.frame(received_us / 1_000);
                self.frame(text.as_str(), received_us);
                None
            }
            Some(Ok(Message::Close(frame))) => {
                self.detail = frame.map_or_else(
                    || "closed by the venue".to_owned(),
                    |frame| format!("closed by the venue: {frame}"),
                );
                Some(CloseReason::Lost)
            }
            Some(Ok(Message::Binary(bytes))) => {
                // No venue sends binary frames: decoded as text, such a frame counts as malformed.
                let text = String::from_utf8_lossy(&bytes);
                self.frame(&text, received_us);
                None
            }
            Some(Ok(Message::Pong(payload))) => {
                let text = std::str::from_utf8(&payload).ok();
                if let Some(asked_ms) = text.and_then(|text| text.parse().ok()) {
                    self.proof.pong(asked_ms, received_us / 1_000);
                }
                self.connection.heard(received_us / 1_000);
                None
            }
            Some(Ok(_)) => {
                self.connection.heard(received_us / 1_000);
                None
            }
            Some(Err(error)) => {
                self.detail = error.to_string();
                Some(CloseReason::Lost)
            }
            None => Some(CloseReason::Lost),
        }
    }

    /// Takes a text frame, and counts and logs what it contained.
    fn frame(&mut self, text: &str, received_us: UnixMicros) {
        let counts = self
            .connection
            .frame(text, received_us, &mut self.trades, &mut self.actions);
        self.spec.meters.frame(&counts);
        let exchange = self.spec.exchange.name();
        for message in &counts.refusals {
            tracing::warn!(exchange, message, "the venue refused a request");
        }
        if let Some(error) = &counts.malformed {
            tracing::debug!(exchange, error = %error, "malformed frame");
        }
    }

    async fn act(&mut self, socket: &mut Socket) -> Option<CloseReason> {
        let actions = std::mem::take(&mut self.actions);
        for action in actions {
            match action {
                Action::Send(text) => {
                    let sent = timeout(
                        self.spec.connect_timeout,
                        socket.send(Message::Text(text.into())),
                    );
                    if !matches!(sent.await, Ok(Ok(()))) {
                        return Some(CloseReason::Lost);
                    }
                }
                Action::Up(instruments) => {
                    self.spec.board.up(&instruments);
                    let offset_ms = self.connection.offset_ms();
                    let connection = self.id;
                    self.router
                        .tell(&instruments, |instruments| Input::SocketUp {
                            connection,
                            instruments,
                            offset_ms,
                        })
                        .await;
                }
                Action::Ready => {
                    self.ready_at = Some(Instant::now());
                    (self.tell)(ConnectionEvent::Ready);
                }
                Action::Refused(instrument, refusal) => {
                    self.spec.board.refused(instrument, refusal);
                }
                Action::Suspect(instrument) => {
                    self.spec.board.set_silent(instrument, true);
                    // REST has no trades of a symbol that the venue does not have.
                    if self.spec.board.state(instrument) != SymbolState::Unknown {
                        self.router.suspect(instrument);
                    }
                }
                Action::Heard(instrument) => self.spec.board.set_silent(instrument, false),
                Action::Rotate => (self.tell)(ConnectionEvent::Rotate),
                Action::Close(reason) => return Some(reason),
            }
        }
        self.route();
        self.tell_read();
        if let Some(asked_ms) = self.ping.take() {
            let sent = timeout(
                self.spec.connect_timeout,
                socket.send(Message::Ping(asked_ms.to_string().into())),
            );
            if !matches!(sent.await, Ok(Ok(()))) {
                return Some(CloseReason::Lost);
            }
        }
        None
    }
}
