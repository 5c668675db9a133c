//! Bytes a row, and how fast rows are packed, scanned, stored and read.
//!
//! `cargo bench -p history`. Rows are made from real trades of Binance where `KLINECAST_CAPTURES`
//! names the captures, else from invented ones. Sizes and the longest read beside a writer are
//! printed before the timings.

use std::hint::black_box;
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use history::BarRow;
use history::block::{decode_bars, decode_trade_columns, encode_bars, encode_trades};
use history::store::{
    BarSeries, BarStore, Instrument, Order, Range, Retention, SqliteOptions, SqliteStore,
    TradeStore,
};
use market_core::{AggressorSide, Bar, BarState, Fold, Price, Quality, Quantity, Timeframe, Trade};

const BLOCK_ROWS: usize = 4_096;
const START_MS: i64 = 1_723_161_600_000;
const CAPTURES: [&str; 3] = [
    "binance-spot-raw/btcusdt_20240808.gz",
    "binance-spot-raw/btcusdt_20240809.gz",
    "binance-usdm-raw/btcusdt_20240808.gz",
];

/// The trades of a capture, a line each: receive time in ns, a space, and the frame.
fn captured(path: &Path) -> Vec<Trade> {
    let mut text = String::new();
    let file = std::fs::File::open(path).expect("a capture");
    let mut file = flate2::read::MultiGzDecoder::new(file);
    file.read_to_string(&mut text).expect("UTF-8");
    let trades = text.lines().filter_map(|line| {
        let (received_ns, frame) = line.split_once(' ')?;
        let frame: serde_json::Value = serde_json::from_str(frame).ok()?;
        let data = frame["stream"]
            .as_str()?
            .ends_with("@trade")
            .then_some(&frame["data"])?;
        let id = data["t"].as_u64()?;
        Some(Trade {
            first_id: id,
            last_id: id,
            event_ms: data["T"].as_i64()?,
            price: Price::parse(data["p"].as_str()?).ok()?,
            quantity: Quantity::parse(data["q"].as_str()?).ok()?,
            aggressor_side: if data["m"].as_bool()? {
                AggressorSide::Sell
            } else {
                AggressorSide::Buy
            },
            received_us: received_ns.parse::<i64>().ok()? / 1_000,
        })
    });
    trades.collect()
}

/// A walk with the steps and sizes of a busy symbol.
fn invented(count: u64) -> Vec<Trade> {
    let mut state = 7u64;
    let mut random = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let (mut cents, mut at) = (6_183_763i128, START_MS);
    let trades = (0..count).map(|index| {
        at += if random(3) == 0 {
            random(60).cast_signed()
        } else {
            0
        };
        cents += if random(4) == 0 {
            i128::from(random(201)) - 100
        } else {
            0
        };
        let quantity = if random(2) == 0 {
            random(90) + 1
        } else {
            random(90_000) + 1
        };
        Trade {
            first_id: 3_735_683_259 + index,
            last_id: 3_735_683_259 + index,
            event_ms: at,
            price: Price::from_parts(cents.max(1), 2).expect("above zero"),
            quantity: Quantity::from_parts(quantity.into(), 5).expect("above zero"),
            aggressor_side: if random(2) == 0 {
                AggressorSide::Sell
            } else {
                AggressorSide::Buy
            },
            received_us: at * 1_000 + 3_000 + random(900).cast_signed(),
        }
    });
    trades.collect()
}

fn tapes() -> Vec<(String, Vec<Trade>)> {
    let mut tapes = vec![("invented".to_owned(), invented(1_000_000))];
    if let Some(captures) = std::env::var_os("KLINECAST_CAPTURES") {
        for name in CAPTURES {
            tapes.push((name.to_owned(), captured(&Path::new(&captures).join(name))));
        }
    }
    tapes
}

fn bars_of(trades: &[Trade], timeframe: Timeframe) -> Vec<BarRow> {
    let groups =
        trades.chunk_by(|a, b| timeframe.start_of(a.event_ms) == timeframe.start_of(b.event_ms));
    let rows = groups.filter_map(|trades| {
        let mut fold = Fold::of(trades.first()?);
        for trade in &trades[1..] {
            fold.merge(&Fold::of(trade));
        }
        let start_ms = timeframe.start_of(fold.event_ms());
        let bar = Bar {
            timeframe,
            start_ms,
            end_ms: timeframe.end_of(start_ms),
            fold: Some(fold),
            previous_close: None,
            state: BarState::Closed,
            rev: 0,
            quality: Quality::Complete,
        };
        BarRow::of(&bar, bar.end_ms + 2_000 + fold.received_us % 50)
    });
    rows.collect()
}

/// The fields of a kline at a venue: without what only this system knows.
fn venue_fields(row: &BarRow) -> BarRow {
    BarRow {
        event_ms: None,
        received_us: None,
        known_ms: 0,
        ..*row
    }
}

fn bytes_of_bars(rows: &[BarRow]) -> f64 {
    let blocks = rows.chunks(BLOCK_ROWS);
    let bytes: usize = blocks
        .map(|rows| encode_bars(Timeframe::SECOND, rows).expect("bars").len())
        .sum();
    bytes as f64 / rows.len() as f64
}

fn bytes_of_trades(rows: &[Trade]) -> f64 {
    let blocks = rows.chunks(BLOCK_ROWS);
    let bytes: usize = blocks
        .map(|rows| encode_trades(rows).expect("trades").len())
        .sum();
    bytes as f64 / rows.len() as f64
}

fn sizes() {
    println!(
        "bytes a row (trades; without receive time; 1s bars; without times that a venue has not)"
    );
    for (name, trades) in tapes() {
        let bare: Vec<_> = trades
            .iter()
            .map(|trade| Trade {
                received_us: trade.event_ms * 1_000,
                ..*trade
            })
            .collect();
        let bars = bars_of(&trades, Timeframe::SECOND);
        let known_at_end = |row: &BarRow| BarRow {
            known_ms: row.start_ms + 1_000,
            ..venue_fields(row)
        };
        let venue: Vec<_> = bars.iter().map(known_at_end).collect();
        println!(
            "  {name}: {} trades {:.2}, {:.2}; {} bars {:.2}, {:.2}",
            trades.len(),
            bytes_of_trades(&trades),
            bytes_of_trades(&bare),
            bars.len(),
            bytes_of_bars(&bars),
            bytes_of_bars(&venue),
        );
    }
}

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
    sizes();
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
        bench.iter(|| decode_trade_columns(black_box(&block)));
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
