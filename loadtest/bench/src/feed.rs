//! How updates come to the servers: a publisher that keeps the times of the workload.
//!
//! Bare servers read *records*: length (u32) and topic (u16), big-endian, then the bar or book. A record of
//! topic [`TICK_END`] ends a tick; then all of them must be sent.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::bar;
use crate::frame;
use crate::workload::{Content, Workload};

/// Topic of the record that ends a tick.
pub(crate) const TICK_END: u16 = u16::MAX;
const HEADER_BYTES: usize = 6;

/// The record at the start of the bytes, and its length with the header, if it is complete.
pub(crate) fn parse_record(bytes: &[u8]) -> Option<(u16, &[u8], usize)> {
    let length: [u8; 4] = bytes.get(..4)?.try_into().expect("four bytes");
    let topic: [u8; 2] = bytes.get(4..HEADER_BYTES)?.try_into().expect("two bytes");
    let end = HEADER_BYTES + u32::from_be_bytes(length) as usize;
    let payload = bytes.get(HEADER_BYTES..end)?;
    Some((u16::from_be_bytes(topic), payload, end))
}

fn put_record(out: &mut Vec<u8>, topic: u16, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(&topic.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The input of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Records.
    Records,
    /// A nats-server.
    Nats,
    /// WebSocket messages `topic\nvalue` to `/feed`.
    WebSocket,
}

/// A connection to the input.
#[derive(Debug)]
pub(crate) struct Feed {
    kind: Kind,
    stream: TcpStream,
    buffer: Vec<u8>,
    is_pinged: Arc<AtomicBool>,
}

impl Feed {
    /// Connects.
    pub(crate) fn connect(kind: Kind, address: SocketAddr) -> anyhow::Result<Feed> {
        let mut stream = TcpStream::connect(address).context("failed to connect the feed")?;
        stream.set_nodelay(true)?;
        match kind {
            Kind::Records => {}
            Kind::Nats => {
                stream.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n")?
            }
            Kind::WebSocket => {
                stream.write_all(frame::handshake_request("/feed").as_bytes())?;
                let mut answer = Vec::new();
                while frame::head_end(&answer).is_none() {
                    let mut bytes = [0; 512];
                    let read = stream.read(&mut bytes)?;
                    anyhow::ensure!(read > 0, "the server refused the feed");
                    answer.extend_from_slice(&bytes[..read]);
                }
            }
        }
        let is_pinged = Arc::new(AtomicBool::new(false));
        let mut reader = stream.try_clone()?;
        let pinged = Arc::clone(&is_pinged);
        // Ends with the connection.
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(read) = reader.read(&mut bytes)
                && read > 0
            {
                if memchr::memmem::find(&bytes[..read], b"PING\r\n").is_some() {
                    pinged.store(true, Ordering::Relaxed);
                }
            }
        });
        Ok(Feed {
            kind,
            stream,
            buffer: Vec::new(),
            is_pinged,
        })
    }

    fn publish(
        &mut self,
        content: Content,
        updates: impl Iterator<Item = (u16, String)>,
    ) -> anyhow::Result<()> {
        self.buffer.clear();
        if self.is_pinged.swap(false, Ordering::Relaxed) && self.kind == Kind::Nats {
            self.buffer.extend_from_slice(b"PONG\r\n");
        }
        for (topic, json) in updates {
            match self.kind {
                Kind::Records => put_record(&mut self.buffer, topic, json.as_bytes()),
                Kind::Nats => {
                    let subject = content.subject_name(topic);
                    write!(self.buffer, "PUB {subject} {}\r\n{json}\r\n", json.len())?;
                }
                Kind::WebSocket => {
                    let message = format!("{}\n{json}", content.topic_name(topic));
                    frame::put_client_binary(&mut self.buffer, message.as_bytes());
                }
            }
        }
        if self.kind == Kind::Records {
            put_record(&mut self.buffer, TICK_END, b"");
        }
        self.stream
            .write_all(&self.buffer)
            .context("the feed broke")
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // The reader has the connection, too.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

/// Publishes a workload.
#[derive(Debug)]
pub(crate) struct Publisher {
    feed: Feed,
    content: Content,
    epoch_ms: u64,
    seqs: Vec<u64>,
}

/// The publications of a window.
#[derive(Debug)]
pub(crate) struct Published {
    /// Updates by topic.
    pub(crate) updates: Vec<u64>,
    /// The publisher's greatest delay.
    pub(crate) late_max: Duration,
}

impl Publisher {
    /// Publishes over this feed.
    pub(crate) fn new(feed: Feed, workload: &Workload) -> Self {
        Self {
            feed,
            content: workload.name.content(),
            epoch_ms: bar::now_us() / 1_000,
            seqs: vec![0; usize::from(workload.universe)],
        }
    }

    fn tick(&mut self, topics: &[u16]) -> anyhow::Result<()> {
        let Self {
            feed,
            content,
            epoch_ms,
            seqs,
        } = self;
        let published_us = bar::now_us();
        let updates = topics.iter().map(|topic| {
            let seq = &mut seqs[usize::from(*topic)];
            *seq += 1;
            let json = content.encode(*topic, *seq, *epoch_ms, published_us);
            (*topic, json)
        });
        feed.publish(*content, updates)
    }

    /// Publishes every topic once.
    pub(crate) fn prime(&mut self) -> anyhow::Result<()> {
        let all: Vec<u16> = (0..self.seqs.len() as u16).collect();
        self.tick(&all)
    }

    /// Publishes for as many whole periods as begin within `length`.
    pub(crate) fn run(
        &mut self,
        workload: &Workload,
        length: Duration,
    ) -> anyhow::Result<Published> {
        let before = self.seqs.clone();
        let ticks = workload.ticks();
        let start = Instant::now();
        let mut late_max = Duration::ZERO;
        let mut round = Duration::ZERO;
        while round < length {
            for (offset, topics) in &ticks {
                let at = start + round + *offset;
                std::thread::sleep(at.saturating_duration_since(Instant::now()));
                late_max = late_max.max(at.elapsed());
                self.tick(topics)?;
            }
            round += workload.period();
        }
        std::thread::sleep((start + round).saturating_duration_since(Instant::now()));
        let updates = self
            .seqs
            .iter()
            .zip(before)
            .map(|(now, before)| now - before)
            .collect();
        Ok(Published { updates, late_max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_back_once_they_are_whole() {
        let mut bytes = Vec::new();
        put_record(&mut bytes, 7, b"{\"a\":1}");
        put_record(&mut bytes, TICK_END, b"");
        let (topic, payload, end) = parse_record(&bytes).expect("whole");
        assert_eq!((topic, payload), (7, b"{\"a\":1}".as_slice()));
        assert!((0..end).all(|cut| parse_record(&bytes[..cut]).is_none()));
        assert_eq!(
            parse_record(&bytes[end..]),
            Some((TICK_END, b"".as_slice(), HEADER_BYTES))
        );
    }
}
