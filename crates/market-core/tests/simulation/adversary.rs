//! What goes wrong in one run.

use std::collections::BTreeSet;

use crate::START_MS;
use crate::tape::Tape;

/// SplitMix64: small, seedable, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: i64) -> i64 {
        (self.next() % bound.unsigned_abs()) as i64
    }

    pub(crate) fn one_in(&mut self, n: i64) -> bool {
        self.below(n) == 0
    }
}

/// What goes wrong in one run.
pub(crate) struct Adversary {
    pub(crate) reorder_ms: i64,
    pub(crate) duplicate_one_in: i64,
    pub(crate) drop_one_in: i64,
    pub(crate) late_one_in: i64,
    pub(crate) late_ms: i64,
    pub(crate) host_ahead_ms: i64,
    /// When the host's clock steps, and by how much.
    pub(crate) host_step: (i64, i64),
    /// Nothing is to be had from REST within these venue times.
    pub(crate) rest_away: (i64, i64),
    /// A trade of a wrong id comes once, at this venue time.
    pub(crate) stray: Option<(i64, u64)>,
    /// (from, to, restart from an old checkpoint) in venue time.
    pub(crate) outages: Vec<(i64, i64, bool)>,
    /// Trades stop coming while the connection lives.
    pub(crate) silences: Vec<(i64, i64)>,
    pub(crate) rest_fails_one_in: i64,
    pub(crate) rest_latency_ms: i64,
    pub(crate) rest_lags_ms: i64,
    /// What REST does not have, by index.
    pub(crate) lost: BTreeSet<usize>,
    /// The feed is joined in the middle of the tape.
    pub(crate) join_at_ms: i64,
}

pub(crate) fn adversary(random: &mut Random, tape: &Tape) -> Adversary {
    let end_ms = *tape.at_ms.last().expect("a tape has trades");
    let span_ms = (end_ms - START_MS).max(1);
    let mut outages = Vec::new();
    let mut from = START_MS;
    while random.one_in(2) && outages.len() < 3 {
        from += 1_000 + random.below(span_ms);
        let longest_ms = [5_000, 5_000, 60_000, 400_000][random.below(4) as usize];
        let to = from + 100 + random.below(longest_ms);
        outages.push((from, to, random.one_in(3)));
        from = to + 500;
    }
    let silences = if random.one_in(4) {
        let from = START_MS + random.below(span_ms);
        vec![(from, from + random.below(30_000))]
    } else {
        Vec::new()
    };
    let lost = if random.one_in(5) {
        let first = random.below(tape.trades.len() as i64) as usize;
        (first..first + 1 + random.below(4) as usize).collect()
    } else {
        BTreeSet::new()
    };
    let pick =
        |random: &mut Random, values: &[i64]| values[random.below(values.len() as i64) as usize];
    Adversary {
        reorder_ms: pick(random, &[0, 0, 5, 300, 1_500]),
        duplicate_one_in: pick(random, &[1_000_000, 20, 3]),
        drop_one_in: pick(random, &[1_000_000, 1_000_000, 50, 8]),
        late_one_in: pick(random, &[1_000_000, 30]),
        late_ms: pick(random, &[2_500, 20_000, 100_000]),
        host_ahead_ms: pick(random, &[0, 0, -1_270, 7_000, -30_000]),
        rest_away: if random.one_in(6) {
            let from = START_MS + random.below(span_ms);
            (from, from + random.below(300_000))
        } else {
            (0, 0)
        },
        // With ids that start again, or seem to, it may be one of those.
        stray: (tape.restart.is_none() && tape.step.is_none() && random.one_in(6)).then(|| {
            let ids = [9_000_000_000_000_000_000, u64::MAX, 3];
            (
                START_MS + random.below(span_ms),
                ids[random.below(3) as usize],
            )
        }),
        outages,
        silences,
        rest_fails_one_in: pick(random, &[1_000_000, 4, 2]),
        rest_latency_ms: pick(random, &[50, 50, 400, 3_000]),
        rest_lags_ms: pick(random, &[0, 0, 1_500]),
        lost,
        host_step: if random.one_in(6) {
            let step_ms = pick(random, &[-30_000, -3_000, 3_000, 30_000]);
            (START_MS + random.below(span_ms), step_ms)
        } else {
            (i64::MAX, 0)
        },
        join_at_ms: if random.one_in(3) {
            START_MS + random.below(span_ms) / 2
        } else {
            START_MS - 20_000
        },
    }
}

impl Adversary {
    /// The host's clock that never steps.
    pub(crate) fn steady_ms(&self, venue_ms: i64) -> i64 {
        venue_ms + self.host_ahead_ms
    }

    pub(crate) fn host_ms(&self, venue_ms: i64) -> i64 {
        let (step_at_ms, step_ms) = self.host_step;
        let stepped_ms = if venue_ms >= step_at_ms { step_ms } else { 0 };
        venue_ms + self.host_ahead_ms + stepped_ms
    }
}

/// When each frame reaches the host, by the venue's clock, and when the last trade happens.
pub(crate) fn arrivals(
    tape: &Tape,
    adversary: &Adversary,
    random: &mut Random,
) -> (Vec<(i64, usize)>, i64) {
    let mut arrivals: Vec<(i64, usize)> = Vec::new();
    let mut newest_ms = START_MS;
    for (index, &at_ms) in tape.at_ms.iter().enumerate() {
        newest_ms = newest_ms.max(at_ms);
        if random.one_in(adversary.drop_one_in) {
            continue;
        }
        let delay_ms = 5
            + random.below(adversary.reorder_ms + 1)
            + if random.one_in(adversary.late_one_in) {
                random.below(adversary.late_ms)
            } else {
                0
            };
        arrivals.push((newest_ms + delay_ms, index));
        if random.one_in(adversary.duplicate_one_in) {
            arrivals.push((newest_ms + delay_ms + random.below(3_000), index));
        }
    }
    arrivals.sort_unstable();
    (arrivals, newest_ms)
}
