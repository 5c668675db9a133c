//! The market is a pure function of its seed.

use super::*;
use crate::instrument::listing;
use proptest::prelude::*;

const START_S: i64 = 1_795_000_000;

fn tape(seed: u64, symbol: usize, rate: f64, from_s: i64, seconds: i64) -> Vec<Trade> {
    let mut market = SymbolMarket::new(seed, &listing(0)[symbol], rate);
    let mut out = Vec::new();
    for second in from_s..from_s + seconds {
        market.second(second, &mut out);
    }
    out
}

#[test]
fn a_seed_gives_the_same_tape_wherever_it_is_entered() {
    let whole = tape(7, 0, 5.0, START_S, 4000);
    let tail = tape(7, 0, 5.0, START_S + 3000, 1000);
    assert_eq!(tail, whole[whole.len() - tail.len()..]);
    assert_ne!(tail, tape(8, 0, 5.0, START_S + 3000, 1000));
}

#[test]
fn the_mean_rate_is_kept_and_seconds_differ() {
    let hour = START_S / 3600 * 3600;
    let trades = tape(1, 0, 10.0, hour, 3600);
    assert_eq!(trades.len(), 93_600);
    let mut per_second = vec![0; 3600];
    for trade in &trades {
        per_second[(trade.event_us / 1_000_000 - hour) as usize] += 1;
    }
    let busiest = per_second.iter().max().copied().unwrap_or(0);
    assert!(busiest > 80, "the burst is only {busiest}");
    assert!(per_second.iter().any(|count| *count < 10));
}

#[test]
fn a_quiet_pair_is_silent_for_tens_of_seconds() {
    let quiet = listing(0)
        .iter()
        .position(|instrument| instrument.quiet)
        .expect("one is quiet");
    let trades = tape(1, quiet, 3.0, START_S, 7200);
    let longest = trades
        .windows(2)
        .map(|pair| pair[1].event_us - pair[0].event_us)
        .max()
        .unwrap_or(0);
    assert!(longest > 30_000_000, "longest silence is {longest} us");
    assert!(trades.len() > 20);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn ids_and_times_rise_and_prices_are_on_the_grid(
        seed in any::<u64>(), symbol in 0usize..17, rate in 0.01f64..40.0, from in 0i64..1_000_000,
    ) {
        let instrument = &listing(0)[symbol];
        let trades = tape(seed, symbol, rate, START_S + from, 600);
        for pair in trades.windows(2) {
            prop_assert_eq!(pair[0].id + 1, pair[1].id);
            prop_assert!(pair[0].event_us <= pair[1].event_us);
            let step = pair[1].aggregate_id - pair[0].aggregate_id;
            prop_assert!(step <= 1);
            if step == 0 {
                prop_assert_eq!(pair[0].price, pair[1].price);
                prop_assert_eq!(pair[0].event_us, pair[1].event_us);
                prop_assert_eq!(pair[0].taker_buys, pair[1].taker_buys);
            }
        }
        for trade in &trades {
            prop_assert!(trade.quantity > 0 && trade.quantity % instrument.lot == 0);
            prop_assert!(trade.price > 0 && trade.price % instrument.tick == 0);
            let relative = trade.price as f64 / instrument.base_price as f64;
            prop_assert!((0.9..1.1).contains(&relative), "price strayed to {}", relative);
        }
    }
}
