//! The load client: one thread, one epoll, one buffer, and as many WebSockets as it may open files.
//!
//! A connection is a socket and the bytes of an unfinished frame. Bars are not parsed: each is
//! found by its stamp and counted, and its age goes into a histogram.

mod command;
mod load;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use anyhow::Context;
use mio::{Poll, Waker};

pub(crate) use command::{Command, Dialect, Seen, Spec};

use command::WAKE;
use load::Load;

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
