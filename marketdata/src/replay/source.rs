//! The files of a replay: plain, gzip or zip, read line by line, and merged by time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use market_core::UnixMillis;

use super::archive::Unzip;

/// Most bytes of a line. The rest of a longer line is skipped, so the line cannot be read.
const LINE_BYTES_MAX: u64 = 16 << 20;
const BUFFER_BYTES: usize = 1 << 16;

/// Opens a file, plain, gzip or zip; `-` is standard input.
pub(crate) fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    if path.as_os_str() == "-" {
        let stdin = BufReader::with_capacity(BUFFER_BYTES, io::stdin());
        return unpacked(stdin);
    }
    let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?);
    if file.fill_buf()?.starts_with(b"PK\x03\x04") {
        let unzip = Unzip::new(File::open(path)?)?;
        return Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, unzip)));
    }
    unpacked(file)
}

fn unpacked(mut reader: impl BufRead + 'static) -> io::Result<Box<dyn BufRead>> {
    let head = reader.fill_buf()?;
    if head.starts_with(b"PK\x03\x04") {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a zip archive cannot be read from standard input: name the file, or unpack it with unzip -p",
        ));
    }
    if head.starts_with(&[0x1f, 0x8b]) {
        let plain = MultiGzDecoder::new(reader);
        return Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, plain)));
    }
    Ok(Box::new(reader))
}

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
    reader: Box<dyn BufRead>,
    text: String,
    number: u64,
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
            reader: open(path)?,
            text: String::new(),
            number: 0,
            at_ms: UnixMillis::MIN,
            lines: 0,
            useless: 0,
        })
    }

    /// Goes to the next line; false at the end.
    pub(super) fn advance(&mut self) -> io::Result<bool> {
        let mut bytes = std::mem::take(&mut self.text).into_bytes();
        bytes.clear();
        let mut limited = (&mut self.reader).take(LINE_BYTES_MAX);
        if limited.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(false);
        }
        self.number += 1;
        if limited.limit() == 0 && !bytes.ends_with(b"\n") {
            self.skip_to_end_of_line()?;
        }
        self.text = String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Ok(true)
    }

    fn skip_to_end_of_line(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.reader.fill_buf()?;
            let end = buffer.iter().position(|&byte| byte == b'\n');
            let count = end.map_or(buffer.len(), |end| end + 1);
            let is_done = end.is_some() || buffer.is_empty();
            self.reader.consume(count);
            if is_done {
                return Ok(());
            }
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn line(&self) -> &str {
        self.text.trim_end_matches(['\n', '\r'])
    }

    pub(super) fn place(&self) -> Place<'_> {
        Place {
            file: &self.name,
            line: self.number,
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
