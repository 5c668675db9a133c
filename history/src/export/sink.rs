//! The form in which rows are written.

use std::io::{self, Write};

use crate::api::arrow::{self, Column};

use super::format::ExportFormat;
use super::output::Output;
use super::parquet::ParquetFile;

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
