//! The task of one session: it reads requests, and passes them to the shard one at a time.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Instant;

use auth::Source;
use market_core::protocol::{CloseCode, Op, Request};
use tokio_tungstenite::tungstenite::Message;

use crate::connection::cost::cost;
use crate::connection::end::End;
use crate::connection::finish::finish;
use crate::connection::frame_rate_limit::FrameRateLimit;
use crate::connection::guard::SessionGuard;
use crate::connection::reader::Reader;
use crate::connection::receive::next;
use crate::connection::socket::{Connection, ShardSender};
use crate::limits::{Permit, TokenBucket};
use crate::sessions::command::{self, Checked, InitialRequest};
use crate::sessions::outlet::Outlet;
use client_frames::dialect::binance::request::Asked;

type Command = crate::sessions::command::Command<Connection>;

/// The start of a session.
#[derive(Debug)]
pub(crate) struct SessionStart {
    /// Bytes that came with the handshake.
    pub leftover: Vec<u8>,
    /// The handshake's grant and request.
    pub first: Option<Box<InitialRequest>>,
}

/// Runs a session until it has ended.
pub(crate) async fn session(mut guard: SessionGuard, start: SessionStart) {
    let end = serve(&guard, start).await;
    guard.leave().await;
    Box::pin(finish(&guard.connection, end)).await;
}

async fn serve(guard: &SessionGuard, start: SessionStart) -> End {
    let settings = &guard.connection.settings;
    let mut reader = Reader::new(
        start.leftover,
        settings.config.message_bytes_max,
        guard.connection.encoding().window.is_some(),
        FrameRateLimit::new(
            settings.config.message_rate,
            settings.config.message_burst,
            Instant::now(),
        ),
    );
    let mut bucket = TokenBucket::new(
        settings.config.message_rate,
        settings.config.message_burst,
        Instant::now(),
    );
    let join = Command::Join(Arc::clone(&guard.connection), start.first);
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
                let Some(asked) = parse(&guard.connection, &message).map(Box::new) else {
                    return End::Close(CloseCode::UNSUPPORTED);
                };
                settings.metrics.requests.increment(1);
                let request = match *asked {
                    Asked::Request(request) => Box::new(request),
                    Asked::Property(_) if !bucket.take(1, now) => {
                        return End::Close(CloseCode::MESSAGE_RATE);
                    }
                    Asked::Property(property) => {
                        guard.connection.answer(&property);
                        continue;
                    }
                };
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
                // The parser answers it when the next message is requested.
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

/// The request of a message; `None` if the session does not accept this kind.
fn parse(connection: &Connection, message: &Message) -> Option<Asked> {
    let limits = connection.settings.config.limits;
    let dialect = connection.encoding().dialect;
    match message {
        Message::Text(text) => Some(dialect.parse_text(text, limits)),
        Message::Binary(bytes) => dialect.parse_binary(bytes, limits).map(Asked::Request),
        _ => None,
    }
}

/// The command for a token, if the gateway checks tokens. The token is checked here, because this
/// takes a while, and is not passed on.
fn authenticate(
    connection: &Arc<Connection>,
    request: &command::Asked,
    permit: &Permit,
) -> Option<Command> {
    let auth = connection.settings.auth.as_ref()?;
    let Ok(Request {
        id,
        op: Op::Auth(token),
    }) = request
    else {
        return None;
    };
    let client = permit.ip().expect("a session's address is known");
    let outcome = auth
        .check(Source::Message, token.reveal(), client)
        .map(Box::new);
    let checked = Checked {
        echo: id.clone(),
        outcome,
    };
    Some(Command::Auth(Arc::clone(connection), Box::new(checked)))
}

/// Sends the shard a command and waits for the answer: a session has one request in progress, so
/// the memory that it uses is bounded.
async fn ask(connection: &Connection, shard: &ShardSender, command: Command) -> Option<End> {
    let before = connection.answers();
    if shard.send(command).await.is_err() {
        return Some(End::Close(CloseCode::GOING_AWAY));
    }
    while connection.answers() == before {
        poll_fn(|context| connection.poll_woken(context)).await;
    }
    None
}

#[cfg(test)]
mod tests;
