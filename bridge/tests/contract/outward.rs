//! From the bus to Kafka.

use std::time::Duration;

use bus::Append;
use bytes::Bytes;
use krafka::error::ErrorCode;
use krafka::testing::{ApiKey, Control};
use testkit::wait::{holds, until};

use crate::setup::{KLINES, Setup, bar, header};

const MARKETS: [&str; 3] = ["BTC-USDT", "ETH-USDT", "SOL-USDT"];
/// Small writes, so that faults come between them.
const SMALL: [&str; 2] = ["--bridge-batch-max", "10"];
const BARS: &str = "out: {market_data.klines: {from: journal.>, partitions: 4}}\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bars_are_in_kafka_once_in_order_with_topics_headers_and_positions() {
    let Some(setup) = Setup::start(1).await else {
        return;
    };
    setup.publish(&MARKETS, 0..20).await;
    let traced = Append {
        headers: header("traceparent", "00-1-2-01"),
        ..Append::new("journal.1s.BTC-USDT", bar("BTC-USDT", 20))
    };
    setup.bus.streams().append(traced).await.expect("taken");
    // What came from Kafka does not go back.
    let back = Append {
        headers: header("klinecast-from-kafka", "feed/0/1"),
        ..Append::new("journal.1s.BTC-USDT", bar("BTC-USDT", 99))
    };
    setup.bus.streams().append(back).await.expect("taken");
    let bridge = setup.bridge("", &[]).await;
    bridge.until_ready().await;
    setup.publish(&["ETH-USDT", "SOL-USDT"], 20..21).await;
    setup.until_all(KLINES, &MARKETS, 21).await;
    for (topic, partitions) in [
        (KLINES, 12),
        ("market_data.trades", 12),
        ("market_data.ticks", 12),
        ("market_data.orderbooks", 12),
        ("marketdata_ticker", 3),
        ("marketdata_subscribe", 8),
        ("marketdata_system", 1),
    ] {
        let last = setup.kafka.next_offset(topic, partitions - 1);
        assert!(last.is_some(), "{topic} has {partitions} partitions");
        assert_eq!(setup.kafka.next_offset(topic, partitions), None, "{topic}");
    }
    let records = setup.kafka.committed_records(KLINES).expect("a log");
    let traced = records
        .iter()
        .find(|record| record.header_str("traceparent").is_some());
    let traced = traced.expect("headers are copied");
    assert_eq!(
        traced.header_str("klinecast-subject"),
        Some("journal.1s.BTC-USDT")
    );
    assert_eq!(traced.header_str("klinecast-site"), Some("klinecast"));
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_that_is_away_loses_and_doubles_nothing_and_is_told() {
    let Some(setup) = Setup::start(1).await else {
        return;
    };
    let bridge = setup.bridge(BARS, &SMALL).await;
    bridge.until_ready().await;
    setup.publish(&MARKETS, 0..10).await;
    setup.until_all(KLINES, &MARKETS, 10).await;
    setup.kafka.crash(0);
    setup.publish(&MARKETS, 10..40).await;
    bridge.until_it_says(KLINES).await;
    setup.kafka.restart(0);
    setup.until_all(KLINES, &MARKETS, 40).await;
    bridge.until_ready().await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_lost_after_a_write_double_nothing() {
    let Some(setup) = Setup::start(1).await else {
        return;
    };
    for api in [ApiKey::Produce, ApiKey::EndTxn, ApiKey::Produce] {
        setup.kafka.on_times(api, 2, |_| {
            Control::ApplyThen(Box::new(Control::Disconnect))
        });
    }
    setup.publish(&MARKETS, 0..40).await;
    let bridge = setup.bridge(BARS, &SMALL).await;
    setup.until_all(KLINES, &MARKETS, 40).await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bridge_that_is_killed_in_the_middle_of_a_batch_goes_on_where_it_was() {
    let Some(setup) = Setup::start(1).await else {
        return;
    };
    setup.publish(&MARKETS, 0..60).await;
    for kill in 0..3 {
        // The batch is written, and its transaction never ends.
        setup.kafka.clear_hooks();
        setup.kafka.clear_requests();
        if kill == 1 {
            setup.kafka.on(ApiKey::EndTxn, |_| Control::Silence);
        } else {
            setup
                .kafka
                .on(ApiKey::EndTxn, |info| match info.api_call_index {
                    0 | 1 => Control::Pass,
                    _ => Control::ApplyThen(Box::new(Control::Silence)),
                });
        }
        let bridge = setup.bridge(BARS, &SMALL).await;
        let is_there = setup
            .kafka
            .wait_for_requests(ApiKey::EndTxn, 1, Duration::from_secs(60));
        assert!(is_there.await, "a transaction ends");
        bridge.kill().await;
    }
    setup.kafka.clear_hooks();
    let bridge = setup.bridge(BARS, &SMALL).await;
    setup.until_all(KLINES, &MARKETS, 60).await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leader_that_moves_keeps_the_order() {
    let Some(setup) = Setup::start(3).await else {
        return;
    };
    let bridge = setup.bridge(BARS, &SMALL).await;
    setup.publish(&MARKETS, 0..10).await;
    setup.until_all(KLINES, &MARKETS, 10).await;
    for (round, node) in [(1, 1), (2, 2), (3, 0)] {
        for partition in 0..4 {
            setup.kafka.set_leader(KLINES, partition, node);
        }
        setup.publish(&MARKETS, round * 10..(round + 1) * 10).await;
    }
    setup.until_all(KLINES, &MARKETS, 40).await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_broker_holds_back_and_loses_nothing() {
    let Some(setup) = Setup::start(1).await else {
        return;
    };
    setup.kafka.on(ApiKey::Produce, |_| {
        Control::Delay(Duration::from_millis(150))
    });
    setup.publish(&MARKETS, 0..30).await;
    let bridge = setup.bridge(BARS, &["--bridge-batch-max", "30"]).await;
    setup.until_all(KLINES, &MARKETS, 30).await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_record_that_kafka_never_takes_is_set_aside_and_the_others_pass() {
    let Some(setup) = Setup::start(1).await else {
        return;
    };
    setup.publish(&MARKETS, 0..10).await;
    // Too long for our own bound.
    let long = format!(
        r#"{{"exchange":"sim","symbol":"BTC-USDT","x":"{}"}}"#,
        "x".repeat(3_000)
    );
    let long = Append::new("journal.1s.BTC-USDT", Bytes::from(long));
    setup.bus.streams().append(long).await.expect("taken");
    setup.publish(&MARKETS, 10..20).await;
    // And one that Kafka refuses with whatever batch it comes in: the first one of each refused write
    // is not told, so the batch is halved until it is alone.
    setup
        .kafka
        .on_times(ApiKey::Produce, 12, |info| match info.api_call_index {
            2..=4 => Control::Error(ErrorCode::InvalidRecord),
            _ => Control::Pass,
        });
    let flags = [
        "--kafka-record-bytes-max",
        "2000",
        "--bridge-batch-max",
        "4",
    ];
    let bridge = setup.bridge(BARS, &flags).await;
    until("the last bar is in kafka", async || {
        let prices = setup.prices(KLINES);
        let last = prices
            .values()
            .filter(|all| all.last() == Some(&20))
            .count();
        holds(last == MARKETS.len(), || format!("{prices:?}"))
    })
    .await;
    let prices = setup.prices(KLINES);
    let count: usize = prices.values().map(Vec::len).sum();
    // 60 bars; at most one was alone when it was refused.
    assert!(count >= 59, "{count}");
    for (key, prices) in prices {
        assert!(prices.is_sorted(), "{key}: {prices:?}");
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_bridges_one_writes_and_the_other_takes_over() {
    let Some(setup) = Setup::start(1).await else {
        return;
    };
    let first = setup.bridge(BARS, &SMALL).await;
    first.until_ready().await;
    setup.publish(&MARKETS, 0..10).await;
    setup.until_all(KLINES, &MARKETS, 10).await;
    let second = setup.bridge(BARS, &SMALL).await;
    second.until_ready().await;
    let notes = second.service.readiness.notes();
    assert!(
        notes.iter().any(|note| note.contains("standby")),
        "{notes:?}"
    );
    setup.publish(&MARKETS, 10..20).await;
    setup.until_all(KLINES, &MARKETS, 20).await;
    first.kill().await;
    setup.publish(&MARKETS, 20..30).await;
    setup.until_all(KLINES, &MARKETS, 30).await;
    let third = setup.bridge(BARS, &SMALL).await;
    third.until_ready().await;
    second.stop().await;
    setup.publish(&MARKETS, 30..40).await;
    setup.until_all(KLINES, &MARKETS, 40).await;
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_transactions_nothing_is_lost() {
    let Some(setup) = Setup::start(1).await else {
        return;
    };
    let topics = "out: {market_data.klines: {from: journal.>, delivery: at_least_once}}\n";
    setup.publish(&MARKETS, 0..20).await;
    let bridge = setup.bridge(topics, &SMALL).await;
    setup.until_all(KLINES, &MARKETS, 20).await;
    bridge.stop().await;
    setup.publish(&MARKETS, 20..30).await;
    let bridge = setup.bridge(topics, &SMALL).await;
    setup.until_all(KLINES, &MARKETS, 30).await;
    assert_eq!(setup.kafka.request_count(ApiKey::EndTxn), 0);
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_values_are_conflated_while_kafka_is_away_and_the_newest_arrives() {
    let Some(setup) = Setup::start(1).await else {
        return;
    };
    let topics = "out: {marketdata_subscribe: {from: kline.>, partitions: 2}}\n";
    let bridge = setup.bridge(topics, &[]).await;
    bridge.until_ready().await;
    let publish = async |number: u64| {
        let bar = String::from_utf8(bar("BTC-USDT", number).to_vec()).expect("JSON");
        let bar = match number {
            150 => bar,
            _ => bar.replace("closed", "forming"),
        };
        let published = setup.bus.publish("kline.1s.BTC-USDT", bar.into());
        published.await.expect("connected");
        setup.bus.flush().await.expect("connected");
    };
    let closes = || -> Vec<String> {
        let records = setup
            .kafka
            .committed_records("marketdata_subscribe")
            .expect("a log");
        let close = |value: &Bytes| {
            let bar: serde_json::Value = serde_json::from_slice(value).expect("JSON");
            bar["close"].as_str().expect("a price").to_owned()
        };
        records
            .iter()
            .map(|record| close(record.value.as_ref().expect("a value")))
            .collect()
    };
    publish(1).await;
    until("the first value", async || {
        holds(closes().last().is_some_and(|close| close == "2"), || {
            format!("{:?}", closes())
        })
    })
    .await;
    setup.kafka.crash(0);
    for number in 2..200 {
        publish(number).await;
    }
    bridge.until_it_says("marketdata_subscribe").await;
    setup.kafka.restart(0);
    until("the newest value", async || {
        let closes = closes();
        let is_newest = closes.last().is_some_and(|close| close == "200");
        // A closed bar is no older value of the next one.
        let has_closed = closes.contains(&"151".to_owned());
        holds(is_newest && has_closed && closes.len() < 100, || {
            format!("{closes:?}; {}", bridge.says())
        })
    })
    .await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_are_there_need_no_right_to_create_them() {
    let Some(setup) = Setup::start(1).await else {
        return;
    };
    let marks = "klinecast_bridge_marks_klinecast";
    for (topic, partitions) in [(KLINES, 4), (marks, 1)] {
        setup.kafka.create_topic(topic, partitions);
    }
    setup.kafka.on(ApiKey::CreateTopics, |_| {
        Control::Error(ErrorCode::ClusterAuthorizationFailed)
    });
    setup.publish(&MARKETS, 0..5).await;
    // And one that is missing holds back itself alone.
    let topics =
        "out: {market_data.klines: {from: journal.>, partitions: 4}, missing: {from: kline.>}}\n";
    let bridge = setup.bridge(topics, &[]).await;
    setup.until_all(KLINES, &MARKETS, 5).await;
    bridge.until_it_says("missing").await;
    bridge.stop().await;
}
