//! From Kafka to the bus.

use std::collections::BTreeMap;
use std::time::Duration;

use bus::{Message, Range, Start};
use krafka::testing::{ApiKey, Control};
use krafka::{Compression, ConsumerRecord, Kafka, Record};
use market_core::wire::{BarMessage, TradeMessage};
use testkit::wait::{holds, until};

use crate::setup::{Setup, bar};

const TOPICS: &str = "out: {}\nin:\n  feed.bars: {carries: bars, exchange: mysim, symbols: {BTCUSDT: BTC-USDT}}\n  feed.trades: {carries: trades, format: protobuf}\n";

/// The bytes of a record, and a header.
type Value = (Vec<u8>, Option<(&'static str, &'static str)>);

/// Puts values into a topic of Kafka, with one key.
async fn feed(setup: &Setup, topic: &str, values: Vec<Value>) {
    feed_with_key(setup, topic, "k", values).await;
}

async fn feed_with_key(setup: &Setup, topic: &str, key: &str, values: Vec<Value>) {
    let kafka = Kafka::builder(setup.kafka.bootstrap_servers());
    let kafka = kafka.connect().await.expect("a cluster");
    let producer = kafka.producer().build().await.expect("a producer");
    for (value, header) in values {
        let record = Record::new(topic, value).key(key.to_owned());
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
        let bars: Vec<BarMessage> = messages
            .iter()
            .map(|message| BarMessage::read(&message.payload).expect("a bar"))
            .collect();
        // Readers count a hole in the numbers of an epoch as messages that they have missed.
        for (before, after) in bars.iter().zip(bars.iter().skip(1)) {
            assert!(after.epoch >= before.epoch, "the epoch goes back");
            if after.epoch == before.epoch {
                assert_eq!(after.seq, before.seq + 1, "a hole in the numbers");
            }
        }
        let closes: Vec<String> = bars.into_iter().map(|bar| bar.close).collect();
        holds(closes == expected, || format!("{closes:?}"))
    })
    .await;
}

/// Waits until this many records are set aside, and gives their reasons.
async fn until_dead(setup: &Setup, count: usize) -> Vec<String> {
    until("the letters are written", async || {
        let dead = setup.kafka.committed_records("feed.dead").expect("a log");
        holds(dead.len() == count, || format!("{}", dead.len()))
    })
    .await;
    let dead = setup.kafka.committed_records("feed.dead").expect("a log");
    let reason = |record: &ConsumerRecord| record.header_str("klinecast-reason").map(str::to_owned);
    dead.iter().filter_map(reason).collect()
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
    let reasons = until_dead(&setup, 5).await;
    let reasons: Vec<&str> = reasons
        .iter()
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
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn market_that_marketdata_publishes_is_not_taken_from_kafka() {
    let Some(setup) = Setup::start(1).await else {
        return;
    };
    setup.kafka.create_topic("feed.bars", 1);
    setup.kafka.create_topic("feed.trades", 1);
    // The subjects of bars do not say the exchange: a lease of another one is as good.
    for exchange in ["mysim", "binance"] {
        let lease = format!("closed.lease.{exchange}.BTC-USDT");
        let held = r#"{"number":1,"holder":"marketdata-1"}"#;
        let held = setup.bus.publish_durable(&lease, held.into()).await;
        held.expect("it is kept");
        let flags = ["--bridge-dead-letter-topic", "feed.dead"];
        let bridge = setup.bridge(TOPICS, &flags).await;
        let count = match exchange {
            "mysim" => 3,
            _ => 6,
        };
        feed(&setup, "feed.bars", bars(0..3)).await;
        let reasons = until_dead(&setup, count).await;
        assert!(
            reasons.iter().all(|reason| reason.starts_with("owned")),
            "{reasons:?}"
        );
        assert!(stored(&setup, "journal.1s.>").await.is_empty());
        bridge.stop().await;
        let free = r#"{"number":1,"holder":null}"#;
        let released = setup.bus.publish_durable(&lease, free.into()).await;
        released.expect("it is kept");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marketdata_that_takes_a_market_later_ends_the_feed_of_kafka() {
    let Some(setup) = Setup::start(1).await else {
        return;
    };
    setup.kafka.create_topic("feed.bars", 1);
    setup.kafka.create_topic("feed.trades", 1);
    let flags = ["--bridge-dead-letter-topic", "feed.dead"];
    let bridge = setup.bridge(TOPICS, &flags).await;
    feed(&setup, "feed.bars", bars(0..3)).await;
    until_journal(&setup, 3).await;
    let lease = r#"{"number":1,"holder":"marketdata-1"}"#;
    let held = setup
        .bus
        .publish_durable("closed.lease.binance.BTC-USDT", lease.into())
        .await;
    held.expect("it is kept");
    feed(&setup, "feed.bars", bars(3..6)).await;
    let reasons = until_dead(&setup, 3).await;
    assert!(
        reasons.iter().all(|reason| reason.starts_with("owned")),
        "{reasons:?}"
    );
    until_journal(&setup, 3).await;
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn symbol_has_one_exchange_of_kafka() {
    let Some(setup) = Setup::start(1).await else {
        return;
    };
    let topics = "out: {}\nin:\n  feed.bars: {carries: bars, exchange: mysim, symbols: {BTCUSDT: BTC-USDT}}\n  feed.others: {carries: bars, exchange: other, symbols: {BTCUSDT: BTC-USDT}}\n";
    setup.kafka.create_topic("feed.bars", 1);
    setup.kafka.create_topic("feed.others", 1);
    let flags = ["--bridge-dead-letter-topic", "feed.dead"];
    let bridge = setup.bridge(topics, &flags).await;
    feed(&setup, "feed.bars", bars(0..3)).await;
    until_journal(&setup, 3).await;
    // Nor in another bridge, nor later.
    let second = setup.bridge(topics, &flags).await;
    second.until_ready().await;
    bridge.stop().await;
    feed(&setup, "feed.others", bars(3..5)).await;
    let reasons = until_dead(&setup, 2).await;
    assert!(
        reasons.iter().all(|reason| reason.starts_with("owned")),
        "{reasons:?}"
    );
    feed(&setup, "feed.bars", bars(3..5)).await;
    until_journal(&setup, 5).await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_that_cannot_be_decoded_is_skipped_and_told_and_the_others_pass() {
    let Some(setup) = Setup::start(1).await else {
        return;
    };
    setup.kafka.create_topic("feed.bars", 1);
    setup.kafka.create_topic("feed.trades", 1);
    feed(&setup, "feed.bars", bars(0..3)).await;
    // One batch of seven records, of which a bit has changed on a disk.
    let kafka = Kafka::builder(setup.kafka.bootstrap_servers());
    let kafka = kafka.connect().await.expect("a cluster");
    let linger = Duration::from_secs(1);
    let producer = kafka.producer().linger(linger).build().await;
    let producer = producer.expect("a producer");
    let mut sent = Vec::new();
    for (value, _) in bars(90..97) {
        let record = Record::new("feed.bars", value).key("k");
        sent.push(producer.enqueue(record).await.expect("it is queued"));
    }
    producer.close().await.expect("it ends");
    for sent in sent {
        let _ = sent.await.expect("it is written");
    }
    let batches = setup.kafka.with_state(|state| {
        let partition = state.partition_mut("feed.bars", 0).expect("a partition");
        let batch = partition.log.last_mut().expect("a batch");
        let mut broken = batch.to_vec();
        *broken.last_mut().expect("bytes") ^= 1;
        *batch = broken.into();
        partition.log.len()
    });
    assert_eq!(batches, 4, "three records, and one batch");
    feed(&setup, "feed.bars", bars(3..6)).await;
    let flags = ["--bridge-dead-letter-topic", "feed.dead"];
    let bridge = setup.bridge(TOPICS, &flags).await;
    until_journal(&setup, 6).await;
    let reasons = until_dead(&setup, 1).await;
    assert!(
        reasons[0].starts_with("undecodable: offsets 3 to 9"),
        "{reasons:?}"
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_that_is_too_long_without_its_compression_is_skipped() {
    let Some(setup) = Setup::start(1).await else {
        return;
    };
    setup.kafka.create_topic("feed.bars", 1);
    setup.kafka.create_topic("feed.trades", 1);
    feed(&setup, "feed.bars", bars(0..2)).await;
    let kafka = Kafka::builder(setup.kafka.bootstrap_servers());
    let kafka = kafka.connect().await.expect("a cluster");
    let producer = kafka.producer().compression(Compression::Gzip);
    let producer = producer.build().await.expect("a producer");
    let bomb = Record::new("feed.bars", vec![b' '; 600_000]).key("k");
    let _ = producer.send(bomb).await.expect("it is written");
    producer.close().await.expect("it ends");
    feed(&setup, "feed.bars", bars(2..4)).await;
    let flags = [
        "--bridge-dead-letter-topic",
        "feed.dead",
        "--kafka-decompressed-bytes-max",
        "100000",
    ];
    let bridge = setup.bridge(TOPICS, &flags).await;
    until_journal(&setup, 4).await;
    let reasons = until_dead(&setup, 1).await;
    assert!(
        reasons[0].starts_with("undecodable: offsets 2 to 2"),
        "{reasons:?}"
    );
    bridge.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bridge_that_takes_partitions_over_goes_on_with_higher_epochs() {
    let Some(setup) = Setup::start(1).await else {
        return;
    };
    setup.kafka.create_topic("feed.bars", 2);
    setup.kafka.create_topic("feed.trades", 1);
    let first = setup.bridge(TOPICS, &[]).await;
    // A symbol for each partition.
    let both = async |numbers: std::ops::Range<u64>| {
        for (key, symbol) in [("a", "A-B"), ("b", "C-D"), ("c", "E-F"), ("d", "G-H")] {
            let values = numbers
                .clone()
                .map(|number| (bar(symbol, number).to_vec(), None));
            feed_with_key(&setup, "feed.bars", key, values.collect()).await;
        }
    };
    let until_each = async |count: u64| {
        until(
            "the bars are on the bus in the order of their epochs",
            async || {
                let mut newest = BTreeMap::<String, (u64, u64)>::new();
                let mut counts = BTreeMap::<String, u64>::new();
                for message in stored(&setup, "journal.1s.>").await {
                    let bar = BarMessage::read(&message.payload).expect("a bar");
                    let place = (bar.epoch, bar.seq);
                    let before = newest.insert(bar.symbol.clone(), place);
                    assert!(
                        before < Some(place),
                        "{}: {place:?} after {before:?}",
                        bar.symbol
                    );
                    *counts.entry(bar.symbol).or_default() += 1;
                }
                let is_all = counts.len() == 4 && counts.values().all(|&all| all == count);
                holds(is_all, || format!("{counts:?}"))
            },
        )
        .await;
    };
    both(0..2).await;
    until_each(2).await;
    let partitions = || {
        let offset = |partition| setup.kafka.next_offset("feed.bars", partition);
        (offset(0), offset(1))
    };
    assert!(
        matches!(partitions(), (Some(1..), Some(1..))),
        "the keys are in both partitions: {:?}",
        partitions()
    );
    let before = setup.kafka.request_count(ApiKey::SyncGroup);
    let second = setup.bridge(TOPICS, &[]).await;
    // Both of them know what they have.
    let is_shared =
        setup
            .kafka
            .wait_for_requests(ApiKey::SyncGroup, before + 2, Duration::from_secs(60));
    assert!(is_shared.await, "the partitions are shared");
    both(2..4).await;
    until_each(4).await;
    second.stop().await;
    both(4..6).await;
    until_each(6).await;
    first.stop().await;
}
