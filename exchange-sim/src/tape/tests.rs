//! The tape's bounds, pages and bars.

use super::*;
use proptest::prelude::*;

const BOUNDS: TapeBounds = TapeBounds {
    trades_max: 10_000,
    age_us_max: i64::MAX,
    minutes_max: 10_000,
};

fn trade(id: u64, event_ms: i64, price: i64) -> Trade {
    Trade {
        id,
        aggregate_id: id,
        count: 1,
        event_us: event_ms * 1000,
        price,
        quantity: 2,
        taker_buys: id.is_multiple_of(2),
    }
}

#[test]
fn a_full_tape_drops_its_oldest_trades_and_keeps_its_minutes() {
    let mut tape = Tape::new(TapeBounds {
        trades_max: 3,
        ..BOUNDS
    });
    for id in 1..=5 {
        tape.insert(trade(id, id as i64 * 30_000, 100));
    }
    assert_eq!(tape.first().map(|trade| trade.id), Some(3));
    assert_eq!(tape.evicted, 2);
    let counts: Vec<u64> = tape
        .bars(Interval::MINUTE, 0, 0, 600_000)
        .iter()
        .map(|bar| bar.count)
        .collect();
    assert_eq!(counts, [1, 2, 2]);
}

#[test]
fn an_interval_without_trades_is_flat_at_the_price_before_it() {
    let mut tape = Tape::new(BOUNDS);
    tape.insert(trade(1, 10_000, 100));
    tape.insert(trade(2, 190_000, 120));
    let bars = tape.bars_filled(Interval::MINUTE, 0, 0, 240_000);
    let shape: Vec<(i64, u64)> = bars.iter().map(|bar| (bar.close, bar.count)).collect();
    assert_eq!(shape, [(100, 1), (100, 0), (100, 0), (120, 1)]);
    assert_eq!(tape.price_before(190_000), Some(100));
    assert_eq!(tape.price_before(190_001), Some(120));
}

#[test]
fn a_repeated_id_is_refused() {
    let mut tape = Tape::new(BOUNDS);
    assert!(tape.insert(trade(1, 1, 100)));
    assert!(!tape.insert(trade(1, 2, 101)));
    assert_eq!(tape.bars(Interval::MINUTE, 0, 0, 60_000)[0].count, 1);
}

proptest! {
    #[test]
    fn bars_are_the_fold_of_the_trades(
        rows in proptest::collection::vec((0i64..7_200_000, 1i64..1000), 1..200),
        order in any::<u64>(),
    ) {
        let trades: Vec<Trade> =
            rows.iter().zip(1..).map(|((ms, price), id)| trade(id, *ms, *price)).collect();
        let mut shuffled = trades.clone();
        shuffled.sort_by_key(|trade| (trade.id ^ order).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut tape = Tape::new(BOUNDS);
        for trade in shuffled {
            tape.insert(trade);
        }
        for interval in [Interval::Fixed(1000), Interval::MINUTE, Interval::Fixed(3_600_000)] {
            let bars = tape.bars(interval, 0, 0, 7_200_000);
            for bar in &bars {
                let mut inside: Vec<&Trade> = trades
                    .iter()
                    .filter(|trade| interval.start_of(trade.event_ms(), 0) == bar.start_ms)
                    .collect();
                inside.sort_by_key(|trade| (trade.event_us, trade.id));
                prop_assert_eq!(bar.open, inside[0].price);
                prop_assert_eq!(bar.close, inside[inside.len() - 1].price);
                prop_assert_eq!(bar.count, inside.len() as u64);
                prop_assert_eq!(bar.quote_volume, inside.iter().map(|trade| trade.notional()).sum::<i128>());
            }
            prop_assert_eq!(bars.iter().map(|bar| bar.count).sum::<u64>(), trades.len() as u64);
        }
    }

    #[test]
    fn paging_covers_every_trade_once(count in 1u64..400, page in 1usize..60) {
        let mut tape = Tape::new(BOUNDS);
        for id in 1..=count {
            tape.insert(trade(id, id as i64, 5));
        }
        let mut forward = Vec::new();
        let mut from_id = 0;
        loop {
            let ids: Vec<u64> = tape.since_id(from_id).take(page).map(|trade| trade.id).collect();
            let Some(last) = ids.last() else { break };
            from_id = last + 1;
            forward.extend(ids);
        }
        let mut backward = Vec::new();
        let mut below = None;
        loop {
            let ids: Vec<u64> = tape.newest_between(None, below).take(page).map(|trade| trade.id).collect();
            let Some(last) = ids.last() else { break };
            below = Some(*last);
            backward.extend(ids);
        }
        backward.reverse();
        let all: Vec<u64> = (1..=count).collect();
        prop_assert_eq!(&forward, &all);
        prop_assert_eq!(&backward, &all);
    }
}
