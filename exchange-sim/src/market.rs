//! The generated market: trades as a pure function of (seed, instrument, rate, time).
//!
//! An hour of a symbol always has the same number of trades. So the id of any trade follows from
//! its hour, without generating earlier trades. Two simulators with one seed agree on every trade,
//! and a simulator that restarts continues its tape at the current place of the market. Within the
//! hour, an intensity per second spreads the trades: bursts, lulls, and silences of 40 s and more
//! for quiet pairs. The price is a sum of smooth and stepped noise around a base price (the steps
//! are the jumps), plus the spread and sweeps of a book.

use crate::instrument::Instrument;
use crate::trade::Trade;

/// Trades per repetition of [`GROUP_OF`].
const PATTERN_TRADES: u64 = 16;
/// Aggregates per repetition of [`GROUP_OF`].
const PATTERN_GROUPS: u64 = 9;
/// Which aggregate of the pattern each trade of the pattern belongs to.
const GROUP_OF: [u64; PATTERN_TRADES as usize] = [0, 1, 2, 2, 3, 4, 4, 4, 5, 6, 7, 7, 8, 8, 8, 8];
const HOUR_S: i64 = 3600;

/// Smooth noise: period in seconds, amplitude relative to the base price.
const WAVES: [(i64, f64); 7] = [
    (43_200, 0.02),
    (7_200, 0.008),
    (1_800, 0.004),
    (300, 0.001_5),
    (60, 0.000_7),
    (10, 0.000_3),
    (2, 0.000_12),
];
/// Waves shorter than this, in seconds, differ between venues.
const VENUE_PERIOD_S: i64 = 60;
/// Seconds between the steps of the price.
const JUMP_PERIOD_S: i64 = 1_380;
/// Size of the greatest step relative to the base price.
const JUMP_SIZE: f64 = 0.006;
/// The market of one instrument.
#[derive(Debug)]
pub(crate) struct SymbolMarket {
    key: u64,
    /// Shared by the venues that list the pair: their prices move together.
    pair_key: u64,
    trades_per_hour: u64,
    tick: i64,
    lot: i64,
    base_price: f64,
    mean_lots: f64,
    quiet: bool,
    hour: Option<(i64, Vec<u32>)>,
}

impl SymbolMarket {
    /// The market of `instrument` at a mean of `rate` trades per second before its own activity.
    pub(crate) fn new(seed: u64, instrument: &Instrument, rate: f64) -> SymbolMarket {
        let of = |text: &str| {
            text.bytes()
                .fold(mix(seed ^ 0xA5A5_0F0F_3C3C_9696), |key, byte| {
                    mix(key ^ u64::from(byte))
                })
        };
        let key = of(&format!(
            "{}:{}",
            instrument.venue.name(),
            instrument.symbol
        ));
        let quote = if instrument.quote.starts_with("USD") {
            "USD"
        } else {
            &instrument.quote
        };
        let pair_key = of(&format!("{}/{quote}", instrument.base));
        let hourly = rate * instrument.activity * HOUR_S as f64;
        let patterns = (hourly / PATTERN_TRADES as f64).round().max(1.0) as u64;
        SymbolMarket {
            key,
            pair_key,
            trades_per_hour: patterns * PATTERN_TRADES,
            tick: instrument.tick,
            lot: instrument.lot,
            base_price: instrument.base_price as f64,
            mean_lots: instrument.typical_lots as f64,
            quiet: instrument.quiet,
            hour: None,
        }
    }

    /// Appends the trades of one second (counted from the epoch), in id and time order.
    pub(crate) fn second(&mut self, second: i64, out: &mut Vec<Trade>) {
        let hour = second.div_euclid(HOUR_S);
        let in_hour = second.rem_euclid(HOUR_S) as usize;
        if self.hour.as_ref().is_none_or(|(cached, _)| *cached != hour) {
            self.hour = Some((hour, self.cumulative(hour)));
        }
        let (_, cumulative) = self.hour.as_ref().expect("the hour was just computed");
        let (from, to) = (
            u64::from(cumulative[in_hour]),
            u64::from(cumulative[in_hour + 1]),
        );
        if from == to {
            return;
        }
        let hour_index = hour.max(0) as u64;
        let mut rng = Rng(mix(
            self.key ^ (second as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ));
        let groups = (aggregate_of(to - 1) - aggregate_of(from) + 1) as usize;
        let mut offsets_us: Vec<i64> = (0..groups)
            .map(|_| (rng.next() % 1_000_000) as i64)
            .collect();
        offsets_us.sort_unstable();

        let price_from = self.anchor(second);
        let price_to = self.anchor(second + 1);
        let bias = if price_to > price_from { 0.57 } else { 0.43 };
        let first_group = aggregate_of(from);
        let mut group = None;
        let (mut event_us, mut ticks, mut taker_buys) = (0, 0i64, false);
        for index in from..to {
            let at = aggregate_of(index);
            if group != Some(at) {
                // Two in five aggregates belong to the same taker order as the one before:
                // same instant, same side, one tick deeper into the book.
                let sweeps = group.is_some() && rng.unit() < 0.4;
                group = Some(at);
                if sweeps {
                    ticks += if taker_buys { 1 } else { -1 };
                } else {
                    let offset_us = offsets_us[(at - first_group) as usize];
                    event_us = second * 1_000_000 + offset_us;
                    let price = price_from + (price_to - price_from) * offset_us as f64 / 1e6;
                    taker_buys = rng.unit() < bias;
                    ticks = (price / self.tick as f64).round() as i64 + i64::from(taker_buys);
                }
            }
            out.push(Trade {
                id: hour_index * self.trades_per_hour + index + 1,
                aggregate_id: hour_index * (self.trades_per_hour / PATTERN_TRADES * PATTERN_GROUPS)
                    + at
                    + 1,
                count: 1,
                event_us,
                price: ticks.max(1) * self.tick,
                quantity: self.lots(&mut rng) * self.lot,
                taker_buys,
            });
        }
    }

    /// Pareto-like sizes: many small trades, few large ones.
    fn lots(&self, rng: &mut Rng) -> i64 {
        let draw = rng.unit().max(1e-4);
        let size = 0.25 * self.mean_lots * (draw.powf(-0.7) - 0.9);
        (size as i64).clamp(1, i64::MAX / 4 / self.lot)
    }

    /// Price mantissa, before rounding to ticks, at the start of a second.
    fn anchor(&self, second: i64) -> f64 {
        let mut relative = 1.0;
        for (wave, (period_s, amplitude)) in WAVES.iter().enumerate() {
            let cell = second.div_euclid(*period_s);
            let along = second.rem_euclid(*period_s) as f64 / *period_s as f64;
            let smooth = along * along * (3.0 - 2.0 * along);
            let key = if *period_s < VENUE_PERIOD_S {
                self.key
            } else {
                self.pair_key
            };
            let (left, right) = (
                noise(key, wave as u64, cell),
                noise(key, wave as u64, cell + 1),
            );
            relative += amplitude * (left + (right - left) * smooth);
        }
        let step = noise(self.pair_key, 99, second.div_euclid(JUMP_PERIOD_S));
        relative += JUMP_SIZE * step * step * step;
        self.base_price * relative
    }

    /// Trades of an hour before each of its seconds; 3,601 entries.
    fn cumulative(&self, hour: i64) -> Vec<u32> {
        let weights: Vec<u64> = (0..HOUR_S)
            .map(|in_hour| self.intensity(hour * HOUR_S + in_hour))
            .collect();
        let total: u64 = weights.iter().sum();
        let mut cumulative = Vec::with_capacity(weights.len() + 1);
        cumulative.push(0);
        let mut sum = 0;
        for (at, weight) in weights.iter().enumerate() {
            sum += weight;
            let share = if total == 0 {
                self.trades_per_hour * (at as u64 + 1) / HOUR_S as u64
            } else {
                (u128::from(self.trades_per_hour) * u128::from(sum) / u128::from(total)) as u64
            };
            // An aggregate never straddles two seconds.
            cumulative.push(group_end(share) as u32);
        }
        cumulative
    }

    fn intensity(&self, second: i64) -> u64 {
        if self.quiet && noise(self.key, 50, second.div_euclid(40)) < 0.2 {
            return 0;
        }
        let slow = 1.0 + 0.5 * noise(self.key, 51, second.div_euclid(300));
        let fast = 1.0 + 0.8 * noise(self.key, 52, second);
        let burst = if noise(self.key, 53, second.div_euclid(5)) > 0.92 {
            6.0
        } else {
            1.0
        };
        (256.0 * slow * fast * burst) as u64
    }
}

/// Uniform in [-1, 1), fixed for a (key, wave, cell).
fn noise(key: u64, wave: u64, cell: i64) -> f64 {
    let bits = mix(key ^ mix(wave.wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ cell as u64));
    (bits >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// Aggregate, within its hour, of the trade with this index within its hour.
fn aggregate_of(index: u64) -> u64 {
    index / PATTERN_TRADES * PATTERN_GROUPS + GROUP_OF[(index % PATTERN_TRADES) as usize]
}

/// The least index of at least `share` at which an aggregate begins.
fn group_end(share: u64) -> u64 {
    let mut end = share;
    while !end.is_multiple_of(PATTERN_TRADES) && aggregate_of(end) == aggregate_of(end - 1) {
        end += 1;
    }
    end
}

/// SplitMix64.
#[derive(Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    /// The next 64 random bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Scrambles 64 bits (the finaliser of SplitMix64).
pub(crate) fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests;
