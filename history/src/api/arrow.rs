//! Arrow's IPC stream: a schema, one batch of columns, and the end.
//!
//! Source: arrow.apache.org, "Arrow Columnar Format", and its Schema.fbs and Message.fbs.

mod flat;

use flat::{At, Field, FlatBuffer};

pub(super) const MEDIA_TYPE: &str = "application/vnd.apache.arrow.stream";

/// Metadata version 5, in use since Arrow 1.0.
const VERSION: i16 = 4;
const HEADER_SCHEMA: u8 = 1;
const HEADER_BATCH: u8 = 3;
const TYPE_INT: u8 = 2;
const TYPE_UTF8: u8 = 5;
const TYPE_TIMESTAMP: u8 = 10;
const UNIT_MS: i16 = 1;
const UNIT_US: i16 = 2;
/// What begins a message.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// The values of a column.
pub(crate) enum Values {
    /// Unix milliseconds, UTC.
    Millis(Vec<Option<i64>>),
    /// Unix microseconds, UTC.
    Micros(Vec<Option<i64>>),
    U64(Vec<Option<u64>>),
    Text(Vec<String>),
    /// Exact decimals, as text.
    Decimals(Vec<String>),
    /// The same, where not each row has one.
    SomeDecimals(Vec<Option<String>>),
}

/// A column with its name.
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) values: Values,
}

/// Writes columns of one length as a stream.
pub(super) fn stream(columns: &[Column], rows: usize) -> Vec<u8> {
    let mut out = begin(columns);
    out.extend(part(columns, rows));
    out.extend_from_slice(&END);
    out
}

/// What ends a stream.
pub(crate) const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// The beginning of a stream: names and types of the columns, whose values do not matter.
pub(crate) fn begin(columns: &[Column]) -> Vec<u8> {
    let mut out = Vec::new();
    write_message(&mut out, schema(columns), &[]);
    out
}

/// The next rows of a stream, in columns of one length.
pub(crate) fn part(columns: &[Column], rows: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let (metadata, body) = batch(columns, rows);
    write_message(&mut out, metadata, &body);
    out
}

fn write_message(out: &mut Vec<u8>, metadata: Vec<u8>, body: &[u8]) {
    out.extend_from_slice(&CONTINUATION);
    let length = u32::try_from(metadata.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend(metadata);
    out.extend_from_slice(body);
}

fn message(mut flat: FlatBuffer, kind: u8, header: At, body: usize) -> Vec<u8> {
    let root = flat.table(&[
        Field::I16(VERSION),
        Field::U8(kind),
        Field::At(header),
        Field::I64(length(body)),
    ]);
    flat.finish(root)
}

fn schema(columns: &[Column]) -> Vec<u8> {
    let mut flat = FlatBuffer::default();
    let mut fields = Vec::new();
    for column in columns {
        let (kind, description, is_nullable) = match &column.values {
            Values::Millis(_) => (TYPE_TIMESTAMP, timestamp(&mut flat, UNIT_MS), true),
            Values::Micros(_) => (TYPE_TIMESTAMP, timestamp(&mut flat, UNIT_US), true),
            // 64 bits without a sign, which is the default.
            Values::U64(_) => (TYPE_INT, flat.table(&[Field::I32(64)]), true),
            Values::Text(_) | Values::Decimals(_) => (TYPE_UTF8, flat.table(&[]), false),
            Values::SomeDecimals(_) => (TYPE_UTF8, flat.table(&[]), true),
        };
        let name = flat.text(column.name);
        let children = flat.list(&[]);
        fields.push(flat.table(&[
            Field::At(name),
            Field::U8(is_nullable.into()),
            Field::U8(kind),
            Field::At(description),
            Field::Absent,
            Field::At(children),
        ]));
    }
    let fields = flat.list(&fields);
    // Little-endian, which is the default.
    let header = flat.table(&[Field::Absent, Field::At(fields)]);
    message(flat, HEADER_SCHEMA, header, 0)
}

fn timestamp(flat: &mut FlatBuffer, unit: i16) -> At {
    let zone = flat.text("UTC");
    flat.table(&[Field::I16(unit), Field::At(zone)])
}

/// The buffers of a batch, each aligned to eight bytes.
#[derive(Default)]
struct Body {
    bytes: Vec<u8>,
    /// Number of values, and of those that are absent.
    nodes: Vec<(i64, i64)>,
    /// Offset and length.
    buffers: Vec<(i64, i64)>,
}

impl Body {
    fn add(&mut self, buffer: &[u8]) {
        self.buffers
            .push((length(self.bytes.len()), length(buffer.len())));
        self.bytes.extend_from_slice(buffer);
        let padded = self.bytes.len().next_multiple_of(8);
        self.bytes.resize(padded, 0);
    }

    /// Says which values there are.
    fn add_present<T>(&mut self, values: &[Option<T>]) {
        let absent = values.iter().filter(|value| value.is_none()).count();
        self.nodes.push((length(values.len()), length(absent)));
        let mut present = vec![0u8; values.len().div_ceil(8)];
        for (index, value) in values.iter().enumerate() {
            present[index / 8] |= u8::from(value.is_some()) << (index % 8);
        }
        self.add(if absent == 0 { &[] } else { &present });
    }

    fn add_numbers<T: Copy>(&mut self, values: &[Option<T>], bytes: impl Fn(T) -> [u8; 8]) {
        self.add_present(values);
        let data: Vec<u8> = values
            .iter()
            .flat_map(|value| value.map_or([0; 8], &bytes))
            .collect();
        self.add(&data);
    }

    fn add_texts(&mut self, texts: &[String]) {
        self.nodes.push((length(texts.len()), 0));
        self.add(&[]);
        self.add_characters(texts.iter().map(String::as_str));
    }

    fn add_some_texts(&mut self, texts: &[Option<String>]) {
        self.add_present(texts);
        self.add_characters(texts.iter().map(|text| text.as_deref().unwrap_or_default()));
    }

    fn add_characters<'a>(&mut self, texts: impl Iterator<Item = &'a str>) {
        let (mut ends, mut data) = (vec![0; 4], Vec::new());
        for text in texts {
            data.extend_from_slice(text.as_bytes());
            let end = i32::try_from(data.len()).unwrap_or(i32::MAX);
            ends.extend_from_slice(&end.to_le_bytes());
        }
        self.add(&ends);
        self.add(&data);
    }
}

fn batch(columns: &[Column], rows: usize) -> (Vec<u8>, Vec<u8>) {
    let mut body = Body::default();
    for column in columns {
        match &column.values {
            Values::Millis(values) | Values::Micros(values) => {
                body.add_numbers(values, i64::to_le_bytes);
            }
            Values::U64(values) => body.add_numbers(values, u64::to_le_bytes),
            Values::Text(values) | Values::Decimals(values) => body.add_texts(values),
            Values::SomeDecimals(values) => body.add_some_texts(values),
        }
    }
    let mut flat = FlatBuffer::default();
    let nodes = flat.pairs(&body.nodes);
    let buffers = flat.pairs(&body.buffers);
    let header = flat.table(&[
        Field::I64(length(rows)),
        Field::At(nodes),
        Field::At(buffers),
    ]);
    let metadata = message(flat, HEADER_BATCH, header, body.bytes.len());
    (metadata, body.bytes)
}

fn length(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<Column> {
        let column = |name, values| Column { name, values };
        vec![
            column(
                "at_ms",
                Values::Millis(vec![Some(1_709_078_400_000), Some(0), None]),
            ),
            column(
                "price",
                Values::Text(["61837.63", "", "0.1"].map(str::to_owned).into()),
            ),
            column("id", Values::U64(vec![Some(u64::MAX), None, Some(7)])),
            column(
                "received_us",
                Values::Micros(vec![Some(1), Some(2), Some(3)]),
            ),
        ]
    }

    /// Reads the numbers of a buffer.
    fn number(bytes: &[u8], at: usize, size: usize) -> i64 {
        let mut value = [0; 8];
        value[..size].copy_from_slice(&bytes[at..at + size]);
        i64::from_le_bytes(value)
    }

    fn position(bytes: &[u8], at: usize) -> usize {
        at + usize::try_from(number(bytes, at, 4)).expect("forwards")
    }

    /// Where a field of a table is; `None` if it is absent.
    fn field(bytes: &[u8], table: usize, slot: usize) -> Option<usize> {
        let list = table - usize::try_from(number(bytes, table, 4)).expect("backwards");
        let size = usize::try_from(number(bytes, list, 2)).expect("a size");
        let entry = 4 + 2 * slot;
        let offset = (entry < size).then(|| number(bytes, list + entry, 2))?;
        (offset != 0).then(|| table + usize::try_from(offset).expect("forwards"))
    }

    fn text(bytes: &[u8], at: usize) -> &str {
        let length = usize::try_from(number(bytes, at, 4)).expect("a length");
        std::str::from_utf8(&bytes[at + 4..at + 4 + length]).expect("UTF-8")
    }

    /// The metadata and body of each message.
    fn messages(stream: &[u8]) -> Vec<(&[u8], &[u8])> {
        let (mut at, mut messages) = (0, Vec::new());
        loop {
            assert_eq!(stream[at..at + 4], CONTINUATION);
            let size = usize::try_from(number(stream, at + 4, 4)).expect("a size");
            if size == 0 {
                assert_eq!(stream.len(), at + 8);
                return messages;
            }
            assert_eq!(size % 8, 0);
            let metadata = &stream[at + 8..at + 8 + size];
            let body = field(metadata, position(metadata, 0), 3).expect("a length");
            let body = usize::try_from(number(metadata, body, 8)).expect("a length");
            let end = at + 8 + size;
            messages.push((metadata, &stream[end..end + body]));
            at = end + body;
        }
    }

    #[test]
    fn a_stream_is_read_by_the_rules_of_the_format() {
        let stream = stream(&columns(), 3);
        let messages = messages(&stream);
        let [(schema, nothing), (batch, body)] = messages[..] else {
            panic!("{} messages", messages.len());
        };
        assert!(nothing.is_empty());
        let header =
            |bytes: &[u8]| position(bytes, field(bytes, position(bytes, 0), 2).expect("it"));
        let fields = position(schema, field(schema, header(schema), 1).expect("fields"));
        let names: Vec<&str> = (0..4)
            .map(|index| {
                let table = position(schema, fields + 4 + 4 * index);
                text(
                    schema,
                    position(schema, field(schema, table, 0).expect("a name")),
                )
            })
            .collect();
        assert_eq!(names, ["at_ms", "price", "id", "received_us"]);

        let buffers = position(batch, field(batch, header(batch), 2).expect("buffers"));
        assert_eq!(number(batch, buffers, 4), 9);
        let buffer = |index: usize| {
            let at = buffers + 4 + 16 * index;
            assert_eq!(at % 8, 0);
            let (start, length) = (number(batch, at, 8), number(batch, at + 8, 8));
            let start = usize::try_from(start).expect("an offset");
            assert_eq!(start % 8, 0);
            &body[start..start + usize::try_from(length).expect("a length")]
        };
        assert_eq!(buffer(0), [0b011]);
        assert_eq!(number(buffer(1), 0, 8), 1_709_078_400_000);
        assert_eq!((buffer(2), buffer(4)), (&b""[..], &b"61837.630.1"[..]));
        let ends: Vec<i64> = (0..4)
            .map(|index| number(buffer(3), 4 * index, 4))
            .collect();
        assert_eq!(ends, [0, 8, 8, 11]);
        assert_eq!(buffer(5), [0b101]);
        assert_eq!(number(buffer(6), 0, 8), -1);
        assert!(buffer(7).is_empty());
        assert_eq!(number(buffer(8), 16, 8), 3);
    }

    #[test]
    fn the_stream_is_the_one_that_pyarrow_read() {
        // pyarrow.ipc.open_stream(...).read_all() gave the columns above.
        assert_eq!(crc32fast::hash(&stream(&columns(), 3)), 2_394_960_135);
    }
}
