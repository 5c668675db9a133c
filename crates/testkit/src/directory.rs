//! A directory that is deleted after its test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A new directory; it is deleted with what is in it when this is dropped.
#[derive(Debug)]
pub struct Directory(PathBuf);

static COUNT: AtomicU64 = AtomicU64::new(0);

impl Default for Directory {
    fn default() -> Self {
        Self::new()
    }
}

impl Directory {
    /// An empty directory.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        Self::named("test")
    }

    /// An empty directory, whose name contains `name`.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("klinecast-{name}-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // A process with the same id may have left one behind.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory for the test");
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Its files whose names end like this, by name.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    pub fn files(&self, extension: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).expect("the directory").flatten();
        let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|end| end == extension));
        files.sort();
        files
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
