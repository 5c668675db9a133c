//! The thread of a load client: opens connections, and ends and counts them.

mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::command::{Command, Dialect, Seen, Spec, WAKE};
use crate::bar::Scanner;
use crate::frame;
use crate::histogram::Histogram;

/// Room for each read, bytes.
const READ_BYTES: usize = 256 * 1024;
/// Receive buffer of clients that never read, bytes: with a smaller buffer, the server notices
/// sooner.
const NONREADER_BUFFER_BYTES: usize = 4 * 1024;
/// Handshakes under way at once, except in a storm.
const HANDSHAKES_MAX: usize = 128;
const RETRY_DELAY: Duration = Duration::from_millis(200);
const ATTEMPTS_MAX: u8 = 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Closed,
    Connecting,
    Upgrading,
    /// The NATS subscriptions are not answered yet.
    Subscribing,
    Open,
}

#[derive(Debug)]
struct Connection {
    stream: Option<TcpStream>,
    state: State,
    /// The beginning of a frame, or of the handshake's answer.
    carry: Vec<u8>,
    /// NATS only: the end of the stream, which may be the beginning of a stamp.
    tail: Vec<u8>,
    started: Instant,
    has_data: bool,
    attempts: u8,
}

#[derive(Debug, Default)]
struct Tally {
    updates: u64,
    frames: u64,
    reads: u64,
    bytes: u64,
    closed: BTreeMap<u16, u64>,
    failed: u64,
    latency: Histogram,
    handshake: Histogram,
    first_data: Histogram,
}

pub(super) struct Load {
    poll: Poll,
    spec: Spec,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    scanner: Scanner,
    tally: Tally,
    /// Next in the first round.
    next: usize,
    /// Connections to be opened, at their times.
    later: BTreeSet<(Instant, usize)>,
    handshakes: usize,
    open: u32,
}

fn elapsed_us(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

impl Load {
    pub(super) fn new(poll: Poll, spec: Spec) -> Self {
        let connections = (0..spec.count)
            .map(|_| Connection {
                stream: None,
                state: State::Closed,
                carry: Vec::new(),
                tail: Vec::new(),
                started: Instant::now(),
                has_data: false,
                attempts: 0,
            })
            .collect();
        Self {
            poll,
            spec,
            connections,
            buffer: vec![0; 2 * READ_BYTES],
            scratch: Vec::new(),
            scanner: Scanner::default(),
            tally: Tally::default(),
            next: 0,
            later: BTreeSet::new(),
            handshakes: 0,
            open: 0,
        }
    }

    pub(super) fn run(&mut self, commands: &Receiver<Command>, answers: &Sender<Seen>) {
        let mut events = Events::with_capacity(1_024);
        loop {
            while self.handshakes < HANDSHAKES_MAX && self.next < self.connections.len() {
                self.next += 1;
                self.open(self.next - 1);
            }
            let now = Instant::now();
            while let Some(&(at, index)) = self.later.first()
                && at <= now
            {
                self.later.pop_first();
                self.end(index);
                self.open(index);
            }
            let wait = self
                .later
                .first()
                .map(|(at, _)| at.saturating_duration_since(now));
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.expect("epoll works"),
            }
            for event in &events {
                if event.token() == WAKE {
                    continue;
                }
                let index = event.token().0;
                if self.connections[index].state == State::Connecting && event.is_writable() {
                    self.upgrade(index);
                }
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.read(index);
                }
            }
            loop {
                match commands.try_recv() {
                    Ok(command) => {
                        if let Some(seen) = self.obey(command)
                            && answers.send(seen).is_err()
                        {
                            return;
                        }
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
        }
    }

    fn obey(&mut self, command: Command) -> Option<Seen> {
        match command {
            Command::Window => {
                self.tally.updates = 0;
                self.tally.frames = 0;
                self.tally.reads = 0;
                self.tally.bytes = 0;
                self.tally.latency.clear();
                None
            }
            Command::Storm(seconds) => {
                self.tally = Tally::default();
                let mut random = SmallRng::seed_from_u64(u64::from(self.spec.first));
                let now = Instant::now();
                self.later = (0..self.connections.len())
                    .map(|index| {
                        (
                            now + Duration::from_secs_f64(random.random_range(0.0..seconds)),
                            index,
                        )
                    })
                    .collect();
                self.connections
                    .iter_mut()
                    .for_each(|connection| connection.attempts = 0);
                None
            }
            Command::Status => Some(self.seen()),
            Command::Report => Some(Seen {
                latency: self.tally.latency.to_sparse(),
                handshake: self.tally.handshake.to_sparse(),
                first_data: self.tally.first_data.to_sparse(),
                ..self.seen()
            }),
        }
    }

    fn seen(&self) -> Seen {
        Seen {
            open: self.open,
            updates: self.tally.updates,
            frames: self.tally.frames,
            reads: self.tally.reads,
            bytes: self.tally.bytes,
            closed: self.tally.closed.clone(),
            failed: self.tally.failed,
            ..Seen::default()
        }
    }

    fn number(&self, index: usize) -> u32 {
        self.spec.first + index as u32
    }

    fn open(&mut self, index: usize) {
        self.handshakes += 1;
        let connection = &mut self.connections[index];
        connection.state = State::Connecting;
        connection.started = Instant::now();
        connection.has_data = false;
        connection.carry.clear();
        connection.tail.clear();
        connection.attempts += 1;
        match self.connect(index) {
            Ok(stream) => self.connections[index].stream = Some(stream),
            Err(_) => self.fail(index),
        }
    }

    fn connect(&self, index: usize) -> io::Result<TcpStream> {
        use socket2::{Domain, Protocol, Socket, Type};
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        if !self.spec.workload.is_reader(self.number(index)) {
            socket.set_recv_buffer_size(NONREADER_BUFFER_BYTES)?;
        }
        let host = 2 + (index % usize::from(self.spec.sources.max(1))) as u8;
        let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0));
        socket.bind(&source.into())?;
        match socket.connect(&self.spec.server.into()) {
            // EINPROGRESS has no kind of its own.
            Err(error)
                if error.kind() != io::ErrorKind::WouldBlock
                    && error.raw_os_error() != Some(115) =>
            {
                return Err(error);
            }
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(index), interest)?;
        Ok(stream)
    }

    /// An attempt has failed; the connection may have another.
    fn fail(&mut self, index: usize) {
        self.tally.failed += 1;
        self.end(index);
        if self.connections[index].attempts < ATTEMPTS_MAX {
            self.later.insert((Instant::now() + RETRY_DELAY, index));
        }
    }

    /// Closes our side, if it is open.
    fn end(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if let Some(mut stream) = connection.stream.take() {
            let _ = self.poll.registry().deregister(&mut stream);
        }
        match std::mem::replace(&mut connection.state, State::Closed) {
            State::Closed => {}
            State::Open => self.open -= 1,
            _ => self.handshakes -= 1,
        }
    }

    fn upgrade(&mut self, index: usize) {
        let number = self.number(index);
        let path = match self.spec.dialect {
            Dialect::Nats => "/".to_owned(),
            Dialect::Query => {
                let topics = self.spec.workload.topics_of(number);
                let content = self.spec.workload.name.content();
                let names = topics.into_iter().map(|topic| content.topic_name(topic));
                let names: Vec<String> = names.collect();
                format!("/ws?topics={}", names.join(","))
            }
        };
        self.connections[index].state = State::Upgrading;
        if !self.write(index, frame::handshake_request(&path).as_bytes()) {
            self.fail(index);
        }
    }

    /// Writes data that always fits into a socket's buffer.
    fn write(&mut self, index: usize, bytes: &[u8]) -> bool {
        let stream = self.connections[index].stream.as_mut();
        stream.is_some_and(|stream| stream.write_all(bytes).is_ok())
    }

    fn is_up(&mut self, index: usize) {
        self.handshakes -= 1;
        self.open += 1;
        let number = self.number(index);
        let connection = &mut self.connections[index];
        connection.state = State::Open;
        connection.attempts = 0;
        self.tally.handshake.record(elapsed_us(connection.started));
        if !self.spec.workload.is_reader(number)
            && let Some(stream) = connection.stream.as_mut()
        {
            let _ = self.poll.registry().deregister(stream);
        }
    }

    fn lost(&mut self, index: usize, code: u16) {
        match self.connections[index].state {
            State::Open => {
                *self.tally.closed.entry(code).or_default() += 1;
                self.end(index);
            }
            State::Closed => {}
            _ => self.fail(index),
        }
    }
}
