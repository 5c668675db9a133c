//! A strategy on live bars, or on a replay of stored ones: the same code, and the same decisions.
//!
//! ```text
//! cargo run -p loadtest --example crossing -- ws://127.0.0.1:8080/ws kline:1m:BTC-USD
//! cargo run -p loadtest --example crossing -- ws://127.0.0.1:8080/ws kline:1m:BTC-USD 1763697600000 1763784000000 out
//! ```
//!
//! The third and the fourth word are the first and the last instant of a replay, in milliseconds
//! since 1970; the fifth is the folder of the report. `clients/python/examples/crossing.py` is the
//! same strategy.

use std::path::Path;

use loadtest::bar_stream::BarStream;
use loadtest::report;
use loadtest::strategy::{Crossing, Run};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (url, topic, replay) = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [url, topic] => (url, topic, None),
        [url, topic, from, to, folder] => (url, topic, Some((from, to, folder))),
        _ => {
            return Err("write: crossing ws://ADDRESS:PORT/ws TOPIC [FROM_MS TO_MS FOLDER]".into());
        }
    };
    let (from, to_ms) = match replay {
        Some((from, to, _)) => {
            let (from_ms, to_ms): (i64, i64) = (from.parse()?, to.parse()?);
            (json!({"ms": from_ms, "speed": 1_000}), to_ms)
        }
        None => (json!({"last": 200}), i64::MAX),
    };
    let mut bars = BarStream::new(url, topic, from);
    let mut run = Run::new(Crossing::new(5, 20));
    loop {
        let bar = bars.next().await;
        if bar.start_ms >= to_ms {
            break;
        }
        if let Some(side) = run.take(&bar) {
            println!("{} {side} at {}", bar.end_ms, bar.close);
        }
    }
    if let Some((_, _, folder)) = replay {
        report::write(Path::new(folder), &run)?;
        println!(
            "worth {} after {} trades",
            run.account.worth(),
            run.account.fills.len()
        );
    }
    Ok(())
}
