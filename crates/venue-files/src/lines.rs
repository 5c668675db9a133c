//! Lines of files: plain, gzip or zip.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use crate::archive::Unzip;
use crate::counted::Counted;

/// Most bytes of a line. The rest of a longer line is skipped, so the line cannot be read.
const LINE_BYTES_MAX: u64 = 16 << 20;
const BUFFER_BYTES: usize = 1 << 16;

/// A file that is open for reading.
pub struct Opened {
    /// Its unpacked content.
    pub reader: Box<dyn BufRead>,
    /// The bytes that were read of it, as it is on disk.
    pub done: Arc<AtomicU64>,
    /// The bytes that it has on disk; `None` for standard input.
    pub bytes: Option<u64>,
}

/// Opens a file, plain, gzip or zip; `-` is standard input.
///
/// # Errors
/// If it cannot be read, or is an archive that cannot be unpacked.
pub fn open(path: &Path) -> io::Result<Opened> {
    let done = Arc::new(AtomicU64::new(0));
    if path.as_os_str() == "-" {
        let stdin = BufReader::with_capacity(BUFFER_BYTES, Counted::new(io::stdin(), &done));
        let reader = unpacked(stdin)?;
        let bytes = None;
        return Ok(Opened {
            reader,
            done,
            bytes,
        });
    }
    let file = File::open(path)?;
    let bytes = Some(file.metadata()?.len());
    let mut file = BufReader::with_capacity(BUFFER_BYTES, Counted::new(file, &done));
    let reader = if file.fill_buf()?.starts_with(b"PK\x03\x04") {
        done.store(0, Ordering::Relaxed);
        let unzip = Unzip::new(File::open(path)?, &done)?;
        Box::new(BufReader::with_capacity(BUFFER_BYTES, unzip))
    } else {
        unpacked(file)?
    };
    Ok(Opened {
        reader,
        done,
        bytes,
    })
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

/// The lines of a file, one after another, in bounded memory.
pub struct Lines {
    reader: Box<dyn BufRead>,
    text: String,
    number: u64,
}

impl Lines {
    /// The lines of what a reader gives.
    #[must_use]
    pub fn new(reader: Box<dyn BufRead>) -> Self {
        Self {
            reader,
            text: String::new(),
            number: 0,
        }
    }

    /// Goes to the next line; false at the end.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn advance(&mut self) -> io::Result<bool> {
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

    /// The line, without its end.
    #[must_use]
    pub fn line(&self) -> &str {
        self.text.trim_end_matches(['\n', '\r'])
    }

    /// The line's number, counted from 1.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }
}
