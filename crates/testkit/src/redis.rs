//! A Redis server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::ports;
use crate::process::Process;
use crate::wait::until;

/// A server without files. It ends when it is dropped.
#[derive(Debug)]
pub struct RedisServer {
    binary: PathBuf,
    address: SocketAddr,
    arguments: Vec<String>,
    process: Process,
}

/// The program: `REDIS_BIN`, or on the `PATH`.
#[must_use]
pub fn find() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("REDIS_BIN") {
        return Some(PathBuf::from(path)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("redis-server"))
        .find(|path| path.is_file())
}

/// Whether tests need it: a missing one is skipped elsewhere.
#[must_use]
pub fn is_required() -> bool {
    std::env::var_os("KLINECAST_REQUIRE_REDIS").is_some()
}

impl RedisServer {
    /// Starts it with more arguments, such as `--requirepass`, and waits until it answers.
    /// `None` where there is no such program.
    ///
    /// # Panics
    /// If the tests need it and it is missing, or it does not start.
    pub async fn start(arguments: &[&str]) -> Option<Self> {
        let Some(binary) = find() else {
            assert!(
                !is_required(),
                "redis-server is missing: scripts/tools.sh redis"
            );
            eprintln!("skipped: no redis-server here");
            return None;
        };
        let address = ports::reserve_address();
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let process = spawn(&binary, address, &arguments);
        let mut server = Self {
            binary,
            address,
            arguments,
            process,
        };
        server.until_it_listens().await;
        Some(server)
    }

    async fn until_it_listens(&mut self) {
        until("redis listens", async || {
            if let Some(status) = self.process.ended() {
                panic!("redis ended, {status}: {}", self.process.log());
            }
            let connected = tokio::net::TcpStream::connect(self.address).await;
            connected.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, without a password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Stops the process: connections stay, and nothing is answered.
    pub fn suspend(&self) {
        self.process.signal("STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.signal("CONT");
    }

    /// Kills it. All that it had is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, empty, with the same address.
    pub async fn start_again(&mut self) {
        self.process = spawn(&self.binary, self.address, &self.arguments);
        self.until_it_listens().await;
    }
}

fn spawn(binary: &PathBuf, address: SocketAddr, arguments: &[String]) -> Process {
    let mut command = Command::new(binary);
    command
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--port", &address.port().to_string()])
        .args(arguments);
    Process::start("redis", &mut command)
}
