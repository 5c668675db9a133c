use std::sync::atomic::{AtomicBool, Ordering};

use bus::MemoryBus;
use market_core::{PriceLevel, UnixMillis};

use super::*;

fn instrument() -> Instrument {
    Instrument {
        exchange: "binance",
        venue: 0,
        symbol: "BTC-USDT".parse().expect("a symbol"),
        native: "BTCUSDT".to_owned(),
    }
}

fn values(epoch: Option<u64>) -> Arc<Values> {
    Arc::new(Values::new(&[instrument()], Box::new(move |_| epoch)))
}

fn quote(bid: &str, update_id: u64, received_us: UnixMicros) -> (InstrumentId, Value) {
    let quote = Quote {
        bid: PriceLevel::parse(bid, "1").expect("a level"),
        ask: None,
        update_id: Some(update_id),
        event_ms: None,
        received_us,
    };
    (0, Value::Quote(quote))
}

fn taken(values: &Values) -> Vec<(String, u64)> {
    let read = |(_, _, payload): (InstrumentId, u64, Bytes)| {
        let message = QuoteMessage::read(&payload).expect("a quote");
        (message.bid.expect("a bid"), message.seq)
    };
    values.take(Kind::Quotes).into_iter().map(read).collect()
}

#[test]
fn only_the_newest_quote_of_a_symbol_is_published_and_each_once() {
    let values = values(Some(3));
    values.put([quote("5", 1, 1), quote("6", 2, 2)].into_iter());
    assert_eq!(taken(&values), [("6".to_owned(), 1)]);
    assert_eq!(taken(&values), []);
    values.put([quote("7", 3, 3)].into_iter());
    assert_eq!(taken(&values), [("7".to_owned(), 2)]);
    assert!(values.take(Kind::Tickers).is_empty());
}

#[test]
fn a_quote_of_a_slower_connection_does_not_replace_a_newer_one() {
    let values = values(Some(3));
    values.put([quote("6", 12, 5), quote("5", 11, 6)].into_iter());
    assert_eq!(taken(&values), [("6".to_owned(), 1)]);
    // The venue counts again.
    values.put([quote("4", 1, 5 + OLDER_MAX_US)].into_iter());
    assert_eq!(taken(&values), [("4".to_owned(), 2)]);
}

#[test]
fn quotes_of_symbols_that_others_publish_wait_until_they_are_published_here() {
    let is_held = Arc::new(AtomicBool::new(false));
    let epoch = Arc::clone(&is_held);
    let epoch_of = move |_| epoch.load(Ordering::Relaxed).then_some(3);
    let values = Values::new(&[instrument()], Box::new(epoch_of));
    values.put([quote("5", 1, 1), quote("6", 2, 2)].into_iter());
    assert_eq!(taken(&values), []);
    is_held.store(true, Ordering::Relaxed);
    assert_eq!(taken(&values), [("6".to_owned(), 1)]);
    assert_eq!(taken(&values), []);
}

#[test]
fn what_could_not_be_published_is_published_later_unless_a_newer_one_came() {
    let values = values(Some(3));
    values.put([quote("5", 1, 1)].into_iter());
    assert_eq!(taken(&values), [("5".to_owned(), 1)]);
    values.keep(Kind::Quotes, 0);
    assert_eq!(taken(&values), [("5".to_owned(), 2)]);
    values.keep(Kind::Quotes, 0);
    values.put([quote("6", 2, 2)].into_iter());
    assert_eq!(taken(&values), [("6".to_owned(), 3)]);
}

#[tokio::test]
async fn a_program_in_doubt_about_its_leases_publishes_no_quote() {
    let bus = Arc::new(MemoryBus::with_streams(&service::streams()));
    let values = values(Some(3));
    let stop = CancellationToken::new();
    let mut subscription = bus.subscribe("quote.>").await.expect("a pattern");
    let validity = Arc::new(Validity::none());
    let (shared, every) = (Arc::clone(&bus), Duration::from_millis(1));
    let running = Arc::clone(&values).run(
        Kind::Quotes,
        every,
        None,
        shared,
        Arc::clone(&validity),
        stop.clone(),
    );
    let task = tokio::spawn(running);
    values.put([quote("5", 1, 1)].into_iter());
    // It was taken out, and kept.
    while values.state().quotes.by_symbol[0].seq < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(subscription.try_recv(), None);
    validity.set(UnixMillis::MAX);
    assert!(subscription.recv().await.is_some(), "it is not lost");
    stop.cancel();
    task.await.expect("it ends");
}

#[tokio::test]
async fn the_newest_quote_stays_on_the_bus_for_gateways_that_start() {
    let bus = Arc::new(MemoryBus::with_streams(&service::streams()));
    let values = values(Some(3));
    let stop = CancellationToken::new();
    let mut subscription = bus.subscribe("quote.>").await.expect("a pattern");
    let (shared, every) = (Arc::clone(&bus), Duration::from_millis(1));
    let validity = Arc::new(Validity::for_ever());
    let running =
        Arc::clone(&values).run(Kind::Quotes, every, None, shared, validity, stop.clone());
    let task = tokio::spawn(running);
    values.put([quote("5", 1, 1)].into_iter());
    assert!(subscription.recv().await.is_some());
    let kept = bus.last_values("quote.BTC-USDT").await.expect("open");
    let message = QuoteMessage::read(&kept[0].payload).expect("a quote");
    assert_eq!(
        (message.topic.as_str(), message.epoch),
        ("quote:BTC-USDT", 3)
    );
    stop.cancel();
    task.await.expect("it ends");
}

fn book(bid: &str) -> PublishedBook {
    let level = PriceLevel::parse(bid, "1").expect("numbers");
    Ok(Arc::new(BookTop {
        update_id: None,
        bids: level.into_iter().collect(),
        asks: Vec::new(),
        event_ms: None,
        received_us: 1,
    }))
}

#[tokio::test]
async fn a_book_that_does_not_change_is_published_again_at_each_heartbeat() {
    let bus = Arc::new(MemoryBus::with_streams(&service::streams()));
    let values = values(Some(3));
    let stop = CancellationToken::new();
    let mut subscription = bus.subscribe("book.>").await.expect("a pattern");
    let (every, heartbeat) = (Duration::from_millis(1), Duration::from_millis(2));
    let running = Arc::clone(&values).run(
        Kind::Books,
        every,
        Some(heartbeat),
        Arc::clone(&bus) as Arc<dyn Bus>,
        Arc::new(Validity::for_ever()),
        stop.clone(),
    );
    let task = tokio::spawn(running);
    values.put_books(std::iter::once((0, book("5"))));
    let mut before = None;
    for _ in 0..3 {
        let Some(bus::Delivery::Message(message)) = subscription.recv().await else {
            panic!("the bus is open");
        };
        let message = BookMessage::read(&message.payload).expect("a book");
        let newest = (message.seq, message.published_us);
        assert!(before.is_none_or(|before| before < newest), "{newest:?}");
        assert_eq!(message.bids[0].0, "5");
        before = Some(newest);
    }
    stop.cancel();
    task.await.expect("it ends");
}

#[tokio::test]
async fn a_book_that_is_lost_when_the_program_ends_is_published_as_lost() {
    let bus = Arc::new(MemoryBus::with_streams(&service::streams()));
    let values = values(Some(3));
    let stop = CancellationToken::new();
    values.put_books(std::iter::once((0, book("5"))));
    values.put_books(std::iter::once((0, Err(BookFault::Lost))));
    // The publisher is told to end before it had a turn.
    stop.cancel();
    let running = Arc::clone(&values).run(
        Kind::Books,
        Duration::from_secs(3_600),
        None,
        Arc::clone(&bus) as Arc<dyn Bus>,
        Arc::new(Validity::for_ever()),
        stop,
    );
    running.await;
    let kept = bus.last_values("book.BTC-USDT").await.expect("open");
    let message = BookMessage::read(&kept[0].payload).expect("a book");
    assert_eq!(message.reason.as_deref(), Some("lost"));
}

#[test]
fn what_waits_from_the_last_time_of_a_symbol_here_is_not_published_when_it_comes_back() {
    let is_ours = Arc::new(AtomicBool::new(false));
    let epoch_of = {
        let is_ours = Arc::clone(&is_ours);
        move |_| is_ours.load(Ordering::Relaxed).then_some(3)
    };
    let values = Values::new(&[instrument()], Box::new(epoch_of));
    values.put([quote("5", 1, 1)].into_iter());
    assert_eq!(taken(&values), [], "it waits");
    values.forget(0);
    is_ours.store(true, Ordering::Relaxed);
    assert_eq!(taken(&values), [], "it is old");
    values.put([quote("6", 2, 2)].into_iter());
    assert_eq!(taken(&values), [("6".to_owned(), 1)]);
}
