//! The edge: the books of a share of a venue's symbols on a real socket.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use market_core::BookFault;
use rand::Rng;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::desk::{Action, Desk, DeskSettings};
use super::meters::BookMeters;
use crate::backfill::client::{RestClient, RestError};
use crate::budget::WindowBudget;
use crate::exchange::{Exchange, RestRequest};
use crate::feed::backoff::Backoff;
use crate::feed::connection_spec::ConnectionSpec;
use crate::feed::dial::{self, Socket, VenueTls};
use crate::host_clock::{now_ms, now_us};
use crate::instrument::InstrumentId;
use crate::publish::values::Values;

/// Longest frame that is read, bytes: whole books come in one frame.
const FRAME_BYTES_MAX: usize = 16 << 20;
const TICK: Duration = Duration::from_millis(50);
/// A connection that lasted for this long was not a failure.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// Longest time of the closing handshake.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// Keeps a connection for the books of a share of a venue's symbols.
pub struct BookFeed {
    exchange: &'static dyn Exchange,
    url: String,
    symbols: Vec<(InstrumentId, String)>,
    values: Arc<Values>,
    client: Arc<RestClient>,
    tls: VenueTls,
    connect_timeout: Duration,
    backoff: Backoff,
    attempts: Arc<std::sync::Mutex<WindowBudget>>,
    settings: DeskSettings,
    meters: BookMeters,
}

/// An answer to a request for the snapshot of a book.
type Answer = (usize, Result<bytes::Bytes, RestError>);

impl BookFeed {
    /// The books of the symbols of `spec`, beside its trades. Snapshots come from `client`.
    #[must_use]
    pub fn beside(spec: &ConnectionSpec, client: Arc<RestClient>, settings: DeskSettings) -> Self {
        Self {
            exchange: spec.exchange,
            url: spec.url.clone(),
            symbols: spec.symbols.clone(),
            values: Arc::clone(&spec.values),
            client,
            tls: spec.tls.clone(),
            connect_timeout: spec.connect_timeout,
            backoff: spec.backoff.clone(),
            attempts: Arc::clone(&spec.attempts),
            settings,
            meters: BookMeters::new(spec.exchange.name()),
        }
    }

    /// Runs one connection after the other until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        // The bus may have a book of the last run.
        let lost = |&(instrument, _): &(InstrumentId, String)| (instrument, Err(BookFault::Lost));
        self.values.put_books(self.symbols.iter().map(lost));
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.turn() => {}
            }
            let started = Instant::now();
            let (reason, detail) = self.connection(&stop).await;
            if stop.is_cancelled() {
                return;
            }
            self.meters.disconnected(reason);
            info!(
                exchange = self.exchange.name(),
                reason, detail, "the connection for books ended, opening another one"
            );
            if started.elapsed() >= STABLE_AFTER {
                self.backoff.reset();
            }
            let wait_ms = self.backoff.next_ms(rand::rng().random());
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(Duration::from_millis(wait_ms)) => {}
            }
        }
    }

    /// Waits until the venue's budget has room for an attempt. Connections for trades share it.
    async fn turn(&self) {
        loop {
            let taken = self
                .attempts
                .lock()
                .expect("no code panics while it holds the budget")
                .take(now_ms(), 1);
            match taken {
                Ok(()) => return,
                Err(wait_ms) => sleep(Duration::from_millis(wait_ms.unsigned_abs())).await,
            }
        }
    }

    /// One connection, and why it ended.
    async fn connection(&self, stop: &CancellationToken) -> (&'static str, String) {
        let config = WebSocketConfig::default()
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        let connect = timeout(
            self.connect_timeout,
            dial::open(&self.url, &self.tls, config),
        );
        let mut socket = tokio::select! {
            () = stop.cancelled() => return ("stopped", String::new()),
            connected = connect => match connected {
                Ok(Ok(socket)) => socket,
                Ok(Err(error)) => return ("connect_failed", error.to_string()),
                Err(_) => return ("connect_failed", "not opened in time".to_owned()),
            },
        };
        debug!(
            exchange = self.exchange.name(),
            books = self.symbols.len(),
            "a connection for books is open"
        );
        let mut desk = Desk::new(
            self.exchange,
            &self.symbols,
            self.settings,
            self.meters.clone(),
            now_ms(),
        );
        let ended = self.live(&mut socket, &mut desk, stop).await;
        desk.end(now_ms());
        self.values.put_books(desk.take_published());
        // The other side may be gone: the result of the close does not matter.
        let _ = timeout(CLOSE_DEADLINE, socket.close(None)).await;
        ended
    }

    async fn live(
        &self,
        socket: &mut Socket,
        desk: &mut Desk,
        stop: &CancellationToken,
    ) -> (&'static str, String) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut fetching: JoinSet<Answer> = JoinSet::new();
        let mut actions = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return ("stopped", String::new()),
                _ = ticks.tick() => desk.tick(now_ms(), &mut actions),
                Some(answer) = fetching.join_next() => {
                    let (index, answer) = answer.expect("a request does not panic");
                    self.answered(desk, index, answer);
                }
                message = socket.next() => {
                    if let Err(ended) = message_to(desk, message) {
                        return ended;
                    }
                }
            }
            self.values.put_books(desk.take_published());
            for action in actions.drain(..) {
                match action {
                    Action::Send(text) => {
                        let message = Message::Text(text.into());
                        let sent = timeout(self.connect_timeout, socket.send(message));
                        if !matches!(sent.await, Ok(Ok(()))) {
                            return ("lost", "a message was not taken".to_owned());
                        }
                    }
                    Action::Fetch(index, request) => {
                        let client = Arc::clone(&self.client);
                        let percent = self.settings.rest_percent;
                        fetching.spawn(fetch(client, index, request, percent));
                    }
                    Action::Close(reason) => return (reason, String::new()),
                }
            }
        }
    }

    fn answered(&self, desk: &mut Desk, index: usize, answer: Result<bytes::Bytes, RestError>) {
        match answer {
            Ok(body) => desk.snapshot(index, Some(&body), now_us()),
            Err(error) => {
                let exchange = self.exchange.name();
                info!(exchange, error = %error, "no snapshot of a book, asking again later");
                desk.snapshot(index, None, now_us());
            }
        }
    }
}

async fn fetch(
    client: Arc<RestClient>,
    index: usize,
    request: RestRequest,
    percent: u32,
) -> Answer {
    (index, client.get_within(&request, percent).await)
}

/// Gives a message of the socket to the desk; why the connection ended, if it has.
fn message_to(
    desk: &mut Desk,
    message: Option<Result<Message, Error>>,
) -> Result<(), (&'static str, String)> {
    match message {
        Some(Ok(Message::Text(text))) => desk.frame(text.as_str(), now_us()),
        // No venue sends binary frames: decoded as text, such a frame counts as malformed.
        Some(Ok(Message::Binary(bytes))) => {
            desk.frame(&String::from_utf8_lossy(&bytes), now_us());
        }
        Some(Ok(Message::Close(frame))) => {
            let detail = frame.map_or_else(String::new, |frame| frame.to_string());
            return Err(("lost", format!("closed by the venue {detail}")));
        }
        Some(Ok(_)) => desk.heard(now_ms()),
        Some(Err(error)) => return Err(("lost", error.to_string())),
        None => return Err(("lost", String::new())),
    }
    Ok(())
}
