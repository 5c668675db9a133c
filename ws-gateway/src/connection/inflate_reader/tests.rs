//! The bytes of a client that may compress.

use proptest::prelude::*;

use super::*;
use client_frames::encode::deflate::{Compression, Deflater, Window};

const MASK: [u8; 4] = [1, 2, 3, 250];

/// A client's frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(len).expect("short").to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

fn deflated(plain: &[u8]) -> Vec<u8> {
    let options = Compression {
        level: 6,
        message_bytes_min: 0,
    };
    Deflater::new(options).blocks(Window::Usual, plain).to_vec()
}

/// What the parser reads, as opcode byte and payload of each frame.
fn read(reader: &mut InflateReader) -> Vec<(u8, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut step = [0; 7];
    loop {
        match reader.take(&mut step) {
            Ok(0) | Err(_) => break,
            Ok(count) => bytes.extend_from_slice(&step[..count]),
        }
    }
    assert_eq!((reader.ready.capacity(), reader.raw.capacity()), (0, 0));
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (mut part, mut length) = (HeaderPart::default(), 0);
        let mut taken = bytes.iter().map(|&byte| part.take(byte, &mut length));
        let header = taken.position(|is_last| is_last).expect("whole") + 1;
        let len = length as usize;
        let mask = bytes[header - 4..header].to_vec();
        let payload = bytes[header..header + len].iter().zip(mask.iter().cycle());
        frames.push((bytes[0], payload.map(|(byte, mask)| byte ^ mask).collect()));
        bytes.drain(..header + len);
    }
    frames
}

fn refusal(reader: &mut InflateReader, bytes: &[u8]) -> Option<Refused> {
    reader.feed(bytes);
    let _ = read(reader);
    reader.take(&mut [0]).err()
}

#[test]
fn a_fragmented_message_is_joined_and_control_frames_pass_it() {
    let message = deflated(b"{\"op\":\"ping\",\"id\":1}");
    let (head, tail) = message.split_at(5);
    let mut reader = InflateReader::new(1_000);
    reader.feed(&frame(0x41, head));
    reader.feed(&frame(0x89, b"now"));
    assert_eq!(read(&mut reader), [(0x89, b"now".to_vec())]);
    reader.feed(&frame(0x00, b""));
    reader.feed(&frame(0x80, tail));
    assert_eq!(
        read(&mut reader),
        [(0x81, b"{\"op\":\"ping\",\"id\":1}".to_vec())]
    );
    assert!(reader.message.is_none());
}

#[test]
fn rsv1_where_it_may_not_be_is_refused_or_left_to_the_parser() {
    let message = deflated(b"hello");
    // In a part that is not the first, a second message inside, and without a mask.
    for wrong in [
        frame(0xc0, &message),
        frame(0xc1, &message),
        frame(0x81, b"hello"),
    ] {
        let mut reader = InflateReader::new(1_000);
        reader.feed(&frame(0x41, &message));
        assert_eq!(refusal(&mut reader, &wrong), Some(Refused::Malformed));
    }
    let mut reader = InflateReader::new(1_000);
    assert_eq!(
        refusal(&mut reader, &[0xc1, 0x01]),
        Some(Refused::Malformed)
    );
    let mut reader = InflateReader::new(1_000);
    assert_eq!(
        refusal(&mut reader, &frame(0xe1, &message)),
        Some(Refused::Malformed)
    );
    for passed in [0xc9, 0xc0, 0xa1, 0x81] {
        let mut reader = InflateReader::new(1_000);
        reader.feed(&frame(passed, b"hello"));
        assert_eq!(read(&mut reader), [(passed, b"hello".to_vec())]);
    }
}

#[test]
fn a_message_is_bounded_before_and_after_it_is_decompressed() {
    let mut reader = InflateReader::new(1_000);
    assert_eq!(
        refusal(&mut reader, &frame(0xc1, &deflated(&[b' '; 1_001]))),
        Some(Refused::TooBig)
    );
    let mut reader = InflateReader::new(1_000);
    // Refused by its header, before the payload comes.
    assert_eq!(
        refusal(&mut reader, &frame(0xc1, &[0; 1_001])[..8]),
        Some(Refused::TooBig)
    );
    let mut reader = InflateReader::new(1_000);
    reader.feed(&frame(0x41, &[0; 600]));
    assert_eq!(
        refusal(&mut reader, &frame(0x00, &[0; 600])[..8]),
        Some(Refused::TooBig)
    );
    let mut reader = InflateReader::new(1_000);
    reader.feed(&frame(0xc2, &deflated(&[7; 1_000])));
    assert_eq!(read(&mut reader), [(0x82, vec![7; 1_000])]);
}

/// The header of a masked frame that announces so many bytes in 64 bits.
fn announced(first: u8, length: u64) -> Vec<u8> {
    [&[first, 0xff][..], &length.to_be_bytes(), &MASK].concat()
}

#[test]
fn an_announced_length_that_would_wrap_is_refused_by_its_header() {
    for (length, expected) in [
        (u64::MAX, Refused::Malformed),
        (1 << 63, Refused::Malformed),
        ((1 << 63) - 1, Refused::TooBig),
        (u64::from(u32::MAX), Refused::TooBig),
    ] {
        let mut reader = InflateReader::new(1_000);
        assert_eq!(
            refusal(&mut reader, &announced(0xc1, length)),
            Some(expected)
        );
        let mut reader = InflateReader::new(1_000);
        reader.feed(&frame(0x41, b"x"));
        assert_eq!(
            refusal(&mut reader, &announced(0x00, length)),
            Some(expected)
        );
        reader.feed(&[0; 100_000]);
        assert!(reader.held_bytes() <= 1_000, "{length:x}");
    }
}

#[test]
fn messages_are_decompressed_one_at_a_time() {
    const BYTES_MAX: usize = 65_536;
    let bomb = frame(0xc1, &deflated(&[b' '; BYTES_MAX]));
    let sent = bomb.repeat(8_000 / bomb.len());
    assert!(sent.len() > 50 * bomb.len());
    let mut reader = InflateReader::new(BYTES_MAX);
    reader.feed(&sent);
    let (mut held_max, mut taken, mut out) = (0, 0, [0; 512]);
    loop {
        held_max = held_max.max(reader.held_bytes());
        match reader.take(&mut out) {
            Ok(0) => break,
            count => taken += count.expect("nothing is wrong with it"),
        }
    }
    assert_eq!(
        taken,
        (sent.len() / bomb.len()) * (BYTES_MAX + HEADER_BYTES_MAX)
    );
    assert!(held_max <= sent.len() + BYTES_MAX + 1_024, "{held_max}");
    assert_eq!(reader.held_bytes(), 0);
}

proptest! {
    #[test]
    fn the_parser_sees_what_was_meant_wherever_the_bytes_are_cut(
        messages in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..400), any::<bool>()), 1..6),
        cut in 1usize..40,
    ) {
        let mut bytes = Vec::new();
        for (payload, is_compressed) in &messages {
            bytes.extend(match is_compressed {
                true => frame(0xc2, &deflated(payload)),
                false => frame(0x82, payload),
            });
        }
        let mut reader = InflateReader::new(1_000);
        for part in bytes.chunks(cut) {
            reader.feed(part);
        }
        let expected: Vec<_> = messages.into_iter().map(|(payload, _)| (0x82, payload)).collect();
        prop_assert_eq!(read(&mut reader), expected);
    }

    #[test]
    fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut reader = InflateReader::new(1_000);
        reader.feed(&bytes);
    }
}
