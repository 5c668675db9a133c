//! The accept path: limits before anything is read, HTTP until the connection becomes a WebSocket,
//! then a small separate task for the session.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use market_core::protocol::CloseCode;
use service::Network;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, warn};

use crate::connection::guard::SessionGuard;
use crate::connection::session::{SessionStart, session};
use crate::connection::settings::Settings;
use crate::connection::socket::{Connection, ShardSender};
use crate::connection::{echo, finish};
use crate::entry::handshake::{Handshaker, Negotiated, Peer};
use crate::fleet::drain::Drain;
use crate::limits::{
    AddressBudget, AddressGroups, Allowance, Full, Limits, Permit, TokenBucket, UNMETERED,
};
use crate::metrics::Metrics;
use crate::sessions::command::InitialRequest;

/// hyper's buffer for a request's headers, bytes: the smallest size that hyper allows, which is
/// enough.
const HEADER_BYTES_MAX: usize = 8 * 1024;
/// Pause after an accept that failed, for example because there are no free file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(50);

const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Type: text/plain\r\nContent-Length: 43\r\n\r\ntoo many connections: try again in seconds\n";

/// The place of a connection, which is freed when dropped.
struct Place {
    _permit: Permit,
    metrics: Arc<Metrics>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.connections.decrement(1.0);
    }
}

/// Who may connect how often, and how long HTTP may take.
#[derive(Clone, Debug)]
pub(crate) struct EntryConfig {
    /// Trusted proxies, whose forwarded addresses are believed.
    pub trusted: Vec<Network>,
    /// Time within which a request's headers must arrive.
    pub handshake_time: Duration,
    /// Time within which a connection must become a WebSocket or end.
    pub http_time: Duration,
    /// New connections a second.
    pub handshake_rate: u32,
    /// New connections of one client.
    pub allowance: Allowance,
    /// Which addresses are one client.
    pub groups: AddressGroups,
}

/// The answers to HTTP requests.
pub(crate) struct HttpAnswers {
    /// To requests for a WebSocket.
    pub handshaker: Handshaker,
    /// To all others.
    pub router: Router,
}

/// What every accepted connection needs.
pub(crate) struct Acceptor {
    answers: HttpAnswers,
    limits: Arc<Limits>,
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    shards: Vec<ShardSender>,
    trusted: Vec<Network>,
    handshake_time: Duration,
    http_time: Duration,
    handshake_rate: u32,
    /// How much each client has used of its own rate.
    handshakes: Arc<AddressBudget>,
    tracker: TaskTracker,
    drain: Drain,
}

impl Acceptor {
    /// Gathers what connections need.
    pub(crate) fn new(
        config: EntryConfig,
        answers: HttpAnswers,
        limits: Arc<Limits>,
        settings: Arc<Settings>,
        shards: Vec<ShardSender>,
        tracker: TaskTracker,
        drain: Drain,
    ) -> Self {
        Self {
            answers,
            limits,
            metrics: settings.metrics(),
            settings,
            shards,
            trusted: config.trusted,
            handshake_time: config.handshake_time,
            http_time: config.http_time,
            handshake_rate: config.handshake_rate,
            handshakes: Arc::new(AddressBudget::new(
                "handshakes",
                UNMETERED,
                config.allowance,
                config.groups,
            )),
            tracker,
            drain,
        }
    }

    /// Accepts connections until the gateway drains.
    pub(crate) async fn accept(self, listener: TcpListener) {
        let this = Arc::new(self);
        let burst = (this.handshake_rate / 10).max(64);
        let mut bucket = TokenBucket::new(this.handshake_rate, burst, Instant::now());
        let mut turn = 0;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = this.drain.begun() => return,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    this.metrics.handshake_failed("accept");
                    warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            let peer_ip = peer.ip().to_canonical();
            // Many clients share a proxy's address: their own addresses are known after the
            // headers.
            let is_proxy = this.trusted.iter().any(|it| it.contains(peer_ip));
            let place = match this.admit(peer_ip, is_proxy) {
                Ok(place) => place,
                Err(limit) => {
                    this.metrics.handshake_failed(limit);
                    // The answer fits into the socket's empty buffer or is lost: nothing waits for
                    // it.
                    let _ = stream.try_write(TOO_MANY);
                    debug!(limit, "connection refused");
                    continue;
                }
            };
            // Only connections that are served use the rate of all clients.
            this.await_turn(&mut bucket).await;
            let _ = stream.set_nodelay(true);
            turn = (turn + 1) % this.shards.len();
            let peer = Peer {
                ip: peer_ip,
                handshakes: is_proxy.then(|| Arc::clone(&this.handshakes)),
            };
            let http = Arc::clone(&this).http(stream, peer, turn, place);
            this.tracker.spawn(http);
        }
    }

    /// A place for a connection, or the limit that it exceeds.
    fn admit(&self, peer_ip: IpAddr, is_proxy: bool) -> Result<Place, &'static str> {
        if !is_proxy && !self.handshakes.take(peer_ip, Instant::now()) {
            return Err("handshake_rate_per_ip");
        }
        let permit = self
            .limits
            .connect((!is_proxy).then_some(peer_ip))
            .map_err(Full::as_str)?;
        self.metrics.connections.increment(1.0);
        Ok(Place {
            _permit: permit,
            metrics: Arc::clone(&self.metrics),
        })
    }

    /// Waits until the rate of all clients allows one more connection. The other connections wait
    /// in the backlog.
    async fn await_turn(&self, bucket: &mut TokenBucket) {
        loop {
            let now = Instant::now();
            if bucket.take(1, now) {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(bucket.next_at(now).into()) => {}
                () = self.drain.begun() => return,
            }
        }
    }

    /// Serves HTTP until the connection ends or becomes a WebSocket.
    async fn http(self: Arc<Self>, stream: TcpStream, peer: Peer, turn: usize, place: Place) {
        match self.serve(stream, &peer).await {
            Ok(Some(negotiated)) => self.begin(negotiated, turn, place).await,
            Ok(None) => {}
            Err(reason) => self.metrics.handshake_failed(reason),
        }
    }

    /// Serves requests until the connection ends, and returns what its last one agreed on, or the
    /// reason why no answer reached the client. hyper's connection is gone when this returns:
    /// otherwise an upgrade that it still holds would neither complete nor fail.
    async fn serve(
        &self,
        stream: TcpStream,
        peer: &Peer,
    ) -> Result<Option<Negotiated>, &'static str> {
        let negotiated = OnceLock::new();
        // Whether the last request was answered.
        let is_answered = AtomicBool::new(false);
        let served = self.serve_requests(stream, peer, &negotiated, &is_answered);
        match served.await {
            Ok(()) => Ok(negotiated.into_inner()),
            // A kept-alive connection without further requests has had its answer. Whatever was
            // negotiated, the client has not received the answer.
            Err(_) if negotiated.get().is_none() && is_answered.into_inner() => Ok(None),
            Err(reason) => Err(reason),
        }
    }

    async fn serve_requests(
        &self,
        stream: TcpStream,
        peer: &Peer,
        negotiated: &OnceLock<Negotiated>,
        is_answered: &AtomicBool,
    ) -> Result<(), &'static str> {
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            is_answered.store(false, Ordering::Relaxed);
            async move {
                let answer = if self.answers.handshaker.serves(request.uri().path()) {
                    let (response, agreed) = self.answers.handshaker.shake(&mut request, peer);
                    if let Some(agreed) = agreed {
                        // It is the connection's last request: after it, bytes are frames.
                        let _ = negotiated.set(agreed);
                    }
                    Ok(response)
                } else {
                    // Other routes have limits by address, too.
                    let peer = ConnectInfo(SocketAddr::new(peer.ip, 0));
                    request.extensions_mut().insert(peer);
                    let router = self.answers.router.clone();
                    router.oneshot(request.map(Body::new)).await
                };
                is_answered.store(true, Ordering::Relaxed);
                answer
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.handshake_time)
            .max_buf_size(HEADER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let served = tokio::select! {
            served = tokio::time::timeout(self.http_time, connection.as_mut()) => served,
            () = self.drain.begun() => {
                connection.as_mut().graceful_shutdown();
                // No longer than sessions: the drain also waits for this.
                let rest = self.handshake_time.min(self.drain.window());
                tokio::time::timeout(rest, connection.as_mut()).await
            }
        };
        match served {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                debug!(%error, "connection ended");
                Err(if error.is_timeout() {
                    "timeout"
                } else if error.is_parse() {
                    "malformed"
                } else {
                    "broken"
                })
            }
            Err(_) => Err("http_time"),
        }
    }

    /// Makes a session of an upgraded connection.
    async fn begin(self: Arc<Self>, negotiated: Negotiated, turn: usize, place: Place) {
        let Negotiated {
            on_upgrade,
            client_ip,
            encoding,
            grant,
            request,
            is_echo,
        } = negotiated;
        let upgraded = match tokio::time::timeout(self.handshake_time, on_upgrade).await {
            Ok(Ok(upgraded)) => upgraded,
            Ok(Err(error)) => {
                self.metrics.handshake_failed("upgrade");
                debug!(%error, "upgrade failed");
                return;
            }
            Err(_) => {
                self.metrics.handshake_failed("upgrade");
                debug!("upgrade never came");
                return;
            }
        };
        let parts = upgraded
            .downcast::<TokioIo<TcpStream>>()
            .expect("connections are served on TCP streams");
        let start = SessionStart {
            // Copied, because it is a few bytes of a buffer of several KiB.
            leftover: parts.read_buf.to_vec(),
            first: (grant.is_some() || request.is_some())
                .then(|| Box::new(InitialRequest { grant, request })),
        };
        self.metrics.negotiated(encoding);
        let connection = Connection::new(
            parts.io.into_inner(),
            Arc::clone(&self.settings),
            encoding,
            client_ip,
        );
        let shard = self.shards[turn].clone();
        // A separate task: this one's future is as large as HTTP needs it.
        if is_echo {
            self.tracker.spawn(async move {
                echo::echo(Arc::new(connection), start.leftover, shard).await;
                drop(place);
            });
            return;
        }
        let turned_away = match self.limits.begin_session(client_ip) {
            Ok(_) if self.drain.has_begun() => CloseCode::DRAIN,
            Ok(permit) => {
                let guard = SessionGuard::new(Arc::new(connection), shard, permit);
                self.tracker.spawn(async move {
                    session(guard, start).await;
                    drop(place);
                });
                return;
            }
            Err(full) => {
                self.metrics.handshake_failed(Full::as_str(full));
                CloseCode::LIMIT
            }
        };
        self.tracker.spawn(async move {
            finish::turn_away(connection, turned_away).await;
            drop(place);
        });
    }
}
