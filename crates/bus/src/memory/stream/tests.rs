//! Limits of a stream.

use std::time::Duration;

use super::*;

fn stream(spec: StreamSpec) -> Stream {
    Stream::new(spec, SUBJECTS_MAX)
}

fn put(stream: &Stream, subject: &str, text: &str) -> u64 {
    let mut kept = stream.lock();
    let id = kept.subject(&subject.into()).expect("there is room");
    kept.put(id, Bytes::copy_from_slice(text.as_bytes()), None)
}

fn texts(stream: &Stream) -> Vec<String> {
    let kept = stream.lock();
    let sequences = kept.entries.keys();
    sequences
        .filter_map(|sequence| kept.message(*sequence))
        .map(|message| String::from_utf8(message.payload.to_vec()).expect("text"))
        .collect()
}

#[test]
fn each_limit_takes_the_oldest_and_the_newest_always_stays() {
    let spec = StreamSpec::newest("trades", 2, false);
    let per_subject = stream(spec.clone());
    for (subject, text) in [
        ("trades.a", "1"),
        ("trades.b", "2"),
        ("trades.a", "3"),
        ("trades.a", "4"),
    ] {
        put(&per_subject, subject, text);
    }
    assert_eq!(texts(&per_subject), ["2", "3", "4"]);
    let in_all = stream(StreamSpec {
        messages_max: Some(2),
        ..spec.clone()
    });
    let in_bytes = stream(StreamSpec {
        bytes_max: Some(4),
        ..spec
    });
    for (subject, text) in [("trades.a", "11"), ("trades.b", "22"), ("trades.c", "33")] {
        put(&in_all, subject, text);
        put(&in_bytes, subject, text);
    }
    assert_eq!(texts(&in_all), ["22", "33"]);
    assert_eq!(texts(&in_bytes), ["22", "33"]);
    put(&in_bytes, "trades.a", "beyond the bound");
    assert_eq!(texts(&in_bytes), ["beyond the bound"]);
    assert_eq!(in_bytes.lock().last_of("trades.b"), 0);
    assert_eq!(in_bytes.lock().last_of("trades.a"), 4);
}

#[test]
fn messages_beyond_their_age_are_kept_no_more() {
    let spec = StreamSpec {
        age_max: Some(Duration::from_hours(1)),
        ..StreamSpec::newest("trades", 9, false)
    };
    let stream = stream(spec);
    put(&stream, "trades.a", "old");
    put(&stream, "trades.a", "new");
    let hour_ns = 3_600_000_000_000;
    stream.lock().entries.get_mut(&1).expect("kept").stored_ns -= hour_ns + 1;
    assert_eq!(texts(&stream), ["new"]);
    assert_eq!(stream.lock().bytes, 3);
}
