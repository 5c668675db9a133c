//! HTTP on one address, within bounds: a client that asks slowly or never takes no place for long.

mod late_body;

use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::error;

pub use late_body::is_late_body;

use late_body::InTime;

/// How long an answer in progress may take once the listener is told to end, or its connection has
/// lasted long enough.
const STOP_DEADLINE: Duration = Duration::from_secs(1);
/// Pause after an accept that failed, for example because there are no free file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// Longest life of a connection, so that a connection whose answer is not read does not stay.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(600);

/// The bounds of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpBounds {
    /// Most connections at once; more wait in the backlog.
    pub connections_max: usize,
    /// Time within which a request's headers must arrive, and then its whole body; and longest pause
    /// between two requests of a connection. A body that comes later is an error: [`is_late_body`].
    pub idle: Duration,
}

/// Serves `router` until `stop`, and then what is in progress for a second. Requests have the
/// [`ConnectInfo`] of their peer. `name` is for the log.
pub async fn serve_http(
    name: &'static str,
    listener: TcpListener,
    router: Router,
    bounds: HttpBounds,
    stop: CancellationToken,
) {
    let open = metrics::gauge!("service_http_connections", "listener" => name);
    let mut connections = JoinSet::new();
    loop {
        open.set(connections.len() as f64);
        let has_room = connections.len() < bounds.connections_max.max(1);
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            // More connections wait in the backlog.
            accepted = listener.accept(), if has_room => match accepted {
                Ok((stream, peer)) => {
                    let router = router.clone().layer(Extension(ConnectInfo(peer)));
                    connections.spawn(connection(stream, router, bounds.idle, stop.clone()));
                }
                Err(error) => {
                    error!(listener = name, error = %error, "accept failed");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(STOP_DEADLINE, ended).await;
}

/// Serves the requests of one connection, until it is idle for too long or has lasted long enough.
async fn connection(
    stream: TcpStream,
    router: Router,
    idle_time: Duration,
    stop: CancellationToken,
) {
    let router = router.layer(axum::middleware::map_request(
        move |request: Request| async move { InTime::request(request, idle_time) },
    ));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // It also applies between two requests.
        .header_read_timeout(idle_time)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // Errors of a client's connection are ignored.
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = tokio::time::sleep(CONNECTION_TIME_MAX) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(STOP_DEADLINE, connection.as_mut()).await;
}
