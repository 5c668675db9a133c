//! Batches and their frames.

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
        let encoded = prepared.encoded(encoding, true, &mut deflater(message_bytes_min), &mut 0);
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
