//! Trades to measure with, and bars of them.

use std::io::Read as _;
use std::path::Path;

use history::BarRow;
use market_core::{AggressorSide, Bar, BarState, Fold, Price, Quality, Quantity, Timeframe, Trade};

const START_MS: i64 = 1_723_161_600_000;

/// Trades of one symbol, by time.
pub(crate) struct Tape {
    pub(crate) name: &'static str,
    pub(crate) trades: Vec<Trade>,
}

/// Recorded tapes: a name, and the files, which follow each other.
const CAPTURES: [(&str, &[&str]); 3] = [
    (
        "Binance spot BTC-USDT, 11 minutes",
        &[
            "binance-spot-raw/btcusdt_20240808.gz",
            "binance-spot-raw/btcusdt_20240809.gz",
        ],
    ),
    (
        "Binance USD-M BTC-USDT, 6 minutes",
        &["binance-usdm-raw/btcusdt_20240808.gz"],
    ),
    (
        "Binance spot XRP-ETH, a day",
        &["binance-aggtrades/XRPETH-aggTrades-2019-10-11.jsonl.gz"],
    ),
];

/// A trade of one line: a frame behind its receive time in ns, or an aggregate trade of REST, whose
/// receive time nobody wrote down.
fn captured(line: &str) -> Option<Trade> {
    let (received_ns, json) = match line.split_once(' ') {
        Some((received_ns, json)) => (received_ns.parse::<i64>().ok(), json),
        None => (None, line),
    };
    let frame: serde_json::Value = serde_json::from_str(json).ok()?;
    let trade = match frame["stream"].as_str() {
        Some(stream) => stream.ends_with("@trade").then_some(&frame["data"])?,
        None => &frame,
    };
    let (first, last) = match trade["t"].as_u64() {
        Some(id) => (id, id),
        None => (trade["f"].as_u64()?, trade["l"].as_u64()?),
    };
    let event_ms = trade["T"].as_i64()?;
    Some(Trade {
        first_id: first,
        last_id: last,
        event_ms,
        price: Price::parse(trade["p"].as_str()?).ok()?,
        quantity: Quantity::parse(trade["q"].as_str()?).ok()?,
        aggressor_side: if trade["m"].as_bool()? {
            AggressorSide::Sell
        } else {
            AggressorSide::Buy
        },
        received_us: received_ns.map_or(event_ms * 1_000, |received_ns| received_ns / 1_000),
    })
}

fn read(path: &Path) -> Vec<Trade> {
    let mut text = String::new();
    let file = std::fs::File::open(path).expect("a capture");
    flate2::read::MultiGzDecoder::new(file)
        .read_to_string(&mut text)
        .expect("UTF-8");
    text.lines().filter_map(captured).collect()
}

/// A walk with the steps and sizes of a busy symbol.
pub(crate) fn invented(count: u64) -> Vec<Trade> {
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

/// All tapes; the recorded ones where `KLINECAST_CAPTURES` names the captures.
pub(crate) fn tapes() -> Vec<Tape> {
    let mut tapes = vec![Tape {
        name: "invented",
        trades: invented(1_000_000),
    }];
    if let Some(captures) = std::env::var_os("KLINECAST_CAPTURES") {
        for (name, files) in CAPTURES {
            let trades = files
                .iter()
                .flat_map(|file| read(&Path::new(&captures).join(file)));
            tapes.push(Tape {
                name,
                trades: trades.collect(),
            });
        }
    }
    tapes
}

/// The bars of the intervals that have trades.
pub(crate) fn bars_of(trades: &[Trade], timeframe: Timeframe) -> Vec<BarRow> {
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
