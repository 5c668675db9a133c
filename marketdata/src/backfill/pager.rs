//! Which page to ask for next, until every missing trade was seen once.

use market_core::{BackfillRequest, Trade};

use crate::exchange::{PageAsk, Paging, PagingDirection};

/// A page with fewer rows than this is the newest there is: more than a venue's least page, and
/// fewer than any venue's largest.
const ROWS_AT_HEAD_MAX: usize = 50;

/// Walks a venue's pages over the span of a request. Pure: give it each page that [`Pager::ask`]
/// names.
#[derive(Debug)]
pub struct Pager {
    direction: PagingDirection,
    has_aggregates: bool,
    request: BackfillRequest,
    trades_max: u64,
    ask: PageAsk,
    trades_taken: u64,
    newest_id: Option<u64>,
    /// Going backward, pages wait until the oldest is there, for ids are to be offered ascending.
    collected: Vec<Trade>,
}

/// What a page has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Ask again.
    More,
    /// The venue has given all that it has of the span.
    Complete,
    /// The venue does not have the newest of the span yet: REST trails the stream.
    Behind,
    /// More trades than one request may bring; the oldest of them were given.
    TooMany,
}

impl Pager {
    /// A walk over `request`'s span that takes at most `trades_max` trades.
    #[must_use]
    pub fn new(paging: Paging, request: BackfillRequest, trades_max: u64) -> Self {
        let ask = match paging.direction {
            PagingDirection::Forward => PageAsk::FromId(request.first_id),
            PagingDirection::Backward => {
                PageAsk::Below(request.last_id.map(|last| last.saturating_add(1)))
            }
        };
        Self {
            direction: paging.direction,
            has_aggregates: paging.has_aggregates,
            request,
            trades_max,
            ask,
            trades_taken: 0,
            newest_id: None,
            collected: Vec::new(),
        }
    }

    /// Whether the span is wider than a request may be, so that it is not worth beginning.
    #[must_use]
    pub fn is_too_wide(&self) -> bool {
        self.request
            .last_id
            .is_some_and(|last| last.saturating_sub(self.request.first_id) >= self.trades_max)
    }

    /// The page to ask for.
    #[must_use]
    pub fn ask(&self) -> PageAsk {
        self.ask
    }

    /// The venue refused that kind of page for good. True if there is another kind to ask for.
    pub fn refused(&mut self) -> bool {
        if self.has_aggregates && !matches!(self.ask, PageAsk::AggregatesSince(_)) {
            self.ask = PageAsk::AggregatesSince(self.request.from_ms);
            return true;
        }
        false
    }

    /// Takes the rows of the page that was asked for; trades to offer, ascending, go to `out`.
    pub fn page(&mut self, mut rows: Vec<Trade>, out: &mut Vec<Trade>) -> Progress {
        rows.sort_unstable_by_key(|trade| trade.first_id);
        let row_count = rows.len();
        let bounds = rows.first().zip(rows.last()).map(|(oldest, newest)| {
            let newest_ms = rows.iter().map(|trade| trade.event_ms).max();
            (oldest.first_id, newest.last_id, newest_ms.unwrap_or(0))
        });
        if let Some((_, newest, _)) = bounds {
            self.newest_id = self.newest_id.max(Some(newest));
        }
        let (first, last) = (
            self.request.first_id,
            self.request.last_id.unwrap_or(u64::MAX),
        );
        rows.retain(|trade| trade.last_id >= first && trade.first_id <= last);
        self.trades_taken += rows.len() as u64;
        let next = match self.direction {
            PagingDirection::Forward => {
                out.append(&mut rows);
                self.next_forward(bounds, row_count)
            }
            PagingDirection::Backward => {
                self.collected.append(&mut rows);
                self.next_backward(bounds)
            }
        };
        match next {
            Some(_) if self.trades_taken >= self.trades_max => {
                self.give_collected(out);
                Progress::TooMany
            }
            Some(ask) => {
                self.ask = ask;
                Progress::More
            }
            None => {
                self.give_collected(out);
                match (self.request.last_id, self.newest_id) {
                    (Some(last), Some(newest)) if newest < last => Progress::Behind,
                    (Some(_), None) => Progress::Behind,
                    _ => Progress::Complete,
                }
            }
        }
    }

    fn next_forward(&self, bounds: Option<(u64, u64, i64)>, row_count: usize) -> Option<PageAsk> {
        let (_, newest, newest_ms) = bounds?;
        if self.request.last_id.is_some_and(|last| newest >= last) {
            return None;
        }
        if self.request.last_id.is_none() && row_count < ROWS_AT_HEAD_MAX {
            return None;
        }
        match self.ask {
            // A venue that gives what was not asked for would be asked for ever.
            PageAsk::FromId(id) if newest >= id => Some(PageAsk::FromId(newest + 1)),
            PageAsk::AggregatesSince(from_ms) if newest_ms > from_ms => {
                Some(PageAsk::AggregatesSince(newest_ms))
            }
            _ => None,
        }
    }

    fn next_backward(&self, bounds: Option<(u64, u64, i64)>) -> Option<PageAsk> {
        let (oldest, _, _) = bounds?;
        let is_progress = match self.ask {
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
mod tests {
    use market_core::{AggressorSide, Price, Quantity};
    use proptest::prelude::*;

    use super::*;

    fn trade(id: u64) -> Trade {
        Trade {
            first_id: id,
            last_id: id,
            event_ms: 1_000 + id as i64 / 3,
            price: Price::parse("5").expect("price"),
            quantity: Quantity::parse("1").expect("quantity"),
            aggressor_side: AggressorSide::Buy,
            received_us: 0,
        }
    }

    fn request(first_id: u64, last_id: Option<u64>) -> BackfillRequest {
        BackfillRequest {
            id: 1,
            first_id,
            last_id,
            from_ms: 1_000 + first_id as i64 / 3,
        }
    }

    /// A venue that has `oldest..=newest` and caps its pages.
    fn venue_page(ask: PageAsk, oldest: u64, newest: u64, rows_max: usize) -> Vec<Trade> {
        let ids: Vec<u64> = match ask {
            PageAsk::FromId(id) => (id.max(oldest)..=newest).take(rows_max).collect(),
            PageAsk::Below(below) => (oldest..below.unwrap_or(u64::MAX).min(newest + 1))
                .rev()
                .take(rows_max)
                .collect(),
            PageAsk::AggregatesSince(from_ms) => (oldest..=newest)
                .filter(|&id| trade(id).event_ms >= from_ms)
                .take(rows_max)
                .collect(),
        };
        ids.into_iter().map(trade).collect()
    }

    fn walk(pager: &mut Pager, oldest: u64, newest: u64, rows_max: usize) -> (Vec<u64>, Progress) {
        let mut out = Vec::new();
        for _ in 0..10_000 {
            let rows = venue_page(pager.ask(), oldest, newest, rows_max);
            let progress = pager.page(rows, &mut out);
            if progress != Progress::More {
                return (out.iter().map(|trade| trade.first_id).collect(), progress);
            }
        }
        panic!("it never ends");
    }

    fn paging(direction: PagingDirection) -> Paging {
        Paging {
            direction,
            rows_max: 1_000,
            has_aggregates: direction == PagingDirection::Forward,
        }
    }

    proptest! {
        #[test]
        fn every_id_of_the_span_is_given_once_in_order(
            forward in any::<bool>(),
            first in 1u64..3_000,
            width in 0u64..3_000,
            beyond in 0u64..500,
            rows_max in 60usize..1_000,
            is_tail in any::<bool>(),
        ) {
            let direction = if forward { PagingDirection::Forward } else { PagingDirection::Backward };
            let last = first + width;
            let (last_id, newest) = if is_tail { (None, last) } else { (Some(last), last + beyond) };
            let mut pager = Pager::new(paging(direction), request(first, last_id), 1_000_000);
            let (ids, progress) = walk(&mut pager, 1, newest, rows_max);
            prop_assert_eq!(progress, Progress::Complete);
            prop_assert_eq!(ids, (first..=last).collect::<Vec<_>>());
        }

        #[test]
        fn what_the_venue_lost_or_has_not_yet_ends_the_walk(
            forward in any::<bool>(),
            first in 100u64..3_000,
            width in 1u64..2_000,
            oldest in 1u64..4_000,
            short in 0u64..500,
        ) {
            let direction = if forward { PagingDirection::Forward } else { PagingDirection::Backward };
            let last = first + width;
            let newest = last.saturating_sub(short);
            let mut pager = Pager::new(paging(direction), request(first, Some(last)), 1_000_000);
            let (ids, progress) = walk(&mut pager, oldest, newest, 300);
            prop_assert_eq!(ids, (first.max(oldest)..=newest).collect::<Vec<_>>());
            prop_assert_eq!(progress == Progress::Behind, newest < last || oldest > newest);
        }

        #[test]
        fn arbitrary_pages_never_make_it_walk_for_ever(pages in proptest::collection::vec(proptest::collection::vec(0u64..5_000, 0..80), 0..50), forward in any::<bool>()) {
            let direction = if forward { PagingDirection::Forward } else { PagingDirection::Backward };
            let mut pager = Pager::new(paging(direction), request(1_000, Some(2_000)), 2_000);
            for ids in pages {
                let rows = ids.into_iter().map(trade).collect();
                if pager.page(rows, &mut Vec::new()) != Progress::More {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_refused_kind_of_page_falls_back_to_aggregates_once() {
        let mut pager = Pager::new(
            paging(PagingDirection::Forward),
            request(50, Some(400)),
            1_000,
        );
        assert!(pager.refused());
        assert_eq!(pager.ask(), PageAsk::AggregatesSince(1_016));
        let (ids, progress) = walk(&mut pager, 1, 1_000, 60);
        assert_eq!(progress, Progress::Complete);
        assert!((50..=400).all(|id| ids.contains(&id)));
        assert!(!pager.refused());
        let mut pager = Pager::new(paging(PagingDirection::Backward), request(50, None), 1_000);
        assert!(!pager.refused());
    }

    #[test]
    fn a_walk_stops_at_the_most_trades_it_may_bring() {
        let mut pager = Pager::new(paging(PagingDirection::Forward), request(1, None), 500);
        let (ids, progress) = walk(&mut pager, 1, 10_000, 200);
        assert_eq!((ids.len(), progress), (600, Progress::TooMany));
        assert!(
            Pager::new(paging(PagingDirection::Forward), request(1, Some(501)), 500).is_too_wide()
        );
    }
}
