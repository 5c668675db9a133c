use market_core::{AggressorSide, Price, Quantity};
use proptest::prelude::*;

use super::*;

/// Single trades have the ids of `ids`; aggregates have the ids from one of them up to the next.
fn trade(first_id: u64, last_id: u64) -> Trade {
    Trade {
        first_id,
        last_id,
        event_ms: event_ms(first_id),
        price: Price::parse("5").expect("price"),
        quantity: Quantity::parse("1").expect("quantity"),
        aggressor_side: AggressorSide::Buy,
        received_us: 0,
    }
}

fn event_ms(id: u64) -> i64 {
    1_000 + id as i64 / 3
}

fn request(first_id: u64, last_id: Option<u64>) -> BackfillRequest {
    BackfillRequest {
        id: 1,
        first_id,
        last_id,
        from_ms: event_ms(first_id) - 50,
        failures: 0,
    }
}

/// A venue that has the trades `oldest..=newest`, aggregates of `width` of them, and capped pages.
#[derive(Clone, Copy, Debug)]
struct Venue {
    oldest: u64,
    newest: u64,
    rows_max: usize,
    width: u64,
}

impl Venue {
    fn page(self, ask: PageAsk) -> TradesPage {
        let Self {
            oldest,
            newest,
            rows_max,
            width,
        } = self;
        let single = |id| (id, trade(id, id));
        // The aggregate's number is its first id over the width.
        let aggregates = (oldest / width..=newest / width).map(|number| {
            let first = (number * width).max(oldest);
            (
                number,
                trade(first, (number * width + width - 1).min(newest)),
            )
        });
        let rows: Vec<(u64, Trade)> = match ask {
            PageAsk::FromId(id) => (id.max(oldest)..=newest)
                .take(rows_max)
                .map(single)
                .collect(),
            PageAsk::Below(below) => (oldest..below.unwrap_or(u64::MAX).min(newest + 1))
                .rev()
                .take(rows_max)
                .map(single)
                .collect(),
            PageAsk::AggregatesSince(from_ms) => aggregates
                .filter(|(_, trade)| trade.event_ms >= from_ms)
                .take(rows_max)
                .collect(),
            PageAsk::AggregatesFrom(from) => aggregates
                .filter(|&(number, _)| number >= from)
                .take(rows_max)
                .collect(),
        };
        TradesPage {
            newest_aggregate: rows.iter().map(|&(number, _)| number).max(),
            trades: rows.into_iter().map(|(_, trade)| trade).collect(),
            unreadable: 0,
        }
    }

    /// The ids that a walk gives, and the pages of trades and of aggregates that it asks for.
    fn walk(self, pager: &mut Pager) -> (Vec<u64>, Progress, [usize; 2]) {
        let mut out = Vec::new();
        let mut pages = [0, 0];
        for _ in 0..10_000 {
            let ask = pager.ask();
            let is_aggregates = matches!(
                ask,
                PageAsk::AggregatesSince(_) | PageAsk::AggregatesFrom(_)
            );
            pages[usize::from(is_aggregates)] += 1;
            let progress = pager.page(self.page(ask), &mut out);
            if progress != Progress::More {
                let ids = out.iter().flat_map(|trade| trade.first_id..=trade.last_id);
                return (ids.collect(), progress, pages);
            }
        }
        panic!("it never ends");
    }
}

fn paging(direction: PagingDirection) -> Paging {
    Paging {
        direction,
        rows_max: 1_000,
        has_aggregates: direction == PagingDirection::Forward,
    }
}

fn direction(is_forward: bool) -> PagingDirection {
    if is_forward {
        PagingDirection::Forward
    } else {
        PagingDirection::Backward
    }
}

proptest! {
    #[test]
    fn every_id_of_the_span_is_given_once_in_order(
        is_forward in any::<bool>(),
        is_again in any::<bool>(),
        first in 1u64..3_000,
        span in 0u64..3_000,
        beyond in 0u64..500,
        rows_max in 60usize..1_000,
        width in 1u64..40,
        is_tail in any::<bool>(),
    ) {
        let last = first + span;
        let (last_id, newest) = if is_tail { (None, last) } else { (Some(last), last + beyond) };
        let request = BackfillRequest { failures: u32::from(is_again), ..request(first, last_id) };
        let mut pager = Pager::new(paging(direction(is_forward)), request, 1_000_000);
        let venue = Venue { oldest: 1, newest, rows_max, width };
        // A page with fewer rows than that is the newest.
        prop_assume!(!(is_tail && is_forward && rows_max < ROWS_AT_HEAD_MAX));
        let (ids, progress, _) = venue.walk(&mut pager);
        prop_assert_eq!(progress, Progress::Complete);
        prop_assert_eq!(ids, (first..=last).collect::<Vec<_>>());
    }

    #[test]
    fn what_the_venue_lost_or_has_not_yet_ends_the_walk(
        is_forward in any::<bool>(),
        first in 100u64..3_000,
        span in 1u64..2_000,
        oldest in 1u64..4_000,
        short in 0u64..500,
        width in 1u64..40,
    ) {
        let last = first + span;
        let newest = last.saturating_sub(short);
        let mut pager = Pager::new(paging(direction(is_forward)), request(first, Some(last)), 1_000_000);
        let venue = Venue { oldest, newest, rows_max: 300, width };
        prop_assume!(oldest <= newest);
        let (ids, progress, _) = venue.walk(&mut pager);
        prop_assert_eq!(ids, (first.max(oldest)..=newest).collect::<Vec<_>>());
        prop_assert_eq!(progress == Progress::Behind, newest < last);
    }

    #[test]
    fn arbitrary_pages_never_make_it_walk_for_ever(
        pages in proptest::collection::vec(
            (proptest::collection::vec((0u64..5_000, 0u64..300), 0..80), 0usize..3, proptest::option::of(any::<u64>())),
            0..50,
        ),
        is_forward in any::<bool>(),
    ) {
        let mut pager = Pager::new(paging(direction(is_forward)), request(1_000, Some(2_000)), 2_000);
        for (ids, unreadable, newest_aggregate) in pages {
            let trades = ids.into_iter().map(|(id, more)| trade(id, id + more)).collect();
            let page = TradesPage { trades, unreadable, newest_aggregate };
            let mut out = Vec::new();
            let progress = pager.page(page, &mut out);
            for trade in out {
                prop_assert!(trade.first_id >= 1_000 && trade.last_id <= 2_000);
            }
            if progress != Progress::More {
                break;
            }
        }
    }
}

#[test]
fn a_span_costs_pages_of_aggregates_and_single_trades_only_at_its_ends() {
    for (first, last, pages) in [
        (100, Some(199), [0, 1]),
        (103, Some(199), [1, 1]),
        (103, Some(194), [2, 1]),
        (103, Some(104), [1, 1]),
        (100, None, [0, 1]),
        (100, Some(20_099), [0, 3]),
    ] {
        let venue = Venue {
            oldest: 1,
            newest: last.unwrap_or(444),
            rows_max: 1_000,
            width: 10,
        };
        let mut pager = Pager::new(
            paging(PagingDirection::Forward),
            request(first, last),
            1_000_000,
        );
        let newest = last.unwrap_or(444);
        let venue = Venue {
            newest: newest + 100 * u64::from(last.is_some()),
            ..venue
        };
        let (ids, progress, asked) = venue.walk(&mut pager);
        assert_eq!(ids, (first..=newest).collect::<Vec<_>>());
        assert_eq!(
            (progress, asked),
            (Progress::Complete, pages),
            "{first}..{last:?}"
        );
    }
}

#[test]
fn a_refused_kind_of_page_falls_back_to_the_other_once() {
    let venue = Venue {
        oldest: 1,
        newest: 1_000,
        rows_max: 60,
        width: 1,
    };
    for failures in [0, 1] {
        let request = BackfillRequest {
            failures,
            ..request(50, Some(400))
        };
        let mut pager = Pager::new(paging(PagingDirection::Forward), request, 1_000);
        let before = pager.ask();
        assert!(pager.refused());
        assert_ne!(pager.ask(), before);
        let (ids, progress, _) = venue.walk(&mut pager);
        assert_eq!(progress, Progress::Complete);
        assert_eq!(ids, (50..=400).collect::<Vec<_>>());
        assert!(!pager.refused());
    }
    let mut pager = Pager::new(paging(PagingDirection::Backward), request(50, None), 1_000);
    assert!(!pager.refused());
}

#[test]
fn a_walk_stops_at_the_most_trades_it_may_bring() {
    let venue = Venue {
        oldest: 1,
        newest: 10_000,
        rows_max: 200,
        width: 1,
    };
    let mut pager = Pager::new(paging(PagingDirection::Forward), request(1, None), 500);
    let (ids, progress, _) = venue.walk(&mut pager);
    assert_eq!((ids.len(), progress), (600, Progress::TooMany));
    assert!(Pager::new(paging(PagingDirection::Forward), request(1, Some(501)), 500).is_too_wide());
}

#[test]
fn trades_from_before_the_time_of_their_gap_are_fetched_by_id_the_second_time() {
    // The venue set its clock back by an hour within the gap.
    let set_back = |last_id, failures| BackfillRequest {
        from_ms: event_ms(50) + 3_600_000,
        failures,
        ..request(50, last_id)
    };
    let venue = Venue {
        oldest: 1,
        newest: 400,
        rows_max: 1_000,
        width: 10,
    };
    for (last_id, first_answer) in [
        // The stream has shown the last id: REST is known to lack it.
        (Some(400), Progress::Behind),
        // Nothing shows that anything is missing, until the next trade of the stream.
        (None, Progress::Complete),
    ] {
        let mut pager = Pager::new(
            paging(PagingDirection::Forward),
            set_back(last_id, 0),
            1_000_000,
        );
        let (ids, progress, _) = venue.walk(&mut pager);
        assert_eq!((ids, progress), (Vec::new(), first_answer));
        let mut pager = Pager::new(
            paging(PagingDirection::Forward),
            set_back(last_id, 1),
            1_000_000,
        );
        let (ids, progress, _) = venue.walk(&mut pager);
        assert_eq!(ids, (50..=400).collect::<Vec<_>>());
        assert_eq!(progress, Progress::Complete);
    }
}
