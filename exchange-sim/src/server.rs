//! The listener: accepts the connections of all venues and separates them by path.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::ws::WebSocket;
use axum::extract::{FromRequestParts, WebSocketUpgrade};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::exchange::{Exchange, Limit};
use crate::instrument::Venue;
use crate::raw_query::RawQueries;
use crate::venues::Handshake;
use crate::venues::request::{self, Reply};
use crate::venues::rest;
use crate::verdict::RestVerdict;
use crate::{control, socket};

/// Most bytes of a request body.
const BODY_BYTES_MAX: usize = 16 << 20;

/// One TCP connection, as its requests see it.
#[derive(Clone, Debug)]
struct Connection {
    peer: SocketAddr,
    /// Ends the connection without an answer.
    abort: CancellationToken,
}

/// Accepts connections until the exchange stops, and returns when all have ended.
pub(crate) async fn serve(exchange: Arc<Exchange>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = exchange.stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if connections.len() >= exchange.config.connections_max {
                        metrics::counter!("exchange_sim_connections_refused_total").increment(1);
                        continue;
                    }
                    let connection = Connection { peer, abort: CancellationToken::new() };
                    connections.spawn(serve_connection(Arc::clone(&exchange), stream, connection));
                }
                Err(error) => {
                    // Most likely there are no free file descriptors: connections that end will
                    // free some.
                    tracing::warn!(error = %error, "failed to accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    while connections.join_next().await.is_some() {}
}

/// Serves one TCP connection, and the WebSocket that it may become.
async fn serve_connection(exchange: Arc<Exchange>, stream: TcpStream, connection: Connection) {
    let _ = stream.set_nodelay(true);
    let (upgrades, mut upgraded) = tokio::sync::mpsc::channel(1);
    {
        let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| {
            let (exchange, connection, upgrades) =
                (Arc::clone(&exchange), connection.clone(), upgrades.clone());
            async move {
                Ok::<_, std::convert::Infallible>(
                    handle(&exchange, connection, upgrades, request.map(Body::new)).await,
                )
            }
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(Duration::from_millis(exchange.config.handshake_ms));
        let serving = http
            .serve_connection(TokioIo::new(RawQueries::new(stream)), service)
            .with_upgrades();
        tokio::pin!(serving);
        let mut stopping = false;
        loop {
            tokio::select! {
                result = &mut serving => {
                    if let Err(error) = result {
                        tracing::trace!(error = %error, "connection failed");
                    }
                    break;
                }
                () = connection.abort.cancelled() => return,
                () = exchange.stop.cancelled(), if !stopping => {
                    stopping = true;
                    serving.as_mut().graceful_shutdown();
                }
            }
        }
    }
    // The last sender is with the upgrade that the connection's end has just completed, if any.
    drop(upgrades);
    if let Some(Upgraded {
        venue,
        handshake,
        websocket,
    }) = upgraded.recv().await
    {
        socket::serve(exchange, venue, handshake, connection.peer.ip(), websocket).await;
    }
}

/// A connection that has become a WebSocket.
struct Upgraded {
    venue: Venue,
    handshake: Handshake,
    websocket: WebSocket,
}

type Upgrades = tokio::sync::mpsc::Sender<Upgraded>;

async fn handle(
    exchange: &Exchange,
    connection: Connection,
    upgrades: Upgrades,
    request: Request<Body>,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    if is_upgrade(request.headers()) {
        return match websocket_venue(&path) {
            Some(venue) => upgrade(exchange, connection, upgrades, venue, request).await,
            None => StatusCode::NOT_FOUND.into_response(),
        };
    }
    if request.method() == Method::OPTIONS {
        return preflight(request.headers());
    }
    let query = query_of(request.uri().query().unwrap_or_default());
    if path == "/sim" || path.starts_with("/sim/") {
        let method = request.method().as_str().to_owned();
        let reply = match to_bytes(request.into_body(), BODY_BYTES_MAX).await {
            Ok(body) => control::respond(
                exchange,
                &method,
                &path,
                &query.into_iter().collect(),
                &body,
            ),
            Err(_) => Reply::status(413, r#"{"error":"the body is too large"}"#),
        };
        return respond(reply);
    }
    let Some(venue) = rest::venue_of(&path) else {
        return respond(Reply::status(404, r#"{"message":"NotFound"}"#));
    };
    {
        let unit = request
            .headers()
            .get("x-mbx-time-unit")
            .and_then(|unit| unit.to_str().ok())
            .unwrap_or_default();
        let request = request::Request {
            path,
            query: query.into_iter().collect(),
            micros: unit.eq_ignore_ascii_case("microsecond"),
            peer: connection.peer.ip(),
            now_us: clock::now_us(),
        };
        answer_rest(exchange, &connection, venue, request).await
    }
}

/// The answer to a browser's preflight request: everything is permitted.
fn preflight(asked: &HeaderMap) -> Response<Body> {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, DELETE, OPTIONS"),
    );
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static("600"),
    );
    if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    response
}

async fn answer_rest(
    exchange: &Exchange,
    connection: &Connection,
    venue: Venue,
    mut request: request::Request,
) -> Response<Body> {
    if exchange.faults.refuses(venue, request.now_ms()) {
        return abort(exchange, connection, venue).await;
    }
    match exchange.faults.rest(venue, &request.path, request.now_ms()) {
        Some(RestVerdict::Status(status, retry_after)) => {
            exchange
                .counts(venue)
                .requests
                .fetch_add(1, Ordering::Relaxed);
            return respond(rest::failure(venue, status, retry_after));
        }
        Some(RestVerdict::Slow(delay_ms)) => {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            request.now_us = clock::now_us();
        }
        None => {}
    }
    let reply = rest::respond(exchange, venue, &request);
    metrics::counter!("exchange_sim_requests_total", "exchange" => venue.name(), "status" => reply.status.to_string()).increment(1);
    respond(reply)
}

async fn upgrade(
    exchange: &Exchange,
    connection: Connection,
    upgrades: Upgrades,
    venue: Venue,
    request: Request<Body>,
) -> Response<Body> {
    let now_ms = clock::now_ms();
    exchange
        .counts(venue)
        .attempts
        .fetch_add(1, Ordering::Relaxed);
    if exchange.faults.refuses(venue, now_ms) {
        return abort(exchange, &connection, venue).await;
    }
    if exchange
        .admit(venue, connection.peer.ip(), Limit::Connections, 1, now_ms)
        .is_err()
    {
        exchange
            .counts(venue)
            .refused
            .fetch_add(1, Ordering::Relaxed);
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    }
    let handshake = Handshake {
        connection: 0,
        path: request.uri().path().to_owned(),
        query: query_of(request.uri().query().unwrap_or_default()),
        now_ms,
    };
    let (mut parts, _) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let bytes_max = exchange.config.client_frame_bytes_max;
    upgrade
        .read_buffer_size(4 << 10)
        .max_message_size(bytes_max)
        .max_frame_size(bytes_max)
        .on_upgrade(move |websocket| async move {
            let _ = upgrades
                .send(Upgraded {
                    venue,
                    handshake,
                    websocket,
                })
                .await;
        })
}

/// Ends the connection without an answer, as a refused one does.
async fn abort(exchange: &Exchange, connection: &Connection, venue: Venue) -> Response<Body> {
    exchange
        .counts(venue)
        .refused
        .fetch_add(1, Ordering::Relaxed);
    connection.abort.cancel();
    std::future::pending().await
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .and_then(|upgrade| upgrade.to_str().ok())
        .is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"))
}

/// `/ws/v5/...` is OKX's, other `/ws...` and `/stream` Binance's, `/` Coinbase's.
fn websocket_venue(path: &str) -> Option<Venue> {
    match path.trim_end_matches('/') {
        "" => Some(Venue::Coinbase),
        "/ws/v5/public" | "/ws/v5/business" => Some(Venue::Okx),
        "/ws" | "/stream" => Some(Venue::Binance),
        path if path.starts_with("/ws/v5") => None,
        path if path.starts_with("/ws/") => Some(Venue::Binance),
        _ => None,
    }
}

/// Reads a query; invalid escapes stay unchanged.
fn query_of(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(key), unescape(value))
        })
        .collect()
}

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|hex| std::str::from_utf8(hex).ok());
        match (
            bytes[at],
            hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()),
        ) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (b'+', _) => {
                out.push(b' ');
                at += 1;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn respond(reply: Reply) -> Response<Body> {
    let mut response = Response::builder()
        .status(reply.status)
        .header(header::CONTENT_TYPE, "application/json;charset=UTF-8")
        .header(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response
        .body(Body::from(reply.body))
        .expect("headers are static names with printable values")
}

#[cfg(test)]
mod tests;
