//! Clients that send the body of a request slowly or never, over a real socket.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::routing::post;
use service::{HttpBounds, is_late_body, serve_http};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Everything that is waited for has to happen within this.
const DEADLINE: Duration = Duration::from_secs(20);

async fn start() -> (SocketAddr, DropGuard) {
    let read = async |body: Result<Bytes, BytesRejection>| match body {
        Ok(body) => format!("{} bytes", body.len()),
        Err(error) if is_late_body(&error) => "late".to_owned(),
        Err(error) => format!("bad: {error}"),
    };
    let router = Router::new()
        .route("/read", post(read))
        .route("/ignored", post(async || "ignored"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let bounds = HttpBounds {
        connections_max: 8,
        idle: Duration::from_millis(500),
    };
    let stop = CancellationToken::new();
    tokio::spawn(serve_http("test", listener, router, bounds, stop.clone()));
    (address, stop.drop_guard())
}

/// Sends the head of a request with a body of 10 bytes, and some of the body.
async fn begin(address: SocketAddr, path: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("it takes");
    stream.write_all(body).await.expect("it takes");
    stream
}

/// What comes until the server ends the connection.
async fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    let read = timeout(DEADLINE, stream.read_to_string(&mut answer)).await;
    read.expect("the connection ends").expect("text");
    answer
}

#[tokio::test]
async fn a_body_that_does_not_arrive_ends_its_connection_whether_it_is_read_or_not() {
    let (address, _stop) = start().await;
    for (path, expected) in [("/read", "late"), ("/ignored", "ignored")] {
        let answer = answer(begin(address, path, b"{").await).await;
        assert!(answer.ends_with(expected), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_has_no_more_time_than_one_that_does_not_come() {
    let (address, _stop) = start().await;
    let (mut read, mut write) = begin(address, "/read", b"").await.into_split();
    let trickle = tokio::spawn(async move {
        // Each byte would begin the time anew, if it were one of silence.
        for _ in 0..9 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if write.write_all(b"x").await.is_err() {
                return;
            }
        }
        std::future::pending::<()>().await;
    });
    let mut answer = String::new();
    let answered = timeout(DEADLINE, read.read_to_string(&mut answer)).await;
    answered.expect("the connection ends").ok();
    trickle.abort();
    assert!(answer.ends_with("late"), "{answer}");
}

#[tokio::test]
async fn a_body_that_arrives_in_time_is_read_whole() {
    let (address, _stop) = start().await;
    let answer = answer(begin(address, "/read", b"0123456789").await).await;
    assert!(answer.ends_with("10 bytes"), "{answer}");
}
