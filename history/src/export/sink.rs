//! Where rows go, and in which form.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::api::arrow::{self, Column};

use super::ExportFormat;
use super::parquet::ParquetFile;

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

    fn finish(mut self) -> io::Result<()> {
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

/// An export that is being written.
pub(super) enum Sink {
    Text { output: Output, has_header: bool },
    Arrow { output: Output, has_schema: bool },
    Parquet(ParquetFile),
}

impl Sink {
    pub(super) fn new(format: ExportFormat, output: Output) -> Self {
        match format {
            ExportFormat::Csv | ExportFormat::Ndjson => Self::Text {
                output,
                has_header: false,
            },
            ExportFormat::Arrow => Self::Arrow {
                output,
                has_schema: false,
            },
            ExportFormat::Parquet => Self::Parquet(ParquetFile::new(output)),
        }
    }

    /// Lines of a CSV with a header, which is written once.
    pub(super) fn csv(&mut self, lines: &[u8]) -> io::Result<()> {
        let Self::Text { output, has_header } = self else {
            return Ok(());
        };
        let header = lines.iter().position(|byte| *byte == b'\n');
        let header = header.map_or(0, |end| end + 1);
        let lines = if *has_header { &lines[header..] } else { lines };
        *has_header = true;
        output.write_all(lines)
    }

    pub(super) fn text(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Text { output, .. } => output.write_all(lines),
            Self::Arrow { .. } | Self::Parquet(_) => Ok(()),
        }
    }

    pub(super) fn columns(&mut self, columns: &[Column], rows: usize) -> io::Result<()> {
        match self {
            Self::Text { .. } => Ok(()),
            Self::Arrow { output, has_schema } => {
                if !*has_schema {
                    *has_schema = true;
                    output.write_all(&arrow::begin(columns))?;
                }
                if rows > 0 {
                    output.write_all(&arrow::part(columns, rows))?;
                }
                Ok(())
            }
            Self::Parquet(file) => file.write(columns, rows),
        }
    }

    /// Ends the export, and gives the file its name.
    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            Self::Text { output, .. } => output.finish(),
            Self::Arrow { mut output, .. } => {
                output.write_all(&arrow::END)?;
                output.finish()
            }
            Self::Parquet(file) => file.finish()?.finish(),
        }
    }
}
