//! The directory of nats-server's data: one broker at a time, and what it keeps there.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ring::rand::SecureRandom;

use crate::config::file::Secret;
use crate::nats_config::{CONFIG_FILE, LOG_FILE, PID_FILE};

const LOCK_FILE: &str = "broker.lock";
const PASSWORD_FILE: &str = "broker.password";
/// The server's output before it has a log.
const OUTPUT_FILE: &str = "nats-server.out";
/// How much of the end of a log is searched for the reason of an end.
const TAIL_BYTES: u64 = 16 << 10;
/// Most lines of a reason.
const TAIL_LINES: usize = 3;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another broker uses it.
    #[error("another broker supervises the nats-server of {}: stop that one, or choose another --data-dir", .0.display())]
    InUse(PathBuf),
    /// It cannot be read or written.
    #[error("failed to use {}: {error}; choose another --data-dir, or give this user the right to write there", path.display())]
    Unusable {
        /// Which directory or file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

/// A data directory that this process alone supervises, until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct DataDirectory {
    path: PathBuf,
    /// The operating system gives the lock back, whatever happens to us.
    _lock: File,
}

impl DataDirectory {
    pub(crate) fn open(path: &Path) -> Result<Self, DirectoryError> {
        let unusable = |error| DirectoryError::Unusable {
            path: path.to_owned(),
            error,
        };
        fs::create_dir_all(path).map_err(unusable)?;
        let path = path.canonicalize().map_err(unusable)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK_FILE))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DirectoryError::InUse(path)),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.path.join(CONFIG_FILE)
    }

    /// The password of our own user: the same as long as the directory is, so that a server that
    /// runs on knows it.
    pub(crate) fn own_password(&self) -> Result<Secret, DirectoryError> {
        let file = self.path.join(PASSWORD_FILE);
        if let Ok(password) = fs::read_to_string(&file)
            && password.len() >= 32
        {
            return Ok(Secret(password));
        }
        let mut bytes = [0u8; 32];
        let random = ring::rand::SystemRandom::new();
        let filled = random.fill(&mut bytes);
        let unusable = |error| DirectoryError::Unusable {
            path: file.clone(),
            error,
        };
        filled.map_err(|_| unusable(io::Error::other("the system gives no random bytes")))?;
        let password: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        write_private(&file, &password).map_err(unusable)?;
        Ok(Secret(password))
    }

    /// Writes the server's configuration; returns whether it differs from the one before.
    pub(crate) fn write_config(&self, text: &str) -> Result<bool, DirectoryError> {
        let file = self.config_file();
        if fs::read_to_string(&file).is_ok_and(|before| before == text) {
            return Ok(false);
        }
        write_private(&file, text).map_err(|error| DirectoryError::Unusable {
            path: file.clone(),
            error,
        })?;
        Ok(true)
    }

    /// An empty file for the server's output before it has a log.
    pub(crate) fn output(&self) -> io::Result<File> {
        File::create(self.path.join(OUTPUT_FILE))
    }

    /// The process id that the server wrote down.
    pub(crate) fn process_id(&self) -> Option<u32> {
        let text = fs::read_to_string(self.path.join(PID_FILE)).ok()?;
        text.trim().parse().ok()
    }

    /// The last errors that the server wrote before it ended, on one line; empty if there are none.
    pub(crate) fn last_errors(&self) -> String {
        let output = tail(&self.path.join(OUTPUT_FILE)).unwrap_or_default();
        let log = tail(&self.path.join(LOG_FILE)).unwrap_or_default();
        // What comes before the newest start belongs to another process.
        let log = log
            .rsplit_once("Starting nats-server")
            .map_or(&*log, |(_, rest)| rest);
        let is_error = |line: &&str| line.contains("[FTL]") || line.contains("[ERR]");
        let mut lines: Vec<&str> = output
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        lines.extend(log.lines().filter(is_error));
        let from = lines.len().saturating_sub(TAIL_LINES);
        let plain = |line: &&str| line.trim().chars().take(300).collect::<String>();
        lines[from..]
            .iter()
            .map(plain)
            .collect::<Vec<_>>()
            .join("; ")
    }
}

fn tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}
