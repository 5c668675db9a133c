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
        dialect.put_prefix(&mut prefixes, index == 0, object.skipped, body);
        bodies_bytes += body.len();
    }
    prefixes.len() + bodies_bytes
}

fn put_payload(out: &mut Vec<u8>, objects: &[Object], dialect: Dialect) {
    for (index, object) in objects.iter().enumerate() {
        let body = object.payload.body(dialect);
        dialect.put_prefix(out, index == 0, object.skipped, body);
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
        let body = object.payload.body(dialect);
        dialect.put_prefix(&mut prefix, index == 0, object.skipped, body);
        deflate::put_stored(&mut message, &prefix);
        message.extend_from_slice(object.payload.deflated(dialect, window, deflater));
    }
    message
}

#[cfg(test)]
mod tests;
