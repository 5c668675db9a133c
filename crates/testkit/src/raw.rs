//! A connection without a WebSocket library: sends what it likes, when it likes.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::wait::DEADLINE;

/// A text frame that is the whole message.
pub const TEXT: u8 = 0x81;
/// The first frame of a text that goes on.
pub const TEXT_BEGIN: u8 = 0x01;
/// A frame of a message that goes on.
pub const CONTINUATION: u8 = 0x00;
/// A ping.
pub const PING: u8 = 0x89;
/// A pong.
pub const PONG: u8 = 0x8a;

const CLOSE_OPCODE: u8 = 8;

/// The request of a handshake.
pub const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A masked frame with this first byte. The mask is zero, so that the payload stays readable.
#[must_use]
pub fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first_byte];
    match payload.len() {
        short @ 0..126 => bytes.push(0x80 | short as u8),
        middle @ 126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

/// See the module.
#[derive(Debug)]
pub struct RawSocket {
    stream: TcpStream,
    received: Vec<u8>,
}

impl RawSocket {
    /// A TCP connection that has said nothing yet.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::connect_narrow(address, None).await
    }

    /// The same with a kernel receive buffer of so many bytes.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn connect_narrow(address: SocketAddr, receive_buffer: Option<u32>) -> Self {
        let socket = TcpSocket::new_v4().expect("there are files left");
        if let Some(bytes) = receive_buffer {
            socket
                .set_recv_buffer_size(bytes)
                .expect("any size is taken");
        }
        let stream = timeout(DEADLINE, socket.connect(address)).await;
        let stream = stream
            .expect("connected in time")
            .unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.set_nodelay(true).expect("a TCP socket");
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// A WebSocket.
    ///
    /// # Panics
    /// If the handshake fails.
    pub async fn open(address: SocketAddr) -> Self {
        Self::connect(address).await.shake().await
    }

    /// Makes the handshake.
    ///
    /// # Panics
    /// If it fails.
    pub async fn shake(mut self) -> Self {
        self.send(HANDSHAKE.as_bytes()).await.expect("connected");
        self.welcome().await;
        self
    }

    /// Waits for the answer of a handshake that is sent.
    ///
    /// # Panics
    /// If it is not a welcome.
    pub async fn welcome(&mut self) {
        let head = loop {
            if let Some(at) = find(&self.received, b"\r\n\r\n") {
                let rest = self.received.split_off(at + 4);
                break std::mem::replace(&mut self.received, rest);
            }
            assert!(self.fill().await, "a handshake is answered");
        };
        let head = String::from_utf8_lossy(&head);
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// If the connection has ended.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sent = timeout(DEADLINE, self.stream.write_all(bytes)).await;
        sent.map_err(|_| "nothing is taken".to_owned())?
            .map_err(|error| error.to_string())
    }

    /// Sends the bytes again and again until the connection has ended, and returns how often.
    ///
    /// # Panics
    /// If nobody stops it.
    pub async fn flood(&mut self, bytes: &[u8]) -> usize {
        let flood = async {
            let mut count = 0;
            while self.stream.write_all(bytes).await.is_ok() {
                count += 1;
            }
            count
        };
        timeout(DEADLINE, flood)
            .await
            .expect("a flood is stopped in time")
    }

    /// Reads more; false at the end.
    async fn fill(&mut self) -> bool {
        let mut bytes = [0; 4_096];
        let read = timeout(DEADLINE, self.stream.read(&mut bytes)).await;
        let read = read.expect("something comes in time").unwrap_or(0);
        self.received.extend_from_slice(&bytes[..read]);
        read > 0
    }

    /// Opcode and payload of the next frame; `None` at the end.
    pub async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((opcode, payload, end)) = parse(&self.received) {
                let payload = payload.to_vec();
                self.received.drain(..end);
                return Some((opcode, payload));
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// The code of the close frame, after whatever comes before it; 1006 if there is none.
    pub async fn close_code(&mut self) -> u16 {
        while let Some((opcode, payload)) = self.next().await {
            if opcode == CLOSE_OPCODE {
                let code = payload.first_chunk();
                return code.map_or(1005, |code| u16::from_be_bytes(*code));
            }
        }
        1006
    }

    /// Waits for the end and returns what came before it.
    pub async fn until_end(&mut self) -> String {
        while self.fill().await {}
        String::from_utf8_lossy(&self.received).into_owned()
    }

    /// Ends without a goodbye: with a reset.
    ///
    /// # Panics
    /// If the system does not let it.
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("a TCP socket");
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// Opcode, payload and end of a server's frame, if it is whole.
fn parse(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (length, start) = match second {
        126 => (
            usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)),
            4,
        ),
        127 => {
            let length = u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
            (usize::try_from(length).expect("frames fit the memory"), 10)
        }
        short => (usize::from(short), 2),
    };
    let end = start + length;
    Some((first & 0x0f, bytes.get(start..end)?, end))
}

#[cfg(test)]
mod tests {
    use super::{TEXT, frame, parse};

    #[test]
    fn frames_have_the_length_that_they_say() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let bytes = frame(TEXT, &vec![b'x'; length]);
            let header_bytes = match length {
                0..126 => 6,
                126..65_536 => 8,
                _ => 14,
            };
            assert_eq!(bytes.len(), header_bytes + length);
        }
    }

    #[test]
    fn a_servers_frame_is_read_once_it_is_whole() {
        assert_eq!(parse(&[0x81, 2, b'h']), None);
        assert_eq!(
            parse(&[0x88, 2, 0x03, 0xe8, 0x81]),
            Some((8, [0x03, 0xe8].as_slice(), 4))
        );
        let mut long = vec![0x81, 126, 0x01, 0x00];
        long.resize(4 + 256, b'x');
        assert_eq!(parse(&long).map(|(_, payload, _)| payload.len()), Some(256));
    }
}
