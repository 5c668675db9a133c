//! `history verify`: checks all that is stored.

use std::collections::BTreeMap;
use std::io::{self, Write};

use clap::Args;

use crate::completeness::Cause;
use crate::offline::{OpenError, StoreArgs};

/// The most findings of one file that are printed.
const DAMAGE_MAX: usize = 20;

/// Checks every stored block: its checksum, its content, the order of its rows and its place. Nothing is changed.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    store: StoreArgs,
}

/// Which bars are missing or special: `; bars: 3 gap, 40 from_venue`.
fn of_causes(causes: &BTreeMap<Cause, u64>) -> String {
    let counts = causes.iter();
    let counts: Vec<String> = counts
        .map(|(cause, bars)| format!("{bars} {}", cause.as_str()))
        .collect();
    match counts.is_empty() {
        true => String::new(),
        false => format!("; bars: {}", counts.join(", ")),
    }
}

/// Why a check was not done.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is nothing to check.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The reader of the findings has gone.
    #[error("failed to write the findings: {0}")]
    Write(#[from] io::Error),
}

/// Checks the store, and writes a line for each file, and what to do about damaged ones. Returns
/// whether everything is sound.
///
/// # Errors
/// If the store cannot be opened, or `out` cannot be written.
pub fn run(args: &VerifyArgs, out: &mut dyn Write) -> Result<bool, VerifyError> {
    let store = args.store.open_files()?;
    let (mut files, mut rows, mut damaged) = (0usize, 0u64, 0usize);
    let mut written: io::Result<()> = Ok(());
    store.verify(|report| {
        files += 1;
        rows = rows.saturating_add(report.rows);
        damaged += usize::from(!report.damage.is_empty());
        let state = if report.damage.is_empty() {
            "sound"
        } else {
            "DAMAGED"
        };
        let mut tell = || {
            writeln!(
                out,
                "{}: {state}; {} series, {} chunks, {} rows{}",
                report.file,
                report.series,
                report.chunks,
                report.rows,
                of_causes(&report.causes)
            )?;
            for what in report.damage.iter().take(DAMAGE_MAX) {
                writeln!(out, "  {what}")?;
            }
            let more = report.damage.len().saturating_sub(DAMAGE_MAX);
            if more > 0 {
                writeln!(out, "  and {more} more")?;
            }
            Ok(())
        };
        if written.is_ok() {
            written = tell();
        }
    });
    written?;
    writeln!(
        out,
        "{files} files, {rows} rows; {damaged} files are damaged"
    )?;
    if damaged > 0 {
        writeln!(
            out,
            "What to do: move each damaged file away, then fill its month again with `history import --again`, \
             or copy the file from a backup. Other files are not affected."
        )?;
    }
    Ok(damaged == 0)
}
