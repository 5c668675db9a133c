//! Chooses the next page, until every missing trade was seen once.
//!
//! If a venue has aggregates with the ids of their trades, they come first: a page of them costs
//! less and has more trades, and gives the same bars. An aggregate that crosses an end of the span
//! is put aside, and its part inside is fetched trade by trade.

use std::collections::VecDeque;

use market_core::{BackfillRequest, Trade};

use crate::exchange::{PageAsk, Paging, PagingDirection, TradesPage};

/// A page with fewer rows than this is the newest page: the number is above a venue's smallest
/// page, and below every venue's largest.
const ROWS_AT_HEAD_MAX: usize = 50;

/// Walks a venue's pages over the span of a request. Pure: pass it each page that [`Pager::ask`]
/// names.
#[derive(Debug)]
pub struct Pager {
    direction: PagingDirection,
    /// Whether the other kind of page may still be requested if this kind is refused.
    has_other_kind: bool,
    request: BackfillRequest,
    trades_max: u64,
    step: Step,
    /// The trades after this step, in the order of ids.
    next: VecDeque<Next>,
    trades_taken: u64,
    newest_id: Option<u64>,
    /// Going backward, pages wait until the oldest page has come, because ids must be offered in
    /// ascending order.
    collected: Vec<Trade>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Through the span, by pages of trades or aggregates.
    Walk(PageAsk),
    /// Trade by trade, from the first id up to the last one.
    Part(u64, u64),
}

#[derive(Debug)]
enum Next {
    Give(Vec<Trade>),
    Do(Step),
}

/// The result of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Ask again.
    More,
    /// The venue has returned all trades of the span that it has.
    Complete,
    /// The venue does not have the newest trades of the span yet: REST lags behind the stream.
    Behind,
    /// More trades than one request may have; the oldest of them were offered.
    TooMany,
}

impl Pager {
    /// A walk over `request`'s span that takes at most `trades_max` trades.
    #[must_use]
    pub fn new(paging: Paging, request: BackfillRequest, trades_max: u64) -> Self {
        // An aggregate may include ids that the pipeline already has, and then the pipeline cannot
        // take it. Trades that are still missing after the first time are fetched trade by trade.
        let ask = match paging.direction {
            PagingDirection::Forward if paging.has_aggregates && request.failures == 0 => {
                PageAsk::AggregatesSince(request.from_ms)
            }
            PagingDirection::Forward => PageAsk::FromId(request.first_id),
            PagingDirection::Backward => {
                PageAsk::Below(request.last_id.map(|last| last.saturating_add(1)))
            }
        };
        Self {
            direction: paging.direction,
            has_other_kind: paging.has_aggregates,
            request,
            trades_max,
            step: Step::Walk(ask),
            next: VecDeque::new(),
            trades_taken: 0,
            newest_id: None,
            collected: Vec::new(),
        }
    }

    /// Whether the span is wider than a request may be, so that the walk should not begin.
    #[must_use]
    pub fn is_too_wide(&self) -> bool {
        self.request
            .last_id
            .is_some_and(|last| last.saturating_sub(self.request.first_id) >= self.trades_max)
    }

    /// The page to request.
    #[must_use]
    pub fn ask(&self) -> PageAsk {
        match self.step {
            Step::Walk(ask) => ask,
            Step::Part(first, _) => PageAsk::FromId(first),
        }
    }

    /// The venue will always refuse this kind of page. True if there is another kind.
    pub fn refused(&mut self) -> bool {
        let Step::Walk(ask) = self.step else {
            return false;
        };
        if !std::mem::take(&mut self.has_other_kind) {
            return false;
        }
        self.step = Step::Walk(match ask {
            PageAsk::AggregatesSince(_) | PageAsk::AggregatesFrom(_) => {
                let first = self.request.first_id;
                PageAsk::FromId(self.newest_id.map_or(first, |newest| first.max(newest + 1)))
            }
            PageAsk::FromId(_) | PageAsk::Below(_) => {
                PageAsk::AggregatesSince(self.request.from_ms)
            }
        });
        true
    }

    /// Takes the requested page; appends the trades to offer, ascending, to `out`.
    pub fn page(&mut self, page: TradesPage, out: &mut Vec<Trade>) -> Progress {
        let mut rows = page.trades;
        rows.sort_unstable_by_key(|trade| trade.first_id);
        let row_count = rows.len() + page.unreadable;
        let bounds = rows
            .first()
            .zip(rows.last())
            .map(|(oldest, newest)| (oldest.first_id, newest.last_id));
        if let Some((_, newest)) = bounds {
            self.newest_id = self.newest_id.max(Some(newest));
        }
        match self.step {
            Step::Part(first, last) => {
                rows.retain(|trade| trade.first_id >= first && trade.last_id <= last);
                if let Some(newest) = rows.last().map(|trade| trade.last_id)
                    && newest < last
                {
                    let rest = Step::Part(newest + 1, last);
                    self.next.push_front(Next::Do(rest));
                }
                self.take(&rows);
                self.next.push_front(Next::Give(rows));
            }
            Step::Walk(ask) => self.walked(ask, rows, bounds, row_count, page.newest_aggregate),
        }
        self.go_on(out)
    }

    fn take(&mut self, rows: &[Trade]) {
        for trade in rows {
            let trades = trade
                .last_id
                .saturating_sub(trade.first_id)
                .saturating_add(1);
            self.trades_taken = self.trades_taken.saturating_add(trades);
        }
    }

    fn walked(
        &mut self,
        ask: PageAsk,
        mut rows: Vec<Trade>,
        bounds: Option<(u64, u64)>,
        row_count: usize,
        newest_aggregate: Option<u64>,
    ) {
        let first = self.request.first_id;
        let last = self.request.last_id.unwrap_or(u64::MAX);
        rows.retain(|trade| trade.last_id >= first && trade.first_id <= last);
        self.take(&rows);
        let mut parts = rows
            .iter()
            .filter(|trade| trade.first_id < first || trade.last_id > last)
            .map(|trade| Step::Part(trade.first_id.max(first), trade.last_id.min(last)));
        // One at either end of the span, or one across the whole span.
        let (former, latter) = match (parts.next(), parts.next()) {
            (Some(Step::Part(from, to)), None) if from > first => {
                (None, Some(Step::Part(from, to)))
            }
            (former, latter) => (former, latter),
        };
        rows.retain(|trade| trade.first_id >= first && trade.last_id <= last);
        let walk = match self.direction {
            PagingDirection::Forward => self.next_forward(ask, bounds, row_count, newest_aggregate),
            PagingDirection::Backward => {
                self.collected.append(&mut rows);
                self.next_backward(ask, bounds)
            }
        };
        self.next.extend(former.map(Next::Do));
        self.next.push_back(Next::Give(rows));
        self.next.extend(latter.map(Next::Do));
        self.next.extend(walk.map(|ask| Next::Do(Step::Walk(ask))));
    }

    /// Returns the next trades in order, up to the next page to request.
    fn go_on(&mut self, out: &mut Vec<Trade>) -> Progress {
        while let Some(next) = self.next.pop_front() {
            match next {
                Next::Give(mut rows) => out.append(&mut rows),
                Next::Do(Step::Walk(_)) if self.trades_taken >= self.trades_max => {
                    self.give_collected(out);
                    return Progress::TooMany;
                }
                Next::Do(step) => {
                    self.step = step;
                    return Progress::More;
                }
            }
        }
        self.give_collected(out);
        match (self.request.last_id, self.newest_id) {
            (Some(last), Some(newest)) if newest < last => Progress::Behind,
            (Some(_), None) => Progress::Behind,
            _ => Progress::Complete,
        }
    }

    fn next_forward(
        &self,
        ask: PageAsk,
        bounds: Option<(u64, u64)>,
        row_count: usize,
        newest_aggregate: Option<u64>,
    ) -> Option<PageAsk> {
        let (_, newest) = bounds?;
        if self.request.last_id.is_some_and(|last| newest >= last) {
            return None;
        }
        if self.request.last_id.is_none() && row_count < ROWS_AT_HEAD_MAX {
            return None;
        }
        match (ask, newest_aggregate) {
            // Without this check, a venue that returns other trades would be asked for ever.
            (PageAsk::FromId(id), _) if newest >= id => Some(PageAsk::FromId(newest + 1)),
            (PageAsk::AggregatesSince(_), Some(id)) => {
                Some(PageAsk::AggregatesFrom(id.checked_add(1)?))
            }
            (PageAsk::AggregatesFrom(from), Some(id)) if id >= from => {
                Some(PageAsk::AggregatesFrom(id.checked_add(1)?))
            }
            _ => None,
        }
    }

    fn next_backward(&self, ask: PageAsk, bounds: Option<(u64, u64)>) -> Option<PageAsk> {
        let (oldest, _) = bounds?;
        let is_progress = match ask {
            PageAsk::Below(Some(below)) => oldest < below,
            _ => true,
        };
        (is_progress && oldest > self.request.first_id).then_some(PageAsk::Below(Some(oldest)))
    }

    fn give_collected(&mut self, out: &mut Vec<Trade>) {
        let mut collected = std::mem::take(&mut self.collected);
        collected.sort_unstable_by_key(|trade| trade.first_id);
        collected.dedup_by_key(|trade| trade.first_id);
        out.append(&mut collected);
    }
}

#[cfg(test)]
mod tests;
