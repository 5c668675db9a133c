use market_core::book::LevelChange;

use super::*;
use crate::exchange::registry::{self, EXCHANGES};

fn side(changes: &[LevelChange]) -> String {
    let text = |change: &LevelChange| match change.quantity {
        Some(quantity) => format!("{}x{quantity}", change.price),
        None => format!("{} gone", change.price),
    };
    let texts: Vec<String> = changes.iter().map(text).collect();
    texts.join(", ")
}

/// The decoded events of a fixture's frames, one event or error per line.
#[track_caller]
fn check(exchange: &str, frames: &str, expected: &[&str]) {
    let exchange = registry::find(exchange).expect("registered");
    let mut lines = Vec::new();
    for frame in frames.lines() {
        let decoded = exchange.decode_books(frame, 7, &mut |event| {
            lines.push(match event {
                BookEvent::Update { native, update } => {
                    let kind = match update.is_snapshot {
                        true => "snapshot",
                        false => "change",
                    };
                    let (bids, asks) = (side(&update.bids), side(&update.asks));
                    let at = update.event_ms;
                    format!(
                        "{native} {kind} {:?} bids {bids} asks {asks} at {at:?}",
                        update.numbers
                    )
                }
                other => format!("{other:?}"),
            });
        });
        if let Err(error) = decoded {
            lines.push(error.to_string());
        }
    }
    assert_eq!(lines, expected);
}

#[test]
fn frames_of_binances_books_are_read() {
    check(
        "binance",
        include_str!("../../../fixtures/binance/books.jsonl"),
        &[
            "BTCUSDT change Range { first: 50093239189, last: 50093239202 } bids 61737.63 gone, 61730.17x0.5 asks 61837.64x1.54698 at Some(1723161255208)",
            "BTCUSDT change Range { first: 50093239203, last: 50093239203 } bids  asks 61837.64 gone at Some(1723161255308)",
            "Subscribed { id: Some(1) }",
            r#"Refused { id: Some(3), message: "Invalid request: unknown variant `SUB`" }"#,
            r#"Refused { id: None, message: "Invalid request" }"#,
            "ClosingSoon",
            "Ignored",
            "Unknown",
            "malformed: a change of a book without numbers",
            "malformed: level of a book",
            "malformed: level of a book",
            "malformed: frame",
            "malformed: numbers of a book",
            "malformed: a change of a book without a side",
            "malformed: a change of a book without a side",
        ],
    );
}

#[test]
fn frames_of_coinbases_books_are_read() {
    check(
        "coinbase",
        include_str!("../../../fixtures/coinbase/books.jsonl"),
        &[
            "BTC-USD snapshot None bids 10101.1x0.4505414 asks 10102.55x0.57753524 at None",
            "BTC-USD change None bids 10101.8x0.162567 asks 10102.55 gone at Some(1565815347966)",
            "Subscribed { id: None }",
            r#"Refused { id: None, message: "XYZ-USD is not a valid product" }"#,
            "Ignored",
            "Unknown",
            "malformed: side of a book",
            "malformed: a book without product_id",
            "malformed: frame",
            "malformed: a book without its levels",
            "malformed: a book without its levels",
            "malformed: a book without its levels",
        ],
    );
}

#[test]
fn frames_of_okxs_books_are_read() {
    check(
        "okx",
        include_str!("../../../fixtures/okx/books.jsonl"),
        &[
            "BTC-USDT snapshot Chain { previous: None, number: 123456 } bids 8476.97x256 asks 8476.98x415 at Some(1597026383085)",
            "BTC-USDT change Chain { previous: Some(123456), number: 123457 } bids  asks 8476.98 gone at Some(1597026383185)",
            "BTC-USDT change None bids 30000x20.11183989 asks  at Some(1652459225381)",
            "Subscribed { id: None }",
            "Ignored",
            r#"Refused { id: None, message: "Invalid request" }"#,
            "ClosingSoon",
            "Ignored",
            "Unknown",
            "malformed: number of a book",
            "malformed: book without instId",
            "malformed: frame",
            "malformed: a book without its levels",
            "malformed: a book without its levels",
            "malformed: frame",
        ],
    );
}

#[test]
fn every_symbol_is_in_exactly_one_frame_that_subscribes_books() {
    for exchange in EXCHANGES {
        let natives: Vec<String> = (0..1_000)
            .map(|index| exchange.native_name(&format!("C{index}"), "USD"))
            .collect();
        let natives: Vec<&str> = natives.iter().map(String::as_str).collect();
        let frames = exchange.subscribe_books(&natives, 7);
        let subscribed: Vec<&String> = frames.iter().flat_map(|frame| &frame.natives).collect();
        assert_eq!(subscribed, natives.iter().collect::<Vec<_>>());
        for (index, frame) in frames.iter().enumerate() {
            assert_eq!(frame.id, 7 + index as u64);
            assert!(frame.natives.len() <= exchange.limits().streams_per_subscribe);
            serde_json::from_str::<serde_json::Value>(&frame.text).expect("valid JSON");
        }
    }
}

#[test]
fn a_snapshot_of_binance_is_its_book_up_to_its_number() {
    let binance = registry::find("binance").expect("registered");
    let body = br#"{"lastUpdateId":50093239218,"bids":[["61837.63000000","3.78826000"]],"asks":[["61837.64000000","1.5"]]}"#;
    let update = binance.parse_book_snapshot(body, 9).expect("a snapshot");
    let number = 50_093_239_218;
    assert_eq!(
        update.numbers,
        market_core::book::UpdateNumbers::Range {
            first: number,
            last: number
        }
    );
    assert!(update.is_snapshot && update.received_us == 9);
    assert_eq!(side(&update.asks), "61837.64x1.5");
    for body in [
        &b"[]"[..],
        b"{}",
        br#"{"lastUpdateId":-1,"bids":[],"asks":[]}"#,
    ] {
        assert!(binance.parse_book_snapshot(body, 9).is_err());
    }
}
