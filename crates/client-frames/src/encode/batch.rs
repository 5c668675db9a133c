//! The objects that several sessions lack, and their frames: made once for each encoding in use.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::dialect::Dialect;
use crate::encode::deflate::{self, Deflater, Window};
use crate::encode::encoding::{Encoding, kind};
use crate::encode::frame;
use crate::encode::frame_budget::FrameBudget;
use crate::encode::payload::Payload;

/// Gathers objects for frames.
#[derive(Debug)]
pub struct Batch {
    objects: Vec<Object>,
    /// The end of a frame: the number of its objects and of those before it.
    ends: Vec<usize>,
    json_bytes: usize,
    json_bytes_max: usize,
    /// Of all frames.
    bytes: usize,
    skipped_entries: u64,
}

#[derive(Debug)]
struct Object {
    payload: Payload,
    /// Closed bars or entries of its topic before it that are skipped.
    skipped: u64,
}

/// The objects for all sessions with the same set and version.
#[derive(Debug, Default)]
pub struct Prepared {
    objects: Vec<Object>,
    ends: Vec<usize>,
    /// The number of closed bars that it reports as skipped.
    pub skipped: u64,
    /// The number of entries of logs that it reports as skipped.
    pub skipped_entries: u64,
    /// The budget that counts its frames, if they are for few sessions.
    budget: Option<Arc<FrameBudget>>,
    encoded: [OnceLock<Encoded>; Encoding::COUNT],
}

/// Frames in one encoding.
#[derive(Debug, Default)]
pub struct Encoded {
    /// The frames. An element may have several, which are written together.
    pub frames: Vec<Bytes>,
    /// The number of frames.
    pub count: u64,
    /// Their length.
    pub bytes: u64,
    /// Their length without compression.
    pub plain_bytes: u64,
    /// How many are compressed.
    pub compressed: u64,
}

impl Batch {
    /// A batch with frames of at most `json_bytes_max`, or of one object if that is longer. Other
    /// encodings divide the objects like JSON, and are shorter.
    #[must_use]
    pub fn new(json_bytes_max: usize) -> Self {
        Self {
            objects: Vec::new(),
            ends: Vec::new(),
            json_bytes: 0,
            json_bytes_max,
            bytes: 0,
            skipped_entries: 0,
        }
    }

    /// Entries of logs that the batch reports as skipped.
    pub fn skip_entries(&mut self, skipped: u64) {
        self.skipped_entries = self.skipped_entries.saturating_add(skipped);
    }

    /// Adds an object; `skipped` closed bars or entries of its topic before it are not sent.
    pub fn push(&mut self, payload: Payload, skipped: u64) {
        let len = payload.json_bytes() + Dialect::PREFIX_BYTES_MAX;
        let begun = self.ends.last().copied().unwrap_or(0);
        if self.objects.len() > begun && self.json_bytes + len > self.json_bytes_max {
            self.ends.push(self.objects.len());
            self.json_bytes = 0;
        }
        self.json_bytes += len;
        self.bytes = self.bytes.saturating_add(len);
        self.objects.push(Object { payload, skipped });
    }

    /// Bytes of all objects as JSON.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The batch to send; it reports `skipped` closed bars.
    #[must_use]
    pub fn finish(mut self, skipped: u64) -> Prepared {
        if self.ends.last().copied().unwrap_or(0) < self.objects.len() {
            self.ends.push(self.objects.len());
        }
        Prepared {
            objects: self.objects,
            ends: self.ends,
            skipped,
            skipped_entries: self.skipped_entries,
            budget: None,
            encoded: Default::default(),
        }
    }
}

impl Prepared {
    /// The same, with frames that count.
    #[must_use]
    pub fn counted(self, budget: &Arc<FrameBudget>) -> Self {
        Self {
            budget: Some(Arc::clone(budget)),
            ..self
        }
    }

    /// How many objects there are.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.objects.len() as u64
    }

    /// The frames in an encoding; they are made now if they do not exist yet. `is_shared` says that
    /// they are for many sessions. Then a frame is compressed as a whole: this takes as long as
    /// compressing all its objects, and makes it half as long. Otherwise the frame is concatenated
    /// from compressed objects, which are made once for all sessions.
    #[must_use]
    pub fn encoded(
        &self,
        encoding: Encoding,
        is_shared: bool,
        deflater: &mut Deflater,
        count: &mut u64,
    ) -> &Encoded {
        self.encoded[encoding.index()].get_or_init(|| {
            let mut encoded = Encoded::default();
            let mut begin = 0;
            for &end in &self.ends {
                let objects = &self.objects[begin..end];
                if encoding.dialect.frames_each_update() {
                    encoded.push_each(objects, encoding, deflater);
                } else {
                    encoded.push(objects, encoding, is_shared, deflater);
                }
                begin = end;
            }
            if let Some(budget) = &self.budget {
                for frames in &mut encoded.frames {
                    *frames = budget.count(std::mem::take(frames));
                }
            }
            *count += encoded.count;
            encoded
        })
    }
}

impl Encoded {
    fn push(
        &mut self,
        objects: &[Object],
        encoding: Encoding,
        is_shared: bool,
        deflater: &mut Deflater,
    ) {
        let frame = self.frame(objects, encoding, is_shared, deflater);
        self.frames.push(frame);
    }

    /// A frame for each object, in one piece: a session takes them with one write.
    fn push_each(&mut self, objects: &[Object], encoding: Encoding, deflater: &mut Deflater) {
        let mut frames = Vec::new();
        for object in objects {
            let frame = self.frame(std::slice::from_ref(object), encoding, false, deflater);
            frames.extend_from_slice(&frame);
        }
        self.frames.push(Bytes::from(frames));
    }

    fn frame(
        &mut self,
        objects: &[Object],
        encoding: Encoding,
        is_shared: bool,
        deflater: &mut Deflater,
    ) -> Bytes {
        let dialect = encoding.dialect;
        let payload_bytes = payload_bytes(objects, dialect);
        let plain_bytes = frame::header_bytes(payload_bytes) + payload_bytes;
        let deflated = encoding
            .window
            .filter(|_| payload_bytes >= deflater.options.message_bytes_min)
            .map(|window| {
                if is_shared && objects.len() > 1 {
                    let mut payload = Vec::with_capacity(payload_bytes);
                    put_payload(&mut payload, objects, dialect);
                    deflated_frame(dialect, deflater.blocks(window, &payload))
                } else {
                    deflated_frame(dialect, &joined_blocks(objects, dialect, window, deflater))
                }
            })
            .filter(|deflated| deflated.len() < plain_bytes);
        self.compressed += u64::from(deflated.is_some());
        let frame = deflated.unwrap_or_else(|| {
            let mut plain = Vec::with_capacity(plain_bytes);
            frame::put_header(&mut plain, kind(dialect), payload_bytes);
            put_payload(&mut plain, objects, dialect);
            Bytes::from(plain)
        });
        self.count += 1;
        self.bytes += frame.len() as u64;
        self.plain_bytes += plain_bytes as u64;
        frame
    }
}

fn payload_bytes(objects: &[Object], dialect: Dialect) -> usize {
    let mut prefixes = Vec::with_capacity(objects.len() * Dialect::PREFIX_BYTES_MAX);
    let mut bodies_bytes = 0;
    for (index, object) in objects.iter().enumerate() {
        let body = object.payload.body(dialect);
        dialect.put_prefix(&mut prefixes, index == 0, object.skipped, body.len());
        bodies_bytes += body.len();
    }
    prefixes.len() + bodies_bytes
}

fn put_payload(out: &mut Vec<u8>, objects: &[Object], dialect: Dialect) {
    for (index, object) in objects.iter().enumerate() {
        let body = object.payload.body(dialect);
        dialect.put_prefix(out, index == 0, object.skipped, body.len());
        out.extend_from_slice(body);
    }
}

fn deflated_frame(dialect: Dialect, message: &[u8]) -> Bytes {
    frame::data(kind(dialect).compressed(), message)
}

/// A compressed message, concatenated from compressed objects: nothing in it is compressed again.
fn joined_blocks(
    objects: &[Object],
    dialect: Dialect,
    window: Window,
    deflater: &mut Deflater,
) -> Vec<u8> {
    let (mut message, mut prefix) = (Vec::new(), Vec::new());
    deflate::begin_stored(&mut message);
    for (index, object) in objects.iter().enumerate() {
        prefix.clear();
        let body_bytes = object.payload.body(dialect).len();
        dialect.put_prefix(&mut prefix, index == 0, object.skipped, body_bytes);
        deflate::put_stored(&mut message, &prefix);
        message.extend_from_slice(object.payload.deflated(dialect, window, deflater));
    }
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encode::deflate::{Compression, inflate};

    fn deflater(message_bytes_min: usize) -> Deflater {
        Deflater::new(Compression {
            level: 4,
            message_bytes_min,
        })
    }

    fn json(text: &str) -> Payload {
        Payload::from(Bytes::copy_from_slice(text.as_bytes()))
    }

    const PLAIN: Encoding = Encoding {
        dialect: Dialect::Json,
        window: None,
    };

    fn plain_texts(prepared: &Prepared) -> Vec<String> {
        let encoded = prepared.encoded(PLAIN, false, &mut deflater(0), &mut 0);
        frame::tests::texts(&encoded.frames.concat())
    }

    #[test]
    fn a_batch_joins_objects_and_says_what_was_skipped() {
        let mut batch = Batch::new(1_000);
        batch.push(json("{\"a\":1}"), 0);
        batch.push(json("{\"b\":2}"), 12);
        let prepared = batch.finish(12);
        assert_eq!((prepared.updates(), prepared.skipped), (2, 12));
        assert_eq!(
            plain_texts(&prepared),
            ["{\"a\":1}\n{\"skipped\":12,\"b\":2}"]
        );
    }

    #[test]
    fn a_batch_is_split_where_a_frame_would_be_too_long() {
        let mut batch = Batch::new(90);
        for _ in 0..5 {
            batch.push(json("{\"a\":1}"), 0);
        }
        batch.push(json(&("{".to_owned() + &"x".repeat(130))), 0);
        let texts = plain_texts(&batch.finish(0));
        assert_eq!(texts.len(), 4);
        assert_eq!(texts[0].lines().count(), 2);
        assert!(plain_texts(&Batch::new(10).finish(0)).is_empty());
    }

    #[test]
    fn an_object_is_compressed_once_for_all_frames_that_hold_it() {
        let bar = json(&format!("{{{}}}", "\"open\":\"61837.63\",".repeat(20)));
        let mut deflater = deflater(0);
        let encoding = Encoding {
            window: Some(Window::Usual),
            ..PLAIN
        };
        for count in [1, 2, 3] {
            let mut batch = Batch::new(10_000);
            for _ in 0..count {
                batch.push(bar.clone(), 0);
            }
            let prepared = batch.finish(0);
            let mut made = 0;
            for _ in 0..5 {
                let encoded = prepared.encoded(encoding, false, &mut deflater, &mut made);
                assert_eq!((encoded.frames.len(), encoded.compressed), (1, 1));
                assert!(encoded.bytes < encoded.plain_bytes / 2);
            }
            assert_eq!(made, 1, "made once for all sessions");
        }
        assert_eq!(deflater.take_work().0, bar.json_bytes() as u64 - 1);
    }

    #[test]
    fn a_frame_of_its_own_for_each_update_is_made_and_compressed_once() {
        let bar = |index: usize| {
            let open = "\"open\":\"61837.63\",".repeat(20);
            json(&format!("{{{open}\"index\":{index}}}"))
        };
        let bars: Vec<_> = (0..3).map(bar).collect();
        let mut deflater = deflater(0);
        let encoding = Encoding {
            dialect: Dialect::Binance,
            window: Some(Window::Usual),
        };
        let mut made = 0;
        for is_shared in [true, false, true] {
            let mut batch = Batch::new(10_000);
            for bar in &bars {
                batch.push(bar.clone(), 0);
            }
            let prepared = batch.finish(0);
            for _ in 0..5 {
                let encoded = prepared.encoded(encoding, is_shared, &mut deflater, &mut made);
                assert_eq!((encoded.frames.len(), encoded.count), (1, 3), "one write");
                assert_eq!(encoded.compressed, 3);
            }
        }
        assert_eq!(made, 3 * 3, "once for each batch");
        let bytes: usize = bars.iter().map(|bar| bar.json_bytes() - 1).sum();
        assert_eq!(deflater.take_work().0, bytes as u64, "once for all batches");
    }

    #[test]
    fn what_is_short_or_does_not_shrink_is_sent_as_it_is() {
        let encoding = Encoding {
            window: Some(Window::Usual),
            ..PLAIN
        };
        for (text, message_bytes_min) in [
            ("{\"a\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}", 50),
            ("{}", 0),
        ] {
            let mut batch = Batch::new(1_000);
            batch.push(json(text), 0);
            let prepared = batch.finish(0);
            let encoded =
                prepared.encoded(encoding, true, &mut deflater(message_bytes_min), &mut 0);
            assert_eq!(
                (encoded.compressed, encoded.bytes),
                (0, encoded.plain_bytes)
            );
            assert_eq!(frame::tests::texts(&encoded.frames[0]), [text]);
        }
    }

    proptest! {
        #[test]
        fn every_encoding_says_the_same(
            objects in proptest::collection::vec(("[a-d\":,]{0,300}", 0u64..3), 1..12),
            is_shared: bool,
            json_bytes_max in 1usize..2_000,
        ) {
            let mut batch = Batch::new(json_bytes_max);
            for (text, skipped) in &objects {
                batch.push(json(&format!("{{{text}}}")), *skipped);
            }
            let prepared = batch.finish(0);
            for dialect in Dialect::ALL {
                let contents = |window| {
                    let encoding = Encoding { dialect, window };
                    let encoded = prepared.encoded(encoding, is_shared, &mut deflater(0), &mut 0);
                    let contents: Vec<_> = encoded.frames.iter().flat_map(contents_of).collect();
                    assert_eq!(encoded.count, contents.len() as u64);
                    (contents, encoded.bytes, encoded.plain_bytes)
                };
                let (plain, bytes, plain_bytes) = contents(None);
                prop_assert_eq!(bytes, plain_bytes);
                if dialect.frames_each_update() {
                    prop_assert_eq!(plain.len(), objects.len());
                }
                if dialect == Dialect::Json {
                    let texts: Vec<_> = plain_texts(&prepared).into_iter().map(String::into_bytes).collect();
                    prop_assert_eq!(&texts, &plain);
                }
                for window in Window::ALL {
                    prop_assert_eq!(contents(Some(window)).0, plain.clone());
                }
            }
        }
    }

    /// What frames hold, compressed or not.
    fn contents_of(frames: &Bytes) -> Vec<Vec<u8>> {
        let mut contents = Vec::new();
        let mut rest = &frames[..];
        while let [first, short, ..] = rest {
            let (header, length) = match short {
                126 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
                &length => (2, usize::from(length)),
            };
            let payload = &rest[header..header + length];
            contents.push(match first {
                0xc1 | 0xc2 => inflate(payload, 1 << 20).expect("whole"),
                0x81 | 0x82 => payload.to_vec(),
                first => panic!("{first:x} begins no data frame"),
            });
            rest = &rest[header + length..];
        }
        contents
    }
}
