//! Klines that a venue pushed beside its trades, in recorded frames.
//!
//! A kline may be pushed in the middle of an aggregate: it counts the trades of which the
//! aggregate is made, and ends at its `L`. So bars are never made of klines; but wherever the ids
//! of two klines of a minute and of the aggregates between them align, the trades' fold has to
//! lead from the one to the other.

use std::collections::BTreeMap;

use market_core::{Fold, Trade};
use marketdata::exchange::{Event, registry};
use rust_decimal::Decimal;
use serde_json::Value;

use crate::captures::{captures, read};

/// The sums of a kline, named as the venue does.
struct Kline {
    start_ms: i64,
    last_id: u64,
    sums: [Decimal; 4],
    count: u64,
}

impl Kline {
    fn of(frame: &Value) -> Option<(String, Self)> {
        let kline = frame["data"].get("k")?;
        let number = |field: &str| kline[field].as_u64().expect("a number");
        let sum = |field: &str| {
            kline[field]
                .as_str()
                .expect("text")
                .parse()
                .expect("decimal")
        };
        let this = Self {
            start_ms: kline["t"].as_i64().expect("a time"),
            last_id: number("L"),
            sums: ["v", "q", "V", "Q"].map(sum),
            count: number("n"),
        };
        Some((kline["s"].as_str().expect("text").to_owned(), this))
    }
}

/// How often what was pushed could be compared, and how often ids did not align.
#[derive(Debug, PartialEq, Eq)]
struct Compared {
    equal: usize,
    in_the_middle: usize,
}

fn compare(file: &std::path::Path) -> Compared {
    let binance = registry::find("binance").expect("in the registry");
    let mut trades: BTreeMap<String, Vec<Trade>> = BTreeMap::new();
    let mut klines: BTreeMap<String, Vec<Kline>> = BTreeMap::new();
    for line in read(file).lines() {
        let Some((_, frame)) = line.split_once(": ") else {
            continue;
        };
        let decoded = binance.decode(frame, 0, &mut |event| {
            if let Event::Trade { native, trade, .. } = event {
                trades.entry(native.to_owned()).or_default().push(trade);
            }
        });
        decoded.expect("the venue's own frames");
        let frame: Value = serde_json::from_str(frame).expect("JSON");
        if let Some((native, kline)) = Kline::of(&frame) {
            klines.entry(native).or_default().push(kline);
        }
    }
    let mut compared = Compared {
        equal: 0,
        in_the_middle: 0,
    };
    for (native, pushed) in &klines {
        let pairs = pushed.windows(2).map(|pair| (&pair[0], &pair[1]));
        for (before, after) in pairs.filter(|(before, after)| before.start_ms == after.start_ms) {
            let between =
                trades.get(native).into_iter().flatten().filter(|trade| {
                    trade.first_id > before.last_id && trade.last_id <= after.last_id
                });
            let mut fold: Option<Fold> = None;
            for trade in between {
                match &mut fold {
                    Some(fold) => fold.merge(&Fold::of(trade)),
                    None => fold = Some(Fold::of(trade)),
                }
            }
            let ids = after.last_id - before.last_id;
            let count = fold.map_or(0, |fold| fold.count);
            if count != ids {
                assert!(count < ids, "{native}: more trades than ids");
                compared.in_the_middle += 1;
                continue;
            }
            let sums = fold.map(|fold| {
                [
                    fold.volume,
                    fold.quote_volume,
                    fold.taker_buy_volume,
                    fold.taker_buy_quote_volume,
                ]
                .map(|sum| sum.to_string().parse().expect("decimal"))
            });
            let sums = sums.unwrap_or([Decimal::ZERO; 4]);
            let grown: [Decimal; 4] =
                std::array::from_fn(|index| after.sums[index] - before.sums[index]);
            assert_eq!(
                (grown, after.count - before.count),
                (sums, count),
                "{native} up to id {}",
                after.last_id
            );
            compared.equal += 1;
        }
    }
    compared
}

#[test]
fn klines_pushed_beside_aggregates_agree_wherever_their_ids_align() {
    let Some(folder) = captures("klines pushed beside aggregates") else {
        return;
    };
    let compared = ["BINANCE_FUTURES", "BINANCE_US"]
        .map(|name| compare(&folder.join(format!("binance-mixed-raw/{name}.ws.1.0.txt.gz"))));
    assert_eq!(
        compared,
        [
            Compared {
                equal: 36,
                in_the_middle: 23
            },
            Compared {
                equal: 3,
                in_the_middle: 0
            },
        ]
    );
}
