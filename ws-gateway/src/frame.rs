//! WebSocket frames as a server writes them: unmasked, so the same bytes for every client.

use bytes::{BufMut, Bytes, BytesMut};

/// A ping without payload.
pub(crate) const PING: &[u8] = &[0x89, 0];

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
/// The longest header of an unmasked frame, bytes.
const HEADER_BYTES_MAX: usize = 10;

fn put_header(frame: &mut BytesMut, first: u8, payload_bytes: usize) {
    frame.put_u8(first);
    match payload_bytes {
        0..=125 => frame.put_u8(payload_bytes as u8),
        126..=0xffff => {
            frame.put_u8(126);
            frame.put_u16(payload_bytes as u16);
        }
        _ => {
            frame.put_u8(127);
            frame.put_u64(payload_bytes as u64);
        }
    }
}

/// One text frame.
#[must_use]
pub(crate) fn text(payload: &[u8]) -> Bytes {
    data(TEXT, payload)
}

/// One binary frame.
#[must_use]
pub(crate) fn binary(payload: &[u8]) -> Bytes {
    data(BINARY, payload)
}

fn data(first: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEADER_BYTES_MAX + payload.len());
    put_header(&mut frame, first, payload.len());
    frame.put_slice(payload);
    frame.freeze()
}

/// A close frame; the reason is cut to what a control frame holds.
#[must_use]
pub(crate) fn close(code: u16, reason: &str) -> Bytes {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut frame = BytesMut::with_capacity(4 + end);
    put_header(&mut frame, CLOSE, 2 + end);
    frame.put_u16(code);
    frame.put_slice(&reason.as_bytes()[..end]);
    frame.freeze()
}

/// Gathers JSON objects into text frames, joined by `\n`.
#[derive(Debug)]
pub(crate) struct Batch {
    frames: Vec<Bytes>,
    objects: Vec<Object>,
    payload_bytes: usize,
    payload_bytes_max: usize,
    objects_total: u64,
}

#[derive(Debug)]
struct Object {
    json: Bytes,
    /// Said right after the opening brace.
    skipped: u64,
}

fn digits(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

const SKIPPED_KEY: &[u8] = b"{\"skipped\":";

impl Object {
    /// Length with what is said after the brace, bytes.
    fn len(&self) -> usize {
        match self.skipped {
            0 => self.json.len(),
            // `{` becomes `{"skipped":n,`.
            skipped => self.json.len() + SKIPPED_KEY.len() - 1 + digits(skipped) + 1,
        }
    }

    fn put(&self, frame: &mut BytesMut) {
        if self.skipped == 0 {
            frame.put_slice(&self.json);
            return;
        }
        frame.put_slice(SKIPPED_KEY);
        frame.put_slice(self.skipped.to_string().as_bytes());
        frame.put_u8(b',');
        frame.put_slice(&self.json[1..]);
    }
}

impl Batch {
    /// A batch whose frames hold at most `payload_bytes_max`, or one object if that is longer.
    #[must_use]
    pub(crate) fn new(payload_bytes_max: usize) -> Self {
        Self {
            frames: Vec::new(),
            objects: Vec::new(),
            payload_bytes: 0,
            payload_bytes_max,
            objects_total: 0,
        }
    }

    /// Adds a JSON object; `skipped` closed bars of its topic came before it and are gone.
    pub(crate) fn push(&mut self, json: Bytes, skipped: u64) {
        let object = Object { json, skipped };
        let len = object.len();
        if !self.objects.is_empty() && self.payload_bytes + 1 + len > self.payload_bytes_max {
            self.end_frame();
        }
        self.payload_bytes += len + usize::from(!self.objects.is_empty());
        self.objects.push(object);
        self.objects_total += 1;
    }

    /// How many objects were added.
    #[must_use]
    pub(crate) fn count(&self) -> u64 {
        self.objects_total
    }

    fn end_frame(&mut self) {
        let mut frame = BytesMut::with_capacity(HEADER_BYTES_MAX + self.payload_bytes);
        put_header(&mut frame, TEXT, self.payload_bytes);
        for (index, object) in self.objects.iter().enumerate() {
            if index > 0 {
                frame.put_u8(b'\n');
            }
            object.put(&mut frame);
        }
        self.objects.clear();
        self.payload_bytes = 0;
        self.frames.push(frame.freeze());
    }

    /// The frames.
    #[must_use]
    pub(crate) fn finish(mut self) -> Vec<Bytes> {
        if !self.objects.is_empty() {
            self.end_frame();
        }
        self.frames
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tokio_tungstenite::tungstenite::protocol::frame::FrameSocket;

    use super::*;

    fn payloads(bytes: &[u8]) -> Vec<String> {
        let mut socket = FrameSocket::new(Cursor::new(bytes.to_vec()));
        let mut payloads = Vec::new();
        while let Some(frame) = socket.read(None).expect("valid frames") {
            payloads.push(frame.into_text().expect("UTF-8").to_string());
        }
        payloads
    }

    #[test]
    fn headers_of_every_length_are_read_back() {
        for len in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            let payload = "x".repeat(len);
            assert_eq!(payloads(&text(payload.as_bytes())), [payload]);
        }
    }

    #[test]
    fn a_batch_joins_objects_and_says_what_was_skipped() {
        let mut batch = Batch::new(1_000);
        batch.push(Bytes::from_static(b"{\"a\":1}"), 0);
        batch.push(Bytes::from_static(b"{\"b\":2}"), 12);
        assert_eq!(batch.count(), 2);
        let frames = batch.finish();
        assert_eq!(
            payloads(&frames.concat()),
            ["{\"a\":1}\n{\"skipped\":12,\"b\":2}"]
        );
    }

    #[test]
    fn a_batch_is_split_where_a_frame_would_be_too_long() {
        let mut batch = Batch::new(20);
        for _ in 0..5 {
            batch.push(Bytes::from_static(b"{\"a\":1}"), 0);
        }
        batch.push(Bytes::from("{".to_owned() + &"x".repeat(30)), 0);
        let frames = batch.finish();
        assert_eq!(frames.len(), 4);
        assert_eq!(payloads(&frames[0])[0].lines().count(), 2);
    }

    #[test]
    fn a_close_reason_is_cut_to_a_control_frame() {
        let frame = close(4000, &"ü".repeat(100));
        assert!(frame.len() <= 2 + 125 && frame[1] as usize == frame.len() - 2);
    }
}
