//! Zip archives, as venues publish their trades in.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use flate2::CrcReader;
use flate2::read::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

use crate::counted::Counted;

/// Reads the files of an archive one after the other, in the order of their names. Its memory does
/// not depend on their sizes.
pub(crate) struct Unzip {
    file: File,
    done: Arc<AtomicU64>,
    /// The remaining files, the next one last.
    entries: Vec<Entry>,
    current: Option<(Entry, CrcReader<Box<dyn Read>>)>,
}

/// Where a file is in the archive.
struct Entry {
    name: String,
    start: u64,
    packed_bytes: u64,
    is_deflated: bool,
    crc: u32,
}

impl Unzip {
    /// Reads the archive's directory.
    pub(crate) fn new(file: File, done: &Arc<AtomicU64>) -> io::Result<Self> {
        let mut archive = ZipArchive::new(BufReader::new(file.try_clone()?))?;
        let mut entries = Vec::new();
        for index in 0..archive.len() {
            let entry = archive.by_index_raw(index)?;
            if !entry.is_file() {
                continue;
            }
            let name = entry.name()?.into_owned();
            let is_deflated = match entry.compression() {
                CompressionMethod::Deflated => true,
                CompressionMethod::Stored => false,
                other => {
                    return Err(invalid(format!(
                        "{name} is packed with {other:?}: unpack it first"
                    )));
                }
            };
            if entry.encrypted() {
                return Err(invalid(format!("{name} is encrypted: unpack it first")));
            }
            let start = entry
                .data_start()
                .ok_or_else(|| invalid(format!("{name} has no place in the archive")))?;
            entries.push(Entry {
                name,
                start,
                packed_bytes: entry.compressed_size(),
                is_deflated,
                crc: entry.crc32(),
            });
        }
        if entries.is_empty() {
            return Err(invalid("the archive holds no file".to_owned()));
        }
        entries.sort_by(|one, other| other.name.cmp(&one.name));
        Ok(Self {
            file,
            done: Arc::clone(done),
            entries,
            current: None,
        })
    }
}

impl Read for Unzip {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some((entry, reader)) = &mut self.current {
                let count = reader.read(out)?;
                if count > 0 || out.is_empty() {
                    return Ok(count);
                }
                if reader.crc().sum() != entry.crc {
                    return Err(invalid(format!(
                        "{} is damaged: wrong checksum",
                        entry.name
                    )));
                }
                self.current = None;
                // The last line of a file may lack a line end.
                out[0] = b'\n';
                return Ok(1);
            }
            let Some(entry) = self.entries.pop() else {
                return Ok(0);
            };
            let mut file = self.file.try_clone()?;
            file.seek(SeekFrom::Start(entry.start))?;
            let packed = BufReader::new(Counted::new(file.take(entry.packed_bytes), &self.done));
            let plain: Box<dyn Read> = if entry.is_deflated {
                Box::new(DeflateDecoder::new(packed))
            } else {
                Box::new(packed)
            };
            self.current = Some((entry, CrcReader::new(plain)));
        }
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
