//! The bars for every server: topics, bytes, and how a client finds them.

use std::time::{SystemTime, UNIX_EPOCH};

use memchr::memmem::Finder;

/// The last field of a bar; it occurs once.
const STAMP_KEY: &[u8] = b"\"published_us\":";
const STAMP_DIGITS: usize = 16;
/// Bytes from the start of the stamp's key that identify a bar.
const STAMP_BYTES: usize = STAMP_KEY.len() + STAMP_DIGITS;

/// Now, µs since 1970.
pub(crate) fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.expect("it is after 1970").as_micros()).unwrap_or(u64::MAX)
}

/// The name of topic number `index` for clients.
pub(crate) fn topic_name(index: u16) -> String {
    format!("kline:1m:B{index:05}-USD")
}

/// The subject of topic number `index` on the bus.
pub(crate) fn subject_name(index: u16) -> String {
    format!("kline.1m.B{index:05}-USD")
}

/// The number of the topic with this name or subject.
pub(crate) fn topic_index(name: &str) -> Option<u16> {
    let symbol = name
        .strip_prefix("kline:1m:B")
        .or_else(|| name.strip_prefix("kline.1m.B"))?;
    symbol.strip_suffix("-USD")?.parse().ok()
}

/// A forming bar of the topic, as the market data program encodes it.
pub(crate) fn encode(index: u16, seq: u64, epoch_ms: u64, published_us: u64) -> String {
    let start_ms = epoch_ms / 60_000 * 60_000;
    // The sequence and the count always have the same number of digits: every bar has the same
    // length.
    let count = 100_000 + seq % 900_000;
    format!(
        r#"{{"topic":"kline:1m:B{index:05}-USD","seq":{},"epoch":{epoch_ms},"exchange":"binance","symbol":"B{index:05}-USD","interval":"1m","start_ms":{start_ms},"end_ms":{},"open":"61837.63","high":"61902.11","low":"61790.05","close":"61{:03}.42","volume":"182.40317","quote_volume":"11283716.0381274","taker_buy_volume":"95.11842","taker_buy_quote_volume":"5884301.7710932","count":{count},"first_id":"4012288104","last_id":"4012{count}","state":"forming","rev":0,"quality":"complete","event_ms":{},"received_us":{},"published_us":{published_us}}}"#,
        10_000_000 + seq,
        start_ms + 60_000,
        seq % 1_000,
        published_us / 1_000,
        published_us - 180,
    )
}

/// Finds the bars in what a client receives.
#[derive(Debug)]
pub(crate) struct Scanner {
    key: Finder<'static>,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            key: Finder::new(STAMP_KEY),
        }
    }
}

impl Scanner {
    /// Calls `found` with the publication time, µs, of each bar. Returns how many of the last bytes
    /// may be the beginning of another stamp.
    pub(crate) fn scan(&self, bytes: &[u8], mut found: impl FnMut(u64)) -> usize {
        let mut start = 0;
        for at in self.key.find_iter(bytes) {
            let Some(digits) = bytes.get(at + STAMP_KEY.len()..at + STAMP_BYTES) else {
                break;
            };
            found(digits.iter().fold(0, |stamp, digit| {
                stamp * 10 + u64::from(digit.wrapping_sub(b'0'))
            }));
            start = at + STAMP_BYTES;
        }
        (bytes.len() - start).min(STAMP_BYTES - 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bars_have_one_length_near_that_of_real_ones() {
        let epoch_ms = now_us() / 1_000;
        let lengths: Vec<usize> = [(0, 1), (999, 123_456), (7, 9_999)]
            .map(|(index, seq)| encode(index, seq, epoch_ms, now_us()).len())
            .to_vec();
        assert!(
            lengths.iter().all(|length| *length == lengths[0]),
            "{lengths:?}"
        );
        assert!((520..580).contains(&lengths[0]), "{lengths:?}");
    }

    #[test]
    fn bars_are_flat_json_with_the_topic_they_are_for() {
        let json: serde_json::Value =
            serde_json::from_str(&encode(42, 7, 1_763_697_600_000, now_us())).expect("JSON");
        assert_eq!(json["topic"], topic_name(42));
        assert_eq!(topic_index(&topic_name(42)), Some(42));
        assert_eq!(topic_index(&subject_name(42)), Some(42));
        assert_eq!(topic_index("system:feed:sim"), None);
    }

    proptest! {
        #[test]
        fn every_bar_is_found_once_wherever_the_stream_is_cut(
            stamps in prop::collection::vec(1_000_000_000_000_000u64..9_999_999_999_999_999, 1..6),
            chunk_bytes in 1usize..700,
        ) {
            let stream: String = stamps.iter().map(|stamp| encode(1, 2, 3_000_000, *stamp) + "\r\nMSG kline 1 530\r\n").collect();
            let scanner = Scanner::default();
            let mut found = Vec::new();
            let mut tail: Vec<u8> = Vec::new();
            for chunk in stream.as_bytes().chunks(chunk_bytes) {
                tail.extend_from_slice(chunk);
                let kept = scanner.scan(&tail, |stamp| found.push(stamp));
                tail.drain(..tail.len() - kept);
            }
            prop_assert_eq!(found, stamps);
        }
    }
}
