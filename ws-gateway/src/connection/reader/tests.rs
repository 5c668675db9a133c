//! Frames of every kind, cut anywhere: the reader against tungstenite alone, and against another
//! compressor.

use flate2::{Compress, Compression, FlushCompress};
use proptest::collection::vec;
use proptest::prelude::*;

use super::fuzz::{
    Decoded, FIN, RSV1, decode, decode_alone, edge_lengths, held_bytes_max, put_frame,
};

const BYTES_MAX: usize = 1_000;
const CONTINUE: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const PING: u8 = 9;

/// A frame as a client may send it, right or wrong.
#[derive(Clone, Debug)]
struct Frame {
    first: u8,
    mask: Option<[u8; 4]>,
    /// The length that is announced, if it is not the payload's.
    announced: Option<u64>,
    /// Whether the length takes 64 bits however short it is.
    is_wide: bool,
    payload: Vec<u8>,
}

impl Frame {
    fn new(first: u8, payload: Vec<u8>, mask: [u8; 4]) -> Self {
        Self {
            first,
            mask: Some(mask),
            announced: None,
            is_wide: false,
            payload,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let announced = self.announced.unwrap_or(self.payload.len() as u64);
        put_frame(
            out,
            self.first,
            announced,
            self.is_wide,
            self.mask,
            &self.payload,
        );
    }
}

fn bytes_of(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        frame.write(&mut bytes);
    }
    bytes
}

/// A message in fragments, with pings between them.
fn in_fragments(first: u8, payload: &[u8], fragments: usize, mask: [u8; 4]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let part_bytes = payload.len().div_ceil(fragments).max(1);
    let parts: Vec<&[u8]> = match payload.is_empty() {
        true => vec![payload],
        false => payload.chunks(part_bytes).collect(),
    };
    for (index, part) in parts.iter().enumerate() {
        let begins = if index == 0 { first } else { CONTINUE };
        let ends = if index + 1 == parts.len() { FIN } else { 0 };
        frames.push(Frame::new(begins | ends, part.to_vec(), mask));
        if ends == 0 && mask[0].is_multiple_of(2) {
            frames.push(Frame::new(FIN | PING, b"between".to_vec(), mask));
        }
    }
    frames
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    vec(0x20u8..0x7f, 0..400)
}

fn message() -> impl Strategy<Value = Vec<Frame>> {
    let opcode = prop_oneof![Just(TEXT), Just(BINARY)];
    (opcode, text(), 1usize..5, any::<[u8; 4]>()).prop_map(|(opcode, payload, fragments, mask)| {
        in_fragments(opcode, &payload, fragments, mask)
    })
}

fn length() -> impl Strategy<Value = Option<u64>> {
    let edges = edge_lengths(BYTES_MAX as u64);
    prop_oneof![
        3 => Just(None),
        1 => proptest::sample::select(edges.to_vec()).prop_map(Some),
        1 => any::<u64>().prop_map(Some),
    ]
}

/// Any frame at all.
fn odd_frame() -> impl Strategy<Value = Frame> {
    let mask = prop_oneof![8 => any::<[u8; 4]>().prop_map(Some), 1 => Just(None)];
    (
        any::<u8>(),
        mask,
        length(),
        any::<bool>(),
        vec(any::<u8>(), 0..140),
    )
        .prop_map(|(first, mask, announced, is_wide, payload)| Frame {
            first,
            mask,
            announced,
            is_wide,
            payload,
        })
}

fn stream() -> impl Strategy<Value = Vec<Frame>> {
    let part = prop_oneof![
        4 => message(),
        1 => odd_frame().prop_map(|frame| vec![frame]),
    ];
    vec(part, 0..10).prop_map(|parts| parts.concat())
}

/// Whether a frame begins a compressed message.
fn is_compressed(frame: &Frame) -> bool {
    frame.first & RSV1 != 0 && matches!(frame.first & 0x0f, TEXT | BINARY)
}

proptest! {
    #[test]
    fn frames_without_compression_are_read_as_the_parser_alone_reads_them(
        mut frames in stream(),
        with_handshake in 0usize..600,
        cut in prop_oneof![1usize..20, 1usize..3_000],
        may_compress in any::<bool>(),
    ) {
        if may_compress {
            for frame in frames.iter_mut().filter(|frame| is_compressed(frame)) {
                frame.first &= !RSV1;
            }
        }
        let sent = bytes_of(&frames);
        let expected = decode_alone(&sent, BYTES_MAX);
        let decoded = decode(&sent, with_handshake, cut, may_compress, BYTES_MAX);
        prop_assert!(decoded.held_bytes_max <= held_bytes_max(with_handshake, BYTES_MAX));
        prop_assert_eq!(Decoded { held_bytes_max: 0, ..decoded }, expected);
    }

    #[test]
    fn any_frames_with_compression_are_read_within_bounds(
        mut parts in vec(prop_oneof![
            2 => compressed_message().prop_map(|(_, frames)| frames),
            1 => message(),
            1 => odd_frame().prop_map(|frame| vec![frame]),
        ], 1..8),
        flips in vec((any::<prop::sample::Index>(), 0u8..8), 0..4),
        with_handshake in 0usize..8_000,
        cut in 1usize..3_000,
    ) {
        // Announced lengths within a compressed message that has begun, too.
        if let Some(Some(last)) = parts.first_mut().map(|frames| frames.last_mut())
            && flips.len() == 3
        {
            last.announced = Some(u64::MAX);
        }
        let mut sent = bytes_of(&parts.concat());
        for (index, bit) in flips {
            let index = index.index(sent.len());
            sent[index] ^= 1 << bit;
        }
        let decoded = decode(&sent, with_handshake, cut, true, BYTES_MAX);
        prop_assert!(decoded.held_bytes_max <= held_bytes_max(with_handshake, BYTES_MAX));
        prop_assert!(decoded.messages.iter().all(|(_, content)| content.len() <= BYTES_MAX));
    }

    #[test]
    fn compressed_messages_are_read_as_they_were_written_and_no_part_of_one_is_read(
        messages in vec(compressed_message(), 1..6),
        with_handshake in 0usize..4_000,
        cut in 1usize..3_000,
        kept in any::<prop::sample::Index>(),
    ) {
        let (plain, frames): (Vec<_>, Vec<_>) = messages.into_iter().unzip();
        let sent = bytes_of(&frames.concat());
        let read = |decoded: &Decoded| -> Vec<_> {
            let is_data = |(opcode, _): &&(u8, Vec<u8>)| *opcode != PING;
            decoded.messages.iter().filter(is_data).cloned().collect()
        };
        let whole = decode(&sent, with_handshake, cut, true, BYTES_MAX);
        // What cannot be compressed grows: both lengths are bounded.
        let deflated_bytes = |frames: &Vec<Frame>| -> usize {
            let parts = frames.iter().filter(|frame| frame.first & 0x0f != PING);
            parts.map(|part| part.payload.len()).sum()
        };
        let refused_at = plain.iter().zip(&frames).position(|((_, content), frames)| {
            content.len() > BYTES_MAX || deflated_bytes(frames) > BYTES_MAX
        });
        let taken = refused_at.unwrap_or(plain.len());
        prop_assert_eq!(read(&whole), &plain[..taken]);
        prop_assert_eq!(whole.end, if refused_at.is_some() { "TooBig" } else { "Ended" });
        let some = &sent[..kept.index(sent.len())];
        let some = decode(some, with_handshake, cut, true, BYTES_MAX);
        prop_assert!(plain[..taken].starts_with(&read(&some)));
        for decoded in [whole, some] {
            prop_assert!(decoded.held_bytes_max <= held_bytes_max(with_handshake, BYTES_MAX));
        }
    }
}

/// Opcode and content of a message, and its frames as another compressor makes them.
fn compressed_message() -> impl Strategy<Value = ((u8, Vec<u8>), Vec<Frame>)> {
    let content = prop_oneof![
        text(),
        vec(any::<u8>(), 0..BYTES_MAX + 100),
        (any::<u8>(), 0..BYTES_MAX + 100).prop_map(|(byte, count)| vec![byte; count]),
    ];
    (content, 0u32..10, 1usize..5, any::<[u8; 4]>()).prop_map(
        |(content, level, fragments, mask)| {
            let mut stream = Compress::new(Compression::new(level), false);
            let mut deflated = Vec::with_capacity(content.len() + 1_024);
            stream
                .compress_vec(&content, &mut deflated, FlushCompress::Sync)
                .expect("room");
            deflated.truncate(deflated.len() - 4);
            let frames = in_fragments(RSV1 | BINARY, &deflated, fragments, mask);
            ((BINARY, content), frames)
        },
    )
}
