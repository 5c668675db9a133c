//! nginx in front of gateways, with the configuration of `nginx/`.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::directory::Directory;
use crate::ports;
use crate::process::Process;
use crate::wait::{holds, until};

/// What to do where there is no nginx.
pub const NOT_FOUND: &str = "nginx not found: set NGINX_BIN to it or put it on the PATH (Debian: apt-get install nginx-light)";
/// The page that it serves in tests.
pub const PAGE: &str = "<!doctype html><title>Klinecast</title>";
/// How long old workers stay after a reload unless a test says otherwise, s.
const SHUTDOWN_SECONDS: u32 = 30;
/// A free port may be taken by another before nginx has it.
const ATTEMPTS: usize = 5;

/// See the module.
#[derive(Debug)]
pub struct Nginx {
    /// The public side.
    pub address: SocketAddr,
    process: Process,
    binary: PathBuf,
    folder: Directory,
    shutdown_seconds: u32,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // What is stopped cannot end.
        if self.process.ended().is_none() {
            self.resume();
        }
    }
}

/// The program: `NGINX_BIN`, or on the `PATH`, or where Debian has it.
#[must_use]
pub fn find() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("NGINX_BIN") {
        return Some(PathBuf::from(path)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    folders
        .map(|folder| folder.join("nginx"))
        .find(|path| path.is_file())
}

impl Nginx {
    /// Starts it before these gateways, and waits until it serves.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(binary: &Path, gateways: &[SocketAddr]) -> Self {
        Self::start_with(binary, gateways, SHUTDOWN_SECONDS).await
    }

    /// As [`Nginx::start`], with old workers that stay for so long after a reload.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_with(binary: &Path, gateways: &[SocketAddr], shutdown_seconds: u32) -> Self {
        for _ in 1..ATTEMPTS {
            if let Ok(nginx) = Self::try_start(binary, gateways, shutdown_seconds).await {
                return nginx;
            }
        }
        Self::try_start(binary, gateways, shutdown_seconds)
            .await
            .unwrap_or_else(|log| panic!("nginx does not start: {log}"))
    }

    async fn try_start(
        binary: &Path,
        gateways: &[SocketAddr],
        shutdown_seconds: u32,
    ) -> Result<Self, String> {
        let folder = Directory::named("nginx-state");
        let web = folder.path().join("web");
        fs::create_dir(&web).expect("the folder is ours");
        fs::write(web.join("index.html"), PAGE).expect("the folder is ours");
        let address = ports::reserve_address();
        render(&folder, address, gateways, shutdown_seconds);
        let mut process = spawn(binary, &folder);
        let outcome = until("nginx serves or ends", async || {
            if let Some(status) = process.ended() {
                return Ok(Err(format!("{status}: {}", process.log())));
            }
            let page = reqwest::get(format!("http://{address}/")).await;
            holds(page.is_ok_and(|page| page.status().is_success()), || {
                "no page".to_owned()
            })?;
            Ok(Ok(()))
        })
        .await;
        outcome.map(|()| Self {
            address,
            process,
            binary: binary.to_owned(),
            folder,
            shutdown_seconds,
        })
    }

    /// Kills the master and its workers.
    pub fn kill(&mut self) {
        // A worker whose master is gone would serve on.
        let workers = self.process.children();
        self.process.kill();
        signal("KILL", &workers);
    }

    /// Stops the master and its workers: connections stay, and nothing is answered.
    pub fn suspend(&self) {
        signal("STOP", &self.processes());
    }

    /// Lets them go on.
    pub fn resume(&self) {
        signal("CONT", &self.processes());
    }

    /// Asks it to end at once, and waits until it has.
    pub async fn shut_down(&mut self) {
        self.process.signal("TERM");
        self.process.until_ended().await;
    }

    /// Starts it again, with the same address and gateways, after it was killed or has ended, and
    /// waits until it serves.
    pub async fn start_again(&mut self) {
        self.process = spawn(&self.binary, &self.folder);
        until("nginx serves again", async || {
            if let Some(status) = self.process.ended() {
                let log = self.process.log();
                self.process = spawn(&self.binary, &self.folder);
                return Err(format!("{status}: {log}"));
            }
            let page = reqwest::get(format!("http://{}/", self.address)).await;
            holds(page.is_ok_and(|page| page.status().is_success()), || {
                "no page".to_owned()
            })
        })
        .await;
    }

    fn processes(&self) -> Vec<u32> {
        let mut processes = self.process.children();
        processes.push(self.process.id());
        processes
    }

    /// Has it take a configuration with these gateways: new workers serve what is new, old ones
    /// keep what they have until their time is over.
    pub fn reload(&self, gateways: &[SocketAddr]) {
        render(&self.folder, self.address, gateways, self.shutdown_seconds);
        self.process.signal("HUP");
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The public WebSocket.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}/ws", self.address)
    }
}

fn spawn(binary: &Path, folder: &Directory) -> Process {
    let mut command = Command::new(binary);
    command
        .args(["-e", "stderr", "-p"])
        .arg(folder.path())
        .arg("-c")
        .arg(configuration(folder));
    Process::start("nginx", &mut command).asked_to_end()
}

/// To those of the processes that are there.
fn signal(signal: &str, processes: &[u32]) {
    let ids = processes.iter().map(u32::to_string);
    let _ = Command::new("kill")
        .args(["-s", signal])
        .args(ids)
        .stderr(Stdio::null())
        .status();
}

fn configuration(folder: &Directory) -> PathBuf {
    folder.path().join("nginx.conf")
}

/// Writes the configuration.
fn render(folder: &Directory, address: SocketAddr, gateways: &[SocketAddr], shutdown_seconds: u32) {
    // Only a master that runs as root may name a user.
    let is_root = fs::metadata(folder.path()).is_ok_and(|folder| folder.uid() == 0);
    let rendered = Command::new("sh")
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../nginx/render.sh"
        ))
        .args(gateways.iter().map(SocketAddr::to_string))
        .env("STATE", folder.path())
        .env("WEB", folder.path().join("web"))
        .env("LISTEN", address.to_string())
        .env("WORKERS", "1")
        .env("WORKER_CONNECTIONS", "2048")
        .env("SHUTDOWN_SECONDS", shutdown_seconds.to_string())
        .env("RUN_AS", if is_root { "root" } else { "" })
        .output()
        .expect("there is a shell");
    assert!(
        rendered.status.success(),
        "nginx/render.sh: {}",
        String::from_utf8_lossy(&rendered.stderr)
    );
    fs::write(configuration(folder), rendered.stdout).expect("the folder is ours");
}
