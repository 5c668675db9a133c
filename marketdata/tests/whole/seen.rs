//! What a reader of the bus has seen.

use std::collections::{BTreeMap, HashMap};

use market_core::wire::BoundaryMark;
use serde_json::Value;

/// What the reader has seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// Every closed bar and revision, in order.
    pub(crate) all_closed: Vec<Value>,
    /// The effective closed bar of each (topic, start): the one with the highest revision.
    pub(crate) closed: BTreeMap<(String, i64), Value>,
    /// Sequence numbers by topic.
    pub(crate) seqs: HashMap<String, Vec<(u64, u64)>>,
    /// Feed statuses, in order.
    pub(crate) statuses: Vec<Value>,
    /// Gap events, in order.
    pub(crate) gaps: Vec<Value>,
    /// Forming bars.
    pub(crate) forming: usize,
    /// Revisions of closed bars.
    pub(crate) revisions: usize,
    /// Trades on `market.>`.
    pub(crate) trades: usize,
    /// Boundary marks, in order.
    pub(crate) marks: Vec<Mark>,
}

/// A boundary mark, and what had come before it.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) interval: String,
    pub(crate) end_ms: i64,
    pub(crate) bars: u64,
    pub(crate) missing: u64,
    /// Topics whose bar of that boundary had not come.
    pub(crate) behind: usize,
}

impl Seen {
    /// Takes note of a message.
    pub(crate) fn note(&mut self, subject: &str, payload: &[u8]) {
        if subject.starts_with("state.") || subject.starts_with("closed.") {
            return;
        }
        let value: Value = serde_json::from_slice(payload).expect("JSON");
        if subject.starts_with("market.") {
            self.trades += 1;
        } else if subject.starts_with("system.feed.") {
            self.statuses.push(value);
        } else if subject.ends_with("marketdata.gap") {
            self.gaps.push(value);
        } else if subject.starts_with("kline.") {
            self.note_bar(value);
        } else if subject.starts_with("boundary.") {
            self.note_mark(payload);
        }
    }

    fn note_mark(&mut self, payload: &[u8]) {
        let mark = BoundaryMark::read(payload).expect("a mark");
        let prefix = format!("kline:{}:", mark.interval);
        let mut ends: HashMap<&str, i64> = HashMap::new();
        for ((topic, _), bar) in &self.closed {
            if topic.starts_with(&prefix) {
                ends.insert(topic, bar["end_ms"].as_i64().expect("a time"));
            }
        }
        let behind = ends.values().filter(|&&end| end < mark.end_ms).count();
        self.marks.push(Mark {
            interval: mark.interval.into(),
            end_ms: mark.end_ms,
            bars: mark.bars,
            missing: mark.missing,
            behind,
        });
    }

    fn note_bar(&mut self, bar: Value) {
        let topic = bar["topic"].as_str().expect("a topic").to_owned();
        let number = |field: &str| bar[field].as_u64().expect("a number");
        self.seqs
            .entry(topic)
            .or_default()
            .push((number("epoch"), number("seq")));
        if bar["state"] == "forming" {
            self.forming += 1;
            return;
        }
        if number("rev") > 0 {
            self.revisions += 1;
        }
        self.all_closed.push(bar.clone());
        self.note_closed(bar);
    }

    /// Takes note of a closed bar.
    pub(crate) fn note_closed(&mut self, bar: Value) {
        let topic = bar["topic"].as_str().expect("a topic").to_owned();
        let key = (topic, bar["start_ms"].as_i64().expect("a time"));
        let is_newer = self
            .closed
            .get(&key)
            .is_none_or(|before| before["rev"].as_u64() <= bar["rev"].as_u64());
        if is_newer {
            self.closed.insert(key, bar);
        }
    }

    pub(crate) fn newest_end_ms(&self, symbol: &str) -> i64 {
        let topic = format!("kline:1s:{symbol}");
        let newest = self
            .closed
            .range((topic.clone(), i64::MIN)..=(topic, i64::MAX))
            .next_back();
        newest.map_or(0, |((_, start_ms), _)| start_ms + 1_000)
    }

    /// How many closed seconds of a symbol have this quality.
    pub(crate) fn count_quality(&self, symbol: &str, quality: &str) -> usize {
        let topic = format!("kline:1s:{symbol}");
        self.closed
            .iter()
            .filter(|((of, _), bar)| *of == topic && bar["quality"] == quality)
            .count()
    }

    /// How many gap events there were of this state.
    pub(crate) fn count_gaps(&self, state: &str) -> usize {
        self.gaps.iter().filter(|gap| gap["state"] == state).count()
    }

    /// The newest status of a venue's feed.
    pub(crate) fn state_of(&self, exchange: &str) -> Option<String> {
        let newest = self
            .statuses
            .iter()
            .rev()
            .find(|status| status["exchange"] == exchange)?;
        newest["state"].as_str().map(str::to_owned)
    }
}
