//! Raw frame to bars in four timeframes, stage by stage and whole, for each venue; and taking a
//! checkpoint.
//!
//! `cargo bench -p marketdata`. Binance frames are real ones where `KLINECAST_CAPTURES` names the
//! captures; all others are the venue's documented form with running ids, times and prices.
//! Allocations per trade are printed before the timings.

mod captured;

use std::hint::black_box;

use allocation_counter::measure;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use market_core::{Origin, Pipeline, PipelineConfig, Trade, VenueClock};
use marketdata::exchange::{Event, Exchange, registry};
use marketdata::replay::{Line, parse_line};

const FRAMES: usize = 20_000;
const START_MS: i64 = 1_723_464_000_000;
/// The worker's tick and the cadence of forming bars, in venue time.
const TICK_MS: i64 = 50;
const FORMING_MS: i64 = 250;

struct Tape {
    exchange: &'static dyn Exchange,
    label: String,
    frames: Vec<(i64, String)>,
}

fn exchange(name: &str) -> &'static dyn Exchange {
    registry::find(name).expect("registered")
}

/// About 200 trades a second, as a busy symbol has them.
fn invented(name: &str) -> Tape {
    let frame = |index: usize| {
        let (id, at) = (3_735_683_259 + index, START_MS + index as i64 * 5);
        let (cents, quantity) = (6_183_763 + index * 7_919 % 4_001, 1 + index * 31 % 997);
        let price = format!("{}.{:02}", cents / 100, cents % 100);
        let is_maker = index.is_multiple_of(2);
        let text = match name {
            "binance" => format!(
                r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{at},"s":"BTCUSDT","t":{id},"p":"{price}000000","q":"0.{quantity:05}000","T":{at},"m":{is_maker},"M":true}}}}"#
            ),
            "coinbase" => {
                let (second, millis) = ((at - START_MS) / 1_000, at % 1_000);
                format!(
                    r#"{{"type":"match","trade_id":{id},"maker_order_id":"ac928c66-ca53-498f-9c13-a110027a60e8","taker_order_id":"132fb6ae-456b-4654-b4e0-d681ac05cea1","side":"{}","size":"0.{quantity:08}","price":"{price}","product_id":"BTC-USD","sequence":{id},"time":"2024-08-12T12:{:02}:{:02}.{millis:03}456Z"}}"#,
                    if is_maker { "buy" } else { "sell" },
                    second / 60,
                    second % 60,
                )
            }
            _ => format!(
                r#"{{"arg":{{"channel":"trades","instId":"BTC-USDT"}},"data":[{{"instId":"BTC-USDT","tradeId":"{id}","px":"{price}","sz":"0.{quantity:05}","side":"{}","ts":"{at}","count":"1","seqId":{id}}}]}}"#,
                if is_maker { "buy" } else { "sell" },
            ),
        };
        ((at + 8) * 1_000, text)
    };
    Tape {
        exchange: exchange(name),
        label: name.to_owned(),
        frames: (0..FRAMES).map(frame).collect(),
    }
}

fn captured() -> Option<Tape> {
    let text = captured::btcusdt()?;
    let exchange = exchange("binance");
    let mut frames = Vec::new();
    for line in text.lines() {
        if let Ok(Line::Frame { received_us, frame }) = parse_line(line)
            && frame.contains("@trade")
        {
            frames.push((received_us, frame.to_owned()));
        }
    }
    Some(Tape {
        exchange,
        label: "binance-captured".to_owned(),
        frames,
    })
}

fn decode(tape: &Tape) -> Vec<Trade> {
    let mut trades = Vec::with_capacity(tape.frames.len());
    for (received_us, frame) in &tape.frames {
        let decoded = tape.exchange.decode(frame, *received_us, &mut |event| {
            if let Event::Trade { trade, .. } = event {
                trades.push(trade);
            }
        });
        decoded.expect("a venue's frame");
    }
    trades
}

/// What a worker does with a symbol's trades; the number of bars that came out.
struct Driver {
    pipeline: Pipeline,
    clock: VenueClock,
    outputs: Vec<market_core::Output>,
    forming: Vec<market_core::Bar>,
    ticked_ms: i64,
    formed_ms: i64,
    bars: usize,
}

impl Driver {
    fn new() -> Self {
        let mut pipeline = Pipeline::new(&PipelineConfig::default());
        pipeline.feed_up(0);
        Self {
            pipeline,
            clock: VenueClock::default(),
            outputs: Vec::new(),
            forming: Vec::new(),
            ticked_ms: 0,
            formed_ms: 0,
            bars: 0,
        }
    }

    #[inline]
    fn take(&mut self, trade: &Trade) {
        let received_ms = trade.received_us / 1_000;
        self.clock.observe(trade.event_ms, received_ms);
        let venue_now = self.clock.venue_now(received_ms);
        self.pipeline
            .offer(trade, Origin::Live, venue_now, &mut self.outputs);
        if venue_now - self.ticked_ms >= TICK_MS {
            self.ticked_ms = venue_now;
            self.pipeline
                .tick(venue_now, received_ms, &mut self.outputs);
            self.bars += self.outputs.len();
            self.outputs.clear();
            if venue_now - self.formed_ms >= FORMING_MS {
                self.formed_ms = venue_now;
                self.pipeline.forming(&mut self.forming);
                self.bars += self.forming.len();
                self.forming.clear();
            }
        }
    }
}

fn aggregate(trades: &[Trade]) -> usize {
    let mut driver = Driver::new();
    for trade in trades {
        driver.take(trade);
    }
    driver.bars
}

fn whole(tape: &Tape) -> usize {
    let mut driver = Driver::new();
    for (received_us, frame) in &tape.frames {
        let decoded = tape.exchange.decode(frame, *received_us, &mut |event| {
            if let Event::Trade { trade, .. } = event {
                driver.take(&trade);
            }
        });
        decoded.expect("a venue's frame");
    }
    driver.bars
}

fn pipeline(criterion: &mut Criterion) {
    let mut tapes: Vec<Tape> = ["binance", "coinbase", "okx"].map(invented).into();
    match captured() {
        Some(tape) => tapes.insert(0, tape),
        None => println!("KLINECAST_CAPTURES is not set: skipping the captured frames"),
    }
    for tape in &tapes {
        let trades = decode(tape);
        let count = trades.len() as f64;
        println!(
            "{}: {} trades, {} bars out; allocations a trade: decode {:.4}, whole {:.4}",
            tape.label,
            trades.len(),
            whole(tape),
            measure(|| _ = black_box(decode(tape))).count_total as f64 / count,
            measure(|| _ = black_box(whole(tape))).count_total as f64 / count,
        );
        let mut group = criterion.benchmark_group(&tape.label);
        group
            .throughput(Throughput::Elements(trades.len() as u64))
            .sample_size(20);
        group.bench_function("decode", |bencher| bencher.iter(|| decode(black_box(tape))));
        group.bench_function("sequence-reorder-aggregate", |bencher| {
            bencher.iter(|| aggregate(black_box(&trades)))
        });
        group.bench_function("whole", |bencher| bencher.iter(|| whole(black_box(tape))));
        group.finish();
    }
}

/// A symbol whose feed lost a trade each second for five minutes: its checkpoints are the longest.
fn patchy() -> Pipeline {
    let mut tape = invented("binance");
    // One frame in 200 is a second later than the one before.
    let kept = tape.frames.into_iter().step_by(200);
    tape.frames = kept.take(300).collect();
    let mut driver = Driver::new();
    for trade in decode(&tape) {
        driver.take(&trade);
    }
    driver.pipeline
}

fn busy() -> Pipeline {
    let mut driver = Driver::new();
    for trade in decode(&invented("binance")) {
        driver.take(&trade);
    }
    driver.pipeline
}

/// What a worker waits for, and what is done elsewhere.
fn checkpoint(criterion: &mut Criterion) {
    for (label, pipeline) in [("busy", busy()), ("patchy", patchy())] {
        let state = pipeline.checkpoint().expect("it is not too long");
        println!("{label}: {} bytes", state.clone().encode("").len());
        let mut group = criterion.benchmark_group("checkpoint");
        group.bench_function(format!("{label}/take"), |bencher| {
            bencher.iter(|| black_box(pipeline.checkpoint()))
        });
        group.bench_function(format!("{label}/take and encode"), |bencher| {
            bencher.iter(|| black_box(pipeline.checkpoint().map(|state| state.encode(""))))
        });
        group.finish();
    }
}

criterion_group!(benches, pipeline, checkpoint);
criterion_main!(benches);
