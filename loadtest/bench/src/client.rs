//! The load client: one thread, one epoll, one buffer, and as many WebSockets as it may open files.
//!
//! A connection is a socket and the bytes of an unfinished frame. Bars are not parsed: each is
//! found by its stamp and counted, and its age goes into a histogram.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::bar::{self, Scanner};
use crate::frame;
use crate::histogram::{Histogram, Sparse};
use crate::workload::Workload;

/// Room for each read, bytes.
const READ_BYTES: usize = 256 * 1024;
/// Receive buffer of clients that never read, bytes: with a smaller buffer, the server notices
/// sooner.
const NONREADER_BUFFER_BYTES: usize = 4 * 1024;
/// Handshakes under way at once, except in a storm.
const HANDSHAKES_MAX: usize = 128;
const RETRY_DELAY: Duration = Duration::from_millis(200);
const ATTEMPTS_MAX: u8 = 10;
const WAKE: Token = Token(usize::MAX);

/// How to ask a server for topics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Dialect {
    /// `/ws?topics=a,b`.
    Query,
    /// The NATS protocol in binary frames.
    Nats,
}

/// The task of a load client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// The server.
    pub(crate) server: SocketAddr,
    /// The protocol to the server.
    pub(crate) dialect: Dialect,
    /// Who subscribes to what.
    pub(crate) workload: Workload,
    /// Number of the first client.
    pub(crate) first: u32,
    /// Clients, from the first.
    pub(crate) count: u32,
    /// Source addresses: 127.0.0.2 and those after it.
    pub(crate) sources: u8,
}

/// A command to a load client.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Forget what was counted.
    Window,
    /// Reconnect all within this many seconds, and reset the counts.
    Storm(f64),
    /// Answer with the counts.
    Status,
    /// Answer with the counts and histograms.
    Report,
}

/// The results of a load client since the last window began.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Connections that are open now.
    pub(crate) open: u32,
    /// Bars.
    pub(crate) updates: u64,
    /// Frames with bars.
    pub(crate) frames: u64,
    /// Reads that brought bars: about as many as the server's writes, if the client keeps up.
    pub(crate) reads: u64,
    /// Bytes, of everything.
    pub(crate) bytes: u64,
    /// Connections that the server ended, by close code; 1006 without one.
    pub(crate) closed: BTreeMap<u16, u64>,
    /// Attempts to connect that failed; each is tried again, up to a limit.
    pub(crate) failed: u64,
    /// From publication to the client, without the first frame of a connection.
    pub(crate) latency: Sparse,
    /// From connecting to the answer of the handshake (NATS: of the subscriptions).
    pub(crate) handshake: Sparse,
    /// From connecting to the first bar.
    pub(crate) first_data: Sparse,
}

/// A load client in a thread.
#[derive(Debug)]
pub(crate) struct Client {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    answers: Receiver<Seen>,
}

impl Client {
    /// Starts, and connects at once. Ends when dropped.
    pub(crate) fn start(spec: Spec) -> anyhow::Result<Client> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let (commands, receiver) = mpsc::channel();
        let (sender, answers) = mpsc::channel();
        let mut load = Load::new(poll, spec);
        std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || load.run(&receiver, &sender))?;
        Ok(Client {
            commands,
            waker,
            answers,
        })
    }

    /// Tells it something.
    pub(crate) fn tell(&self, command: Command) -> anyhow::Result<()> {
        self.commands
            .send(command)
            .context("the load client has ended")?;
        Ok(self.waker.wake()?)
    }

    /// Asks for [`Command::Status`] or [`Command::Report`].
    pub(crate) fn ask(&self, command: Command) -> anyhow::Result<Seen> {
        self.tell(command)?;
        self.answers.recv().context("the load client has ended")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The thread sees the end of the channel.
        self.commands = mpsc::channel().0;
        let _ = self.waker.wake();
    }
}

/// Serves the process that started this one: commands on stdin, answers on stdout.
pub(crate) fn serve(spec: &str) -> anyhow::Result<()> {
    let client = Client::start(serde_json::from_str(spec)?)?;
    for line in io::stdin().lines() {
        let command: Command = serde_json::from_str(&line?)?;
        match command {
            Command::Window | Command::Storm(_) => client.tell(command)?,
            Command::Status | Command::Report => {
                let mut stdout = io::stdout().lock();
                serde_json::to_writer(&mut stdout, &client.ask(command)?)?;
                stdout.write_all(b"\n")?;
                stdout.flush()?;
            }
        }
    }
    Ok(())
}

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

struct Load {
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
    fn new(poll: Poll, spec: Spec) -> Self {
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

    fn run(&mut self, commands: &Receiver<Command>, answers: &Sender<Seen>) {
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
                let names: Vec<String> = topics.into_iter().map(bar::topic_name).collect();
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

    fn read(&mut self, index: usize) {
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
        for (sid, topic) in self
            .spec
            .workload
            .topics_of(self.number(index))
            .into_iter()
            .enumerate()
        {
            lines += &format!("SUB {} {}\r\n", bar::subject_name(topic), sid + 1);
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
