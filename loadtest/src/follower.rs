//! A client as it should be: it remembers where it was, and goes on from there after a loss.

use std::collections::{BTreeMap, HashMap, btree_map};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::bar::{Bar, Quality, State};
use crate::client::{Client, Dial, Got};
use crate::wait::{holds, until};

/// Between attempts to connect.
const RECONNECT_REST: Duration = Duration::from_millis(100);

/// What a follower has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// By topic.
    pub topics: HashMap<String, TopicSeen>,
    /// Successful handshakes.
    pub connects: usize,
    /// Handshakes that failed.
    pub refusals: usize,
    /// Close codes, 1006 for a loss.
    pub closes: Vec<u16>,
    /// Objects that are neither bars nor acks, such as errors.
    pub others: Vec<Value>,
}

/// A bar with `skipped`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Start of the bar, ms.
    pub start_ms: i64,
    /// Closed bars that were skipped.
    pub skipped: u64,
    /// Intervals before the bar of which no closed bar had come then.
    pub lacked: u64,
    /// Revisions that had come then.
    pub revisions: usize,
}

/// What a follower has seen of a topic.
#[derive(Debug, Default)]
pub struct TopicSeen {
    /// The closed bar that holds, by start.
    pub closed: BTreeMap<i64, Bar>,
    /// Forming bars.
    pub forming: usize,
    /// When each of them came.
    pub formed: Vec<Instant>,
    /// Revisions of closed bars.
    pub revisions: usize,
    /// Closed bars that it was told it missed.
    pub skipped: u64,
    /// What it was told each time.
    pub told: Vec<Told>,
    /// Start of the first bar, ms.
    first_ms: Option<i64>,
    /// Start of its series, ms: the first bar, or an older one that was not a revision. A client does
    /// not get the bars after a revision from before its first bar.
    begins_ms: Option<i64>,
    /// Times that its place could not be found again.
    pub not_resumed: usize,
    /// Closed bars that said `gap` when they came.
    pub gaps: usize,
    /// Newest epoch, and the newest sequence number in it.
    pub last: (u64, u64),
    /// Forming bars older than a forming one before them, and first closings older than a closing
    /// before them, in the same connection. Between the two kinds there is no order.
    pub disordered: usize,
    last_forming: (u64, u64),
    last_closed: (u64, u64),
    is_resuming: bool,
}

impl TopicSeen {
    /// The end of the newest closed bar, ms; 0 before the first.
    #[must_use]
    pub fn closed_until_ms(&self) -> i64 {
        self.closed
            .last_key_value()
            .map_or(0, |(_, bar)| bar.end_ms)
    }

    /// The closed bars of the series.
    fn series(&self) -> btree_map::Range<'_, i64, Bar> {
        self.closed.range(self.begins_ms.unwrap_or(i64::MIN)..)
    }

    /// Intervals between the first and the last closed bar of the series of which no closed bar was
    /// seen.
    #[must_use]
    pub fn holes(&self) -> Vec<i64> {
        let mut holes = Vec::new();
        let mut expected_ms = None;
        for (&start_ms, bar) in self.series() {
            let mut hole_ms = expected_ms.unwrap_or(start_ms);
            while hole_ms < start_ms {
                holes.push(hole_ms);
                hole_ms += bar.end_ms - bar.start_ms;
            }
            expected_ms = Some(bar.end_ms);
        }
        holes
    }

    /// The longest time between two forming bars, or one and the end, since then.
    #[must_use]
    pub fn without_forming(&self, since: Instant) -> Duration {
        let before = self.formed.partition_point(|at| *at <= since);
        let times = std::iter::once(&since).chain(&self.formed[before..]);
        let next = self.formed[before..].iter().copied();
        let next = next.chain(std::iter::once(Instant::now()));
        let pauses = times
            .zip(next)
            .map(|(at, next)| next.saturating_duration_since(*at));
        pauses.max().unwrap_or_default()
    }

    /// Intervals between the first closed bar of the series and this one of which no closed bar was seen.
    fn lacked(&self, bar: &Bar) -> u64 {
        let Some((&first_ms, _)) = self.series().next() else {
            return 0;
        };
        let width_ms = bar.end_ms - bar.start_ms;
        let intervals = (bar.start_ms - first_ms) / width_ms;
        let is_before = |(start_ms, _): &(&i64, &Bar)| **start_ms < bar.start_ms;
        let seen = self.series().take_while(is_before).count();
        u64::try_from(intervals).map_or(0, |it| it.saturating_sub(seen as u64))
    }

    fn take(&mut self, bar: Bar) {
        self.first_ms.get_or_insert(bar.start_ms);
        let begins_ms = self.begins_ms.get_or_insert(bar.start_ms);
        if bar.state == State::Closed && bar.rev == 0 {
            *begins_ms = bar.start_ms.min(*begins_ms);
        }
        let stamp = (bar.epoch, bar.seq);
        let last = match bar.state {
            State::Forming => &mut self.last_forming,
            State::Closed => &mut self.last_closed,
        };
        if stamp <= *last && bar.rev == 0 && !self.is_resuming {
            self.disordered += 1;
        }
        *last = stamp.max(*last);
        if bar.state == State::Forming {
            // What is resumed ends with what is forming, if anything is.
            self.is_resuming = false;
        }
        self.last = self.last.max(stamp);
        self.skipped += bar.skipped;
        if bar.skipped > 0 {
            self.told.push(Told {
                start_ms: bar.start_ms,
                skipped: bar.skipped,
                lacked: self.lacked(&bar),
                revisions: self.revisions,
            });
        }
        if bar.state == State::Forming {
            self.forming += 1;
            self.formed.push(Instant::now());
            return;
        }
        self.revisions += usize::from(bar.rev > 0);
        self.gaps += usize::from(bar.quality == Quality::Gap);
        let held = self.closed.get(&bar.start_ms);
        if held.is_none_or(|held| held.standing() <= bar.standing()) {
            self.closed.insert(bar.start_ms, bar);
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Follower {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Follower {
    /// Follows these topics at this URL until it is dropped.
    #[must_use]
    pub fn start(url: String, topics: Vec<String>) -> Self {
        let seen = Arc::default();
        let task = tokio::spawn(follow(url, topics, Arc::clone(&seen)));
        Self { seen, task }
    }

    /// Looks at what it has seen.
    ///
    /// # Panics
    /// If the follower has.
    pub fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        assert!(
            !self.task.is_finished(),
            "the follower has failed: see above"
        );
        look(&lock(&self.seen))
    }

    /// Waits until what it has seen is so.
    pub async fn until(&self, what: &str, condition: impl Fn(&Seen) -> bool) {
        until(what, async || {
            self.seen(|seen| holds(condition(seen), || summary(seen)))
        })
        .await;
    }

    /// Waits until every topic has closed bars up to this time.
    pub async fn until_closed(&self, topics: &[String], until_ms: i64) {
        self.until(&format!("bars closed up to {until_ms}"), |seen| {
            topics.iter().all(|topic| {
                seen.topics
                    .get(topic)
                    .is_some_and(|topic| topic.closed_until_ms() >= until_ms)
            })
        })
        .await;
    }

    /// Waits until every topic has so many forming bars more than now.
    pub async fn until_more_forming(&self, topics: &[String], more: usize) {
        let forming = |seen: &Seen, topic: &String| {
            let topic = seen.topics.get(topic);
            topic.map_or(0, |topic| topic.forming)
        };
        let before: Vec<usize> =
            self.seen(|seen| topics.iter().map(|topic| forming(seen, topic)).collect());
        self.until(&format!("{more} more forming bars"), |seen| {
            let mut both = topics.iter().zip(&before);
            both.all(|(topic, before)| forming(seen, topic) >= before + more)
        })
        .await;
    }

    /// The end of the newest closed bar of the topic that is furthest behind, ms.
    #[must_use]
    pub fn closed_until_ms(&self, topics: &[String]) -> i64 {
        self.seen(|seen| {
            let ends = topics
                .iter()
                .map(|topic| seen.topics.get(topic).map_or(0, TopicSeen::closed_until_ms));
            ends.min().unwrap_or(0)
        })
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock()
        .expect("no code panics while it holds what was seen")
}

fn summary(seen: &Seen) -> String {
    let topics = seen.topics.iter().map(|(topic, seen)| {
        format!(
            "{topic}: {} closed up to {}, {} forming, {} revisions, {} skipped",
            seen.closed.len(),
            seen.closed_until_ms(),
            seen.forming,
            seen.revisions,
            seen.skipped
        )
    });
    let topics: Vec<String> = topics.collect();
    format!(
        "connects {}, closes {:?}, others {:?}\n  {}",
        seen.connects,
        seen.closes,
        seen.others,
        topics.join("\n  ")
    )
}

async fn follow(url: String, topics: Vec<String>, seen: Arc<Mutex<Seen>>) {
    loop {
        if let Ok(client) = Dial::default().connect(&url).await {
            lock(&seen).connects += 1;
            let code = session(client, &topics, &seen).await;
            lock(&seen).closes.push(code);
        } else {
            lock(&seen).refusals += 1;
        }
        tokio::time::sleep(RECONNECT_REST).await;
    }
}

/// One connection's life; returns its close code.
async fn session(mut client: Client, topics: &[String], seen: &Mutex<Seen>) -> u16 {
    for request in requests(topics, seen) {
        if client.try_send(request.to_string().into()).await.is_err() {
            return 1006;
        }
    }
    loop {
        let objects = match client.next().await {
            Got::Frame(objects) => objects,
            Got::Closed(code, _) => return code,
            Got::Lost => return 1006,
        };
        let mut seen = lock(seen);
        for object in objects {
            take(&mut seen, object);
        }
    }
}

fn take(seen: &mut Seen, object: Value) {
    if object["op"] == "ack" {
        for topic in object["not_resumed"].as_array().into_iter().flatten() {
            let topic = topic.as_str().expect("topics are strings").to_owned();
            seen.topics.entry(topic).or_default().not_resumed += 1;
        }
    } else if object.get("start_ms").is_some() {
        let text = object.to_string();
        let bar: Bar =
            serde_json::from_value(object).unwrap_or_else(|error| panic!("{error}: {text}"));
        seen.topics.entry(bar.topic.clone()).or_default().take(bar);
    } else {
        seen.others.push(object);
    }
}

/// What to send first: topics without a place plainly, the others with it, one request an epoch.
fn requests(topics: &[String], seen: &Mutex<Seen>) -> Vec<Value> {
    let mut seen = lock(seen);
    let mut by_epoch: BTreeMap<u64, Vec<(&String, u64, i64)>> = BTreeMap::new();
    for topic in topics {
        let (epoch, seq, closed_ms) = match seen.topics.get_mut(topic) {
            Some(topic) => {
                topic.is_resuming = true;
                let closed_ms = topic.closed_until_ms().max(topic.first_ms.unwrap_or(0));
                (topic.last.0, topic.last.1, closed_ms)
            }
            None => (0, 0, 0),
        };
        by_epoch
            .entry(epoch)
            .or_default()
            .push((topic, seq, closed_ms));
    }
    let requests = by_epoch.into_iter().map(|(epoch, topics)| {
        let names: Vec<&String> = topics.iter().map(|&(topic, ..)| topic).collect();
        if epoch == 0 {
            return json!({"op": "sub", "topics": names});
        }
        let seqs: HashMap<_, _> = topics.iter().map(|&(topic, seq, _)| (topic, seq)).collect();
        let closed: HashMap<_, _> = topics.iter().map(|&(topic, _, ms)| (topic, ms)).collect();
        let since = json!({"epoch": epoch, "seq": seqs, "closed_ms": closed});
        json!({"op": "sub", "topics": names, "since": since})
    });
    requests.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(second: i64, rev: u32) -> Bar {
        let start_ms = second * 1_000;
        let bar = json!({
            "topic": "kline:1s:BTC-USDT", "seq": 1, "epoch": 1, "exchange": "binance",
            "symbol": "BTC-USDT", "interval": "1s", "start_ms": start_ms,
            "end_ms": start_ms + 1_000, "open": "1", "high": "1", "low": "1", "close": "1",
            "volume": "1", "state": "closed", "rev": rev, "quality": "complete",
            "published_us": 0,
        });
        serde_json::from_value(bar).expect("a bar")
    }

    #[test]
    fn a_series_begins_at_the_first_bar_or_at_an_older_one_that_is_no_revision() {
        let mut seen = TopicSeen::default();
        for second in [10, 11, 13] {
            seen.take(closed(second, 0));
        }
        assert_eq!(seen.holes(), [12_000]);
        // Nothing comes after a revision from before the first bar.
        seen.take(closed(5, 1));
        assert_eq!(seen.holes(), [12_000]);
        assert_eq!(seen.lacked(&closed(14, 0)), 1);
        seen.take(closed(12, 1));
        assert_eq!(seen.holes(), [0_i64; 0]);
        // A late bar is followed by those between it and the first one.
        seen.take(closed(8, 0));
        assert_eq!(seen.holes(), [9_000]);
        assert_eq!(seen.lacked(&closed(14, 0)), 1);
    }
}
