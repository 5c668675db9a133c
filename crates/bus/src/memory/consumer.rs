//! Acknowledged reading of the memory bus's streams.

use std::sync::{Arc, Weak};
use std::time::Instant;

use async_trait::async_trait;

use super::Shared;
use super::reader::Reader;
use super::stream::{Kept, Stream};
use crate::consumer::{AckHandle, Answer, ConsumerSource};
use crate::meter;
use crate::{BusError, ConsumerSpec, ConsumerStatus, Message, Start, Taken};

enum Next {
    Message(Message, u64),
    /// Nothing before this time, unless something changes.
    Wait(Option<Instant>),
}

impl Kept {
    fn next_of(&mut self, name: &str, now: Instant) -> Option<Next> {
        // Out of the map, as it looks at the rest.
        let mut reader = self.readers.remove(name)?;
        let next = self.next_for(&mut reader, now);
        self.readers.insert(name.to_owned(), reader);
        Some(next)
    }

    fn next_for(&self, reader: &mut Reader, now: Instant) -> Next {
        while let Some(&(due_at, sequence)) = reader.due.first()
            && due_at <= now
        {
            let deliveries = reader.land(sequence).unwrap_or_default();
            // Retention goes before the consumer.
            if let Some(message) = self.message(sequence) {
                reader.fly(sequence, now + reader.ack_wait, deliveries + 1);
                meter::redelivered();
                return Next::Message(message, deliveries + 1);
            }
        }
        let due_at = reader.due.first().map(|(due_at, _)| *due_at);
        if reader.in_flight.len() >= reader.in_flight_max {
            return Next::Wait(due_at);
        }
        let found = self.matching(&reader.pattern, reader.next_sequence).next();
        match found {
            Some((sequence, message)) => {
                reader.next_sequence = sequence + 1;
                reader.last_taken = sequence;
                reader.fly(sequence, now + reader.ack_wait, 1);
                Next::Message(message, 1)
            }
            None => {
                reader.next_sequence = reader.next_sequence.max(self.last_sequence + 1);
                Next::Wait(due_at)
            }
        }
    }

    fn status_of(&self, reader: &Reader) -> ConsumerStatus {
        let lowest = reader.in_flight.first_key_value();
        ConsumerStatus {
            acknowledged_to: lowest.map_or(reader.last_taken, |(sequence, _)| sequence - 1),
            in_flight: reader.in_flight.len() as u64,
            waiting: self.matching(&reader.pattern, reader.next_sequence).count() as u64,
        }
    }
}

/// Reads one stream under a name.
pub(super) struct MemoryConsumer {
    shared: Weak<Shared>,
    stream: Arc<Stream>,
    spec: ConsumerSpec,
}

impl MemoryConsumer {
    /// Creates the consumer of this name, or goes on with it.
    pub(super) fn new(
        shared: &Arc<Shared>,
        stream: Arc<Stream>,
        spec: &ConsumerSpec,
    ) -> Result<MemoryConsumer, BusError> {
        let (_, pattern) = spec.check()?;
        let mut kept = stream.lock();
        match kept.readers.get_mut(&spec.name) {
            Some(reader) if reader.pattern == pattern => reader.set(spec),
            Some(reader) => {
                return Err(BusError::ConsumerConflict {
                    name: spec.name.clone(),
                    running: reader.pattern.to_string(),
                    wanted: spec.pattern.clone(),
                });
            }
            None => {
                let from = kept.sequence_at(spec.start)?.max(1);
                let reader = Reader::new(pattern, from, spec);
                kept.readers.insert(spec.name.clone(), reader);
            }
        }
        drop(kept);
        Ok(MemoryConsumer {
            shared: Arc::downgrade(shared),
            stream,
            spec: spec.clone(),
        })
    }

    fn shared(&self) -> Result<Arc<Shared>, BusError> {
        let shared = self.shared.upgrade().filter(|shared| !shared.is_closed());
        shared.ok_or(BusError::Closed)
    }

    /// The stream or the consumer is gone. A stream that was created again is read from its start:
    /// all of it is new.
    fn renew(&mut self) -> Result<(), BusError> {
        let shared = self.shared()?;
        let stream = shared.stream(&self.stream.root);
        let Some(stream) = stream else {
            return Err(self.gone());
        };
        let start = match stream.created_ns == self.stream.created_ns {
            true => self.spec.start,
            false => Start::Oldest,
        };
        let spec = ConsumerSpec {
            start,
            ..self.spec.clone()
        };
        *self = MemoryConsumer::new(&shared, stream, &spec)?;
        Ok(())
    }

    fn gone(&self) -> BusError {
        BusError::JetStream {
            action: format!("read stream {}", self.stream.root),
            reason: "there is no such stream at the moment".to_owned(),
            retryable: true,
        }
    }
}

#[async_trait]
impl ConsumerSource for MemoryConsumer {
    async fn next(&mut self) -> Result<Taken, BusError> {
        loop {
            let stream = Arc::clone(&self.stream);
            let changed = stream.changed.notified();
            tokio::pin!(changed);
            // Before the look, so that no change falls between.
            changed.as_mut().enable();
            self.shared()?;
            let next = {
                let mut kept = stream.lock();
                match kept.is_deleted {
                    true => None,
                    false => kept.next_of(&self.spec.name, Instant::now()),
                }
            };
            match next {
                None => self.renew()?,
                Some(Next::Message(message, deliveries)) => {
                    let sequence = message.position.as_ref().map_or(0, |at| at.sequence);
                    let handle = MemoryAck {
                        stream: Arc::clone(&stream),
                        name: self.spec.name.clone(),
                        sequence,
                    };
                    return Ok(Taken::new(message, deliveries, handle));
                }
                Some(Next::Wait(None)) => changed.await,
                Some(Next::Wait(Some(at))) => {
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(at.into()) => {}
                    }
                }
            }
        }
    }

    async fn status(&self) -> Result<ConsumerStatus, BusError> {
        self.shared()?;
        let kept = self.stream.lock();
        let reader = kept.readers.get(&self.spec.name);
        reader
            .map(|reader| kept.status_of(reader))
            .ok_or_else(|| self.gone())
    }
}

struct MemoryAck {
    stream: Arc<Stream>,
    name: String,
    sequence: u64,
}

#[async_trait]
impl AckHandle for MemoryAck {
    async fn answer(&self, answer: Answer) -> Result<(), BusError> {
        let mut kept = self.stream.lock();
        if kept.is_deleted {
            return Err(BusError::PositionLost {
                root: self.stream.root.to_string(),
            });
        }
        let Some(reader) = kept.readers.get_mut(&self.name) else {
            return Err(BusError::JetStream {
                action: format!("acknowledge a message of stream {}", self.stream.root),
                reason: "its consumer does not answer".to_owned(),
                retryable: true,
            });
        };
        reader.answer(self.sequence, answer, Instant::now());
        drop(kept);
        // There may be room for another, or a new time to wait for.
        self.stream.changed.notify_waiters();
        Ok(())
    }
}
