//! A process with its log, which ends when it is dropped.

use std::fs;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::directory::Directory;
use crate::wait::until;

/// Lines of its log that a failed test shows.
const LINES_SHOWN: usize = 30;
/// How long a process may take to end when it is dropped.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    folder: Directory,
    /// Has to be asked to end, for it has processes of its own to end.
    is_asked: bool,
}

impl Process {
    /// Starts it. Its standard output and error are its log.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(name: &str, command: &mut Command) -> Self {
        let folder = Directory::named(name);
        let log = fs::File::create(folder.path().join("log")).expect("the folder can be written");
        // What is set for the person who tests is not for what is tested.
        for (variable, _) in std::env::vars_os() {
            if variable
                .to_str()
                .is_some_and(|name| name.starts_with("KLINECAST_"))
            {
                command.env_remove(variable);
            }
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self {
            name: name.to_owned(),
            child,
            folder,
            is_asked: false,
        }
    }

    /// The same, ended with SIGTERM when dropped.
    #[must_use]
    pub fn asked_to_end(mut self) -> Self {
        self.is_asked = true;
        self
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    ///
    /// # Panics
    /// If the log is gone.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(self.folder.path().join("log")).expect("the log is there");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The first event in its log (JSON lines) with this message.
    #[must_use]
    pub fn event(&self, message: &str) -> Option<Value> {
        let log = self.log();
        let mut events = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.find(|event| event["message"] == message)
    }

    /// Waits until its log has an event with this message.
    ///
    /// # Panics
    /// If the process ends before, or the deadline passes.
    pub async fn until_event(&mut self, message: &str) -> Value {
        let what = format!("'{message}' of {}", self.name);
        until(&what, async || {
            if let Some(event) = self.event(message) {
                return Ok(event);
            }
            if let Some(status) = self.ended() {
                panic!("{} ended, {status}, before '{message}'", self.name);
            }
            Err("not in its log".to_owned())
        })
        .await
    }

    /// The ids of its own processes, where the system tells.
    #[must_use]
    pub fn children(&self) -> Vec<u32> {
        let id = self.id();
        let text = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let text = text.unwrap_or_default();
        text.split_whitespace()
            .filter_map(|id| id.parse().ok())
            .collect()
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// If the system does not know it.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is a child of ours")
    }

    /// Waits until it has ended.
    pub async fn until_ended(&mut self) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        until(&what, async || {
            self.ended().ok_or_else(|| "it runs".to_owned())
        })
        .await
    }

    /// Ends it without warning.
    pub fn kill(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by name, such as TERM, STOP or CONT.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args(["-s", signal, &self.id().to_string()])
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "kill -s {signal} failed for {}",
            self.name
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_asked && matches!(self.child.try_wait(), Ok(None)) {
            let _ = Command::new("kill")
                .args(["-s", "TERM", &self.id().to_string()])
                .status();
            let started = Instant::now();
            while matches!(self.child.try_wait(), Ok(None)) && started.elapsed() < STOP_DEADLINE {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
            eprintln!("--- the end of {}'s log\n{}", self.name, shown.join("\n"));
        }
    }
}
