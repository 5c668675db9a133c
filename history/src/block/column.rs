//! Columns of integers, and the frame around them.

use pco::standalone::{simple_compress, simple_decompress_into};
use pco::{ChunkConfig, DeltaSpec};

use super::error::BlockError;
use super::layout::{BLOCK_ROWS_MAX, VERSION, VERSION_MIN};

const HEAD_BYTES: usize = 6;
const CHECKSUM_BYTES: usize = 4;
const COLUMN_HEAD_BYTES: usize = 5;
/// Fewer values are stored as they are: the tables of the packer cost more than they save.
const PACKED_MIN: usize = 24;

/// One value for all rows.
const CONSTANT: u8 = 0;
/// Eight bytes for each row.
const PLAIN: u8 = 1;
/// Packed by `pco`.
const PACKED: u8 = 2;

/// The kind of the rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Bars = 1,
    Trades = 2,
}

/// Writes a block, column after column.
pub(super) struct ColumnWriter {
    bytes: Vec<u8>,
    rows: usize,
}

impl ColumnWriter {
    pub(super) fn new(kind: Kind, rows: usize) -> Result<Self, BlockError> {
        if rows == 0 || rows > BLOCK_ROWS_MAX {
            return Err(BlockError::Unstorable("a block has 1 to 65,536 rows"));
        }
        let count = u32::try_from(rows).map_err(|_| BlockError::Unstorable("too many rows"))?;
        let mut bytes = vec![VERSION, kind as u8];
        bytes.extend(count.to_le_bytes());
        Ok(Self { bytes, rows })
    }

    /// A value for each row; or for fewer, and the reader knows for how many.
    pub(super) fn put(&mut self, values: &[i64]) -> Result<(), BlockError> {
        debug_assert!(values.len() <= self.rows);
        if values.is_empty() {
            self.put_column(PLAIN, &[]);
        } else if values.iter().all(|value| *value == values[0]) {
            self.put_column(CONSTANT, &values[0].to_le_bytes());
        } else if values.len() < PACKED_MIN {
            let plain: Vec<u8> = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            self.put_column(PLAIN, &plain);
        } else {
            // The columns are differences already.
            self.put_column(PACKED, &packed(values, DeltaSpec::NoOp)?);
        }
        Ok(())
    }

    /// The same for a column whose values may follow from the one before: times at which messages were
    /// received in one burst. The packer's own differences are taken where they are shorter.
    pub(super) fn put_series(&mut self, values: &[i64]) -> Result<(), BlockError> {
        if values.len() < PACKED_MIN || values.iter().all(|value| *value == values[0]) {
            return self.put(values);
        }
        let plain = packed(values, DeltaSpec::NoOp)?;
        let series = packed(values, DeltaSpec::TryConsecutive(1))?;
        let shorter = if series.len() < plain.len() {
            series
        } else {
            plain
        };
        self.put_column(PACKED, &shorter);
        Ok(())
    }

    fn put_column(&mut self, encoding: u8, content: &[u8]) {
        self.bytes.push(encoding);
        // 65,536 rows of 8 bytes, even where they cannot be packed, are far below 4 GiB.
        let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(content);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let checksum = crc32fast::hash(&self.bytes);
        self.bytes.extend(checksum.to_le_bytes());
        self.bytes
    }
}

fn packed(values: &[i64], differences: DeltaSpec) -> Result<Vec<u8>, BlockError> {
    let config = ChunkConfig::default().with_delta_spec(differences);
    simple_compress(values, &config)
        .map_err(|_| BlockError::Unstorable("the packer refused a column"))
}

/// A column that is not unpacked yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackedColumn<'a> {
    encoding: u8,
    content: &'a [u8],
    rows: usize,
    /// How many of the first rows are unpacked.
    wanted: usize,
}

impl PackedColumn<'_> {
    /// The same for a column with a value for some of the rows only.
    pub(super) fn of_rows(self, rows: usize) -> Self {
        let wanted = rows;
        Self {
            rows,
            wanted,
            ..self
        }
    }

    pub(super) fn unpack(self) -> Result<Vec<i64>, BlockError> {
        let word = |bytes: &[u8]| {
            let bytes: Result<[u8; 8], _> = bytes.try_into();
            bytes
                .map(i64::from_le_bytes)
                .map_err(|_| BlockError::Impossible("length of a column"))
        };
        match self.encoding {
            CONSTANT => Ok(vec![word(self.content)?; self.wanted]),
            PLAIN if self.content.len() == self.rows * 8 => {
                let words = self.content.chunks_exact(8).take(self.wanted);
                words.map(word).collect()
            }
            PACKED => {
                let mut values = vec![0; self.wanted];
                let progress = simple_decompress_into(self.content, &mut values)
                    .map_err(|_| BlockError::Impossible("a packed column"))?;
                let is_end = progress.finished || self.wanted < self.rows;
                if progress.n_processed == self.wanted && is_end {
                    Ok(values)
                } else {
                    Err(BlockError::Impossible("length of a packed column"))
                }
            }
            _ => Err(BlockError::Impossible("encoding of a column")),
        }
    }
}

/// Reads a block, column after column.
#[derive(Debug)]
pub(super) struct ColumnReader<'a> {
    rest: &'a [u8],
    pub(super) rows: usize,
    /// How many of the first rows the next columns unpack.
    wanted: usize,
    pub(super) version: u8,
}

impl<'a> ColumnReader<'a> {
    pub(super) fn new(kind: Kind, block: &'a [u8]) -> Result<Self, BlockError> {
        let content = block.len().checked_sub(CHECKSUM_BYTES);
        let (content, checksum) = content
            .filter(|length| *length >= HEAD_BYTES)
            .map(|length| block.split_at(length))
            .ok_or(BlockError::Torn)?;
        if crc32fast::hash(content).to_le_bytes() != checksum {
            return Err(BlockError::Torn);
        }
        let (head, rest) = content.split_at(HEAD_BYTES);
        let version = head[0];
        if !(VERSION_MIN..=VERSION).contains(&version) {
            return Err(BlockError::Version(version));
        }
        if head[1] != kind as u8 {
            return Err(BlockError::Impossible("rows of another kind"));
        }
        let rows = u32::from_le_bytes([head[2], head[3], head[4], head[5]]) as usize;
        if rows == 0 || rows > BLOCK_ROWS_MAX {
            return Err(BlockError::Impossible("number of rows"));
        }
        Ok(Self {
            rest,
            rows,
            wanted: rows,
            version,
        })
    }

    /// The next columns unpack only so many of their first rows: to unpack all rows of a block takes
    /// longer than to make the rows of a page.
    pub(super) fn want_first(&mut self, rows: usize) {
        self.wanted = rows.min(self.rows);
    }

    /// The next column, to be unpacked when it is needed.
    pub(super) fn take_packed(&mut self) -> Result<PackedColumn<'a>, BlockError> {
        let (head, rest) = self
            .rest
            .split_at_checked(COLUMN_HEAD_BYTES)
            .ok_or(BlockError::Impossible("a column is missing"))?;
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (content, rest) = rest
            .split_at_checked(length)
            .ok_or(BlockError::Impossible("a column is longer than its block"))?;
        self.rest = rest;
        Ok(PackedColumn {
            encoding: head[0],
            content,
            rows: self.rows,
            wanted: self.wanted,
        })
    }

    pub(super) fn take(&mut self) -> Result<Vec<i64>, BlockError> {
        self.take_packed()?.unpack()
    }

    pub(super) fn take_many<const N: usize>(&mut self) -> Result<[Vec<i64>; N], BlockError> {
        let mut columns = [const { Vec::new() }; N];
        for column in &mut columns {
            *column = self.take()?;
        }
        Ok(columns)
    }

    pub(super) fn finish(self) -> Result<(), BlockError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(BlockError::Impossible("bytes after the last column"))
        }
    }
}

/// Each value less the one before it; the first stays.
pub(super) fn deltas(values: impl IntoIterator<Item = i64>) -> Vec<i64> {
    let mut before = 0i64;
    let values = values.into_iter();
    values
        .map(|value| {
            let delta = value.wrapping_sub(before);
            before = value;
            delta
        })
        .collect()
}

/// The inverse of [`deltas`].
pub(super) fn undo_deltas(values: &mut [i64]) {
    let mut before = 0i64;
    for value in values {
        *value = value.wrapping_add(before);
        before = *value;
    }
}
