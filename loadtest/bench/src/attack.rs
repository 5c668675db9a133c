//! Clients with hostile behaviour of one kind or another, for as long as the process runs. An
//! evicted client comes back a second later.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use crate::bar;
use crate::frame;

/// Time between an eviction and the next attempt.
const REST: Duration = Duration::from_secs(1);
/// Time between two bytes of a slow writer, and between the connections of connection churn.
const PAUSE: Duration = Duration::from_millis(50);
/// Time between requests that stay below the message rate.
const REQUEST_PAUSE: Duration = Duration::from_millis(100);
/// Longest that one attempt lasts.
const ATTEMPT_MAX: Duration = Duration::from_secs(60);
/// Kernel receive buffer of clients that do not read, bytes.
const NARROW_BYTES: u32 = 4 * 1_024;

/// What an attacker does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// Subscribes and never reads: a window of zero.
    NeverReads,
    /// Asks and never reads the answers.
    AsksOnly,
    /// Sends a message byte by byte; the message never ends.
    Dribbles,
    /// Connects and says nothing, or half a header.
    Stalls,
    /// Pings as fast as it can.
    PingFlood,
    /// Subscribes to everything and unsubscribes, in turn.
    SubscriptionChurn,
    /// Connects, subscribes and disconnects.
    ConnectionChurn,
    /// Sends empty fragments as fast as it can.
    FragmentFlood,
    /// Sends frames above the limit.
    Oversized,
}

/// A process of attackers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// Whom.
    pub(crate) server: SocketAddr,
    /// How: attackers take turns.
    pub(crate) kinds: Vec<Kind>,
    /// Attackers of each kind.
    pub(crate) each: u32,
    /// Topics there are.
    pub(crate) topics: u16,
}

/// Attacks until standard input ends.
pub(crate) fn serve(spec: &str) -> anyhow::Result<()> {
    let spec: Spec = serde_json::from_str(spec)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        for &kind in &spec.kinds {
            for number in 0..spec.each {
                tokio::spawn(attacker(spec.server, kind, number, spec.topics));
            }
        }
        let input_ends = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        tokio::task::spawn_blocking(input_ends).await??;
        Ok(())
    })
}

async fn attacker(server: SocketAddr, kind: Kind, number: u32, topics: u16) {
    // Not all at the same moment.
    sleep(REST * (number % 100) / 100).await;
    loop {
        // An end is expected.
        let _ = timeout(ATTEMPT_MAX, attack(server, kind, number, topics)).await;
        if kind != Kind::ConnectionChurn {
            sleep(REST).await;
        }
    }
}

async fn connect(server: SocketAddr, number: u32, is_narrow: bool) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if is_narrow {
        socket.set_recv_buffer_size(NARROW_BYTES)?;
    }
    // Addresses that well-behaved clients do not use.
    let host = 200 + (number % 50) as u8;
    socket.bind(SocketAddr::from(([127, 0, 0, host], 0)))?;
    socket.connect(server).await
}

async fn shake(stream: &mut TcpStream, topics: Option<u16>) -> std::io::Result<()> {
    let names: Vec<String> = (0..topics.unwrap_or(0)).map(bar::topic_name).collect();
    let path = match topics {
        Some(_) => format!("/ws?topics={}", names.join(",")),
        None => "/ws".to_owned(),
    };
    stream
        .write_all(frame::handshake_request(&path).as_bytes())
        .await?;
    let mut head = Vec::new();
    while frame::head_end(&head).is_none() {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Reads until the other side ends the connection.
async fn until_end(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut bytes = vec![0; 4_096];
    while stream.read(&mut bytes).await? > 0 {}
    Ok(())
}

/// Writes the same bytes again and again while it reads, until the other side ends the connection.
async fn flood(stream: TcpStream, bytes: Vec<u8>, pause: Duration) -> std::io::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let read = async {
        let mut bytes = vec![0; 4_096];
        while reader.read(&mut bytes).await? > 0 {}
        std::io::Result::Ok(())
    };
    let write = async {
        loop {
            writer.write_all(&bytes).await?;
            if pause.is_zero() {
                tokio::task::yield_now().await;
            } else {
                sleep(pause).await;
            }
        }
    };
    tokio::select! {
        ended = read => ended,
        ended = write => ended,
    }
}

async fn attack(server: SocketAddr, kind: Kind, number: u32, topics: u16) -> std::io::Result<()> {
    let is_narrow = matches!(kind, Kind::NeverReads | Kind::AsksOnly);
    let mut stream = connect(server, number, is_narrow).await?;
    let names: Vec<String> = (0..topics).map(bar::topic_name).collect();
    let request = |op: &str| {
        let json = serde_json::json!({"op": op, "topics": names}).to_string();
        frame::client_text(json.as_bytes())
    };
    match kind {
        Kind::NeverReads => {
            shake(&mut stream, Some(topics)).await?;
            // Until the connection is broken, which reading would reveal.
            sleep(ATTEMPT_MAX).await;
            Ok(())
        }
        Kind::AsksOnly => {
            shake(&mut stream, None).await?;
            let list = frame::client_text(br#"{"op":"list"}"#);
            loop {
                stream.write_all(&list).await?;
                sleep(REQUEST_PAUSE).await;
            }
        }
        Kind::Dribbles => {
            shake(&mut stream, Some(1)).await?;
            let long = frame::client_text(&[b' '; 60_000]);
            for byte in long {
                stream.write_all(&[byte]).await?;
                sleep(PAUSE).await;
            }
            Ok(())
        }
        Kind::Stalls => {
            if number.is_multiple_of(2) {
                stream
                    .write_all(b"GET /ws HTTP/1.1\r\nHost: x\r\nUpg")
                    .await?;
            }
            until_end(&mut stream).await
        }
        Kind::PingFlood => {
            shake(&mut stream, Some(1)).await?;
            flood(stream, frame::client_ping().repeat(10), Duration::ZERO).await
        }
        Kind::SubscriptionChurn => {
            shake(&mut stream, None).await?;
            let both = [request("sub"), request("unsub")].concat();
            // Below the message rate, so that it may continue.
            flood(stream, both, 2 * REQUEST_PAUSE).await
        }
        Kind::ConnectionChurn => {
            shake(&mut stream, Some(topics)).await?;
            sleep(PAUSE).await;
            stream.set_zero_linger()
        }
        Kind::FragmentFlood => {
            shake(&mut stream, Some(1)).await?;
            stream.write_all(&frame::client_fragment(true)).await?;
            flood(
                stream,
                frame::client_fragment(false).repeat(500),
                Duration::ZERO,
            )
            .await
        }
        Kind::Oversized => {
            shake(&mut stream, Some(1)).await?;
            stream
                .write_all(&frame::client_text(&vec![b'x'; 1 << 20]))
                .await?;
            until_end(&mut stream).await
        }
    }
}
