//! An InfluxDB 1.x server.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::directory::Directory;
use crate::ports;
use crate::process::Process;
use crate::wait::DEADLINE;

/// A server with files of its own. It ends when it is dropped.
#[derive(Debug)]
pub struct InfluxServer {
    binary: PathBuf,
    address: SocketAddr,
    options: Vec<(String, String)>,
    process: Process,
    directory: Directory,
}

/// The program: `INFLUXD_BIN`, or on the `PATH`.
#[must_use]
pub fn find() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("INFLUXD_BIN") {
        return Some(PathBuf::from(path)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("influxd"))
        .find(|path| path.is_file())
}

/// Whether tests need it: a missing one is skipped elsewhere.
#[must_use]
pub fn is_required() -> bool {
    std::env::var_os("KLINECAST_REQUIRE_INFLUXDB").is_some()
}

impl InfluxServer {
    /// Starts it with more settings, such as `INFLUXDB_HTTP_MAX_BODY_SIZE`, and waits until it
    /// listens. `None` where there is no such program.
    ///
    /// # Panics
    /// If the tests need it and it is missing, or it does not start.
    #[must_use]
    pub fn start(options: &[(&str, &str)]) -> Option<Self> {
        let Some(binary) = find() else {
            assert!(
                !is_required(),
                "influxd is missing: scripts/tools.sh influxdb"
            );
            eprintln!("skipped: no influxd here");
            return None;
        };
        let (address, directory) = (ports::reserve_address(), Directory::named("influxdb-files"));
        let options = options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let options: Vec<_> = options.collect();
        let process = spawn(&binary, address, &directory, &options);
        let mut server = Self {
            binary,
            address,
            options,
            process,
            directory,
        };
        server.until_it_listens();
        Some(server)
    }

    fn until_it_listens(&mut self) {
        let started = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.process.ended() {
                panic!("influxd ended, {status}: {}", self.process.log());
            }
            assert!(started.elapsed() < DEADLINE, "influxd does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a database, without a password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("influxdb://{}/{database}", self.address)
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

    /// Starts it again with the same address and files.
    pub fn start_again(&mut self) {
        self.process = spawn(&self.binary, self.address, &self.directory, &self.options);
        self.until_it_listens();
    }
}

fn spawn(
    binary: &PathBuf,
    address: SocketAddr,
    directory: &Directory,
    options: &[(String, String)],
) -> Process {
    let folder = |name: &str| directory.path().join(name);
    let mut command = Command::new(binary);
    command
        .args(["run", "-config", "/dev/null"])
        .env("INFLUXDB_REPORTING_DISABLED", "true")
        .env("INFLUXDB_BIND_ADDRESS", "127.0.0.1:0")
        .env("INFLUXDB_HTTP_BIND_ADDRESS", address.to_string())
        .env("INFLUXDB_HTTP_LOG_ENABLED", "false")
        .env("INFLUXDB_MONITOR_STORE_ENABLED", "false")
        .env("INFLUXDB_META_DIR", folder("meta"))
        .env("INFLUXDB_DATA_DIR", folder("data"))
        .env("INFLUXDB_DATA_WAL_DIR", folder("wal"))
        .envs(options.iter().map(|(name, value)| (name, value)));
    Process::start("influxdb", &mut command)
}
