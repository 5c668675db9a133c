//! What the venue has.

use market_core::{AggressorSide, Price, Quantity, Trade};

use crate::START_MS;
use crate::adversary::Random;

pub(crate) const FIRST_ID: u64 = 50_000;
/// What the second numbering begins with.
pub(crate) const RESTART_ID: u64 = 20_000;

/// What the venue has: trades in order, each with its index as `received_us`.
pub(crate) struct Tape {
    pub(crate) trades: Vec<Trade>,
    /// When each happened; the venue's clock said otherwise if it had stepped.
    pub(crate) at_ms: Vec<i64>,
    /// The first trade of the second numbering.
    pub(crate) restart: Option<usize>,
    /// The first trade after a step of the venue's clock.
    pub(crate) step: Option<usize>,
}

impl Tape {
    /// The trades whose ids mean something at `at_ms`.
    pub(crate) fn numbering_at(&self, at_ms: i64) -> std::ops::Range<usize> {
        let begun = self.restart.filter(|&first| self.at_ms[first] <= at_ms);
        let until = self.restart.filter(|_| begun.is_none());
        begun.unwrap_or(0)..until.unwrap_or(self.trades.len())
    }
}

pub(crate) fn index_of(trade: &Trade) -> usize {
    usize::try_from(trade.received_us).expect("an index")
}

pub(crate) fn tape(random: &mut Random) -> Tape {
    let count = 20 + random.below(150);
    let jump_at = random.one_in(6).then(|| 1 + random.below(count - 1));
    let jump_by = [1, 60, 9_000, 20_000, 1_000_000_000][random.below(5) as usize];
    let restart = random
        .one_in(6)
        .then(|| count * 2 / 3 + random.below(count / 3));
    // Both at once cannot be told apart from old trades that come late.
    let step_at = (restart.is_none() && random.one_in(4)).then(|| 1 + random.below(count - 1));
    let step_ms = [-30_000, -4_000, 4_000, 30_000][random.below(4) as usize];
    let (mut next_id, mut ahead_ms) = (FIRST_ID, 0);
    let mut at_all_ms = Vec::new();
    let first_age_ms = if random.one_in(6) {
        [1_500, 30_000, 1_000_000, 259_200_000][random.below(4) as usize]
    } else {
        0
    };
    let mean_gap_ms = [30, 300, 1_500][random.below(3) as usize];
    let (mut at, mut cents) = (START_MS, 10_000);
    let mut trades = Vec::new();
    let back_ms = if random.one_in(4) { 40 } else { 0 };
    for index in 0..count {
        if !random.one_in(4) {
            at += random.below(mean_gap_ms * 2);
        }
        if random.one_in(40) {
            at += random.below(9_000);
        }
        cents = (cents + random.below(101) - 50).max(1);
        if step_at == Some(index) {
            ahead_ms = step_ms;
        }
        if jump_at == Some(index) {
            next_id += jump_by;
        }
        if restart == Some(index) {
            next_id = RESTART_ID;
        }
        let event_ms = at + ahead_ms
            - if back_ms > 0 && random.one_in(20) {
                random.below(back_ms)
            } else {
                0
            };
        let quantity = 1 + random.below(9_999);
        let id = next_id;
        next_id += 1;
        at_all_ms.push(at);
        let event_ms = match index {
            0 => START_MS - first_age_ms,
            _ => event_ms,
        };
        trades.push(Trade {
            first_id: id,
            last_id: id,
            event_ms,
            price: Price::parse(&format!("{}.{:02}", cents / 100, cents % 100)).expect("price"),
            quantity: Quantity::parse(&format!("{}.{:04}", quantity / 100, quantity))
                .expect("quantity"),
            aggressor_side: if random.one_in(2) {
                AggressorSide::Buy
            } else {
                AggressorSide::Sell
            },
            received_us: index,
        });
    }
    Tape {
        trades,
        at_ms: at_all_ms,
        restart: restart.and_then(|index| usize::try_from(index).ok()),
        step: step_at.and_then(|index| usize::try_from(index).ok()),
    }
}
