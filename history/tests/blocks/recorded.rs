//! What recorded trades take in a block.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use history::block::encode_trades;
use market_core::{AggressorSide, Price, Quantity, Trade};

use crate::decoded_trades;

/// The rows of a block, as the store seals it.
const BLOCK_ROWS: usize = 4_096;

/// The trade of a line: a receive time in ns, and a frame of a combined stream.
fn trade(line: &str) -> Option<Trade> {
    let (received_ns, json) = line.split_once(' ')?;
    let received_ns: i64 = received_ns.parse().ok()?;
    let frame: serde_json::Value = serde_json::from_str(json).ok()?;
    let trade = &frame["data"];
    let is_trade = frame["stream"].as_str()?.ends_with("@trade");
    let id = trade["t"].as_u64().filter(|_| is_trade)?;
    Some(Trade {
        first_id: id,
        last_id: id,
        event_ms: trade["T"].as_i64()?,
        price: Price::parse(trade["p"].as_str()?).ok()?,
        quantity: Quantity::parse(trade["q"].as_str()?).ok()?,
        aggressor_side: match trade["m"].as_bool()? {
            true => AggressorSide::Sell,
            false => AggressorSide::Buy,
        },
        received_us: received_ns / 1_000,
    })
}

fn trades(path: &Path) -> Vec<Trade> {
    let file = std::fs::File::open(path).expect("a capture");
    let lines = BufReader::new(MultiGzDecoder::new(file)).lines();
    lines
        .filter_map(|line| trade(&line.expect("UTF-8")))
        .collect()
}

#[test]
fn recorded_trades_with_receive_times_take_three_bytes_each() {
    let Some(captures) = std::env::var_os("KLINECAST_CAPTURES").map(PathBuf::from) else {
        println!("the captures are skipped: KLINECAST_CAPTURES does not name their folder");
        return;
    };
    for (folder, files, count, bytes_max) in [
        (
            "binance-spot-raw",
            &["btcusdt_20240808.gz", "btcusdt_20240809.gz"][..],
            19_904,
            3.09,
        ),
        (
            "binance-usdm-raw",
            &["btcusdt_20240808.gz"][..],
            21_313,
            2.30,
        ),
    ] {
        let files = files.iter().map(|file| captures.join(folder).join(file));
        let rows: Vec<Trade> = files.flat_map(|file| trades(&file)).collect();
        assert_eq!(rows.len(), count, "{folder}");
        let mut bytes = 0;
        for rows in rows.chunks(BLOCK_ROWS) {
            let block = encode_trades(rows).expect("sound trades");
            assert_eq!(decoded_trades(&block).as_deref(), Ok(rows));
            bytes += block.len();
        }
        let each = bytes as f64 / count as f64;
        println!("{folder}: {each:.3} bytes a trade");
        assert!(each <= bytes_max, "{folder}: {each:.3} bytes a trade");
    }
}
