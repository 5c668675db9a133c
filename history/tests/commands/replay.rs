//! `history replay`.

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, BusConfig, Delivery, MemoryBus, Subscription};
use clap::Parser;
use history::replay::{self, ReplayArgs, ReplaySummary};
use serde_json::Value;
use service::Service;
use testkit::directory::Directory;

use crate::files::{START_MS, klines, trade_lines, write};
use crate::{import, open, succeeded};

/// A wait that ends long before.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    args: ReplayArgs,
}

fn args(store: &Directory, flags: &[&str]) -> ReplayArgs {
    let directory = store.path().display().to_string();
    let given = ["replay", "--data-dir", &directory];
    Flags::parse_from(given.iter().chain(flags)).args
}

/// Bars of a minute and an hour, and trades of the first minutes.
fn filled() -> Directory {
    let (files, store) = (Directory::new(), Directory::new());
    let minutes = write(files.path(), "m.csv", klines(3_000, 1).as_bytes());
    let hour = format!(
        r#"[{START_MS},"1.5","2.5","1.25","2","3",{},"4.5",5,"1","1.5","0"]"#,
        START_MS + 3_599_999
    );
    let hour = write(files.path(), "h.jsonl", hour.as_bytes());
    let trades = write(files.path(), "t.csv", trade_lines(2_500).as_bytes());
    succeeded(&import(store.path(), &[], &[&minutes, &hour, &trades]));
    store
}

fn memory() -> Arc<dyn Bus> {
    Arc::new(MemoryBus::new(&BusConfig::default(), &service::streams()).expect("a bus"))
}

async fn all_of(mut subscription: Subscription, count: u64) -> Vec<(String, Value)> {
    let mut messages = Vec::new();
    for _ in 0..count {
        let delivery = tokio::time::timeout(PATIENCE, subscription.recv()).await;
        let Some(Delivery::Message(message)) = delivery.expect("published in time") else {
            panic!("after {} of {count} messages", messages.len());
        };
        let mut payload: Value = serde_json::from_slice(&message.payload).expect("JSON");
        // What a publisher says about itself.
        for own in ["published_us", "epoch"] {
            payload.as_object_mut().expect("an object").remove(own);
        }
        messages.push((message.subject.to_string(), payload));
    }
    messages
}

async fn replayed(store: &Directory, flags: &[&str]) -> (ReplaySummary, Vec<(String, Value)>) {
    let bus = memory();
    let bars = bus.subscribe("kline.>").await.expect("subscribed");
    let trades = bus.subscribe("market.>").await.expect("subscribed");
    let service = Service::new(PATIENCE);
    let args = args(store, flags);
    let opened = args.open().expect("free");
    let summary = replay::run(&args, opened, bus, &service.shutdown).await;
    let summary = summary.expect("replayed");
    let mut messages = all_of(bars, summary.bars).await;
    messages.extend(all_of(trades, summary.trades).await);
    (summary, messages)
}

#[tokio::test]
async fn two_replays_give_the_same_bytes_but_for_times_of_publication() {
    let store = filled();
    let flags = ["--speed", "0", "--trades"];
    let (first, messages) = replayed(&store, &flags).await;
    assert_eq!((first.bars, first.trades), (3_001, 2_500));
    assert!(!first.is_cancelled);
    let (second, again) = replayed(&store, &flags).await;
    assert_eq!(second, first);
    assert!(messages == again, "the same messages in the same order");

    let bars = || {
        messages
            .iter()
            .filter(|(subject, _)| subject.starts_with("kline."))
    };
    let ends: Vec<_> = bars().map(|(_, bar)| bar["end_ms"].as_i64()).collect();
    assert!(ends.is_sorted(), "in the order in which bars closed");
    let (subject, bar) = bars().next().expect("a bar");
    assert_eq!(subject, "kline.1m.BTC-USDT");
    assert_eq!(
        (bar["seq"].as_u64(), bar["state"].as_str()),
        (Some(1), Some("closed"))
    );
    let hour = bars().position(|(subject, _)| subject == "kline.1h.BTC-USDT");
    assert_eq!(hour, Some(60), "after the minutes in it");
    let ids = messages
        .iter()
        .filter_map(|(_, message)| message["first_id"].as_str());
    let ids: Vec<u64> = ids.map(|id| id.parse().expect("a number")).collect();
    assert!(ids.into_iter().eq(900..3_400));
}

#[tokio::test]
async fn a_range_and_a_choice_of_series_are_all_that_is_replayed() {
    let store = filled();
    let (from, to) = (
        (START_MS + 600_000).to_string(),
        (START_MS + 1_200_000).to_string(),
    );
    let flags = [
        "--speed",
        "0",
        "--from",
        &from,
        "--to",
        &to,
        "--timeframes",
        "1m",
    ];
    let (summary, messages) = replayed(&store, &flags).await;
    assert_eq!((summary.bars, summary.trades), (10, 0));
    let starts = messages.iter().map(|(_, bar)| bar["start_ms"].as_i64());
    assert!(starts.eq((10..20).map(|minute| Some(START_MS + minute * 60_000))));
    let (summary, _) = replayed(&store, &["--speed", "0", "--exchange", "okx"]).await;
    assert_eq!(summary, ReplaySummary::default());
}

#[tokio::test]
async fn a_late_subscriber_finds_the_newest_replayed_bars() {
    let (store, bus) = (filled(), memory());
    let args = args(&store, &["--speed", "0"]);
    let service = Service::new(PATIENCE);
    let opened = args.open().expect("free");
    let run = replay::run(&args, opened, Arc::clone(&bus), &service.shutdown);
    run.await.expect("replayed");
    let kept = bus.last_values("closed.1m.BTC-USDT").await.expect("read");
    let newest: Value = serde_json::from_slice(&kept.last().expect("kept").payload).expect("JSON");
    assert_eq!(newest["start_ms"].as_i64(), Some(START_MS + 2_999 * 60_000));
}

#[tokio::test]
async fn a_replay_waits_for_its_clock_and_ends_at_once_when_it_is_told_to() {
    let (store, bus) = (filled(), memory());
    let mut bars = bus.subscribe("kline.>").await.expect("subscribed");
    let service = Service::new(PATIENCE);
    let shutdown = service.shutdown.clone();
    // The second bar is a minute of the clock away, which this test never waits.
    let args = args(&store, &["--timeframes", "1m"]);
    let opened = args.open().expect("free");
    let run = tokio::spawn(async move { replay::run(&args, opened, bus, &service.shutdown).await });
    let first = tokio::time::timeout(PATIENCE, bars.recv())
        .await
        .expect("the first bar");
    assert!(matches!(first, Some(Delivery::Message(_))));
    shutdown.trigger();
    let summary = tokio::time::timeout(PATIENCE, run).await.expect("it ends");
    let summary = summary.expect("no panic").expect("no failure");
    assert_eq!((summary.bars, summary.is_cancelled), (1, true));
    // The store is free again.
    drop(open(store.path()));
}

#[test]
fn a_replay_has_a_prefix_of_its_own() {
    let store = Directory::new();
    assert_eq!(args(&store, &[]).bus_prefix(""), "replay");
    assert_eq!(
        args(&store, &["--prefix", "march"]).bus_prefix("eu.staging"),
        "eu.staging.march"
    );
    for wrong in ["", "a b", "kline.>"] {
        let given = ["replay", "--prefix", wrong];
        assert!(Flags::try_parse_from(given).is_err(), "{wrong:?}");
    }
}

#[tokio::test]
async fn more_series_than_allowed_are_an_error_that_says_what_to_do() {
    let store = filled();
    let args = args(&store, &["--speed", "0", "--trades", "--series-max", "2"]);
    let service = Service::new(PATIENCE);
    let opened = args.open().expect("free");
    let error = replay::run(&args, opened, memory(), &service.shutdown).await;
    let said = error.expect_err("three series").to_string();
    assert!(
        said.contains("3 series fit") && said.contains("--symbols"),
        "{said}"
    );
}
