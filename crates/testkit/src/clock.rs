//! A program's wall clock, which a test sets.
//!
//! A small library stands before the C library's clocks. So it works for programs that ask the C
//! library for the time, as Rust's and SQLite's do. nats-server is written in Go, and asks the
//! kernel: its clock cannot be set like this. Only on Linux.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::directory::Directory;

const NS_PER_MS: i64 = 1_000_000;

/// See the module.
#[derive(Debug)]
pub struct Clock {
    library: Arc<Library>,
    folder: Directory,
}

/// The library, and its folder. Clocks that exist at the same time share it.
#[derive(Debug)]
struct Library(Directory);

static LIBRARY: Mutex<Weak<Library>> = Mutex::new(Weak::new());

impl Library {
    /// `None` without a C compiler for this system.
    fn find() -> Option<Arc<Self>> {
        let mut last = LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = last.upgrade() {
            return Some(library);
        }
        let library = Self(Directory::named("clock-library"));
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(library.path())
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/clock.c"))
            .stderr(Stdio::null())
            .status();
        let is_there = cfg!(target_os = "linux") && status.is_ok_and(|status| status.success());
        let library = is_there.then(|| Arc::new(library))?;
        *last = Arc::downgrade(&library);
        Some(library)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("clock.so")
    }
}

impl Clock {
    /// A clock that is right; `None`, and a printed line, where there is no C compiler or no Linux.
    ///
    /// # Panics
    /// If there is no place for temporary files.
    #[must_use]
    pub fn new() -> Option<Self> {
        let Some(library) = Library::find() else {
            println!("skipped: clocks that are set: they need Linux and a C compiler");
            return None;
        };
        let clock = Self {
            library,
            folder: Directory::named("clock"),
        };
        fs::write(clock.file(), 0i64.to_ne_bytes()).expect("the folder is ours");
        Some(clock)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("step")
    }

    /// What goes before a program and its arguments, so that it has this clock.
    ///
    /// # Panics
    /// If a path is not UTF-8.
    #[must_use]
    pub fn launcher(&self) -> Vec<String> {
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        vec![
            "env".to_owned(),
            format!("LD_PRELOAD={}", text(&self.library.path())),
            format!("CLOCK_STEP_FILE={}", text(&self.file())),
        ]
    }

    /// Sets it, at once, to the true time and so much more.
    ///
    /// # Panics
    /// If its file is gone.
    pub fn set(&self, step_ms: i64) {
        let file = OpenOptions::new().write(true).open(self.file());
        let file = file.expect("it was there before");
        // In place: the programs have mapped it.
        file.write_all_at(&(step_ms * NS_PER_MS).to_ne_bytes(), 0)
            .expect("the folder is ours");
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_running_program_has_the_clock_that_is_set() {
        let Some(clock) = Clock::new() else {
            return;
        };
        // This test's own process, which says the time at each line.
        let launcher = clock.launcher();
        let mut program = Command::new(&launcher[0])
            .args(&launcher[1..])
            .args(["bash", "-c"])
            .arg("while read -r line; do echo $EPOCHSECONDS; done")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut input = program.stdin.take().expect("it is piped");
        let mut output = BufReader::new(program.stdout.take().expect("it is piped"));
        for step_s in [0i64, 3_600, -3_600, 0] {
            clock.set(step_s * 1_000);
            input.write_all(b"\n").expect("it reads");
            let mut line = String::new();
            output.read_line(&mut line).expect("it answers");
            let said: i64 = line.trim().parse().expect("a number");
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = now.unwrap_or(Duration::ZERO).as_secs().cast_signed();
            assert!(
                (said - step_s - now).abs() <= 60,
                "{step_s}: {line} at {now}"
            );
        }
        drop(input);
        assert!(program.wait().expect("it is ours").success());
    }
}
