//! The load client: one thread, one epoll, one buffer, and as many WebSockets as it may open files.
//!
//! A connection is a socket and the bytes of an unfinished frame. Bars are not parsed: each is
//! found by its stamp and counted, and its age goes into a histogram.

mod load;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use anyhow::Context;
use mio::{Poll, Token, Waker};
use serde::{Deserialize, Serialize};

use load::Load;

use crate::histogram::Sparse;
use crate::workload::Workload;

/// The wake-up of the thread for a command.
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
