//! ClickHouse's engine behind HTTP, and a real, old server.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::Command;

use crate::directory::Directory;
use crate::ports;
use crate::server::{Program, Server};

/// A Python that has the engine.
pub const PYTHON: Program = Program {
    name: "python-with-chdb",
    variable: "KLINECAST_CLICKHOUSE_PYTHON",
    required: "KLINECAST_REQUIRE_CLICKHOUSE",
    install: "scripts/tools.sh clickhouse",
};

/// A server with its files in a directory of its own. It ends when it is dropped.
#[derive(Debug)]
pub struct ClickHouseServer {
    server: Server,
    directory: Directory,
}

impl ClickHouseServer {
    /// Starts it, and waits until it listens. `None` where there is no engine.
    ///
    /// # Panics
    /// If the tests need it and it is missing, or it does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        let python = PYTHON.find_or_skip()?;
        let (address, directory) = (ports::reserve_address(), Directory::new());
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../history/tests");
        let mut command = Command::new(python);
        command
            .arg(tests.join("clickhouse/server.py"))
            .arg(address.port().to_string())
            .arg(directory.path());
        let server = Server::start("clickhouse", address, command);
        Some(Self { server, directory })
    }

    /// The URL of one of its databases.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("clickhouse://{}/{database}", self.address())
    }

    /// Runs a statement, as somebody else would, and returns the answer's text.
    ///
    /// # Panics
    /// If the server refuses it.
    pub async fn run(&self, sql: &str) -> String {
        let url = format!("http://{}/", self.address());
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
}

impl Deref for ClickHouseServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for ClickHouseServer {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// Debian's server, 18.16: too old for history, with an HTTP server of its own.
pub const OLD_SERVER: Program = Program {
    name: "clickhouse-server-18",
    variable: "CLICKHOUSE_SERVER_BIN",
    required: "KLINECAST_REQUIRE_CLICKHOUSE_SERVER",
    install: "scripts/tools.sh clickhouse",
};

const OLD_CONFIG: &str = "<yandex>
<logger><level>warning</level><console>1</console></logger>
<listen_host>127.0.0.1</listen_host>
<http_port>HTTP</http_port><tcp_port>TCP</tcp_port>
<path>FOLDER/data/</path><tmp_path>FOLDER/tmp/</tmp_path>
<users_config>users.xml</users_config><mark_cache_size>5368709</mark_cache_size>
</yandex>
";
const OLD_USERS: &str = "<yandex>
<profiles>
<default></default>
<reader><readonly>1</readonly></reader>
<cutter><timeout_overflow_mode>break</timeout_overflow_mode></cutter>
<blind><readonly>1</readonly><timeout_overflow_mode>break</timeout_overflow_mode></blind>
</profiles>
<quotas><default></default></quotas>
<users>USERS</users>
</yandex>
";
const OLD_USER: &str = "<NAME>
<password>s3cret</password><networks><ip>::/0</ip></networks>
<profile>NAME</profile><quota>default</quota>
</NAME>
";
/// Users, each with a profile of the same name: one that may only read, one whose answers are cut after
/// too long a time, and one with both.
const OLD_NAMES: [&str; 4] = ["default", "reader", "cutter", "blind"];

/// A real server of ClickHouse 18.16, with some users, each with the password `s3cret`.
#[derive(Debug)]
pub struct OldClickHouseServer {
    server: Server,
    _directory: Directory,
}

impl OldClickHouseServer {
    /// Starts it, and waits until it listens. `None` where there is no such program.
    ///
    /// # Panics
    /// If the tests need it and it is missing, or it does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        let binary = OLD_SERVER.find_or_skip()?;
        let (address, tcp) = (ports::reserve_address(), ports::reserve_address());
        let directory = Directory::named("clickhouse-18");
        let config = OLD_CONFIG
            .replace("HTTP", &address.port().to_string())
            .replace("TCP", &tcp.port().to_string())
            .replace("FOLDER", &directory.path().display().to_string());
        let file = directory.path().join("config.xml");
        std::fs::write(&file, config).expect("a directory");
        let users = OLD_NAMES
            .map(|name| OLD_USER.replace("NAME", name))
            .concat();
        let users = OLD_USERS.replace("USERS", &users);
        std::fs::write(directory.path().join("users.xml"), users).expect("a directory");
        let mut command = Command::new(binary);
        command.arg(format!("--config-file={}", file.display()));
        Some(Self {
            server: Server::start("clickhouse-18", address, command),
            _directory: directory,
        })
    }

    /// The URL of one of its databases, with a password.
    #[must_use]
    pub fn url(&self, password: &str, database: &str) -> String {
        self.url_of("default", password, database)
    }

    /// The URL for one of its users: `default`, `reader`, `cutter` or `blind`.
    #[must_use]
    pub fn url_of(&self, user: &str, password: &str, database: &str) -> String {
        format!(
            "clickhouse://{user}:{password}@{}/{database}",
            self.address()
        )
    }
}

impl Deref for OldClickHouseServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for OldClickHouseServer {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}
