//! What a load client reads: the handshake's answer, frames, and the bars in them.

use std::io::{self, Read};

use super::{Load, READ_BYTES, State, elapsed_us};
use crate::bar;
use crate::client::Dialect;
use crate::frame;

impl Load {
    pub(super) fn read(&mut self, index: usize) {
        loop {
            let connection = &mut self.connections[index];
            let Some(stream) = connection.stream.as_mut() else {
                return;
            };
            let kept = connection.carry.len();
            if self.buffer.len() < kept + READ_BYTES {
                self.buffer.resize(kept + READ_BYTES, 0);
            }
            self.buffer[..kept].copy_from_slice(&connection.carry);
            let room = self.buffer.len() - kept;
            let read = match stream.read(&mut self.buffer[kept..]) {
                Ok(0) => return self.lost(index, 1006),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return self.lost(index, 1006),
            };
            connection.carry.clear();
            self.tally.bytes += read as u64;
            let updates = self.tally.updates;
            let buffer = std::mem::take(&mut self.buffer);
            self.take(index, &buffer[..kept + read]);
            self.buffer = buffer;
            self.tally.reads += u64::from(self.tally.updates > updates);
            // The socket is empty: later data is a new event.
            if read < room {
                return;
            }
        }
    }

    fn take(&mut self, index: usize, bytes: &[u8]) {
        let mut at = 0;
        if self.connections[index].state == State::Upgrading {
            let Some(end) = frame::head_end(bytes) else {
                self.connections[index].carry.extend_from_slice(bytes);
                return;
            };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                return self.fail(index);
            }
            at = end;
            match self.spec.dialect {
                Dialect::Query => self.is_up(index),
                Dialect::Nats => self.subscribe(index),
            }
        }
        let now_us = bar::now_us();
        while let Some(frame) = frame::parse(bytes, at) {
            at = frame.end;
            let payload = &bytes[frame.payload_start..frame.end];
            match frame.opcode {
                frame::CLOSE => {
                    let code = payload
                        .first_chunk()
                        .map_or(1005, |code| u16::from_be_bytes(*code));
                    return self.lost(index, code);
                }
                frame::PING => {
                    let mut pong = Vec::new();
                    frame::put_client_pong(&mut pong, payload);
                    self.write(index, &pong);
                }
                _ if frame.is_data() => match self.spec.dialect {
                    Dialect::Query => {
                        self.count(index, payload, now_us);
                    }
                    Dialect::Nats => self.count_nats(index, payload, now_us),
                },
                _ => {}
            }
        }
        self.connections[index]
            .carry
            .extend_from_slice(&bytes[at..]);
    }

    /// Counts the bars in a payload. Returns how many bytes of its end belong to the next.
    fn count(&mut self, index: usize, payload: &[u8], now_us: u64) -> usize {
        let connection = &mut self.connections[index];
        let tally = &mut self.tally;
        let is_first = !connection.has_data;
        let mut updates = 0;
        let kept = self.scanner.scan(payload, |published_us| {
            updates += 1;
            if !is_first {
                tally.latency.record(now_us.saturating_sub(published_us));
            }
        });
        if updates > 0 {
            tally.updates += updates;
            tally.frames += 1;
            if is_first {
                connection.has_data = true;
                tally.first_data.record(elapsed_us(connection.started));
            }
        }
        kept
    }

    fn subscribe(&mut self, index: usize) {
        self.connections[index].state = State::Subscribing;
        let mut lines = String::from(
            "CONNECT {\"verbose\":false,\"pedantic\":false,\"protocol\":0,\"no_responders\":false,\"headers\":false}\r\n",
        );
        let content = self.spec.workload.name.content();
        for (sid, topic) in self
            .spec
            .workload
            .topics_of(self.number(index))
            .into_iter()
            .enumerate()
        {
            lines += &format!("SUB {} {}\r\n", content.subject_name(topic), sid + 1);
        }
        lines += "PING\r\n";
        let mut frame = Vec::new();
        frame::put_client_binary(&mut frame, lines.as_bytes());
        if !self.write(index, &frame) {
            self.fail(index);
        }
    }

    /// NATS: frames are cut anywhere in the stream of messages.
    fn count_nats(&mut self, index: usize, payload: &[u8], now_us: u64) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.extend_from_slice(&self.connections[index].tail);
        scratch.extend_from_slice(payload);
        if self.connections[index].state == State::Subscribing {
            if memchr::memmem::find(&scratch, b"PONG\r\n").is_some() {
                self.is_up(index);
            } else if memchr::memmem::find(&scratch, b"-ERR").is_some() {
                self.fail(index);
            }
        } else if payload.len() < 64 && payload.starts_with(b"PING\r\n") {
            let mut pong = Vec::new();
            frame::put_client_binary(&mut pong, b"PONG\r\n");
            self.write(index, &pong);
        }
        let kept = self.count(index, &scratch, now_us);
        let tail = &mut self.connections[index].tail;
        tail.clear();
        tail.extend_from_slice(&scratch[scratch.len() - kept..]);
        self.scratch = scratch;
    }
}
