//! Quotes and tickers, from the venues' sockets to the bus.

use std::collections::BTreeMap;

use bus::Delivery;
use market_core::wire::{JsonMessage, QuoteMessage, TickerMessage};
use market_core::{Amount, channel};
use marketdata::config::FeedChannel;
use marketdata::exchange::{Event, registry};

use crate::captures::{captures, read};
use crate::deployment::{Deployment, INSTRUMENTS, sim_config};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_venue_has_quotes_and_tickers_and_bars_stay_true() {
    let mut deployment = Deployment::new(sim_config()).await;
    let mut quotes = deployment
        .bus
        .subscribe(&channel::QUOTE.subjects())
        .await
        .expect("a pattern");
    let mut tickers = deployment
        .bus
        .subscribe(&channel::TICKER.subjects())
        .await
        .expect("a pattern");
    let mut config = deployment.config();
    config.channels = vec![FeedChannel::Quote, FeedChannel::Ticker];
    config.quote_interval_ms = 20;
    config.ticker_interval_ms = 50;
    deployment.start(config);
    let (mut newest, mut days) = (BTreeMap::new(), BTreeMap::new());
    while newest.len() < INSTRUMENTS.len() {
        let Some(Delivery::Message(message)) = quotes.recv().await else {
            panic!("the bus ended");
        };
        let quote = QuoteMessage::read(&message.payload).expect("a quote");
        let level = |text: &Option<String>| text.as_deref().and_then(Amount::parse);
        assert!(level(&quote.bid).is_some() && level(&quote.ask_quantity).is_some());
        let (topic, seq) = (quote.topic.clone(), quote.seq);
        let before = newest.insert(topic, seq).unwrap_or(0);
        assert_eq!(seq, before + 1, "{quote:?}");
    }
    while days.len() < INSTRUMENTS.len() {
        let Some(Delivery::Message(message)) = tickers.recv().await else {
            panic!("the bus ended");
        };
        let ticker = TickerMessage::read(&message.payload).expect("a ticker");
        days.insert(ticker.topic.clone(), ticker);
    }
    deployment.all_more_seconds(3).await;
    for (venue, native, symbol) in INSTRUMENTS {
        assert!(newest.contains_key(&format!("quote:{symbol}")), "{symbol}");
        let ticker = &days[&format!("ticker:{symbol}")];
        assert_eq!(ticker.exchange, venue);
        deployment.check_truth(venue, native, symbol).await;
    }
    deployment.seen(|seen| assert_eq!((seen.revisions, seen.gaps.len()), (0, 0)));
    deployment.stop().await;
}

/// A capture has so many quotes and tickers, all of them readable and plausible.
#[track_caller]
fn check(venue: &str, file: &str, expected: (usize, usize)) {
    let Some(folder) = captures(file) else { return };
    let exchange = registry::find(venue).expect("registered");
    let (mut quotes, mut tickers) = (0, 0);
    for line in read(&folder.join(file)).lines() {
        let Some(frame) = line.find('{').map(|at| &line[at..]) else {
            continue;
        };
        if line.contains("<-") || line.contains("lastUpdateId") {
            continue;
        }
        let decoded = exchange.decode(frame, 7, &mut |event| match event {
            Event::Quote { quote, .. } => {
                quotes += 1;
                let (bid, ask) = (quote.bid.expect("a bid"), quote.ask.expect("an ask"));
                assert!(bid.price < ask.price, "{frame}");
            }
            Event::Ticker { ticker, .. } => {
                tickers += 1;
                let (low, high) = (ticker.low.expect("a low"), ticker.high.expect("a high"));
                assert!(low <= ticker.last && ticker.last <= high, "{frame}");
                assert!(ticker.volume.is_exact() && !ticker.volume.is_zero());
            }
            _ => {}
        });
        assert_eq!(decoded, Ok(()), "{frame}");
    }
    assert_eq!((quotes, tickers), expected, "{file}");
}

#[test]
fn real_frames_of_quotes_and_tickers_are_read() {
    check(
        "binance",
        "binance-spot-raw/btcusdt_20240808.gz",
        (28_040, 0),
    );
    check(
        "binance",
        "binance-mixed-raw/BINANCE_US.ws.1.0.txt.gz",
        (128, 0),
    );
    check(
        "coinbase",
        "coinbase-raw/coinbase_exchange_20210417_A.txt.gz",
        (0, 73),
    );
    check("okx", "okx-raw/okx_v5_20220513_BTC-USDT.txt.gz", (0, 25));
}
