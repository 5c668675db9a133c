//! The same rows into several stores, and the same questions to each, in one run.
//!
//! `KLINECAST_BENCH_STORES='influxdb://host:8086/bench' cargo bench -p history --bench stores`: addresses
//! of databases that may be overwritten, separated by commas. The embedded store in a new directory is
//! always measured. Ratios count: times are those of this host.

use std::time::{Duration, Instant};

use history::BarRow;
use history::store::{
    self, BarSeries, Instrument, Order, Range, Store, StoreAddress, StoreOptions,
};
use market_core::{AggressorSide, Amount, IdSpan, Price, Quality, Quantity, Timeframe, Trade};

const START_MS: i64 = 1_709_251_200_000;
const BARS: i64 = 100_000;
const TRADES: u64 = 200_000;
/// Rows of one call: as the program stores them, and as many as one of its requests can have.
const BATCHES: [usize; 2] = [1_000, 10_000];
const QUESTIONS: usize = 50;

fn instrument(number: usize) -> Instrument {
    Instrument {
        exchange: "binance".into(),
        symbol: format!("C{number}-USDT").parse().expect("a symbol"),
    }
}

fn bar(index: i64) -> BarRow {
    let seed = i128::from(index * 7_919 % 10_007);
    let price = |cents: i128| Price::from_parts(6_000_000 + cents, 2).expect("above zero");
    let start_ms = START_MS + index * 1_000;
    let first = index.unsigned_abs() * 10;
    BarRow {
        open: price(seed),
        high: price(seed + 91),
        low: price(seed - 91),
        close: price(seed + 13),
        volume: Amount::from_parts(seed * 7, 5),
        quote_volume: Some(Amount::from_parts(seed * seed * 7, 7)),
        taker_buy_volume: Some(Amount::from_parts(seed * 3, 5)),
        taker_buy_quote_volume: Some(Amount::from_parts(seed * seed * 3, 7)),
        count: Some(10),
        ids: Some(IdSpan {
            first,
            last: first + 9,
        }),
        event_ms: Some(start_ms + 990),
        received_us: Some((start_ms + 995) * 1_000),
        quality: Quality::Complete,
        ..BarRow::flat(start_ms, price(0), start_ms + 1_200)
    }
}

fn trade(id: u64) -> Trade {
    let seed = i128::from(id * 7_919 % 10_007) + 1;
    Trade {
        first_id: id,
        last_id: id,
        event_ms: START_MS + (id / 20).cast_signed(),
        price: Price::from_parts(6_000_000 + seed, 2).expect("above zero"),
        quantity: Quantity::from_parts(seed, 5).expect("above zero"),
        aggressor_side: AggressorSide::Buy,
        received_us: START_MS * 1_000,
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn timed(mut ask: impl FnMut()) -> Duration {
    let times = (0..QUESTIONS).map(|_| {
        let began = Instant::now();
        ask();
        began.elapsed()
    });
    median(times.collect())
}

/// Stores all rows in calls of `batch`; returns bars and trades a second.
fn store_rows(store: &dyn Store, bars: &[BarRow], batch: usize) -> (f64, f64) {
    // Each run has a market of its own.
    let instrument = instrument(batch);
    let series = BarSeries {
        instrument: instrument.clone(),
        timeframe: Timeframe::SECOND,
    };
    let began = Instant::now();
    for rows in bars.chunks(batch) {
        let rows = [(series.clone(), rows.to_vec())];
        store.append_bars(&rows, None).expect("stored");
    }
    let bars_rate = BARS as f64 / began.elapsed().as_secs_f64();
    let trades: Vec<Trade> = (0..TRADES).map(trade).collect();
    let began = Instant::now();
    for rows in trades.chunks(batch) {
        let rows = [(instrument.clone(), rows.to_vec())];
        store.append_trades(&rows, None).expect("stored");
    }
    (bars_rate, TRADES as f64 / began.elapsed().as_secs_f64())
}

fn measure(name: &str, store: &dyn Store) {
    let bars: Vec<BarRow> = (0..BARS).map(bar).collect();
    for batch in BATCHES {
        let (bars_rate, trades_rate) = store_rows(store, &bars, batch);
        println!("{name}, {batch} rows a call: {bars_rate:.0} bars/s, {trades_rate:.0} trades/s");
    }
    let series = BarSeries {
        instrument: instrument(BATCHES[0]),
        timeframe: Timeframe::SECOND,
    };
    let last_thousand = Range {
        order: Order::Descending,
        ..Range::new(0, i64::MAX, 1_000)
    };
    let page = timed(|| {
        let page = store.bars(&series, &last_thousand).expect("a page");
        assert_eq!(page.rows.len(), 1_000);
    });
    let last = timed(|| {
        let last = store.latest_bar(&series).expect("a bar");
        assert_eq!(last.as_ref(), bars.last());
    });
    println!(
        "{name}: page of 1,000 bars {:.2} ms, last bar {:.2} ms",
        page.as_secs_f64() * 1e3,
        last.as_secs_f64() * 1e3
    );
}

fn main() {
    let directory = std::env::temp_dir().join(format!("klinecast-bench-{}", std::process::id()));
    let mut addresses = vec![StoreAddress::Sqlite(directory.clone())];
    let others = std::env::var("KLINECAST_BENCH_STORES").unwrap_or_default();
    for text in others.split(',').filter(|text| !text.is_empty()) {
        let Ok(address) = text.parse::<StoreAddress>();
        addresses.push(address);
    }
    for address in addresses {
        let store = store::open(&address, &StoreOptions::default()).expect("a store");
        measure(&address.to_string(), &*store);
    }
    std::fs::remove_dir_all(directory).expect("it was made here");
}
