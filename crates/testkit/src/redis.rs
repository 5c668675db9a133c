//! A Redis server.

use std::ops::{Deref, DerefMut};
use std::process::Command;

use crate::ports;
use crate::server::{Program, Server};

/// The program.
pub const PROGRAM: Program = Program {
    name: "redis-server",
    variable: "REDIS_BIN",
    required: "KLINECAST_REQUIRE_REDIS",
    install: "scripts/tools.sh redis",
};

/// A server without files: a kill takes all that it had. It ends when it is dropped.
#[derive(Debug)]
pub struct RedisServer {
    server: Server,
}

impl RedisServer {
    /// Starts it with more arguments, such as `--requirepass`, and waits until it listens.
    /// `None` where there is no such program.
    ///
    /// # Panics
    /// If the tests need it and it is missing, or it does not start.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Option<Self> {
        let binary = PROGRAM.find_or_skip()?;
        let address = ports::reserve_address();
        let mut command = Command::new(binary);
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--port", &address.port().to_string()])
            .args(arguments);
        let server = Server::start("redis", address, command);
        Some(Self { server })
    }

    /// Its URL, without a password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }
}

impl Deref for RedisServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for RedisServer {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}
