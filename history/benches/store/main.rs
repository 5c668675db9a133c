//! Bytes a row, and how fast rows are packed, scanned, stored and read.
//!
//! `cargo bench -p history`. Rows are made from invented trades, and from real trades of Binance
//! where `KLINECAST_CAPTURES` names the captures. Sizes and the longest read beside a writer are
//! printed before the timings. With `KLINECAST_BENCH_CSV`, the rows are written as CSV into that
//! directory for other stores: `scripts/bench-history.sh` does all of this.

mod sizes;
mod tapes;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use history::BarRow;
use history::block::{TradeBlock, decode_bars, encode_bars, encode_trades};
use history::store::{
    BarSeries, BarStore, Instrument, Order, Range, Retention, SqliteOptions, SqliteStore,
    TradeStore,
};
use market_core::{Timeframe, Trade};

use tapes::{bars_of, invented};

const BLOCK_ROWS: usize = 4_096;

fn instrument() -> Instrument {
    Instrument {
        exchange: "binance".into(),
        symbol: "BTC-USDT".parse().expect("a symbol"),
    }
}

fn seconds() -> BarSeries {
    BarSeries {
        instrument: instrument(),
        timeframe: Timeframe::SECOND,
    }
}

fn directory(name: &str) -> std::path::PathBuf {
    let name = format!("klinecast-history-bench-{}-{name}", std::process::id());
    std::env::temp_dir().join(name)
}

fn open(name: &str) -> SqliteStore {
    let store = SqliteStore::open(&directory(name), SqliteOptions::default());
    store.expect("a new directory")
}

fn last_thousand() -> Range {
    Range {
        order: Order::Descending,
        ..Range::new(0, i64::MAX, 1_000)
    }
}

/// Reads pages while bars are appended, sealed and compacted.
fn reads_beside_a_writer() {
    let store = open("beside");
    let rows = bars_of(&invented(1_000_000), Timeframe::SECOND);
    let (first, rest) = rows.split_at(1_000);
    store
        .append_bars(&[(seconds(), first.to_vec())], None)
        .expect("appended");
    let is_done = AtomicBool::new(false);
    let mut reads = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = Vec::new();
            while !is_done.load(Ordering::Acquire) {
                let from = Instant::now();
                black_box(store.bars(&seconds(), &last_thousand()).expect("a page"));
                reads.push(from.elapsed());
            }
            reads
        });
        for rows in rest.chunks(100) {
            store
                .append_bars(&[(seconds(), rows.to_vec())], None)
                .expect("appended");
        }
        // A revision of every block.
        let late = rows
            .iter()
            .step_by(1_000)
            .map(|row| BarRow { rev: 1, ..*row });
        store
            .append_bars(&[(seconds(), late.collect())], None)
            .expect("appended");
        store.compact().expect("compacted");
        is_done.store(true, Ordering::Release);
        reader.join().expect("the reader")
    });
    reads.sort_unstable();
    let at = |part: usize| {
        reads
            .get(reads.len() * part / 1_000)
            .copied()
            .unwrap_or(Duration::ZERO)
    };
    println!(
        "pages of 1,000 bars beside a writer: {} reads, p50 {:?}, p99 {:?}, longest {:?}",
        reads.len(),
        at(500),
        at(990),
        reads.last()
    );
    drop(store);
    let _ = std::fs::remove_dir_all(directory("beside"));
}

fn store(criterion: &mut Criterion) {
    sizes::print_sizes();
    if let Some(directory) = std::env::var_os("KLINECAST_BENCH_CSV") {
        sizes::write_csv(directory.as_ref());
    }
    reads_beside_a_writer();
    let trades = invented(1_000_000);
    let bars = bars_of(&trades, Timeframe::SECOND);
    let mut group = criterion.benchmark_group("block");
    group.throughput(Throughput::Elements(BLOCK_ROWS as u64));
    let rows = &trades[..BLOCK_ROWS];
    let block = encode_trades(rows).expect("trades");
    group.bench_function("pack trades", |bench| {
        bench.iter(|| encode_trades(black_box(rows)))
    });
    group.bench_function("scan trades", |bench| {
        bench.iter(|| {
            let block = TradeBlock::new(black_box(&block)).expect("a block");
            let is_buy = block.is_buy().expect("sides");
            let _ = black_box((block.event_ms(), block.ids(), block.price(&is_buy)));
            let _ = black_box((block.quantity(), is_buy));
        });
    });
    group.bench_function("scan trades, with receive times", |bench| {
        bench.iter(|| {
            let block = TradeBlock::new(black_box(&block)).expect("a block");
            let event_ms = block.event_ms().expect("event times");
            let is_buy = block.is_buy().expect("sides");
            let _ = black_box((block.ids(), block.received_us(&event_ms)));
            let _ = black_box((block.price(&is_buy), block.quantity(), is_buy));
        });
    });
    let rows = &bars[..BLOCK_ROWS];
    let block = encode_bars(Timeframe::SECOND, rows).expect("bars");
    group.bench_function("pack bars", |bench| {
        bench.iter(|| encode_bars(Timeframe::SECOND, black_box(rows)));
    });
    let mut out = Vec::with_capacity(BLOCK_ROWS);
    group.bench_function("read bars", |bench| {
        bench.iter(|| {
            out.clear();
            decode_bars(Timeframe::SECOND, black_box(&block), &mut out)
        });
    });
    group.finish();

    let store = open("timed");
    store
        .append_bars(&[(seconds(), bars)], None)
        .expect("appended");
    let mut group = criterion.benchmark_group("store");
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("page of 1,000 bars", |bench| {
        bench.iter(|| store.bars(&seconds(), &last_thousand()));
    });
    // Each call has ids and times of its own: nothing is a repetition.
    let mut next = 0i64;
    let batch = &trades[..50_000];
    group.sample_size(10);
    group.throughput(Throughput::Elements(batch.len() as u64));
    group.bench_function("take trades in batches of 50,000", |bench| {
        bench.iter_batched(
            || {
                next += 1;
                let span = batch[batch.len() - 1].event_ms - batch[0].event_ms + 1;
                let shifted = batch.iter().map(|trade| Trade {
                    event_ms: trade.event_ms + next * span,
                    received_us: trade.received_us + next * span * 1_000,
                    first_id: trade.first_id + next.cast_unsigned() * batch.len() as u64,
                    last_id: trade.last_id + next.cast_unsigned() * batch.len() as u64,
                    ..*trade
                });
                [(instrument(), shifted.collect::<Vec<_>>())]
            },
            |batch| store.append_trades(&batch, None).expect("appended"),
            criterion::BatchSize::PerIteration,
        );
    });
    group.finish();
    drop(store);
    let _ = std::fs::remove_dir_all(directory("timed"));
}

criterion_group!(benches, store);
criterion_main!(benches);
