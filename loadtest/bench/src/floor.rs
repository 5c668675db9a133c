//! The floor: the cost that the system alone causes. One thread writes the bytes of each
//! connection's frame with one send(2), and does nothing else.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::feed::{TICK_END, parse_record};
use crate::frame;
use crate::{bar, book};

const CLIENTS: Token = Token(usize::MAX);
const FEEDS: Token = Token(usize::MAX - 1);
const FEED: Token = Token(usize::MAX - 2);

/// The content of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framing {
    /// All changes of a tick for each connection: the smallest possible work.
    Batch,
    /// One update.
    Single,
}

/// A connection: it belongs to a set once its handshake is done.
struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    set: Option<usize>,
    /// The bytes that the socket did not take.
    unsent: Vec<u8>,
}

/// Connections with the same topics.
#[derive(Default)]
struct Set {
    members: Vec<usize>,
    /// Updates of this tick, by their place in it.
    due: Vec<usize>,
}

struct Floor {
    poll: Poll,
    framing: Framing,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    sets: Vec<Set>,
    set_of: HashMap<Vec<u16>, usize>,
    sets_of_topic: HashMap<u16, Vec<usize>>,
    /// Bars of this tick.
    tick: Vec<(u16, Vec<u8>)>,
    touched: Vec<usize>,
    frame: Vec<u8>,
}

/// Serves until the feed ends.
pub(crate) fn run(
    listener: std::net::TcpListener,
    feed_listener: std::net::TcpListener,
    framing: Framing,
) -> anyhow::Result<()> {
    listener.set_nonblocking(true)?;
    feed_listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let mut feed_listener = TcpListener::from_std(feed_listener);
    let poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, CLIENTS, Interest::READABLE)?;
    poll.registry()
        .register(&mut feed_listener, FEEDS, Interest::READABLE)?;
    let mut floor = Floor {
        poll,
        framing,
        connections: Vec::new(),
        free: Vec::new(),
        sets: Vec::new(),
        set_of: HashMap::new(),
        sets_of_topic: HashMap::new(),
        tick: Vec::new(),
        touched: Vec::new(),
        frame: Vec::new(),
    };
    let mut feed: Option<TcpStream> = None;
    let mut pending = Vec::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut events = Events::with_capacity(1_024);
    loop {
        match floor.poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            match event.token() {
                CLIENTS => {
                    while let Ok((stream, _)) = listener.accept() {
                        floor.join(stream)?;
                    }
                }
                FEEDS => {
                    while let Ok((mut stream, _)) = feed_listener.accept() {
                        floor
                            .poll
                            .registry()
                            .register(&mut stream, FEED, Interest::READABLE)?;
                        feed = Some(stream);
                    }
                }
                FEED => {
                    let Some(stream) = feed.as_mut() else {
                        continue;
                    };
                    loop {
                        match stream.read(&mut buffer) {
                            Ok(0) => return Ok(()),
                            Ok(read) => pending.extend_from_slice(&buffer[..read]),
                            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                            Err(_) => return Ok(()),
                        }
                        floor.take(&mut pending);
                    }
                }
                _ => floor.serve(event, &mut buffer),
            }
        }
    }
}

impl Floor {
    fn join(&mut self, mut stream: TcpStream) -> io::Result<()> {
        let index = self.free.pop().unwrap_or(self.connections.len());
        self.poll
            .registry()
            .register(&mut stream, Token(index), Interest::READABLE)?;
        let connection = Connection {
            stream,
            request: Vec::new(),
            set: None,
            unsent: Vec::new(),
        };
        match self.connections.get_mut(index) {
            Some(place) => *place = Some(connection),
            None => self.connections.push(Some(connection)),
        }
        Ok(())
    }

    fn leave(&mut self, index: usize) {
        let Some(connection) = self.connections[index].take() else {
            return;
        };
        self.free.push(index);
        if let Some(set) = connection.set {
            self.sets[set].members.retain(|member| *member != index);
        }
    }

    fn serve(&mut self, event: &Event, buffer: &mut [u8]) {
        let index = event.token().0;
        let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        if event.is_writable() && !connection.unsent.is_empty() {
            match connection.stream.write(&connection.unsent) {
                Ok(written) => {
                    connection.unsent.drain(..written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return self.leave(index),
            }
            if connection.unsent.is_empty() {
                let registry = self.poll.registry();
                let _ =
                    registry.reregister(&mut connection.stream, event.token(), Interest::READABLE);
            }
        }
        if event.is_readable() || event.is_read_closed() {
            loop {
                match connection.stream.read(buffer) {
                    Ok(0) => return self.leave(index),
                    // Frames from clients are ignored.
                    Ok(read) if connection.set.is_none() => {
                        connection.request.extend_from_slice(&buffer[..read]);
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => return self.leave(index),
                }
            }
            if connection.set.is_none() && frame::head_end(&connection.request).is_some() {
                self.welcome(index);
            }
        }
    }

    fn welcome(&mut self, index: usize) {
        let connection = self.connections[index].as_mut().expect("it was just read");
        let request = String::from_utf8_lossy(&connection.request).into_owned();
        connection.request = Vec::new();
        let key = request
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
        let topics = request
            .split_whitespace()
            .nth(1)
            .and_then(|path| path.split_once("?topics="))
            .map(|(_, names)| {
                names
                    .split(',')
                    .filter_map(|name| bar::topic_index(name).or_else(|| book::topic_index(name)))
                    .collect::<Vec<u16>>()
            });
        let (Some((_, key)), Some(topics)) = (key, topics) else {
            return self.leave(index);
        };
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            derive_accept_key(key.as_bytes())
        );
        if connection.stream.write_all(answer.as_bytes()).is_err() {
            return self.leave(index);
        }
        let new_set = self.sets.len();
        let set = *self.set_of.entry(topics.clone()).or_insert(new_set);
        if set == new_set {
            self.sets.push(Set::default());
            for topic in topics {
                self.sets_of_topic.entry(topic).or_default().push(set);
            }
        }
        connection.set = Some(set);
        self.sets[set].members.push(index);
    }

    fn take(&mut self, pending: &mut Vec<u8>) {
        let mut at = 0;
        while let Some((topic, payload, length)) = parse_record(&pending[at..]) {
            at += length;
            if topic == TICK_END {
                self.send_tick();
            } else {
                self.tick.push((topic, payload.to_vec()));
                if self.framing == Framing::Single {
                    self.send_tick();
                }
            }
        }
        pending.drain(..at);
    }

    fn send_tick(&mut self) {
        for (place, (topic, _)) in self.tick.iter().enumerate() {
            for set in self.sets_of_topic.get(topic).into_iter().flatten() {
                if self.sets[*set].due.is_empty() {
                    self.touched.push(*set);
                }
                self.sets[*set].due.push(place);
            }
        }
        let frames: Vec<Vec<u8>> = self.tick.drain(..).map(|(_, json)| json).collect();
        // Usually each set gets the same single bar, so its frame is made once.
        let mut framed: Option<Vec<usize>> = None;
        for set in std::mem::take(&mut self.touched) {
            let due = std::mem::take(&mut self.sets[set].due);
            if framed.as_ref() != Some(&due) {
                let payload = due
                    .iter()
                    .map(|place| frames[*place].as_slice())
                    .collect::<Vec<_>>()
                    .join(&b'\n');
                self.frame.clear();
                frame::put_server_text(&mut self.frame, &payload);
                framed = Some(due);
            }
            let mut place = 0;
            while let Some(&member) = self.sets[set].members.get(place) {
                if self.send(member) {
                    place += 1;
                } else {
                    self.leave(member);
                }
            }
        }
    }

    /// False if the connection is broken.
    fn send(&mut self, index: usize) -> bool {
        let Some(connection) = self.connections[index].as_mut() else {
            return true;
        };
        // It has not taken the last frame: it does not get this one.
        if !connection.unsent.is_empty() {
            return true;
        }
        match connection.stream.write(&self.frame) {
            Ok(written) if written == self.frame.len() => true,
            Ok(written) => {
                connection.unsent.extend_from_slice(&self.frame[written..]);
                let both = Interest::READABLE | Interest::WRITABLE;
                let registry = self.poll.registry();
                registry
                    .reregister(&mut connection.stream, Token(index), both)
                    .is_ok()
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}
