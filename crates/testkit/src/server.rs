//! A program of others that serves TCP, in a process of its own.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::Process;
use crate::wait::DEADLINE;

const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// A program that is found by a variable or on the `PATH`, and is skipped where it is missing unless
/// the tests need it.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its file's name.
    pub name: &'static str,
    /// The variable that has its path; where that is set, the `PATH` is not searched.
    pub variable: &'static str,
    /// The variable that says that tests need it.
    pub required: &'static str,
    /// How it is installed.
    pub install: &'static str,
}

impl Program {
    /// Where it is: named by its variable, or on the `PATH`.
    #[must_use]
    pub fn find(&self) -> Option<PathBuf> {
        if let Some(path) = std::env::var_os(self.variable) {
            return Some(PathBuf::from(path)).filter(|path| path.is_file());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .map(|folder| folder.join(self.name))
            .find(|path| path.is_file())
    }

    /// As [`find`](Self::find), for a test that is skipped without it.
    ///
    /// # Panics
    /// If the tests need it and it is missing.
    #[must_use]
    pub fn find_or_skip(&self) -> Option<PathBuf> {
        let found = self.find();
        if found.is_none() {
            let (name, install) = (self.name, self.install);
            assert!(
                std::env::var_os(self.required).is_none(),
                "{name} is missing: {install}"
            );
            eprintln!("skipped: no {name} here");
        }
        found
    }
}

/// A running server, which ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    address: SocketAddr,
    command: Command,
    process: Process,
}

impl Server {
    /// Runs a command, and waits until something listens at the address.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(name: &'static str, address: SocketAddr, mut command: Command) -> Self {
        let process = Process::start(name, &mut command);
        let mut server = Self {
            name,
            address,
            command,
            process,
        };
        server.until_it_listens();
        server
    }

    /// Tests without a runtime start servers, too, so it sleeps.
    fn until_it_listens(&mut self) {
        let (name, started) = (self.name, Instant::now());
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.process.ended() {
                panic!("{name} ended, {status}: {}", self.process.log());
            }
            assert!(started.elapsed() < DEADLINE, "{name} does not listen");
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops the process: connections stay, and nothing is answered.
    pub fn suspend(&self) {
        self.process.signal("STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.signal("CONT");
    }

    /// Kills it. Its files stay.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again with the same address and files, after a kill.
    pub fn start_again(&mut self) {
        self.process = Process::start(self.name, &mut self.command);
        self.until_it_listens();
    }
}
