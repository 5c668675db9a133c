//! nginx in front of gateways, with the configuration of `nginx/`.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

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
    folder: Directory,
    shutdown_seconds: u32,
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
        let configuration = render(&folder, address, gateways, shutdown_seconds);
        let mut command = Command::new(binary);
        command
            .args(["-e", "stderr", "-p"])
            .arg(folder.path())
            .arg("-c")
            .arg(&configuration);
        let mut process = Process::start("nginx", &mut command).asked_to_end();
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
            folder,
            shutdown_seconds,
        })
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

/// Writes the configuration, and returns where it is.
fn render(
    folder: &Directory,
    address: SocketAddr,
    gateways: &[SocketAddr],
    shutdown_seconds: u32,
) -> PathBuf {
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
    let configuration = folder.path().join("nginx.conf");
    fs::write(&configuration, rendered.stdout).expect("the folder is ours");
    configuration
}
