use market_core::BookFault;

use super::*;
use crate::exchange::registry;

const SETTINGS: DeskSettings = DeskSettings {
    depth: 2,
    limits: BookLimits {
        levels_min: 2,
        levels_max: 100,
        waiting_max: 10,
        waiting_levels_max: 1_000,
    },
    resync_base_ms: 1_000,
    rest_percent: 80,
};

struct Test {
    desk: Desk,
    now: UnixMillis,
    actions: Vec<Action>,
}

impl Test {
    fn new(exchange: &str, natives: &[&str]) -> Self {
        let exchange = registry::find(exchange).expect("registered");
        let symbols: Vec<(InstrumentId, String)> = natives
            .iter()
            .enumerate()
            .map(|(instrument, native)| (instrument, (*native).to_owned()))
            .collect();
        let meters = BookMeters::new(exchange.name());
        let now = 1_000_000;
        Self {
            desk: Desk::new(exchange, &symbols, SETTINGS, meters, now),
            now,
            actions: Vec::new(),
        }
    }

    fn frame(&mut self, text: &str) {
        self.desk.frame(text, self.now * 1_000);
    }

    /// Moves the clock by this time in steps; the messages and requests meanwhile.
    fn wait(&mut self, ms: i64) -> Vec<Action> {
        for _ in 0..ms / 50 {
            self.now += 50;
            // The venue pings.
            self.desk.heard(self.now);
            self.desk.tick(self.now, &mut self.actions);
        }
        std::mem::take(&mut self.actions)
    }

    fn answer(&mut self, index: usize, body: Option<&str>) {
        let body = body.map(str::as_bytes);
        self.desk.snapshot(index, body, self.now * 1_000);
    }

    /// What is to be published: for each book its best bid, or why there is none.
    fn published(&mut self) -> Vec<(InstrumentId, String)> {
        let text = |(instrument, book): (InstrumentId, PublishedBook)| match book {
            Ok(book) => (instrument, book.bids[0].price.to_string()),
            Err(fault) => (instrument, fault.name().to_owned()),
        };
        self.desk.take_published().map(text).collect()
    }
}

fn depth(native: &str, first: u64, last: u64, bid: &str) -> String {
    format!(
        r#"{{"e":"depthUpdate","E":1,"s":"{native}","U":{first},"u":{last},"b":[["{bid}","1"]],"a":[]}}"#
    )
}

fn body(last: u64) -> String {
    format!(
        r#"{{"lastUpdateId":{last},"bids":[["10","1"],["9","1"]],"asks":[["90","1"],["91","1"]]}}"#
    )
}

fn fetches(actions: &[Action]) -> Vec<usize> {
    let fetch = |action: &Action| match action {
        Action::Fetch(index, _) => Some(*index),
        Action::Send(_) | Action::Close(_) => None,
    };
    actions.iter().filter_map(fetch).collect()
}

fn sent(actions: &[Action]) -> Vec<&str> {
    fn text(action: &Action) -> Option<&str> {
        match action {
            Action::Send(text) => Some(text.as_str()),
            Action::Fetch(..) | Action::Close(_) => None,
        }
    }
    actions.iter().filter_map(text).collect()
}

#[test]
fn a_hole_makes_a_book_invalid_at_once_and_asks_for_one_snapshot() {
    let mut test = Test::new("binance", &["BTCUSDT", "ETHUSDT"]);
    let actions = test.wait(500);
    assert_eq!(sent(&actions).len(), 1, "{actions:?}");
    assert!(fetches(&actions).is_empty(), "nothing is subscribed yet");
    test.frame(r#"{"result":null,"id":1}"#);
    let actions = test.wait(500);
    assert_eq!(fetches(&actions), [0], "one at a time");
    test.frame(&depth("BTCUSDT", 11, 12, "11"));
    assert!(test.published().is_empty());
    test.answer(0, Some(&body(10)));
    assert_eq!(test.published(), [(0, "11".to_owned())]);
    assert_eq!(fetches(&test.wait(500)), [1]);
    test.answer(1, Some(&body(20)));
    test.published();
    test.wait(1_000);
    // A change is lost.
    test.frame(&depth("BTCUSDT", 14, 14, "12"));
    assert_eq!(test.published(), [(0, "hole".to_owned())]);
    for id in 15..30 {
        test.frame(&depth("BTCUSDT", id, id, "13"));
    }
    assert!(test.published().is_empty());
    assert_eq!(fetches(&test.wait(10_000)), [0], "the answer is awaited");
    test.answer(0, Some(&body(25)));
    assert_eq!(test.published(), [(0, "13".to_owned())]);
    // The other book was right all the time.
    test.frame(&depth("ETHUSDT", 21, 21, "14"));
    assert_eq!(test.published(), [(1, "14".to_owned())]);
}

#[test]
fn snapshots_that_fail_or_are_too_old_are_asked_for_again_and_again_but_ever_later() {
    let mut test = Test::new("binance", &["BTCUSDT"]);
    test.wait(500);
    test.frame(&depth("BTCUSDT", 11, 12, "11"));
    let mut asked = Vec::new();
    let answers = [None, Some("{}".to_owned()), Some(body(3))];
    for answer in answers.iter().cycle().take(6) {
        let start = test.now;
        while fetches(&test.wait(50)).is_empty() {}
        asked.push((test.now - start) / 1_000);
        test.answer(0, answer.as_deref());
    }
    assert_eq!(asked, [0, 1, 2, 4, 8, 16]);
    assert!(test.published().is_empty());
}

#[test]
fn a_stream_that_begins_with_snapshots_is_subscribed_again_after_a_hole() {
    let mut test = Test::new("okx", &["BTC-USDT", "ETH-USDT"]);
    let row = |action: &str, previous: i64, number: u64, bid: &str| {
        format!(
            r#"{{"arg":{{"channel":"books","instId":"ETH-USDT"}},"action":"{action}","data":[{{"asks":[["90","1","0","1"]],"bids":[["{bid}","1","0","1"]],"ts":"5","seqId":{number},"prevSeqId":{previous}}}]}}"#
        )
    };
    assert_eq!(sent(&test.wait(500)).len(), 1);
    test.frame(&row("snapshot", -1, 7, "10"));
    test.frame(&row("update", 7, 9, "11"));
    assert_eq!(test.published(), [(1, "11".to_owned())], "the newest one");
    test.wait(300);
    test.frame(&row("update", 8, 10, "12"));
    assert_eq!(test.published(), [(1, "hole".to_owned())]);
    test.frame(&row("update", 10, 11, "12"));
    assert!(test.published().is_empty());
    let actions = test.wait(2_000);
    let ops: Vec<&str> = sent(&actions)
        .into_iter()
        .filter(|text| text.contains("ETH-USDT"))
        .collect();
    assert!(ops[0].contains(r#""op":"unsubscribe""#), "{ops:?}");
    assert!(ops[1].contains(r#""op":"subscribe""#), "{ops:?}");
    assert_eq!(ops.len(), 2);
    test.frame(&row("snapshot", -1, 11, "13"));
    assert_eq!(test.published(), [(1, "13".to_owned())]);
}

#[test]
fn a_frame_that_cannot_be_read_makes_the_book_that_it_names_invalid_or_all_of_them() {
    let mut test = Test::new("coinbase", &["BTC-USD", "ETH-USD"]);
    let snapshot = |native: &str| {
        format!(
            r#"{{"type":"snapshot","product_id":"{native}","bids":[["10","1"]],"asks":[["90","1"]]}}"#
        )
    };
    for native in ["BTC-USD", "ETH-USD"] {
        test.frame(&snapshot(native));
    }
    test.published();
    test.frame(r#"{"type":"l2update","product_id":"ETH-USD","changes":[["buy","10"#);
    assert_eq!(test.published(), [(1, "hole".to_owned())]);
    test.frame(&snapshot("ETH-USD"));
    test.published();
    test.frame(r#"{"type":"l2upd"#);
    let both = [0, 1].map(|instrument| (instrument, "hole".to_owned()));
    assert_eq!(test.published(), both);
}

#[test]
fn a_symbol_that_the_venue_refuses_does_not_stop_the_others_of_its_frame() {
    let mut test = Test::new("binance", &["BTCUSDT", "NONEUSDT"]);
    test.wait(500);
    test.frame(r#"{"code":2,"msg":"Invalid request","id":1}"#);
    let actions = test.wait(1_000);
    let frames = sent(&actions);
    assert!(frames[0].contains("btcusdt@depth") && frames[1].contains("noneusdt@depth"));
    test.frame(r#"{"result":null,"id":2}"#);
    test.frame(r#"{"code":2,"msg":"Invalid request","id":3}"#);
    let actions = test.wait(5_000);
    assert_eq!(fetches(&actions), [0]);
    assert_eq!(sent(&actions).len(), 1, "it is asked for again, later");
    test.answer(0, Some(&body(10)));
    assert_eq!(test.published(), [(0, "10".to_owned())]);
}

#[test]
fn books_that_always_break_do_not_take_the_turns_of_the_others() {
    let natives: Vec<String> = (0..100).map(|index| format!("C{index}USDT")).collect();
    let natives: Vec<&str> = natives.iter().map(String::as_str).collect();
    let mut test = Test::new("binance", &natives);
    let mut asked = std::collections::BTreeSet::new();
    for (id, _) in (1..).zip(natives.chunks(50)) {
        asked.extend(fetches(&test.wait(500)));
        test.frame(&format!(r#"{{"result":null,"id":{id}}}"#));
    }
    asked.extend(fetches(&test.wait(500)));
    test.answer(0, None);
    // Each request takes five seconds, and none has an answer that helps: the first books are due
    // again long before the last one had its turn.
    for _ in 0..natives.len() {
        let actions = test.wait(5_000);
        let fetched = fetches(&actions);
        assert_eq!(fetched.len(), 1);
        asked.extend(&fetched);
        test.answer(fetched[0], None);
    }
    assert_eq!(asked.len(), natives.len(), "each had its turn");
}

#[test]
fn books_that_always_break_do_not_subscribe_more_often_than_okx_permits() {
    let natives: Vec<String> = (0..20).map(|index| format!("C{index}-USDT")).collect();
    let natives: Vec<&str> = natives.iter().map(String::as_str).collect();
    let mut test = Test::new("okx", &natives);
    // No snapshot ever comes: each book is asked for once a minute.
    let actions = test.wait(HOUR_MS);
    let requests = sent(&actions);
    assert!(requests.len() > 240, "{}", requests.len());
    assert!(requests.len() <= 480, "{}", requests.len());
    // Each of them had its turns.
    for native in natives {
        let turns = requests
            .iter()
            .filter(|text| text.contains(&format!("\"{native}\"")));
        assert!(turns.count() > 10, "{native}");
    }
}

#[test]
fn a_snapshot_that_was_asked_for_before_a_change_was_lost_is_not_taken() {
    let mut test = Test::new("binance", &["BTCUSDT"]);
    test.wait(500);
    test.frame(r#"{"result":null,"id":1}"#);
    assert_eq!(fetches(&test.wait(500)), [0]);
    // It may be the change of number 11.
    test.frame(r#"{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":11,"u":11,"b":[["1"#);
    test.answer(0, Some(&body(10)));
    assert!(
        test.published().is_empty(),
        "no change may ever show that it is wrong"
    );
    while fetches(&test.wait(50)).is_empty() {}
    test.answer(0, Some(&body(11)));
    assert_eq!(test.published(), [(0, "10".to_owned())]);
}

#[test]
fn a_frame_with_very_many_changes_of_a_book_makes_one_book() {
    let mut test = Test::new("okx", &["BTC-USDT"]);
    let row = |previous: i64, number: i64| {
        format!(
            r#"{{"asks":[["90","1","0","1"]],"bids":[["{number}","1","0","1"]],"ts":"5","seqId":{number},"prevSeqId":{previous}}}"#
        )
    };
    let frame = |action: &str, rows: &[String]| {
        format!(
            r#"{{"arg":{{"channel":"books","instId":"BTC-USDT"}},"action":"{action}","data":[{}]}}"#,
            rows.join(",")
        )
    };
    test.frame(&frame("snapshot", &[row(-1, 1)]));
    let rows: Vec<String> = (2..60).map(|number| row(number - 1, number)).collect();
    test.frame(&frame("update", &rows));
    assert_eq!(test.published(), [(0, "59".to_owned())]);
    // A book that broke and is right again within a frame is right.
    test.frame(&frame("update", &[row(70, 71)]));
    test.frame(&frame("snapshot", &[row(-1, 80)]));
    assert_eq!(test.published(), [(0, "80".to_owned())]);
}

#[test]
fn books_are_lost_with_their_connection() {
    let mut test = Test::new("binance", &["BTCUSDT", "ETHUSDT"]);
    test.frame(&depth("ETHUSDT", 1, 2, "11"));
    test.answer(1, Some(&body(1)));
    test.published();
    test.desk.end(test.now);
    assert_eq!(test.published(), [(1, BookFault::Lost.name().to_owned())]);
}

#[test]
fn a_venue_that_is_silent_is_left() {
    for exchange in ["binance", "coinbase", "okx"] {
        let mut test = Test::new(exchange, &["BTC-USD"]);
        let mut closed = false;
        for _ in 0..2_000 {
            test.now += 50;
            test.desk.tick(test.now, &mut test.actions);
            closed |= test.actions.contains(&Action::Close("silent"));
        }
        assert!(closed, "{exchange}");
    }
    let mut test = Test::new("binance", &["BTCUSDT"]);
    test.frame(r#"{"e":"serverShutdown","E":1770123456789}"#);
    assert_eq!(test.wait(50), [Action::Close("closing_soon")]);
}
