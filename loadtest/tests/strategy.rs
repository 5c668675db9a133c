//! The example strategy decides as its twin in Python, and its report says what it did.

use loadtest::bar::{Bar, Quality, State};
use loadtest::directory::Directory;
use loadtest::report;
use loadtest::strategy::{Crossing, Run};
use serde_json::Value;

/// What clients/python/tests/test_strategy.py expects, too.
const EXPECTED: &str = include_str!("../../clients/python/tests/crossing.json");
const FIRST_MS: i64 = 1_700_000_000_000;

/// A walk of prices that is the same in every language.
fn prices(count: usize) -> Vec<String> {
    let (mut state, mut cents) = (1_u64, 6_000_000_i64);
    let steps = (0..count).map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        cents += i64::try_from((state >> 33) % 2_001).expect("a small number") - 1_000;
        format!("{}.{:02}", cents / 100, cents % 100)
    });
    steps.collect()
}

fn bars(count: usize) -> Vec<Bar> {
    let walk = prices(count);
    let bar = |(at, close): (usize, &String)| {
        let start_ms = FIRST_MS + i64::try_from(at).expect("a small number") * 1_000;
        Bar {
            topic: "kline:1s:BTC-USD".to_owned(),
            seq: 1,
            epoch: 1,
            exchange: "coinbase".to_owned(),
            symbol: "BTC-USD".to_owned(),
            interval: "1s".to_owned(),
            start_ms,
            end_ms: start_ms + 1_000,
            open: walk[at.saturating_sub(1)].clone(),
            high: close.clone(),
            low: close.clone(),
            close: close.clone(),
            volume: "1".to_owned(),
            quote_volume: None,
            taker_buy_volume: None,
            taker_buy_quote_volume: None,
            count: None,
            first_id: None,
            last_id: None,
            state: State::Closed,
            rev: 0,
            quality: Quality::Complete,
            event_ms: None,
            received_us: None,
            published_us: (start_ms + 1_000) * 1_000,
            skipped: 0,
        }
    };
    walk.iter().enumerate().map(bar).collect()
}

fn play(bars: &[Bar]) -> (Vec<(i64, String)>, Run) {
    let mut run = Run::new(Crossing::new(5, 20));
    let decide = |bar| run.take(bar).map(|side| (bar.start_ms, side.to_string()));
    (bars.iter().filter_map(decide).collect(), run)
}

#[test]
fn the_strategy_decides_as_the_program_in_python() {
    let expected: Value = serde_json::from_str(EXPECTED).expect("JSON");
    let (decisions, run) = play(&bars(500));
    let decisions: Vec<Value> = decisions
        .into_iter()
        .map(|(at, side)| serde_json::json!([(at - FIRST_MS) / 1_000, side]))
        .collect();
    assert!(decisions.len() > 10);
    assert_eq!(Value::from(decisions), expected["decisions"]);
    assert_eq!(expected["worth"], run.account.worth().to_string());
    assert_eq!(expected["trades"], run.account.fills.len());
}

#[test]
fn forming_bars_revisions_and_repeated_bars_change_no_decision() {
    let plain = bars(300);
    let (expected, quiet) = play(&plain);
    let mut noisy = Vec::new();
    for (at, bar) in plain.iter().enumerate() {
        let odd = |state, rev| Bar {
            state,
            rev,
            close: "1".to_owned(),
            ..plain[at.saturating_sub(at % 4)].clone()
        };
        noisy.push(Bar {
            start_ms: bar.start_ms,
            ..odd(State::Forming, 0)
        });
        noisy.push(bar.clone());
        noisy.push(odd(State::Closed, 1));
        noisy.push(bar.clone());
    }
    let (decisions, run) = play(&noisy);
    assert_eq!(decisions, expected);
    assert_eq!(run.account.equity, quiet.account.equity);
    assert_eq!(run.revised, 300);
}

#[test]
fn the_report_of_a_strategy_has_each_trade_and_a_picture_of_the_worth() {
    let folder = Directory::named("strategy");
    let (_, run) = play(&bars(2_000));
    report::write(folder.path(), &run).expect("a report");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("a file");
    let told: Value = serde_json::from_str(&read("report.json")).expect("JSON");
    assert_eq!(told["bars"], 2_000);
    assert_eq!(
        told["trades"].as_array().map(Vec::len),
        Some(run.account.fills.len())
    );
    let picture = read("equity.svg");
    let line = picture
        .split("points=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let points: Vec<(f64, f64)> = line
        .expect("a line")
        .split(' ')
        .map(|point| {
            let (x, y) = point.split_once(',').expect("a point");
            (x.parse().expect("a number"), y.parse().expect("a number"))
        })
        .collect();
    assert!((300..500).contains(&points.len()), "{}", points.len());
    assert!(
        points
            .iter()
            .all(|(x, y)| (0.0..=800.0).contains(x) && (0.0..=300.0).contains(y))
    );
    // A run without bars has a report, too.
    report::write(folder.path(), &play(&[]).1).expect("a report");
}
