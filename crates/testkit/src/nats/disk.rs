//! A disk of a size that a test can fill: a tmpfs that only the server sees.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A mount in a namespace of its own, which needs no privileges where users may make namespaces.
/// It is gone when dropped, or when the test ends in any other way.
#[derive(Debug)]
pub struct SmallDisk {
    /// Keeps the namespace. Ends when its input does.
    holder: Child,
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts an empty disk of so many bytes on this folder.
    ///
    /// # Errors
    /// Why this system does not allow it.
    pub fn mount(path: &Path, bytes: u64) -> Result<SmallDisk, String> {
        let script =
            format!("mount -t tmpfs -o size={bytes} tmpfs \"$0\" && echo mounted && exec cat");
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let mut line = String::new();
        if let Some(output) = holder.stdout.take() {
            // Nothing was written where it failed.
            let _ = BufReader::new(output).read_line(&mut line);
        }
        let disk = SmallDisk {
            holder,
            path: path.to_owned(),
        };
        if line.trim() == "mounted" {
            Ok(disk)
        } else {
            Err("unshare and mount are not permitted here".to_owned())
        }
    }

    /// A command that runs this program where the disk is.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = self.enter();
        command.arg(program);
        command
    }

    /// The same, without the program: it is the next argument.
    #[must_use]
    pub fn enter(&self) -> Command {
        let launcher = self.launcher();
        let mut command = Command::new(&launcher[0]);
        command.args(&launcher[1..]);
        command
    }

    /// What goes before a program and its arguments, so that it has this disk.
    #[must_use]
    pub fn launcher(&self) -> Vec<String> {
        let holder = self.holder.id().to_string();
        let command = ["nsenter", "--target", &holder];
        let what = ["--user", "--preserve-credentials", "--mount", "--"];
        command
            .iter()
            .chain(&what)
            .map(ToString::to_string)
            .collect()
    }

    /// Takes all space that is left.
    ///
    /// # Panics
    /// If it cannot be written for another reason.
    pub fn fill(&self) {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.filler());
        let mut file = file.expect("a file for what fills the disk");
        // The last bytes, too: a small message must not fit.
        for piece in [1 << 16, 1] {
            let piece = vec![0; piece];
            loop {
                match file.write_all(&piece) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("the disk cannot be written: {error}"),
                }
            }
        }
    }

    /// Gives back what [`SmallDisk::fill`] took.
    ///
    /// # Panics
    /// If nothing was taken.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.path.strip_prefix("/").unwrap_or(&self.path))
            .join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
