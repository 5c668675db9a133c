//! A typical first implementation: axum's chat example with topics. One broadcast channel, and one
//! task for each client, which receives every update and sends those that the client wants.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use axum::extract::{Query, State, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use futures_util::StreamExt;
use tokio::net::TcpListener;
use tokio::sync::broadcast;

/// Number of updates that a slow client may be behind.
const CHANNEL_UPDATES: usize = 1_024;

#[derive(Clone, Debug)]
struct Update {
    topic: Arc<str>,
    json: Utf8Bytes,
}

/// The source of the updates.
pub(crate) enum Source {
    /// A nats-server's URL.
    Nats(String),
    /// Records from any connection: tests need no nats-server.
    #[cfg(test)]
    Records(TcpListener),
}

/// Serves until the source ends.
pub(crate) async fn run(listener: TcpListener, source: Source) -> anyhow::Result<()> {
    let (updates, _) = broadcast::channel(CHANNEL_UPDATES);
    let router = Router::new()
        .route("/ws", get(upgrade))
        .with_state(updates.clone());
    let server = async move { axum::serve(listener, router).await };
    let pump = async move {
        match source {
            Source::Nats(url) => pump_nats(&url, updates).await,
            #[cfg(test)]
            Source::Records(listener) => pump_records(&listener, updates).await,
        }
    };
    tokio::select! {
        result = server => Ok(result?),
        result = pump => result,
    }
}

async fn upgrade(
    upgrade: WebSocketUpgrade,
    Query(query): Query<HashMap<String, String>>,
    State(updates): State<broadcast::Sender<Update>>,
) -> Response {
    let topics = query.get("topics").map(String::as_str).unwrap_or_default();
    let topics: HashSet<String> = topics.split(',').map(str::to_owned).collect();
    upgrade.on_upgrade(move |socket| client(socket, topics, updates.subscribe()))
}

async fn client(
    mut socket: WebSocket,
    topics: HashSet<String>,
    mut updates: broadcast::Receiver<Update>,
) {
    loop {
        tokio::select! {
            update = updates.recv() => match update {
                Ok(update) => {
                    if topics.contains(&*update.topic)
                        && socket.send(Message::Text(update.json)).await.is_err()
                    {
                        return;
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            },
            message = socket.recv() => match message {
                Some(Ok(_)) => {}
                _ => return,
            },
        }
    }
}

fn send(updates: &broadcast::Sender<Update>, topic: &str, payload: &[u8]) -> anyhow::Result<()> {
    let json = std::str::from_utf8(payload)
        .context("a bar is UTF-8")?
        .into();
    let topic = topic.into();
    // Without clients there is nobody to send to.
    let _ = updates.send(Update { topic, json });
    Ok(())
}

async fn pump_nats(url: &str, updates: broadcast::Sender<Update>) -> anyhow::Result<()> {
    let client = async_nats::connect(url)
        .await
        .context("failed to connect to nats")?;
    let mut messages = client
        .subscribe("kline.>")
        .await
        .context("failed to subscribe")?;
    while let Some(message) = messages.next().await {
        send(
            &updates,
            &message.subject.replace('.', ":"),
            &message.payload,
        )?;
    }
    Ok(())
}

#[cfg(test)]
async fn pump_records(
    listener: &TcpListener,
    updates: broadcast::Sender<Update>,
) -> anyhow::Result<()> {
    use crate::feed::{TICK_END, parse_record};
    use tokio::io::AsyncReadExt;

    let (mut stream, _) = listener.accept().await?;
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await? > 0 {
        let mut at = 0;
        while let Some((topic, payload, length)) = parse_record(&bytes[at..]) {
            at += length;
            if topic != TICK_END {
                send(&updates, &crate::bar::topic_name(topic), payload)?;
            }
        }
        bytes.drain(..at);
    }
    Ok(())
}
