//! From Kafka to the bus.

use std::time::Duration;

use bus::{Message, Range, Start};
use krafka::testing::{ApiKey, Control};
use krafka::{Kafka, Record};
use market_core::wire::{BarMessage, TradeMessage};
use testkit::wait::{holds, until};

use crate::setup::{MOMENT, Setup, bar};

const TOPICS: &str = "out: {}\nin:\n  feed.bars: {carries: bars, exchange: mysim, symbols: {BTCUSDT: BTC-USDT}}\n  feed.trades: {carries: trades, format: protobuf}\n";

/// The bytes of a record, and a header.
type Value = (Vec<u8>, Option<(&'static str, &'static str)>);

/// Puts values into a topic of Kafka, with one key.
async fn feed(setup: &Setup, topic: &str, values: Vec<Value>) {
    let kafka = Kafka::builder(setup.kafka.bootstrap_servers());
    let kafka = kafka.connect().await.expect("a cluster");
    let producer = kafka.producer().build().await.expect("a producer");
    for (value, header) in values {
        let record = Record::new(topic, value).key("k");
        let record = match header {
            Some((name, value)) => record.header(name.to_owned(), value.to_owned()),
            None => record,
        };
        let _ = producer.send(record).await.expect("it is written");
    }
    producer.close().await.expect("it ends");
}

fn bars(numbers: std::ops::Range<u64>) -> Vec<Value> {
    let value = |number| {
        let text = String::from_utf8(bar("BTCUSDT", number).to_vec()).expect("JSON");
        text.into_bytes()
    };
    numbers.map(|number| (value(number), None)).collect()
}

async fn stored(setup: &Setup, pattern: &str) -> Vec<Message> {
    let range = Range::new(pattern, Start::Oldest, 10_000);
    let page = setup.bus.streams().range(&range).await.expect("a page");
    page.messages
}

/// Waits until the journal has exactly these bars, in order.
async fn until_journal(setup: &Setup, count: u64) {
    let expected: Vec<String> = (1..=count).map(|number| number.to_string()).collect();
    until("the bars are on the bus", async || {
        let messages = stored(setup, "journal.1s.>").await;
        let closes: Vec<String> = messages
            .iter()
            .map(|message| BarMessage::read(&message.payload).expect("a bar").close)
            .collect();
        holds(closes == expected, || format!("{closes:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bars_of_kafka_are_bars_of_the_bus_and_do_not_go_back() {
    let Some(setup) = Setup::start(1).await else {
        return;
    };
    setup.kafka.create_topic("feed.bars", 2);
    setup.kafka.create_topic("feed.trades", 2);
    feed(&setup, "feed.bars", bars(0..5)).await;
    let bridge = setup.bridge(TOPICS, &[]).await;
    until_journal(&setup, 5).await;
    let messages = stored(&setup, "closed.1s.>").await;
    assert_eq!(messages.len(), 5);
    for (index, message) in messages.iter().enumerate() {
        assert_eq!(&*message.subject, "closed.1s.BTC-USDT");
        let bar = BarMessage::read(&message.payload).expect("a bar");
        assert_eq!(
            (bar.exchange.as_str(), bar.symbol.as_str()),
            ("mysim", "BTC-USDT")
        );
        assert_eq!(bar.topic, "kline:1s:BTC-USDT");
        assert_eq!(bar.seq, index as u64 + 1);
        let from = message.header("klinecast-from-kafka").expect("it says so");
        assert!(from.starts_with("feed.bars/"), "{from}");
    }
    let newest = setup.bus.last_values("kline.1s.>").await.expect("values");
    assert_eq!(
        BarMessage::read(&newest[0].payload).expect("a bar").close,
        "5"
    );
    bridge.stop().await;
    // A bridge the other way round leaves them out.
    let out = "out: {market_data.klines: {from: journal.>, partitions: 2}}\n";
    let bridge = setup.bridge(out, &[]).await;
    bridge.until_ready().await;
    setup.publish(&["ETH-USDT"], 0..1).await;
    setup
        .until_all("market_data.klines", &["ETH-USDT"], 1)
        .await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_and_our_own_records_are_set_aside_and_the_others_pass() {
    let Some(setup) = Setup::start(1).await else {
        return;
    };
    setup.kafka.create_topic("feed.bars", 1);
    setup.kafka.create_topic("feed.trades", 1);
    let own = Some(("klinecast-site", "klinecast"));
    let mut values = bars(0..1);
    values.push((b"no JSON".to_vec(), None));
    values.push((vec![b'x'; 100_000], None));
    values.push((bar("BTCUSDT", 77).to_vec(), own));
    let skewed = String::from_utf8(bar("BTCUSDT", 78).to_vec()).expect("JSON");
    values.push((
        skewed
            .replace("\"start_ms\":17", "\"start_ms\":97")
            .into_bytes(),
        None,
    ));
    values.push((
        skewed
            .replace("\"close\":\"79\"", "\"close\":\"1e9\"")
            .into_bytes(),
        None,
    ));
    values.extend(bars(1..3));
    feed(&setup, "feed.bars", values).await;
    feed(&setup, "feed.trades", vec![(b"\xff\xff".to_vec(), None)]).await;
    let flags = ["--bridge-dead-letter-topic", "feed.dead"];
    let bridge = setup.bridge(TOPICS, &flags).await;
    until_journal(&setup, 3).await;
    until("the letters are written", async || {
        let dead = setup.kafka.committed_records("feed.dead").expect("a log");
        holds(dead.len() == 5, || format!("{}", dead.len()))
    })
    .await;
    let dead = setup.kafka.committed_records("feed.dead").expect("a log");
    let reasons: Vec<&str> = dead
        .iter()
        .filter_map(|record| record.header_str("klinecast-reason"))
        .filter_map(|reason| reason.split(':').next())
        .collect();
    for reason in ["unreadable", "too_long", "ahead"] {
        assert!(reasons.contains(&reason), "{reasons:?}");
    }
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trades_in_protobuf_reach_the_topic_of_trades() {
    let Some(setup) = Setup::start(1).await else {
        return;
    };
    setup.kafka.create_topic("feed.bars", 1);
    setup.kafka.create_topic("feed.trades", 1);
    let mut trades = setup.bus.subscribe("market.>").await.expect("connected");
    let json = br#"{"topic":"trade:BTC-USDT","seq":7,"epoch":3,"exchange":"mysim","symbol":"BTC-USDT","first_id":"41","last_id":"42","price":"50100","quantity":"0.02","aggressor_side":"sell","event_ms":1,"received_us":2,"published_us":3}"#;
    let value = client_frames::dialect::protobuf::update(json);
    feed(&setup, "feed.trades", vec![(value, None)]).await;
    let bridge = setup.bridge(TOPICS, &[]).await;
    let delivery = tokio::time::timeout(testkit::wait::DEADLINE, trades.recv()).await;
    let Ok(Some(bus::Delivery::Message(message))) = delivery else {
        panic!("{delivery:?}");
    };
    assert_eq!(&*message.subject, "market.mysim.BTC-USDT.trade");
    let trade = TradeMessage::read(&message.payload).expect("a trade");
    assert_eq!((trade.price.as_str(), trade.seq), ("50100", Some(1)));
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bus_that_is_away_and_offsets_that_are_not_taken_lose_and_double_nothing() {
    let Some(mut setup) = Setup::start(1).await else {
        return;
    };
    setup.kafka.create_topic("feed.bars", 2);
    setup.kafka.create_topic("feed.trades", 1);
    feed(&setup, "feed.bars", bars(0..5)).await;
    let bridge = setup.bridge(TOPICS, &[]).await;
    until_journal(&setup, 5).await;
    setup.nats.kill();
    feed(&setup, "feed.bars", bars(5..15)).await;
    bridge.until_it_says("").await;
    setup.nats.restart().expect("it starts");
    until("the bus is there again", async || {
        holds(setup.bus.is_connected(), || "not yet".to_owned())
    })
    .await;
    until_journal(&setup, 15).await;
    // The bus has it, and Kafka does not learn it: the next bridge reads it again.
    setup
        .kafka
        .on(ApiKey::OffsetCommit, |_| Control::Disconnect);
    feed(&setup, "feed.bars", bars(15..20)).await;
    until_journal(&setup, 20).await;
    bridge.kill().await;
    setup.kafka.clear_hooks();
    let bridge = setup.bridge(TOPICS, &[]).await;
    feed(&setup, "feed.bars", bars(20..25)).await;
    until_journal(&setup, 25).await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_bridges_share_the_partitions_and_one_takes_all_when_the_other_ends() {
    let Some(setup) = Setup::start(1).await else {
        return;
    };
    setup.kafka.create_topic("feed.bars", 2);
    setup.kafka.create_topic("feed.trades", 1);
    let first = setup.bridge(TOPICS, &[]).await;
    feed(&setup, "feed.bars", bars(0..5)).await;
    until_journal(&setup, 5).await;
    let second = setup.bridge(TOPICS, &[]).await;
    second.until_ready().await;
    feed(&setup, "feed.bars", bars(5..10)).await;
    until_journal(&setup, 10).await;
    first.stop().await;
    feed(&setup, "feed.bars", bars(10..15)).await;
    until_journal(&setup, 15).await;
    tokio::time::sleep(MOMENT.min(Duration::from_millis(1))).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn market_that_marketdata_publishes_is_not_taken_from_kafka() {
    let Some(setup) = Setup::start(1).await else {
        return;
    };
    setup.kafka.create_topic("feed.bars", 1);
    setup.kafka.create_topic("feed.trades", 1);
    let lease = r#"{"number":1,"holder":"marketdata-1"}"#;
    let held = setup
        .bus
        .publish_durable("closed.lease.mysim.BTC-USDT", lease.into())
        .await;
    held.expect("it is kept");
    feed(&setup, "feed.bars", bars(0..3)).await;
    let flags = ["--bridge-dead-letter-topic", "feed.dead"];
    let bridge = setup.bridge(TOPICS, &flags).await;
    until("the letters are written", async || {
        let dead = setup.kafka.committed_records("feed.dead").expect("a log");
        holds(dead.len() == 3, || format!("{}", dead.len()))
    })
    .await;
    assert!(stored(&setup, "journal.1s.>").await.is_empty());
    bridge.stop().await;
}
