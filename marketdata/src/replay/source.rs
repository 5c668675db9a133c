//! The files of a replay, merged by time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::path::Path;

use market_core::UnixMillis;
use venue_files::Lines;

/// Where a line stands, for errors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// The file's name.
    pub(super) file: &'a str,
    /// Its line, counted from 1.
    pub(super) line: u64,
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {} of {}", self.line, self.file)
    }
}

/// One file, and its next line.
pub(super) struct Source {
    name: String,
    text: Lines,
    /// The time of the last line with a time.
    at_ms: UnixMillis,
    /// Lines that are not empty, and lines that could not be used.
    pub(super) lines: u64,
    pub(super) useless: u64,
}

impl Source {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            name: path.display().to_string(),
            text: Lines::new(venue_files::open(path)?.reader),
            at_ms: UnixMillis::MIN,
            lines: 0,
            useless: 0,
        })
    }

    /// Goes to the next line; false at the end.
    pub(super) fn advance(&mut self) -> io::Result<bool> {
        self.text.advance()
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn line(&self) -> &str {
        self.text.line()
    }

    pub(super) fn place(&self) -> Place<'_> {
        Place {
            file: &self.name,
            line: self.text.number(),
        }
    }
}

/// The order of several files' lines: by time, and for equal times by file. A line without a time
/// stays after the line before it.
#[derive(Default)]
pub(super) struct Merge {
    heads: BinaryHeap<Reverse<(UnixMillis, usize)>>,
}

impl Merge {
    /// The file's next line has this time, if it has one.
    pub(super) fn push(&mut self, source: &mut Source, index: usize, at_ms: Option<UnixMillis>) {
        // If a file's time steps back, the file does not overtake the others because of it.
        source.at_ms = at_ms.unwrap_or(source.at_ms);
        self.heads.push(Reverse((source.at_ms, index)));
    }

    /// The file with the next line.
    pub(super) fn pop(&mut self) -> Option<usize> {
        self.heads.pop().map(|Reverse((_, index))| index)
    }
}
