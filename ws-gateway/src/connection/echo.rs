//! The echo of the conformance tests: the same reader and write buffer as a session's.

use std::sync::Arc;
use std::time::Instant;

use tokio_tungstenite::tungstenite::Message;

use crate::connection::end::End;
use crate::connection::finish::finish;
use crate::connection::frame_rate_limit::FrameRateLimit;
use crate::connection::reader::Reader;
use crate::connection::receive::next;
use crate::connection::socket::{Connection, ShardSender};
use crate::sessions::outlet::Outlet;
use client_frames::encode::deflate::Deflater;
use client_frames::encode::frame::{self, Kind};

/// Largest message and frame in echo mode.
const ECHO_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Echoes messages until the client closes: the same reader and write buffer as a session's, for
/// conformance tests. The echo is compressed if that was negotiated, whatever came.
pub(crate) async fn echo(connection: Arc<Connection>, leftover: Vec<u8>, shard: ShardSender) {
    let window = connection.encoding().window;
    let mut reader = Reader::new(
        leftover,
        ECHO_BYTES_MAX,
        window.is_some(),
        FrameRateLimit::new(0, 0, Instant::now()),
    );
    let mut deflater = Deflater::new(connection.settings.config.compression);
    let mut answer = |kind: Kind, payload: &[u8]| match window {
        Some(window) => frame::data(kind.compressed(), deflater.blocks(window, payload)),
        None => frame::data(kind, payload),
    };
    let end = loop {
        match next(&connection, &mut reader, &shard).await {
            Ok(Message::Text(text)) => {
                let _ = connection.reply(&[answer(Kind::TEXT, text.as_bytes())]);
            }
            Ok(Message::Binary(bytes)) => {
                let _ = connection.reply(&[answer(Kind::BINARY, &bytes)]);
            }
            Ok(Message::Close(close)) => {
                let code = close.map_or(1005, |close| u16::from(close.code));
                while next(&connection, &mut reader, &shard).await.is_ok() {}
                break End::ByClient(code);
            }
            Ok(_) => {}
            Err(end) => break end,
        }
    };
    finish(&connection, end).await;
}
