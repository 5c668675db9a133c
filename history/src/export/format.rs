//! The formats of an export.

use clap::ValueEnum;

/// The formats of an export.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ExportFormat {
    /// Comma-separated values with a header.
    Csv,
    /// A JSON object a line, as clients get it.
    Ndjson,
    /// Apache Parquet.
    Parquet,
    /// Arrow's IPC stream.
    Arrow,
}
