//! The accept path: limits before anything is read, HTTP for as long as it takes to become a
//! WebSocket, then a small task of its own for the session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use market_core::protocol::CloseCode;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, warn};

use crate::config::Config;
use crate::flush::ShardSender;
use crate::forwarded::Network;
use crate::handshake::{Agreed, Visit};
use crate::leaving::Leaving;
use crate::limits::{Full, Limits, Permit, TokenBucket};
use crate::metrics::Metrics;
use crate::socket::{self, Connection, First, Opening, Seat, Settings};

/// hyper's buffer for a request's headers, bytes: the least it allows, and plenty.
const HEADER_BYTES_MAX: usize = 8 * 1024;
/// Rest after an accept that failed, as it does while files are short.
const ACCEPT_REST: Duration = Duration::from_millis(50);

const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Type: text/plain\r\nContent-Length: 43\r\n\r\ntoo many connections: try again in seconds\n";

/// What every accepted connection needs.
pub(crate) struct Entrance {
    router: Router,
    limits: Arc<Limits>,
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    shards: Vec<ShardSender>,
    trusted: Vec<Network>,
    handshake_time: Duration,
    http_time: Duration,
    handshake_rate: u32,
    tracker: TaskTracker,
    leaving: Leaving,
}

impl Entrance {
    /// Gathers what connections need.
    pub(crate) fn new(
        config: &Config,
        router: Router,
        limits: Arc<Limits>,
        settings: Arc<Settings>,
        shards: Vec<ShardSender>,
        tracker: TaskTracker,
        leaving: Leaving,
    ) -> Self {
        Self {
            router,
            limits,
            metrics: settings.metrics(),
            settings,
            shards,
            trusted: config.trusted_proxies.clone(),
            handshake_time: Duration::from_millis(config.handshake_ms),
            http_time: Duration::from_millis(config.http_ms),
            handshake_rate: config.handshake_rate,
            tracker,
            leaving,
        }
    }

    /// Accepts connections until the gateway leaves.
    pub(crate) async fn accept(self, listener: TcpListener) {
        let this = Arc::new(self);
        let burst = (this.handshake_rate / 10).max(64);
        let mut bucket = TokenBucket::new(this.handshake_rate, burst, Instant::now());
        let mut turn = 0;
        loop {
            let now = Instant::now();
            if !bucket.take(1, now) {
                // The backlog holds the others meanwhile.
                tokio::time::sleep_until(bucket.next_at(now).into()).await;
                continue;
            }
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = this.leaving.begun() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    turn = (turn + 1) % this.shards.len();
                    this.admit(stream, peer, turn);
                }
                Err(error) => {
                    this.metrics.handshake_failed("accept");
                    warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, turn: usize) {
        let peer_ip = peer.ip().to_canonical();
        // Many clients share a proxy's address: theirs is known after the headers.
        let is_proxy = self.trusted.iter().any(|network| network.contains(peer_ip));
        match self.limits.connect((!is_proxy).then_some(peer_ip)) {
            Ok(permit) => {
                let _ = stream.set_nodelay(true);
                let this = Arc::clone(self);
                let visit = Visit {
                    peer_ip,
                    agreed: Arc::default(),
                    has_asked: Arc::default(),
                };
                self.tracker.spawn(async move {
                    this.metrics.connections.increment(1.0);
                    this.http(stream, visit, turn, permit).await;
                });
            }
            Err(full) => {
                self.metrics.handshake_failed(full.as_str());
                // Whether it fits the socket's empty buffer or not: nothing waits for it.
                let _ = stream.try_write(TOO_MANY);
                debug!(limit = full.as_str(), "connection refused");
            }
        }
    }

    /// Serves HTTP until the connection ends or becomes a WebSocket.
    async fn http(self: Arc<Self>, stream: TcpStream, visit: Visit, turn: usize, permit: Permit) {
        let router = self.router.clone();
        let extension = visit.clone();
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            extension.has_asked.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(extension.clone());
            router.clone().oneshot(request.map(Body::new))
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
            () = self.leaving.begun() => {
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(self.handshake_time, connection.as_mut()).await
            }
        };
        match served {
            Ok(Ok(())) => {}
            // A kept-alive connection that asks for nothing more has had what it wanted.
            _ if visit.has_asked.load(Ordering::Relaxed) => {}
            Ok(Err(error)) => {
                let reason = if error.is_timeout() {
                    "timeout"
                } else if error.is_parse() {
                    "malformed"
                } else {
                    "broken"
                };
                self.metrics.handshake_failed(reason);
                debug!(%error, "connection ended");
            }
            Err(_) => self.metrics.handshake_failed("http_time"),
        }
        let agreed = visit.agreed.lock().expect("no holder panics").take();
        match agreed {
            Some(agreed) => self.begin(agreed, turn, permit).await,
            None => self.metrics.connections.decrement(1.0),
        }
    }

    /// Makes a session of an upgraded connection.
    async fn begin(self: Arc<Self>, agreed: Agreed, turn: usize, connected: Permit) {
        let Agreed {
            on_upgrade,
            client_ip,
            encoding,
            grant,
            request,
            is_echo,
        } = agreed;
        let parts = match on_upgrade.await {
            Ok(upgraded) => upgraded
                .downcast::<TokioIo<TcpStream>>()
                .expect("connections are served on TCP streams"),
            Err(error) => {
                self.metrics.handshake_failed("upgrade");
                self.metrics.connections.decrement(1.0);
                debug!(%error, "upgrade failed");
                return;
            }
        };
        let opening = Opening {
            // Copied: it is a few bytes of a buffer of several KiB.
            leftover: parts.read_buf.to_vec(),
            first: (grant.is_some() || request.is_some())
                .then(|| Box::new(First { grant, request })),
        };
        self.metrics.negotiated(encoding);
        let connection =
            Connection::new(parts.io.into_inner(), Arc::clone(&self.settings), encoding);
        let metrics = Arc::clone(&self.metrics);
        let shard = self.shards[turn].clone();
        // A task of its own: this one's future is as large as HTTP needs it.
        if is_echo {
            self.tracker.spawn(async move {
                socket::echo(Arc::new(connection), opening.leftover, shard).await;
                metrics.connections.decrement(1.0);
                drop(connected);
            });
            return;
        }
        let admitted = self.limits.begin_session(client_ip);
        let turned_away = match &admitted {
            Ok(_) if self.leaving.has_begun() => Some(CloseCode::DRAIN),
            Ok(_) => None,
            Err(full) => {
                self.metrics.handshake_failed(Full::as_str(*full));
                Some(CloseCode::LIMIT)
            }
        };
        match (admitted, turned_away) {
            (Ok(permit), None) => {
                let seat = Seat { shard, permit };
                self.tracker.spawn(async move {
                    socket::session(Arc::new(connection), opening, seat).await;
                    metrics.connections.decrement(1.0);
                    drop(connected);
                });
            }
            (_, code) => {
                self.tracker.spawn(async move {
                    socket::turn_away(connection, code.unwrap_or(CloseCode::LIMIT)).await;
                    metrics.connections.decrement(1.0);
                    drop(connected);
                });
            }
        }
    }
}
