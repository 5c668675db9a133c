//! FlatBuffers, as far as Arrow's metadata needs them.
//!
//! A buffer is written from its end to its start, so that a table is written after what it points
//! to. Positions are distances from the end. Source: flatbuffers.dev, "Internals".

/// A buffer under construction.
#[derive(Default)]
pub(super) struct FlatBuffer {
    /// The bytes, the last one of the buffer first.
    reversed: Vec<u8>,
}

/// The position of something that was written.
#[derive(Clone, Copy)]
pub(super) struct At(usize);

/// A field of a table.
pub(super) enum Field {
    Absent,
    U8(u8),
    I16(i16),
    I32(i32),
    I64(i64),
    At(At),
}

impl Field {
    fn size(&self) -> usize {
        match self {
            Self::Absent => 0,
            Self::U8(_) => 1,
            Self::I16(_) => 2,
            Self::I32(_) | Self::At(_) => 4,
            Self::I64(_) => 8,
        }
    }
}

impl FlatBuffer {
    /// Adds zeros, so that what begins `more` bytes further on is aligned.
    fn align(&mut self, size: usize, more: usize) {
        while !(self.reversed.len() + more).is_multiple_of(size) {
            self.reversed.push(0);
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.reversed.extend(bytes.iter().rev());
    }

    fn put_length(&mut self, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.put(&length.to_le_bytes());
    }

    /// The distance from here to something behind it.
    fn put_at(&mut self, at: At) {
        self.put_length(self.reversed.len() + 4 - at.0);
    }

    pub(super) fn text(&mut self, text: &str) -> At {
        self.align(4, text.len() + 1);
        self.put(&[0]);
        self.put(text.as_bytes());
        self.put_length(text.len());
        At(self.reversed.len())
    }

    pub(super) fn list(&mut self, items: &[At]) -> At {
        self.align(4, 4 * items.len());
        for item in items.iter().rev() {
            self.put_at(*item);
        }
        self.put_length(items.len());
        At(self.reversed.len())
    }

    /// A list of structs of two numbers.
    pub(super) fn pairs(&mut self, pairs: &[(i64, i64)]) -> At {
        self.align(8, 16 * pairs.len());
        for (first, second) in pairs.iter().rev() {
            self.put(&second.to_le_bytes());
            self.put(&first.to_le_bytes());
        }
        self.put_length(pairs.len());
        At(self.reversed.len())
    }

    /// A table with these fields, in the order of the schema.
    pub(super) fn table(&mut self, fields: &[Field]) -> At {
        let end = self.reversed.len();
        let mut positions = vec![0usize; fields.len()];
        // The widest first, for little padding.
        let mut order: Vec<usize> = (0..fields.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(fields[*index].size()));
        for index in order {
            let field = &fields[index];
            let size = field.size();
            if size > 0 {
                self.align(size, size);
            }
            match field {
                Field::Absent => continue,
                Field::U8(value) => self.put(&[*value]),
                Field::I16(value) => self.put(&value.to_le_bytes()),
                Field::I32(value) => self.put(&value.to_le_bytes()),
                Field::I64(value) => self.put(&value.to_le_bytes()),
                Field::At(at) => self.put_at(*at),
            }
            positions[index] = self.reversed.len();
        }
        self.align(4, 4);
        // The distance to the list of fields, which is not known yet.
        self.put(&[0; 4]);
        let table = self.reversed.len();
        for position in positions.iter().rev() {
            let offset = if *position == 0 { 0 } else { table - position };
            self.put_u16(offset);
        }
        self.put_u16(table - end);
        self.put_u16(4 + 2 * fields.len());
        let distance = u32::try_from(self.reversed.len() - table).unwrap_or(u32::MAX);
        for (index, byte) in distance.to_le_bytes().iter().enumerate() {
            self.reversed[table - 1 - index] = *byte;
        }
        At(table)
    }

    fn put_u16(&mut self, value: usize) {
        let value = u16::try_from(value).unwrap_or(u16::MAX);
        self.put(&value.to_le_bytes());
    }

    /// The bytes of the buffer with its root table; their number is a multiple of eight.
    pub(super) fn finish(mut self, root: At) -> Vec<u8> {
        self.align(8, 4);
        self.put_at(root);
        self.reversed.reverse();
        self.reversed
    }
}
