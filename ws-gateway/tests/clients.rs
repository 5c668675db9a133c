//! Other people's clients, as published, against a gateway.
//!
//! `KLINECAST_GATEWAY_PYTHON` names an interpreter with `tests/clients/requirements-gateway.txt`
//! installed.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use serde_json::json;
use ws_gateway::Config;

use crate::support::start;

/// The `seq` that ends the script.
const LAST: u64 = 1_000_000;

fn bar(symbol: &str, index: i64, seq: u64, is_closed: bool) -> (String, Bytes) {
    let is_filled = index % 5 == 4;
    let bar = json!({
        "topic": format!("kline:1s:{symbol}"), "seq": seq, "epoch": 1_763_697_600_000u64,
        "exchange": "binance", "symbol": symbol, "interval": "1s", "start_ms": index * 1_000, "end_ms": (index + 1) * 1_000,
        "open": "61837.6300", "high": format!("61{seq}.11"), "low": "0.00000000017", "close": "1",
        "volume": "182403170000000000000.5", "quote_volume": "11283716.0381274",
        "taker_buy_volume": "95.11842", "taker_buy_quote_volume": "0", "count": seq * 3,
        "first_id": (!is_filled).then_some("4012288104"), "last_id": (!is_filled).then_some("4012288999"),
        "state": if is_closed { "closed" } else { "forming" }, "rev": index % 2,
        "quality": if is_filled { "filled" } else { "complete" },
        "event_ms": (!is_filled).then_some(1_763_697_600_123u64),
        "received_us": (!is_filled).then_some(1_763_697_600_123_456u64),
        "published_us": 1_763_697_600_124_000u64 + seq,
    });
    (format!("kline.1s.{symbol}"), bar.to_string().into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn third_party_clients_get_the_same_bars_in_every_encoding() {
    let Some(python) = std::env::var_os("KLINECAST_GATEWAY_PYTHON") else {
        println!(
            "skipped: KLINECAST_GATEWAY_PYTHON names no interpreter with tests/clients/requirements-gateway.txt installed"
        );
        return;
    };
    let gateway = start(Config::default()).await.ready().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(python);
    command
        .arg(folder.join("tests/clients/every_encoding.py"))
        .arg(gateway.url("/ws"))
        .arg(folder.join("../crates/client-frames/proto"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null());
    let script = tokio::task::spawn_blocking(move || command.output());
    // All six have subscribed before the first bar, so that each gets every closed one.
    let sessions = || gateway.metric("gateway_snapshots_total", &[]);
    while sessions() < 6.0 && !script.is_finished() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let publish = async |(subject, payload): (String, Bytes)| {
        gateway.bus.publish(&subject, payload).await.unwrap();
    };
    let mut seq = 0;
    for index in 0..10 {
        for symbol in ["BTC-USD", "OKX:ETH-USDT", "SOL-EUR"] {
            let subject_symbol = symbol.replace(':', ".");
            for is_closed in [false, true] {
                seq += 1;
                let (_, payload) = bar(symbol, index, seq, is_closed);
                publish((format!("kline.1s.{subject_symbol}"), payload)).await;
            }
        }
        let status = json!({"topic": "system:feed:sim", "state": "live", "n": index});
        publish(("system.feed.sim".to_owned(), status.to_string().into())).await;
    }
    while !script.is_finished() {
        publish(bar("BTC-USD", 1_000, LAST, false)).await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let output = script.await.unwrap().expect("the interpreter starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{text}{errors}");
    assert!(output.status.success(), "{errors}");
}
