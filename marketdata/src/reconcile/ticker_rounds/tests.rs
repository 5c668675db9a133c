//! Rounds over the memory bus.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bus::{Bus, BusError, BusLayer, MemoryBus, Message};
use market_core::{Amount, Price};

use super::*;
use crate::instrument::Instrument;

const DAY_MS: i64 = 24 * 3_600_000;

fn ticker(event_ms: Option<UnixMillis>) -> Ticker {
    Ticker {
        open: None,
        high: None,
        low: None,
        last: Price::parse("1").expect("a price"),
        last_quantity: None,
        volume: Amount::ZERO,
        quote_volume: None,
        count: None,
        ids: None,
        bid: None,
        bid_quantity: None,
        ask: None,
        ask_quantity: None,
        event_ms,
        received_us: 0,
    }
}

/// Counts how often the last values were read.
struct CountingBus {
    inner: MemoryBus,
    reads: AtomicU64,
}

#[async_trait]
impl BusLayer for CountingBus {
    fn inner(&self) -> &dyn Bus {
        &self.inner
    }

    async fn last_values(&self, pattern: &str) -> Result<Vec<Message>, BusError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.last_values(pattern).await
    }
}

/// A closed bar of a volume of 1.
async fn publish(bus: &dyn Bus, timeframe: Timeframe, start_ms: i64, (low, high): (&str, &str)) {
    let bar = format!(
        r#"{{"symbol":"A-B","interval":"{timeframe}","start_ms":{start_ms},"open":"{low}","high":"{high}","low":"{low}","close":"{high}","volume":"1","quote_volume":null,"taker_buy_volume":null,"taker_buy_quote_volume":null,"count":1,"state":"closed","rev":0,"quality":"complete"}}"#
    );
    let subject = subject::closed_bars(timeframe, &"A-B".parse().expect("a symbol"));
    let stored = bus.publish_durable(&subject, bar.into()).await;
    stored.expect("the bus takes it");
}

/// A reconciler of one symbol, with ten bars of a second that the bus has.
async fn with_bars() -> TickerReconciler {
    let instrument = Instrument {
        exchange: "binance",
        venue: 0,
        symbol: "A-B".parse().expect("a symbol"),
        native: "AB".to_owned(),
    };
    let bus = MemoryBus::with_streams(&service::streams());
    for second in 0..10 {
        let start_ms = DAY_MS * 2 + second * 1_000;
        publish(&bus, Timeframe::SECOND, start_ms, ("5", "6")).await;
    }
    let board = SymbolBoard::new(1);
    board.assign(&[(0, 1)]);
    board.set_held(0, true);
    TickerReconciler {
        exchange: "binance",
        bus: Arc::new(bus),
        values: Arc::new(Values::new(
            std::slice::from_ref(&instrument),
            Box::new(|_| None),
        )),
        board: Arc::new(board),
        watched: vec![(0, instrument.symbol)],
        timeframes: vec![Timeframe::SECOND, Timeframe::MINUTE],
        interval: Duration::from_secs(1),
    }
}

#[tokio::test]
async fn each_field_of_a_ticker_is_compared_with_the_bars_on_the_bus_and_counted() {
    let metrics = service::install_metrics();
    let reconciler = with_bars().await;
    let mut good = ticker(Some(DAY_MS * 2 + 5_000));
    good.received_us = (DAY_MS * 2 + 5_000) * 1_000;
    (good.high, good.low) = (Price::parse("9").ok(), Price::parse("2").ok());
    (good.last, good.volume) = (
        Price::parse("5.5").expect("a price"),
        Amount::from_parts(2, 0),
    );
    let mut bad = good;
    bad.last = Price::parse("7").expect("a price");
    bad.volume = Amount::from_parts(1, 0);
    let mut log = Log::default();
    for ticker in [good, bad] {
        let verdicts = reconciler.look(0, &ticker).await.expect("it is ours");
        reconciler.tell(0, &ticker, &verdicts, &mut log);
    }
    assert!(log.last.is_some());
    let text = metrics.render();
    for (field, result, count) in [
        ("last", "equal", 1),
        ("last", "mismatch", 1),
        ("open", "uncovered", 2),
        ("high", "equal", 2),
        ("low", "equal", 2),
        ("volume", "equal", 1),
        ("volume", "mismatch", 1),
    ] {
        let line = format!(
            r#"marketdata_reconciled_tickers_total{{exchange="binance",field="{field}",result="{result}"}} {count}"#
        );
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    reconciler.board.set_held(0, false);
    assert_eq!(reconciler.look(0, &good).await, None);
}

#[tokio::test]
async fn a_look_reads_the_bus_once_and_bars_of_one_start_and_two_widths_are_two() {
    let mut reconciler = with_bars().await;
    let inner = MemoryBus::with_streams(&service::streams());
    for second in 0..10 {
        let start_ms = DAY_MS * 2 + second * 1_000;
        publish(&inner, Timeframe::SECOND, start_ms, ("5", "6")).await;
    }
    for minute in -1..1 {
        let start_ms = DAY_MS * 2 + minute * 60_000;
        publish(&inner, Timeframe::MINUTE, start_ms, ("1", "60")).await;
    }
    let reads = AtomicU64::new(0);
    let bus = Arc::new(CountingBus { inner, reads });
    reconciler.bus = Arc::<CountingBus>::clone(&bus);
    // The seconds around the first one have bars, and those around the other only the minute.
    for (looked, (after_ms, is_equal)) in (1..).zip([(4_000, false), (30_000, true)]) {
        let mut ticker = ticker(Some(DAY_MS * 2 + after_ms));
        ticker.received_us = (DAY_MS * 2 + after_ms) * 1_000;
        ticker.last = Price::parse("50").expect("a price");
        let [last, ..] = reconciler.look(0, &ticker).await.expect("it is ours");
        assert_eq!(last == Verdict::Agrees, is_equal, "{last:?}");
        assert_eq!(matches!(last, Verdict::Differs(_)), !is_equal, "{last:?}");
        assert_eq!(bus.reads.load(Ordering::Relaxed), looked);
    }
}

#[tokio::test]
async fn symbols_have_a_second_each_at_least_and_tickers_wait_for_the_narrowest_bars() {
    let mut reconciler = with_bars().await;
    let of = |id: InstrumentId| (id, "A-B".parse().expect("a symbol"));
    reconciler.interval = Duration::from_secs(60);
    for (symbols, pace_s) in [(1, 60), (60, 1), (600, 1)] {
        reconciler.watched = (0..symbols).map(of).collect();
        assert_eq!(reconciler.pace(), Duration::from_secs(pace_s));
    }
    for (timeframes, settled_s) in [("1s,1m,1h", 12), ("1m,1h", 71), ("1d", 11)] {
        let parsed = timeframes.split(',').map(str::parse);
        let parsed = parsed.collect::<Result<Vec<Timeframe>, _>>();
        reconciler.timeframes = parsed.expect("timeframes");
        assert_eq!(reconciler.settled_after(), Duration::from_secs(settled_s));
    }
}

#[test]
fn each_symbol_has_one_ticker_waiting_at_most_and_no_ticker_is_taken_twice() {
    let mut taken = Taken::new(SETTLED_AFTER);
    let now = Instant::now();
    let later = now + SETTLED_AFTER;
    taken.take(0, ticker(None), now);
    assert_eq!(taken.next_due(), None);
    for event_ms in [7, 8, 9] {
        taken.take(0, ticker(Some(event_ms)), now);
        taken.take(1, ticker(Some(7)), now);
    }
    assert_eq!(taken.by_due.len(), 2);
    assert!(taken.due(now).is_none());
    let (at, waiting) = taken.due(later).expect("it is due");
    assert_eq!((at, waiting.ticker.event_ms), (0, Some(7)));
    taken.take(0, ticker(Some(7)), later);
    taken.again(0, waiting.ticker, later);
    taken.take(0, ticker(Some(10)), later);
    assert_eq!(taken.due(later).map(|(at, _)| at), Some(1));
    assert!(taken.due(later).is_none());
    let (_, again) = taken.due(later + AGAIN_AFTER).expect("it is due");
    assert!(again.has_differed && again.ticker.event_ms == Some(7));
    taken.take(0, ticker(Some(7)), later);
    assert_eq!(taken.next_due(), None);
    taken.take(0, ticker(Some(11)), later);
    assert!(taken.next_due().is_some());
}

#[test]
fn a_venue_has_one_log_line_a_minute_which_counts_the_others() {
    let mut log = Log::default();
    let now = Instant::now();
    assert_eq!(log.turn(now), Some(0));
    assert_eq!(log.turn(now + LOG_PAUSE / 2), None);
    assert_eq!(log.turn(now + LOG_PAUSE / 2), None);
    assert_eq!(log.turn(now + LOG_PAUSE), Some(2));
    assert_eq!(log.turn(now + LOG_PAUSE * 2), Some(0));
}
