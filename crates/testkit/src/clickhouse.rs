//! ClickHouse's engine behind HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::directory::Directory;
use crate::ports;
use crate::process::Process;
use crate::wait::until;

/// A server with its files in a directory of its own. It ends when it is dropped.
#[derive(Debug)]
pub struct ClickHouseServer {
    python: PathBuf,
    address: SocketAddr,
    process: Process,
    directory: Directory,
}

/// A Python that has the engine: `KLINECAST_CLICKHOUSE_PYTHON`.
#[must_use]
pub fn find() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("KLINECAST_CLICKHOUSE_PYTHON")?);
    Some(path).filter(|path| path.is_file())
}

/// Whether tests need it: a missing one is skipped elsewhere.
#[must_use]
pub fn is_required() -> bool {
    std::env::var_os("KLINECAST_REQUIRE_CLICKHOUSE").is_some()
}

impl ClickHouseServer {
    /// Starts it, and waits until it listens. `None` where there is no engine.
    ///
    /// # Panics
    /// If the tests need it and it is missing, or it does not start.
    pub async fn start() -> Option<Self> {
        let Some(python) = find() else {
            assert!(
                !is_required(),
                "ClickHouse's engine is missing: scripts/tools.sh clickhouse"
            );
            eprintln!("skipped: no engine of ClickHouse here");
            return None;
        };
        let address = ports::reserve_address();
        let directory = Directory::new();
        let process = spawn(&python, address, &directory);
        let mut server = Self {
            python,
            address,
            process,
            directory,
        };
        server.until_it_listens().await;
        Some(server)
    }

    async fn until_it_listens(&mut self) {
        until("ClickHouse's engine listens", async || {
            if let Some(status) = self.process.ended() {
                panic!("the engine ended, {status}: {}", self.process.log());
            }
            let connected = tokio::net::TcpStream::connect(self.address).await;
            connected.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }

    /// The URL of one of its databases.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("clickhouse://{}/{database}", self.address)
    }

    /// Runs a statement, as somebody else would, and returns the answer's text.
    ///
    /// # Panics
    /// If the server refuses it.
    pub async fn run(&self, sql: &str) -> String {
        let url = format!("http://{}/", self.address);
        let sent = reqwest::Client::new().post(url).body(sql.to_owned()).send();
        let answer = sent.await.expect("it listens");
        let is_success = answer.status().is_success();
        let text = answer.text().await.expect("a text");
        assert!(is_success, "{sql}: {text}");
        text
    }

    /// Asks for a fault, as `history/tests/clickhouse/server.py` names them; none with an empty text.
    ///
    /// # Panics
    /// If the directory cannot be written.
    pub fn set_fault(&self, fault: &str) {
        let (file, new) = (
            self.directory.path().join("fault"),
            self.directory.path().join("fault.new"),
        );
        std::fs::write(&new, fault).expect("a directory");
        std::fs::rename(new, file).expect("a directory");
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

    /// Starts it again, with its files and the same address.
    pub async fn start_again(&mut self) {
        self.process = spawn(&self.python, self.address, &self.directory);
        self.until_it_listens().await;
    }
}

fn spawn(python: &PathBuf, address: SocketAddr, directory: &Directory) -> Process {
    let script =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../history/tests/clickhouse/server.py");
    let mut command = Command::new(python);
    command
        .arg(script)
        .arg(address.port().to_string())
        .arg(directory.path());
    Process::start("clickhouse", &mut command)
}
