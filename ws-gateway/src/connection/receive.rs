//! The next message of a connection. While the socket is full, nothing is read: the waiting bytes
//! are written first. So a client that sends requests without reading fills its own buffers, not
//! ours.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use market_core::protocol::CloseCode;
use tokio::time::timeout_at;
use tokio_tungstenite::tungstenite::Message;

use crate::connection::end::End;
use crate::connection::reader::{NoMessage, Reader};
use crate::connection::socket::{Connection, ShardSender};
use crate::sessions::command::Command;
use crate::sessions::outlet::{Requester, Sent};

/// The next message, or why there is none.
pub(super) async fn next(
    connection: &Connection,
    reader: &mut Reader,
    shard: &ShardSender,
) -> Result<Message, End> {
    loop {
        if connection.is_closing() {
            return Err(End::ByUs);
        }
        if connection.write_buffer().is_pending() {
            // Boxed, like the end: an idle connection costs neither.
            Box::pin(drain_writes(connection)).await?;
            if let Some(id) = connection.session() {
                let _ = shard.send(Command::Writable(id)).await;
            }
        }
        match reader.read(connection) {
            Ok(message) => return Ok(message),
            Err(NoMessage::Yet) => {
                let ready = poll_fn(|context| match connection.poll_woken(context) {
                    Poll::Ready(()) => Poll::Ready(Ok(())),
                    Poll::Pending => connection.stream.poll_read_ready(context),
                });
                if ready.await.is_err() {
                    return Err(End::Broken);
                }
                if connection.write_buffer().is_closed() && !connection.is_closing() {
                    return Err(End::Broken);
                }
            }
            Err(NoMessage::Turn) => tokio::task::yield_now().await,
            Err(NoMessage::TooMany) => return Err(End::Close(CloseCode::MESSAGE_RATE)),
            Err(NoMessage::Ended) => return Err(End::Broken),
            Err(NoMessage::TooBig) => return Err(End::Close(CloseCode::TOO_BIG)),
            Err(NoMessage::InvalidUtf8) => return Err(End::Close(CloseCode::INVALID_UTF8)),
            Err(NoMessage::Malformed) => return Err(End::Close(CloseCode::PROTOCOL)),
        }
    }
}

/// Writes the waiting bytes as the socket takes them.
pub(super) async fn drain_writes(connection: &Connection) -> Result<(), End> {
    let settings = &connection.settings;
    settings.metrics.stalled.increment(1.0);
    let mut is_late = false;
    let drained = loop {
        match connection.resume() {
            Sent::Written => break Ok(()),
            Sent::Pending | Sent::Refused => {}
            Sent::Closed => break Err(End::Broken),
        }
        let deadline = connection.write_buffer().deadline(
            settings.config.write_deadline,
            settings.config.stall_deadline,
        );
        let Some(deadline) = deadline else {
            continue;
        };
        if deadline <= Instant::now() {
            if is_late {
                break Err(End::Close(CloseCode::SLOW_CONSUMER));
            }
            // After a standstill of the process, time has passed, but the sockets have not been
            // checked yet: the runtime checks them before this continues.
            is_late = true;
            tokio::task::yield_now().await;
            continue;
        }
        is_late = false;
        tokio::select! {
            ready = timeout_at(deadline.into(), connection.stream.writable()) => {
                if let Ok(Err(_)) = ready {
                    break Err(End::Broken);
                }
            }
            () = poll_fn(|context| connection.poll_woken(context)) => {
                if connection.is_closing() {
                    break Err(End::ByUs);
                }
            }
        }
    };
    settings.metrics.stalled.decrement(1.0);
    drained
}
