//! A client that keeps every closed bar of one topic, and asks for what it missed with `from`, as
//! `docs/protocol.md` tells clients to.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::bar::{Bar, State};
use crate::client::{Client, Dial, Got};

/// Between attempts to connect, and before a question is repeated.
const REST: Duration = Duration::from_millis(100);

/// What comes next on the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// The ack of the last question.
    #[default]
    Ack,
    /// Bars of the past, and `live`.
    Past,
    /// What is newer.
    Live,
}

/// The bars of a collector, and what it was told.
#[derive(Debug, Default)]
pub struct Collected {
    topic: String,
    /// Bars that the first question asks for.
    last: usize,
    /// The closed bar that counts, by start.
    pub bars: BTreeMap<i64, Bar>,
    /// What the protocol forbids, and happened.
    pub faults: Vec<String>,
    /// Questions, answers and messages of missing bars, in order: for the reader of a failure.
    pub story: Vec<String>,
    /// Sessions so far.
    pub sessions: usize,
    /// The last session that had an answer with `recovered` true.
    pub recovered_session: usize,
    /// Answers with `recovered` true.
    pub recovered: usize,
    /// Answers with `recovered` false, by reason.
    pub unrecovered: BTreeMap<String, usize>,
    /// Messages of skipped bars.
    pub skips: usize,
    /// The token's two times.
    place: Option<(i64, i64)>,
    phase: Phase,
    asked: u64,
    /// Bars are missing: later bars do not move the token until an answer has the missing ones.
    is_owed: bool,
    past: Vec<Bar>,
}

impl Collected {
    fn new(topic: String, last: usize) -> Self {
        Self {
            topic,
            last,
            ..Self::default()
        }
    }

    /// The end of the newest closed bar, ms; 0 before the first.
    #[must_use]
    pub fn end_ms(&self) -> i64 {
        self.bars.last_key_value().map_or(0, |(_, bar)| bar.end_ms)
    }

    fn joined(&mut self, url: &str) {
        self.sessions += 1;
        self.story
            .push(format!("session {} at {url}", self.sessions));
    }

    fn question(&mut self) -> String {
        self.asked += 1;
        self.phase = Phase::Ack;
        self.is_owed = false;
        self.past.clear();
        let from = match self.place {
            Some((end_ms, known_ms)) => json!({"token": format!("k1.{end_ms}.{known_ms}")}),
            None => json!({"last": self.last}),
        };
        self.story.push(format!("asks from {from}"));
        json!({"op": "sub", "id": self.asked, "topics": [self.topic], "from": from}).to_string()
    }

    fn fault(&mut self, what: String) {
        self.story.push(format!("FAULT: {what}"));
        self.faults.push(what);
    }

    /// Takes an object, and tells whether the collector has to ask again.
    fn take(&mut self, object: &Value) -> bool {
        match object["op"].as_str() {
            Some("ack") if object["id"] == self.asked => self.phase = Phase::Past,
            Some("live") if self.phase == Phase::Past => self.live(object),
            Some("error") => {
                self.story.push(format!("is refused: {object}"));
                self.is_owed = true;
            }
            Some(_) => {}
            None if self.phase == Phase::Ack => {}
            None => match serde_json::from_value::<Bar>(object.clone()) {
                Ok(bar) if self.phase == Phase::Past => self.past.push(bar),
                Ok(bar) => self.now(bar),
                Err(error) => self.fault(format!("no bar: {error}: {object}")),
            },
        }
        self.is_owed
    }

    fn live(&mut self, live: &Value) {
        self.phase = Phase::Live;
        let past = std::mem::take(&mut self.past);
        let starts = past.iter().map(|bar| bar.start_ms);
        let (first, last) = (starts.clone().min(), starts.max());
        let count = past.len();
        self.story
            .push(format!("{live} after {count} bars {first:?}..={last:?}"));
        if live["recovered"] != true {
            let reason = live["reason"].as_str().unwrap_or("none").to_owned();
            *self.unrecovered.entry(reason).or_default() += 1;
            self.is_owed = true;
            return;
        }
        self.recovered += 1;
        self.recovered_session = self.sessions;
        self.check(&past);
        for bar in past {
            self.keep(bar);
        }
        if let Some(token) = live["token"].as_str() {
            match place_of(token) {
                Some(place) => self.place = Some(place),
                None => self.fault(format!("no token: {token}")),
            }
        }
    }

    /// One whole answer: the new bars adjoin what the client has and each other, revisions of older
    /// ones are in order, and none comes twice.
    fn check(&mut self, past: &[Bar]) {
        let mut newest_rev: HashMap<i64, u32> = HashMap::new();
        let mut end_ms = self.place.map(|(end_ms, _)| end_ms);
        let place_ms = end_ms.unwrap_or(i64::MIN);
        let mut older_ms = i64::MIN;
        for bar in past {
            let told = format!("{} rev {} seq {}", bar.start_ms, bar.rev, bar.seq);
            if bar.state != State::Closed {
                self.fault(format!("a forming bar before live: {told}"));
                continue;
            }
            if bar.skipped > 0 {
                self.fault(format!("{} skipped, yet recovered: {told}", bar.skipped));
            }
            if let Some(rev) = newest_rev.insert(bar.start_ms, bar.rev) {
                if bar.rev <= rev {
                    self.fault(format!("{told} after its rev {rev} in one answer"));
                }
            } else if bar.start_ms < place_ms {
                if bar.start_ms < older_ms {
                    self.fault(format!("revision {told} comes after that of {older_ms}"));
                }
                older_ms = bar.start_ms;
            } else {
                if end_ms.is_some_and(|end_ms| end_ms != bar.start_ms) {
                    self.fault(format!("{told} after bars up to {end_ms:?} in an answer"));
                }
                end_ms = Some(bar.end_ms);
            }
        }
    }

    /// A bar after `live`.
    fn now(&mut self, bar: Bar) {
        if bar.skipped > 0 && !self.is_owed {
            self.skips += 1;
            let told = format!("{} skipped before {}", bar.skipped, bar.start_ms);
            self.story.push(told);
            self.is_owed = true;
        }
        if self.is_owed || bar.state == State::Forming {
            return;
        }
        let held_ms = self.end_ms();
        if held_ms != 0 && bar.start_ms > held_ms {
            self.fault(format!(
                "{} rev {} seq {} after bars up to {held_ms}, and nothing said skipped",
                bar.start_ms, bar.rev, bar.seq
            ));
        }
        let (end_ms, known_ms) = self.place.unwrap_or_default();
        let known = known_ms.max(bar.published_us / 1_000);
        self.place = Some((end_ms.max(bar.end_ms), known));
        self.keep(bar);
    }

    fn keep(&mut self, bar: Bar) {
        // A revision of a bar that it did not ask for.
        if (self.bars.first_key_value()).is_some_and(|(&first_ms, _)| bar.start_ms < first_ms) {
            return;
        }
        let held = self.bars.get(&bar.start_ms);
        if held.is_none_or(|held| replaces(&bar, held)) {
            self.bars.insert(bar.start_ms, bar);
        }
    }
}

/// Whether a bar takes the place of another with the same start.
fn replaces(bar: &Bar, held: &Bar) -> bool {
    let is_past = |bar: &Bar| bar.epoch == 0;
    match (is_past(bar), is_past(held)) {
        (false, false) => bar.standing() >= held.standing(),
        (false, true) => true,
        (true, _) => bar.rev >= held.rev,
    }
}

/// The times of `k1.<end_ms>.<known_ms>`.
fn place_of(token: &str) -> Option<(i64, i64)> {
    let (end_ms, known_ms) = token.strip_prefix("k1.")?.split_once('.')?;
    Some((end_ms.parse().ok()?, known_ms.parse().ok()?))
}

/// See the module.
#[derive(Debug)]
pub struct Collector {
    collected: Arc<Mutex<Collected>>,
    leaves: watch::Sender<Duration>,
    task: JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Collector {
    /// Collects a topic's bars, beginning with the last so many, until it is dropped. After each
    /// loss of its connection it takes the next of these gateways.
    #[must_use]
    pub fn start(urls: Vec<String>, topic: String, last: usize) -> Self {
        let collected = Arc::new(Mutex::new(Collected::new(topic, last)));
        let (leaves, left) = watch::channel(Duration::ZERO);
        let task = tokio::spawn(collect(urls, Arc::clone(&collected), left));
        Self {
            collected,
            leaves,
            task,
        }
    }

    /// Looks at what it has.
    ///
    /// # Panics
    /// If the collector has.
    pub fn look<T>(&self, look: impl FnOnce(&Collected) -> T) -> T {
        assert!(
            !self.task.is_finished(),
            "the collector has failed: see above"
        );
        look(&lock(&self.collected))
    }

    /// Makes it leave its gateway without a close, and go to the next one after this time.
    pub fn leave(&self, away: Duration) {
        self.leaves.send_replace(away);
    }
}

fn lock(collected: &Mutex<Collected>) -> MutexGuard<'_, Collected> {
    collected
        .lock()
        .expect("no code panics while it holds what was collected")
}

async fn collect(
    urls: Vec<String>,
    collected: Arc<Mutex<Collected>>,
    mut left: watch::Receiver<Duration>,
) {
    for url in urls.iter().cycle() {
        let mut is_left = false;
        if let Ok(client) = Dial::default().connect(url).await {
            lock(&collected).joined(url);
            is_left = session(client, &collected, &mut left).await;
        }
        // Only the time of a leave that ended the session counts.
        let away = if is_left {
            *left.borrow_and_update()
        } else {
            REST
        };
        tokio::time::sleep(away.max(REST)).await;
    }
}

/// One connection, until it is lost or left; whether it was left.
async fn session(
    mut client: Client,
    collected: &Mutex<Collected>,
    left: &mut watch::Receiver<Duration>,
) -> bool {
    let mut must_ask = true;
    loop {
        if must_ask {
            let question = lock(collected).question();
            if client.try_send(question.into()).await.is_err() {
                return false;
            }
        }
        let got = tokio::select! {
            _ = left.changed() => return true,
            got = client.next() => got,
        };
        let Got::Frame(objects) = got else {
            return false;
        };
        must_ask = {
            let mut state = lock(collected);
            objects.iter().fold(false, |_, object| state.take(object))
        };
        if must_ask {
            tokio::time::sleep(REST).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(start_ms: i64, rev: u32, seq: u64) -> Value {
        json!({
            "topic": "kline:1s:A-B", "seq": seq, "epoch": u64::from(seq > 0), "exchange": "binance",
            "symbol": "A-B", "interval": "1s", "start_ms": start_ms, "end_ms": start_ms + 1_000,
            "open": "1", "high": "1", "low": "1", "close": "1", "volume": "1", "quote_volume": "1",
            "taker_buy_volume": "1", "taker_buy_quote_volume": "1", "count": 1, "first_id": "1",
            "last_id": "1", "state": "closed", "rev": rev, "quality": "complete", "event_ms": null,
            "received_us": null, "published_us": (start_ms + 1_100) * 1_000,
        })
    }

    fn live(token: &str) -> Value {
        json!({"op": "live", "topic": "kline:1s:A-B", "recovered": true, "token": token})
    }

    fn told(objects: &[Value]) -> Collected {
        let mut collected = Collected::new("kline:1s:A-B".to_owned(), 5);
        let _ = collected.question();
        let _ = collected.take(&json!({"op": "ack", "id": 1}));
        for object in objects {
            let _ = collected.take(object);
        }
        collected
    }

    #[test]
    fn a_whole_answer_and_what_is_newer_are_no_fault_and_move_the_token() {
        let mut collected = told(&[
            bar(1_000, 0, 0),
            bar(2_000, 0, 0),
            bar(1_000, 1, 7),
            live("k1.3000.3100"),
            bar(3_000, 0, 8),
        ]);
        assert!(collected.faults.is_empty(), "{:?}", collected.faults);
        assert_eq!(collected.bars.len(), 3);
        assert_eq!(collected.bars[&1_000].rev, 1);
        assert!(collected.question().contains("k1.4000.4100"));
    }

    #[test]
    fn holes_repetitions_and_disorder_are_faults() {
        for objects in [
            vec![bar(1_000, 0, 0), bar(3_000, 0, 0), live("k1.4000.4100")],
            vec![bar(2_000, 0, 0), bar(1_000, 0, 0), live("k1.3000.3100")],
            vec![bar(1_000, 0, 0), bar(1_000, 0, 7), live("k1.2000.2100")],
            vec![bar(1_000, 0, 0), live("k1.2000.2100"), bar(3_000, 0, 7)],
        ] {
            assert_eq!(told(&objects).faults.len().min(1), 1, "{objects:?}");
        }
    }

    #[test]
    fn what_was_skipped_is_asked_for_from_the_place_before() {
        let mut newer = bar(5_000, 0, 9);
        newer["skipped"] = json!(2);
        let mut collected = told(&[bar(1_000, 0, 0), live("k1.2000.2100"), newer]);
        assert!(collected.faults.is_empty() && collected.is_owed);
        assert!(collected.question().contains("k1.2000.2100"));
    }
}
