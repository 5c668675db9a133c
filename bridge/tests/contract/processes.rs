//! The bridge as a process: SIGKILL in the middle of a stream.

use testkit::program::{Program, arguments};
use testkit::wait::{holds, until};

use crate::setup::{KLINES, Setup};

const MARKETS: [&str; 2] = ["BTC-USDT", "ETH-USDT"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_process_goes_on_where_it_was() {
    let Some(setup) = Setup::start(1).await else {
        return;
    };
    let topics = setup.topics("out: {market_data.klines: {from: journal.>, partitions: 4}}\n");
    setup.publish(&MARKETS, 0..100).await;
    let (bus, kafka) = (setup.nats.url(), setup.kafka.bootstrap_servers());
    let flags = [
        "--bus",
        &bus,
        "--kafka-brokers",
        &kafka,
        "--topics-file",
        topics.to_str().expect("UTF-8"),
        "--bridge-batch-max",
        "5",
        "--bridge-takeover-ms",
        "500",
        "--bridge-retry-ms-max",
        "300",
    ];
    let mut bridge = Program::start("bridge", arguments(&flags)).await;
    for least in [20, 90] {
        until("it is in the middle", async || {
            let count: usize = setup.prices(KLINES).values().map(Vec::len).sum();
            holds(count >= least, || count.to_string())
        })
        .await;
        bridge.restart().await;
    }
    setup.publish(&MARKETS, 100..110).await;
    setup.until_all(KLINES, &MARKETS, 110).await;
    let (status, text) = bridge.page("/metrics").await.expect("a page");
    assert_eq!(status, 200);
    assert!(text.contains("bridge_messages_total{"), "{text}");
    // An alert sees only a counter that was there before it rose.
    for counter in [
        "bridge_streams_anew_total{topic=\"market_data.klines\"} 0",
        "bridge_messages_total{topic=\"market_data.klines\",outcome=\"lost\"} 0",
    ] {
        assert!(text.contains(counter), "no {counter}: {text}");
    }
}
