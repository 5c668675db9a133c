//! What time alone can fire is looked at in turns.

use std::collections::BTreeSet;
use std::sync::Arc;

use alerts::engine::{ActiveRule, Engine, Turn};
use alerts::quote::SymbolQuote;
use alerts::rule::read_rules;
use market_core::{Price, Symbol};

const SYMBOLS: usize = 10;

fn symbol(index: usize) -> Symbol {
    format!("A{index}-B").parse().expect("a symbol")
}

/// An engine with one rule for all symbols that the rule names.
fn engine(when: &str) -> Engine {
    let symbols: Vec<String> = (0..SYMBOLS).map(|index| format!("A{index}-B")).collect();
    let symbols = serde_json::to_string(&symbols).expect("JSON");
    let json =
        format!(r#"{{"rules":[{{"name":"r","symbols":{symbols},"cooldown_s":0,"when":{when}}}]}}"#);
    let rule = read_rules(json.as_bytes()).expect("a rule").remove(0);
    let mut engine = Engine::new(SYMBOLS);
    engine.put(ActiveRule {
        rule: Arc::new(rule),
        epoch: 1,
    });
    engine
}

fn quote(ask: i64, received_ms: i64) -> Option<SymbolQuote> {
    let price = |cents| Price::from_parts(i128::from(cents), 2).expect("a price");
    Some(SymbolQuote {
        exchange: "binance".into(),
        bid: price(10_000),
        ask: price(ask),
        received_ms,
    })
}

#[test]
fn a_turn_looks_at_no_more_watches_than_it_may_and_the_next_one_goes_on() {
    let mut engine = engine(r#"{"type":"stale","after_s":10}"#);
    let turn = Turn {
        looks_max: 4,
        ..Turn::WHOLE
    };
    let mut told = BTreeSet::new();
    for (looks, waiting) in [(4, 6), (4, 2), (2, 0)] {
        let looked = engine.tick(20_000, turn);
        assert_eq!((looked.looks, looked.waiting), (looks, waiting));
        assert_eq!(looked.alerts.len(), looks);
        told.extend(looked.alerts.into_iter().map(|alert| alert.symbol));
    }
    assert_eq!(told.len(), SYMBOLS, "each once in a round");
    let next = engine.tick(20_000, turn);
    assert_eq!((next.alerts.len(), next.looks, next.waiting), (0, 4, 6));
}

#[test]
fn a_turn_raises_no_more_alerts_than_there_is_room_for_and_none_is_lost() {
    let mut silent = engine(r#"{"type":"stale","after_s":10}"#);
    let mut wide = engine(r#"{"type":"spread","points":"10","for_s":0}"#);
    for index in 0..SYMBOLS {
        assert!(wide.offer_quote(&symbol(index), quote(10_100, 1_000)));
    }
    let turn = |alerts_max| Turn {
        alerts_max,
        ..Turn::WHOLE
    };
    for room in [1, 3, 7] {
        for is_silence in [true, false] {
            let mut told = BTreeSet::new();
            for engine in [&mut silent, &mut wide] {
                // Rules begin anew.
                let active = engine.rules().next().expect("a rule").clone();
                engine.put(active);
            }
            for _ in 0..SYMBOLS.div_ceil(room) {
                let looked = match is_silence {
                    true => silent.tick(20_000, turn(room)),
                    false => wide.tick_quotes(20_000, 0, turn(room)),
                };
                assert!(looked.alerts.len() <= room);
                told.extend(looked.alerts.into_iter().map(|alert| alert.symbol));
            }
            assert_eq!(told.len(), SYMBOLS, "{room} {is_silence}");
        }
    }
    let none = silent.tick(20_000, turn(0));
    assert_eq!((none.alerts.len(), none.looks), (0, 0));
}

#[test]
fn a_clock_that_is_put_back_stops_no_rule_on_spreads() {
    let mut engine = engine(r#"{"type":"spread","points":"10","for_s":5}"#);
    let hour_ms = 3_600_000;
    // By a clock that is an hour ahead: wide, an alert, and narrow again.
    let look = |engine: &mut Engine, ask, now_ms: i64| {
        assert!(engine.offer_quote(&symbol(0), quote(ask, now_ms)));
        engine
            .tick_quotes(now_ms, now_ms - 60_000, Turn::WHOLE)
            .alerts
            .len()
    };
    assert_eq!(look(&mut engine, 10_100, hour_ms), 0);
    assert_eq!(look(&mut engine, 10_100, hour_ms + 5_000), 1);
    assert_eq!(look(&mut engine, 10_000, hour_ms + 6_000), 0);
    // The clock is right again.
    assert_eq!(look(&mut engine, 10_100, 1_000), 0);
    assert_eq!(look(&mut engine, 10_100, 5_999), 0);
    assert_eq!(
        look(&mut engine, 10_100, 6_000),
        1,
        "an hour late otherwise"
    );
    // Put back while the spread is wide: its time begins again.
    assert_eq!(look(&mut engine, 10_000, hour_ms), 0);
    assert_eq!(look(&mut engine, 10_100, hour_ms + 1), 0);
    assert_eq!(look(&mut engine, 10_100, 2_000), 0);
    assert_eq!(look(&mut engine, 10_100, 7_000), 1);
}
