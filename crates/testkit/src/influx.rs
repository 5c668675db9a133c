//! An InfluxDB 1.x server.

use std::ops::{Deref, DerefMut};
use std::process::Command;

use crate::directory::Directory;
use crate::ports;
use crate::server::{Program, Server};

/// The program.
pub const PROGRAM: Program = Program {
    name: "influxd",
    variable: "INFLUXD_BIN",
    required: "KLINECAST_REQUIRE_INFLUXDB",
    install: "scripts/tools.sh influxdb",
};

/// A server with files of its own. It ends when it is dropped.
#[derive(Debug)]
pub struct InfluxServer {
    server: Server,
    _directory: Directory,
}

impl InfluxServer {
    /// Starts it with more settings, such as `INFLUXDB_HTTP_MAX_BODY_SIZE`, and waits until it
    /// listens. `None` where there is no such program.
    ///
    /// # Panics
    /// If the tests need it and it is missing, or it does not start.
    #[must_use]
    pub fn start(options: &[(&str, &str)]) -> Option<Self> {
        let binary = PROGRAM.find_or_skip()?;
        let (address, directory) = (ports::reserve_address(), Directory::named("influxdb-files"));
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
            .envs(options.iter().copied());
        Some(Self {
            server: Server::start("influxdb", address, command),
            _directory: directory,
        })
    }

    /// The URL of a database, without a password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("influxdb://{}/{database}", self.address())
    }
}

impl Deref for InfluxServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for InfluxServer {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}
