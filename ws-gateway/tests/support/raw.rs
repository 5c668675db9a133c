//! A client that speaks WebSocket by hand: it sees the handshake's answer and the frames' bits.

use flate2::{Decompress, FlushDecompress};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{DEADLINE, Gateway};

pub struct RawClient {
    stream: TcpStream,
    /// The headers of the handshake's answer, names in lower case.
    pub headers: Vec<(String, String)>,
}

/// A frame as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct RawFrame {
    pub first: u8,
    pub payload: Vec<u8>,
}

impl RawFrame {
    pub fn is_compressed(&self) -> bool {
        self.first & 0x40 != 0
    }

    pub fn opcode(&self) -> u8 {
        self.first & 0x0f
    }

    /// What it holds, whether it is compressed or not.
    pub fn content(&self) -> Vec<u8> {
        match self.is_compressed() {
            true => inflate(&self.payload),
            false => self.payload.clone(),
        }
    }

    pub fn objects(&self) -> Vec<Value> {
        assert_eq!(self.opcode(), 1, "{self:?}");
        let text = String::from_utf8(self.content()).unwrap();
        text.split('\n')
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub fn close_code(&self) -> u16 {
        assert_eq!(self.opcode(), 8, "{self:?}");
        u16::from_be_bytes([self.payload[0], self.payload[1]])
    }
}

/// Another implementation than the gateway's.
pub fn inflate(message: &[u8]) -> Vec<u8> {
    let input = [message, &[0, 0, 0xff, 0xff]].concat();
    let mut stream = Decompress::new(false);
    let mut out = Vec::with_capacity(1 << 20);
    stream
        .decompress_vec(&input, &mut out, FlushDecompress::Sync)
        .expect("valid deflate");
    assert_eq!(stream.total_in() as usize, input.len());
    out
}

pub fn deflate(content: &[u8]) -> Vec<u8> {
    let mut stream = flate2::Compress::new(flate2::Compression::default(), false);
    let mut out = Vec::with_capacity(content.len() + 1_024);
    stream
        .compress_vec(content, &mut out, flate2::FlushCompress::Sync)
        .expect("room");
    out.truncate(out.len() - 4);
    out
}

impl Gateway {
    /// A handshake with these headers, each ended by `\r\n`.
    pub async fn connect_raw(&self, path: &str, headers: &str) -> RawClient {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = timeout(DEADLINE, stream.read_u8())
                .await
                .expect("an answer");
            head.push(byte.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        let headers = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        RawClient { stream, headers }
    }
}

impl RawClient {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Sends a masked frame.
    pub async fn send(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first];
        match payload.len() {
            len @ 0..=125 => frame.push(0x80 | len as u8),
            len => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
            }
        }
        let mask = [7, 0, 255, 3];
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
        self.stream.write_all(&frame).await.unwrap();
    }

    /// Sends bytes that are no frame, or not a whole one.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame that is no ping.
    pub async fn next(&mut self) -> RawFrame {
        loop {
            let frame = timeout(DEADLINE, self.read()).await.expect("a frame");
            if frame.opcode() != 9 {
                return frame;
            }
        }
    }

    async fn read(&mut self) -> RawFrame {
        let first = self.stream.read_u8().await.unwrap();
        let len = match self.stream.read_u8().await.unwrap() {
            126 => u64::from(self.stream.read_u16().await.unwrap()),
            127 => self.stream.read_u64().await.unwrap(),
            len => u64::from(len),
        };
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        self.stream.read_exact(&mut payload).await.unwrap();
        RawFrame { first, payload }
    }
}
