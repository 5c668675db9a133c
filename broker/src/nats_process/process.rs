//! One process of nats-server: a child of this broker, or a process that an earlier broker started.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::data_directory::DataDirectory;

const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// See the module.
pub(super) struct Process {
    id: u32,
    /// `None` for an adopted one.
    child: Option<Child>,
    /// How an adopted one is told from a later process with its number.
    config_file: String,
}

impl Process {
    /// Starts the program on the directory's configuration.
    pub(super) fn start(program: &Path, directory: &DataDirectory) -> io::Result<Self> {
        let output = directory.output()?;
        let child = Command::new(program)
            .arg("--config")
            .arg(directory.config_file())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // Ctrl-C in a terminal is for the broker, which then stops the server in order.
            .process_group(0)
            .kill_on_drop(false)
            .spawn()
            .map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", program.display()))
            })?;
        let id = child
            .id()
            .ok_or_else(|| io::Error::other("it has ended already"))?;
        Ok(Self {
            id,
            child: Some(child),
            config_file: directory.config_file().to_string_lossy().into_owned(),
        })
    }

    /// The server that runs on this directory, if one does.
    pub(super) fn adopt(directory: &DataDirectory) -> Option<Self> {
        let process = Self {
            id: directory.process_id()?,
            child: None,
            config_file: directory.config_file().to_string_lossy().into_owned(),
        };
        process.is_there().then_some(process)
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.ended().is_none()
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<String> {
        match &mut self.child {
            Some(child) => match child.try_wait() {
                Ok(None) => None,
                Ok(Some(status)) => Some(format!("nats-server ended ({status})")),
                Err(error) => Some(format!("nats-server cannot be watched: {error}")),
            },
            None => (!self.is_there()).then(|| "nats-server ended".to_owned()),
        }
    }

    /// Whether the process with our number is still the one of our configuration.
    fn is_there(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id)).unwrap_or_default();
        // The state stands behind the name, which is in parentheses.
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        let arguments = fs::read(format!("/proc/{}/cmdline", self.id)).unwrap_or_default();
        let mut arguments = arguments.split(|&byte| byte == 0);
        !matches!(state, None | Some('Z' | 'X'))
            && arguments.any(|argument| argument == self.config_file.as_bytes())
    }

    pub(super) fn ask_to_end(&mut self) {
        self.signal(Signal::SIGTERM);
    }

    pub(super) fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
    }

    fn signal(&mut self, signal: Signal) {
        if !self.is_running() {
            return;
        }
        let Ok(id) = i32::try_from(self.id) else {
            return;
        };
        if let Err(error) = kill(Pid::from_raw(id), signal) {
            warn!(%signal, %error, "nats-server cannot be signalled");
        }
    }

    /// Waits until it has ended; false after the deadline.
    pub(super) async fn until_ended(&mut self, deadline: Duration) -> bool {
        let begun = Instant::now();
        loop {
            if !self.is_running() {
                return true;
            }
            if begun.elapsed() > deadline {
                return false;
            }
            sleep(LOOK_INTERVAL).await;
        }
    }
}
