//! Requests whose query has unescaped quotation marks: `symbols=["BTCUSDT"]`.
//!
//! The venues accept them, but hyper refuses them. In the lines of requests, and nowhere else, they
//! are replaced by apostrophes, which have the same meaning for the endpoints that read lists.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes of a header line that are inspected.
const HEADER_BYTES_MAX: usize = 256;

/// Where in a connection's bytes the reader is.
#[derive(Debug)]
enum Part {
    /// In the first line of a request.
    Request,
    /// In a header.
    Header,
    /// In a body, with so many bytes to come.
    Body(u64),
    /// In data that is no longer HTTP, or that has no known length.
    Opaque,
}

/// Separates the lines of requests from all other data.
#[derive(Debug)]
struct Scanner {
    part: Part,
    /// The header line so far.
    line: Vec<u8>,
    body_bytes: u64,
    is_opaque: bool,
}

impl Scanner {
    fn new() -> Scanner {
        Scanner {
            part: Part::Request,
            line: Vec::new(),
            body_bytes: 0,
            is_opaque: false,
        }
    }

    fn rewrite(&mut self, mut bytes: &mut [u8]) {
        loop {
            match self.part {
                Part::Opaque => return,
                Part::Body(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &mut bytes[here..];
                    self.part = match left - here as u64 {
                        0 => Part::Request,
                        left => Part::Body(left),
                    };
                }
                Part::Request | Part::Header => {
                    let Some((byte, rest)) = bytes.split_first_mut() else {
                        return;
                    };
                    self.head_byte(byte);
                    bytes = rest;
                }
            }
            if bytes.is_empty() {
                return;
            }
        }
    }

    fn head_byte(&mut self, byte: &mut u8) {
        match (&self.part, *byte) {
            (Part::Request, b'"') => *byte = b'\'',
            (Part::Request, b'\n') => self.part = Part::Header,
            (Part::Header, b'\n') => self.end_of_header(),
            (Part::Header, letter) if self.line.len() < HEADER_BYTES_MAX => {
                self.line.push(letter.to_ascii_lowercase());
            }
            _ => {}
        }
    }

    fn end_of_header(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = line.trim_ascii();
        if line.is_empty() {
            self.part = match (self.is_opaque, self.body_bytes) {
                (true, _) => Part::Opaque,
                (false, 0) => Part::Request,
                (false, bytes) => Part::Body(bytes),
            };
            self.body_bytes = 0;
            return;
        }
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        match name {
            b"upgrade" | b"transfer-encoding" => self.is_opaque = true,
            b"content-length" => {
                let length = std::str::from_utf8(value.trim_ascii()).ok();
                match length.and_then(|length| length.parse().ok()) {
                    Some(length) => self.body_bytes = length,
                    None => self.is_opaque = true,
                }
            }
            _ => {}
        }
    }
}

/// A connection whose requests may have quotation marks in their queries.
#[derive(Debug)]
pub(crate) struct RawQueries {
    stream: TcpStream,
    scanner: Scanner,
}

impl RawQueries {
    /// A new connection.
    pub(crate) fn new(stream: TcpStream) -> RawQueries {
        RawQueries {
            stream,
            scanner: Scanner::new(),
        }
    }
}

impl AsyncRead for RawQueries {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(bytes) = buffer.filled_mut().get_mut(before..) {
            self.scanner.rewrite(bytes);
        }
        polled
    }
}

impl AsyncWrite for RawQueries {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REQUESTS: &str = "GET /a?symbols=[\"B\"] HTTP/1.1\r\nX: \"1\"\r\n\r\n\
        POST /sim/trade HTTP/1.1\r\nContent-Length: 9\r\n\r\n{\"a\":\"\n\"\
        GET /b?\" HTTP/1.1\r\nUpgrade: websocket\r\n\r\nGET \"\n\"";

    fn expected() -> String {
        REQUESTS
            .replacen("[\"B\"]", "['B']", 1)
            .replacen("/b?\"", "/b?'", 1)
    }

    proptest! {
        #[test]
        fn only_lines_of_requests_change_wherever_reads_end(cuts in proptest::collection::vec(0usize..REQUESTS.len(), 0..6)) {
            let mut bytes = REQUESTS.as_bytes().to_vec();
            let mut cuts = cuts;
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut scanner = Scanner::new();
            for pair in cuts.windows(2) {
                scanner.rewrite(&mut bytes[pair[0]..pair[1]]);
            }
            prop_assert_eq!(String::from_utf8(bytes).expect("UTF-8"), expected());
        }

        #[test]
        fn any_bytes_are_scanned(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let length = bytes.len();
            Scanner::new().rewrite(&mut bytes);
            prop_assert_eq!(bytes.len(), length);
        }
    }
}
