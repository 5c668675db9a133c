//! Where rows go.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Standard output, or a file under another name until it is complete.
pub(super) struct Output {
    writer: BufWriter<Box<dyn Write + Send>>,
    /// The name so far, and the name in the end.
    names: Option<(PathBuf, PathBuf)>,
}

impl Output {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self {
                writer: BufWriter::new(Box::new(io::stdout())),
                names: None,
            });
        }
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".unfinished");
        let unfinished = PathBuf::from(unfinished);
        Ok(Self {
            writer: BufWriter::new(Box::new(File::create(&unfinished)?)),
            names: Some((unfinished, path.to_owned())),
        })
    }

    /// Writes everything to the disk, and gives the file its name.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.writer.flush()?;
        match self.names.take() {
            Some((unfinished, path)) => {
                File::open(&unfinished)?.sync_all()?;
                fs::rename(unfinished, path)
            }
            None => Ok(()),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some((unfinished, _)) = &self.names {
            // A part of an export is of no use, and the error was told.
            let _ = fs::remove_file(unfinished);
        }
    }
}
