//! The end of a connection, in an orderly way.

use std::io;
use std::net::Shutdown as SocketShutdown;

use market_core::protocol::CloseCode;
use tokio::time::timeout_at;

use crate::connection::end::End;
use crate::connection::socket::Connection;
use crate::sessions::outlet::{Outlet, Sent};

/// Bytes per read that are discarded during a close.
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// Ends a connection in an orderly way: the waiting bytes and the close frame are sent, and the
/// client has a moment to answer.
pub(super) async fn finish(connection: &Connection, end: End) {
    let settings = &connection.settings;
    match end {
        End::ByClient(code) => {
            connection.log_end(code, "by_client");
            settings.metrics.closed(code, "client");
        }
        End::Broken if !connection.is_closing() => {
            connection.log_end(1006, "broken");
            settings.metrics.closed(1006, "client");
        }
        End::Broken | End::ByUs => {}
        End::Close(code) => connection.close(code),
    }
    if end == End::Broken {
        return;
    }
    let deadline = tokio::time::Instant::now() + settings.config.close_deadline;
    let _ = timeout_at(deadline, async {
        while connection.resume() == Sent::Pending {
            if connection.stream.writable().await.is_err() {
                return;
            }
        }
        if matches!(end, End::ByClient(_)) {
            return;
        }
        // A socket that is closed with unread bytes resets the connection, and the close frame is
        // lost. Therefore shut down our direction first, and read until the client has ended its
        // direction.
        let _ = socket2::SockRef::from(&connection.stream).shutdown(SocketShutdown::Write);
        let mut buffer = [0; 512];
        let mut read_bytes = 0;
        while read_bytes < LINGER_BYTES_MAX {
            match connection.stream.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(bytes) => read_bytes += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if connection.stream.readable().await.is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    })
    .await;
}

/// Closes at once a connection that must not become a session.
pub(crate) async fn turn_away(connection: Connection, code: CloseCode) {
    finish(&connection, End::Close(code)).await;
}
