//! Captures and stored trades, as they come onto the bus.

use std::path::Path;
use std::time::Duration;

use bus::{BusConfig, Delivery, MemoryBus};
use bytes::Bytes;
use clap::Parser;
use history::store::{Instrument, SqliteOptions, SqliteStore, TradeStore};
use market_core::{AggressorSide, Price, Quantity};
use testkit::directory::Directory;

use super::*;

const START_MS: i64 = 1_722_470_400_000;
/// A wait that ends long before.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    args: ReplayArgs,
}

fn args(flags: &[&str]) -> ReplayArgs {
    let given = ["replay", "--exchange", "binance", "--symbols", "BTC-USDT"];
    Flags::parse_from(given.iter().chain(flags)).args
}

/// A file of trades, three a second.
fn file(name: &str) -> PathBuf {
    let lines = (0..90i64).map(|id| {
        let (price, at_ms) = (50_000 + id % 7, START_MS + id * 333);
        format!("{id},{price}.5,0.01,500.0,{at_ms},true,true\n")
    });
    let name = format!("klinecast-replay-{}-{name}.csv", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, lines.collect::<String>()).expect("a file");
    path
}

fn memory() -> Arc<dyn Bus> {
    Arc::new(MemoryBus::new(&BusConfig::default(), &service::streams()).expect("a bus"))
}

async fn replayed(past: Past, flags: &[&str]) -> (String, Vec<(String, Bytes)>) {
    let bus = memory();
    let mut published = bus.subscribe(">").await.expect("subscribed");
    let flags = [&["--speed", "0", "--timeframes", "1s,1m"], flags].concat();
    let service = Service::for_test();
    let summary = play(&args(&flags), past, Arc::clone(&bus), &service).await;
    let summary = summary.expect("played");
    bus.drain().await.expect("drained");
    let mut messages = Vec::new();
    while let Some(Delivery::Message(message)) = published.recv().await {
        messages.push((message.subject.to_string(), message.payload));
    }
    (summary, messages)
}

fn files(file: &Path) -> Past {
    Past::Files(vec![file.to_owned()])
}

/// A store with the trades of the file.
fn stored(directory: &Directory, ids: std::ops::Range<i64>) -> Past {
    let trades = ids.map(|id| Trade {
        first_id: id.unsigned_abs(),
        last_id: id.unsigned_abs(),
        event_ms: START_MS + id * 333,
        price: Price::parse(&format!("{}.5", 50_000 + id % 7)).expect("a price"),
        quantity: Quantity::parse("0.01").expect("a quantity"),
        // The buyer was the maker.
        aggressor_side: AggressorSide::Sell,
        received_us: (START_MS + id * 333) * 1_000,
    });
    let instrument = Instrument {
        exchange: "binance".into(),
        symbol: "BTC-USDT".parse().expect("a symbol"),
    };
    let store = SqliteStore::open(directory.path(), SqliteOptions::default());
    let store = store.expect("a new directory");
    let appended = store.append_trades(&[(instrument, trades.collect())], None);
    appended.expect("stored");
    Past::Trades(Arc::new(store))
}

fn count(messages: &[(String, Bytes)], root: &str, part: &str) -> usize {
    let of_root = messages
        .iter()
        .filter(|(subject, _)| subject.starts_with(root));
    let texts = of_root.map(|(_, payload)| String::from_utf8_lossy(payload));
    texts.filter(|text| text.contains(part)).count()
}

#[tokio::test]
async fn a_capture_goes_through_the_pipelines_and_two_replays_are_the_same() {
    let file = file("twice");
    let (summary, messages) = replayed(files(&file), &[]).await;
    assert!(summary.contains("90 trades"), "{summary}");
    for state in ["closed", "forming"] {
        let count = count(&messages, "kline.", &format!("\"state\":\"{state}\""));
        assert!(count >= 29, "{count} {state} bars");
    }
    let (_, again) = replayed(files(&file), &[]).await;
    assert_eq!(again, messages);
    std::fs::remove_file(file).expect("the file");
}

#[tokio::test]
async fn stored_trades_make_the_bars_that_their_file_makes() {
    let (file, directory) = (file("stored"), Directory::new());
    let (_, expected) = replayed(files(&file), &[]).await;
    let (summary, messages) = replayed(stored(&directory, 0..90), &[]).await;
    assert!(summary.contains("90 trades"), "{summary}");
    assert_eq!(messages, expected);
    let directory = Directory::new();
    let (_, messages) = replayed(stored(&directory, 0..90), &["--trades"]).await;
    assert_eq!(count(&messages, "market.", "\"price\""), 90);
    assert_eq!(count(&expected, "market.", ""), 0);
    let bars = messages
        .into_iter()
        .filter(|(subject, _)| !subject.starts_with("market."));
    assert_eq!(bars.collect::<Vec<_>>(), expected);
    std::fs::remove_file(file).expect("the file");
}

#[tokio::test]
async fn bars_at_the_ends_of_a_replay_are_whole_where_the_stored_trades_prove_it() {
    // Trade 12 is the last one of second 3, and 13 to 27 are those of seconds 4 to 8.
    let span = |from: i64, to: i64| {
        let at = |second: i64| (START_MS + second * 1_000).to_string();
        ["--from".to_owned(), at(from), "--to".to_owned(), at(to)]
    };
    for (ids, partial) in [(0..90, 0), (13..90, 1)] {
        let directory = Directory::new();
        let flags = span(4, 9);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let (_, messages) = replayed(stored(&directory, ids.clone()), &flags).await;
        let seconds = |quality: &str| {
            let part = format!(r#""state":"closed","rev":0,"quality":"{quality}""#);
            count(&messages, "kline.1s.", &part)
        };
        assert_eq!(seconds("complete"), 5 - partial, "{ids:?}");
        assert_eq!(seconds("partial"), partial, "{ids:?}");
    }
}

#[tokio::test]
async fn a_store_without_trades_says_how_to_get_some() {
    let directory = Directory::new();
    let past = stored(&directory, 0..0);
    let service = Service::for_test();
    let error = play(&args(&[]), past, memory(), &service).await;
    let error = format!("{:#}", error.expect_err("no trades"));
    assert!(error.contains("history --trades"), "{error}");
}

#[tokio::test]
async fn a_replay_of_a_capture_ends_at_once_when_it_is_told_to() {
    let file = file("told");
    let bus = memory();
    let mut bars = bus.subscribe("kline.>").await.expect("subscribed");
    let service = Service::for_test();
    // Longer than anybody waits.
    let args = args(&["--speed", "0.000001"]);
    let told = async {
        bars.recv().await.expect("the first bar");
        service.shutdown.trigger();
    };
    let playing = play(&args, files(&file), Arc::clone(&bus), &service);
    let both = async { tokio::join!(playing, told) };
    let (ended, ()) = tokio::time::timeout(PATIENCE, both).await.expect("at once");
    ended.expect("ended");
    std::fs::remove_file(file).expect("the file");
}

#[tokio::test]
async fn a_file_that_is_no_capture_is_named() {
    let file = file("garbage");
    std::fs::write(&file, "no trades\nat all\n").expect("a file");
    let service = Service::for_test();
    let played = play(&args(&[]), files(&file), memory(), &service).await;
    let error = played.expect_err("garbage").to_string();
    assert!(error.contains("none of the 2 lines"), "{error}");
    std::fs::remove_file(file).expect("the file");
}
