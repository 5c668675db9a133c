//! Trades that are hard to believe: ids that jump far ahead, start again, or come twice with other
//! content.
//!
//! A single wrong id must not move the sequence, because every later trade would count as missing
//! or as a duplicate. So a trade whose id does not fit is set aside until the stream continues from
//! it.

use serde::{Deserialize, Serialize};

use crate::series::gap::STEP_BACK_MS;
use crate::series::offered::{Offered, Origin};
use crate::series::sequence::{IdSpan, Sequence};
use crate::trade::Trade;
use crate::value::clock::UnixMillis;
use crate::value::price::{Price, Quantity};

/// How far ids may jump, or an aggregate may reach, without another trade to confirm it.
pub(crate) const JUMP_IDS_MAX: u64 = 10_000;
/// How many trades in a row must show that ids start again.
pub(crate) const RESTART_TRADES: usize = 3;
/// How many trades are remembered that were accepted although their times do not fit their ids.
pub(crate) const EARLY_MAX: usize = 256;
/// For how long such a trade is remembered at least, even if there is no room.
const EARLY_MS: i64 = 3_600_000;
/// How many of the newest trades are kept to be compared with duplicates.
const KEPT: usize = 64;

/// The trades set aside, and the newest ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doubts {
    /// A jump ahead.
    ahead: Option<(Trade, Origin)>,
    /// In a row, with ids below the next one and times after the newest trade.
    anew: Vec<Trade>,
    /// The next id before the symbol was joined again, and the time of the newest trade before that.
    pub(crate) outdated: Option<(u64, UnixMillis)>,
    /// When ids started again: the time of the first trade with the new ids.
    pub(crate) began_ms: UnixMillis,
    /// Accepted as missing trades, although they happened after the newest trade. If ids have begun
    /// again, they belong to the new numbering and may come again.
    pub(crate) early: Vec<Content>,
    /// By id.
    newest: Vec<Option<Content>>,
}

/// The values that a duplicate of a trade must share with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Content {
    first_id: u64,
    pub(crate) event_ms: UnixMillis,
    price: Price,
    quantity: Quantity,
}

/// What to do with a trade.
pub(crate) enum Judged {
    /// Its ids fit.
    Believed,
    /// Its id is missing, but it happened too late: the missing trade may be another one.
    Doubtful,
    /// It is from before the symbol was joined again, and can no longer be judged.
    Outdated,
    /// Not taken now.
    SetAside {
        /// Its ids are far ahead. If not, ids may have started again.
        is_ahead: bool,
    },
    /// It confirms this trade, which must be accepted first.
    Jump(Trade, Origin),
    /// It confirms that ids have started again with these trades.
    Restart(Vec<Trade>),
}

impl Content {
    fn of(trade: &Trade) -> Self {
        Self {
            first_id: trade.first_id,
            event_ms: trade.event_ms,
            price: trade.price,
            quantity: trade.quantity,
        }
    }
}

impl Doubts {
    /// Judges a trade by its ids.
    #[inline]
    pub(crate) fn judge(
        &mut self,
        trade: &Trade,
        origin: Origin,
        sequence: &Sequence,
        newest_ms: UnixMillis,
    ) -> Judged {
        let Some(next) = sequence.next_id() else {
            // The answer to an earlier request may still come. Its trades are no first trades.
            return if self.is_outdated(trade) {
                Judged::Outdated
            } else {
                Judged::Believed
            };
        };
        let is_next = trade.first_id == next && trade.last_id - next < JUMP_IDS_MAX;
        if is_next && trade.event_ms.saturating_add(STEP_BACK_MS) >= self.began_ms {
            if origin == Origin::Live {
                self.anew.clear();
            }
            return Judged::Believed;
        }
        self.judge_unusual(trade, origin, sequence, next, newest_ms)
    }

    fn judge_unusual(
        &mut self,
        trade: &Trade,
        origin: Origin,
        sequence: &Sequence,
        next: u64,
        newest_ms: UnixMillis,
    ) -> Judged {
        let ids = IdSpan {
            first: trade.first_id,
            last: trade.last_id,
        };
        // A trade after the first one by id did not happen before it.
        let is_before = trade.event_ms.saturating_add(STEP_BACK_MS) < self.began_ms
            && sequence.floor_id().is_some_and(|floor| floor < ids.first);
        if is_before || self.is_outdated(trade) {
            return Judged::Outdated;
        }
        if ids.last >= next.saturating_add(JUMP_IDS_MAX) {
            return self.judge_ahead(trade, origin);
        }
        // A trade with a lower id happened before the newest trade. This means the newest by time,
        // not by id: the venue's clock may have been set back.
        if ids.last >= next || trade.event_ms <= newest_ms.saturating_add(STEP_BACK_MS) {
            return Judged::Believed;
        }
        let is_overtaken = sequence.floor_id().is_some_and(|floor| ids.last < floor)
            && !sequence.is_from_before(ids);
        let is_new = is_overtaken || sequence.is_missing_all(ids);
        if is_new && self.note_early(trade, newest_ms) {
            return Judged::Doubtful;
        }
        match origin {
            Origin::Live => self.judge_anew(trade, next, newest_ms),
            // It was asked for by an id that now means another trade.
            Origin::Backfill => Judged::SetAside { is_ahead: false },
        }
    }

    fn is_outdated(&self, trade: &Trade) -> bool {
        self.outdated.is_some_and(|(end, newest_ms)| {
            trade.last_id < end && trade.event_ms <= newest_ms.saturating_add(STEP_BACK_MS)
        })
    }

    /// The trades before the id `next` can no longer be judged: none of them is taken again.
    pub(crate) fn leave(&mut self, next: u64, newest_ms: UnixMillis) {
        let (end, left_ms) = self.outdated.unwrap_or_default();
        self.outdated = Some((next.max(end), newest_ms.max(left_ms)));
    }

    fn note_early(&mut self, trade: &Trade, newest_ms: UnixMillis) -> bool {
        if self.early.len() >= EARLY_MAX {
            let oldest_ms = newest_ms.saturating_sub(EARLY_MS);
            self.early.retain(|early| early.event_ms >= oldest_ms);
        }
        let is_room = self.early.len() < EARLY_MAX;
        if is_room {
            self.early.push(Content::of(trade));
        }
        is_room
    }

    /// Whether a bar contains this trade from before its ids started again.
    #[inline]
    pub(crate) fn is_in_bar(&self, trade: &Trade) -> bool {
        !self.early.is_empty() && self.early.contains(&Content::of(trade))
    }

    fn judge_ahead(&mut self, trade: &Trade, origin: Origin) -> Judged {
        let is_wide = trade.last_id - trade.first_id > JUMP_IDS_MAX;
        let confirmed = self.ahead.take_if(|(before, _)| {
            let apart = trade.first_id.checked_sub(before.last_id);
            !is_wide && apart.is_some_and(|apart| (1..=JUMP_IDS_MAX).contains(&apart))
        });
        if let Some((before, origin)) = confirmed {
            return Judged::Jump(before, origin);
        }
        if !is_wide {
            self.ahead = Some((*trade, origin));
        }
        Judged::SetAside { is_ahead: true }
    }

    fn judge_anew(&mut self, trade: &Trade, next: u64, newest_ms: UnixMillis) -> Judged {
        let goes_on = self.anew.last().is_some_and(|before| {
            trade.event_ms >= before.event_ms
                && trade
                    .first_id
                    .checked_sub(before.last_id)
                    .is_some_and(|apart| (1..=JUMP_IDS_MAX).contains(&apart))
        });
        if !goes_on {
            self.anew.clear();
        }
        if self.anew.len() + 1 >= RESTART_TRADES {
            self.leave(next, newest_ms);
            let first = std::mem::take(&mut self.anew);
            self.began_ms = first.first().unwrap_or(trade).event_ms;
            return Judged::Restart(first);
        }
        self.anew.push(*trade);
        Judged::SetAside { is_ahead: false }
    }

    /// The trades set aside no longer fit.
    pub(crate) fn clear(&mut self) {
        self.ahead = None;
        self.anew.clear();
        self.newest.clear();
    }

    /// Keeps a new trade for comparison.
    #[inline]
    pub(crate) fn remember(&mut self, trade: &Trade) {
        if self.newest.is_empty() {
            self.newest.resize(KEPT, None);
        }
        self.newest[trade.first_id as usize % KEPT] = Some(Content::of(trade));
    }

    /// Compares a duplicate with the trade that came before it, if that is still kept.
    pub(crate) fn compare(&self, trade: &Trade) -> Offered {
        let content = Content::of(trade);
        let kept = self.newest.get(trade.first_id as usize % KEPT);
        match kept.copied().flatten() {
            Some(before) if before.first_id == trade.first_id && before != content => {
                Offered::Conflict
            }
            _ => Offered::Duplicate,
        }
    }
}
