mod leases;

use std::time::{Duration, Instant};

use bytes::Bytes;
use market_core::wire::{BarHead, TradeMessage};
use market_core::{AggressorSide, BarState, Fold, GapEventState, Price, Quality, Quantity};

use super::*;
use crate::publish::book::{Newest, RecordHead};
use crate::publish::durable::{EncodingTurn, Item, Next, Settled};

fn outbox(bounds: OutboxBounds) -> (Outbox, Arc<Lane>) {
    outbox_of(&["OKX:BTC-USDT"], bounds)
}

fn outbox_of(symbols: &[&str], bounds: OutboxBounds) -> (Outbox, Arc<Lane>) {
    let lane = Lane::new(100, 0, EncodingTurn::default()).with_journal(true);
    let lane = Arc::new(lane);
    let publications = symbols.iter().enumerate();
    let publications = publications.map(|(instrument, symbol)| Publication {
        instrument,
        exchange: "okx",
        symbol: symbol.parse().expect("symbol"),
    });
    let timeframes: TimeframeSet = "1s,1m".parse().expect("timeframes");
    let outbox = Outbox::new(
        publications.collect(),
        &timeframes,
        vec![Arc::clone(&lane)],
        Arc::new(Boundaries::new(
            &timeframes,
            symbols.len(),
            10_000,
            "state.marks.0".into(),
        )),
        Arc::new(Refusals::new(Arc::new(Notify::new()))),
        bounds,
    );
    for symbol in 0..symbols.len() {
        outbox.hold(symbol, &hold(3), 0);
    }
    (outbox, lane)
}

/// A lease without a fence.
fn hold(epoch: u64) -> Hold {
    Hold { epoch, fence: None }
}

const TICK: Trigger = Trigger::Tick { due_us: 7 };
const BOUNDS: OutboxBounds = OutboxBounds {
    bars_max: 10,
    trades_max: 300,
};

fn trade(id: u64) -> Trade {
    Trade {
        first_id: id,
        last_id: id,
        event_ms: 1_000,
        price: Price::parse("5.50").expect("price"),
        quantity: Quantity::parse("2").expect("quantity"),
        aggressor_side: AggressorSide::Sell,
        received_us: 1_000_500,
    }
}

fn bar(start_ms: i64, state: BarState) -> Bar {
    Bar {
        timeframe: Timeframe::SECOND,
        start_ms,
        end_ms: start_ms + 1_000,
        fold: Some(Fold::of(&trade(1))),
        previous_close: None,
        state,
        rev: 0,
        quality: Quality::Complete,
    }
}

#[test]
fn forming_bars_conflate_and_a_closed_one_outdates_its_own() {
    let (outbox, lane) = outbox(BOUNDS);
    for _ in 0..5 {
        outbox.forming(0, &bar(1_000, BarState::Forming));
    }
    let work = outbox.take();
    assert_eq!((work.forming.len(), work.forming[0].seq), (1, 1));
    outbox.forming(0, &bar(1_000, BarState::Forming));
    outbox.closed(0, &bar(1_000, BarState::Closed), 7, TICK);
    outbox.forming(0, &bar(2_000, BarState::Forming));
    let work = outbox.take();
    assert_eq!((work.closed.len(), work.forming.len()), (1, 1));
    let head = BarHead::read(&work.closed[0].payload).expect("a bar");
    assert_eq!((head.seq, head.epoch, head.closed), (2, 3, true));
    assert_eq!(
        (work.forming[0].seq, work.forming[0].bar.start_ms),
        (3, 2_000)
    );
    assert_eq!(&*work.closed[0].subject, "kline.1s.OKX.BTC-USDT");
    let later = Instant::now() + Duration::from_secs(1);
    let Next::Store(stored) = lane.next(later) else {
        panic!("a bar to store");
    };
    assert_eq!(&*stored.subject, "closed.1s.OKX.BTC-USDT");
    assert_eq!(stored.payload, work.closed[0].payload);
    assert!(outbox.take().is_empty());
}

#[test]
fn a_bar_of_a_plain_symbol_says_its_exchange() {
    let (mut outbox, _) = outbox(BOUNDS);
    outbox.symbols[0].publication = Publication {
        instrument: 0,
        exchange: "binance",
        symbol: "BTC-USDT".parse().expect("symbol"),
    };
    outbox.closed(0, &bar(1_000, BarState::Closed), 7, TICK);
    outbox.forming(0, &bar(2_000, BarState::Forming));
    let work = outbox.take();
    let closed = BarHead::read(&work.closed[0].payload).expect("a bar");
    assert_eq!(closed.exchange, "binance");
    assert_eq!(work.forming[0].exchange, "binance");
}

#[test]
fn what_was_put_back_comes_first_and_stays_bounded() {
    let (outbox, _) = outbox(BOUNDS);
    for second in 0..10 {
        outbox.closed(0, &bar(second * 1_000, BarState::Closed), 7, TICK);
    }
    let work = outbox.take();
    outbox.closed(0, &bar(10_000, BarState::Closed), 7, TICK);
    outbox.put_back(work.closed, work.events);
    let seqs: Vec<u64> = outbox
        .take()
        .closed
        .iter()
        .map(|bar| BarHead::read(&bar.payload).expect("a bar").seq)
        .collect();
    assert_eq!(seqs, (2..=11).collect::<Vec<_>>());
}

#[test]
fn trades_are_bounded_and_come_in_portions() {
    let (outbox, _) = outbox(BOUNDS);
    outbox.trades((0..400).map(|id| (0, trade(id))));
    let work = outbox.take();
    assert_eq!(work.trades.len(), TRADES_AT_ONCE);
    assert_eq!(&*work.trades[0].subject, "market.okx.OKX.BTC-USDT.trade");
    let first = TradeMessage::read(&work.trades[0].payload).expect("a trade");
    assert_eq!(first.topic.as_deref(), Some("trade:OKX:BTC-USDT"));
    // The dropped ones have had their numbers.
    assert_eq!((first.first_id.as_str(), first.seq), ("100", Some(101)));
    let rest = outbox.take().trades;
    assert_eq!(rest.len(), 44);
    let last = TradeMessage::read(&rest[43].payload).expect("a trade");
    assert_eq!(last.seq, Some(400));
}

fn gap_event() -> GapEvent {
    GapEvent {
        first_id: Some(3),
        last_id: Some(5),
        from_ms: 10,
        to_ms: None,
        state: GapEventState::Open,
    }
}

#[test]
fn a_gap_is_told_with_its_ids() {
    let (outbox, _) = outbox(BOUNDS);
    outbox.gap(0, &gap_event(), None);
    let work = outbox.take();
    assert_eq!(
        std::str::from_utf8(&work.events[0].payload).expect("UTF-8"),
        r#"{"topic":"system:service:marketdata:gap","exchange":"okx","symbol":"OKX:BTC-USDT","first_id":"3","last_id":"5","from_ms":10,"to_ms":null,"state":"open"}"#
    );
}

fn head(second: i64, epoch: u64) -> RecordHead {
    let payload = format!(
        r#"{{"epoch":{epoch},"start_ms":{},"rev":0,"count":1,"quality":"complete"}}"#,
        second * 1_000
    );
    RecordHead::read(payload.as_bytes(), 1_700_000_000_000).expect("a record")
}

/// The newest messages of the records.
fn last(heads: [Option<RecordHead>; 2]) -> Vec<Newest> {
    heads.map(Newest::Last).to_vec()
}

/// A standby that has made the bars of `seconds`.
fn standby(seconds: std::ops::Range<i64>) -> Outbox {
    let (outbox, _) = outbox(BOUNDS);
    outbox.leave(0);
    for second in seconds {
        outbox.closed(0, &bar(second * 1_000, BarState::Closed), 7, TICK);
    }
    outbox
}

/// The start and the revision of each bar that waits.
fn published(outbox: &Outbox) -> Vec<(i64, u32)> {
    let closed = outbox.take().closed;
    closed.iter().map(|bar| (bar.start_ms, bar.rev)).collect()
}

#[test]
fn a_bar_that_the_stream_never_stored_is_published_by_the_successor() {
    for (stored, expected) in [
        (Some(head(4, 3)), vec![]),
        (Some(head(3, 3)), vec![(4_000, 0)]),
        // A holder that was stopped tries on, and the bus refuses all of it.
        (Some(head(1, 3)), vec![(2_000, 0), (3_000, 0), (4_000, 0)]),
    ] {
        let outbox = standby(0..5);
        for second in 0..5 {
            outbox.follow(0, &head(second, 3), 0);
        }
        assert!(outbox.settle(0, &last([stored, None]), 3));
        outbox.hold(0, &hold(4), 0);
        assert_eq!(published(&outbox), expected, "{stored:?}");
    }
}

#[test]
fn a_standby_that_has_not_heard_the_newest_record_reads_again_before_it_publishes() {
    let outbox = standby(0..5);
    for second in 0..2 {
        outbox.follow(0, &head(second, 3), 0);
    }
    assert!(!outbox.settle(0, &last([Some(head(3, 3)), None]), 3));
    outbox.begin_anew(0);
    outbox.begin_anew(1);
    for second in 0..4 {
        outbox.seed(0, &head(second, 3));
    }
    assert!(outbox.settle(0, &last([Some(head(3, 3)), None]), 3));
    outbox.hold(0, &hold(4), 0);
    assert_eq!(published(&outbox), [(4_000, 0)]);
}

#[test]
fn bars_of_a_holder_are_not_taken_back_when_it_takes_its_lease_again() {
    let (outbox, _) = outbox(BOUNDS);
    for second in 0..3 {
        outbox.closed(0, &bar(second * 1_000, BarState::Closed), 7, TICK);
    }
    assert_eq!(published(&outbox).len(), 3);
    // Two of them are not stored yet: they wait in the lane.
    assert!(outbox.settle(0, &last([Some(head(0, 3)), None]), 3));
    outbox.hold(0, &hold(4), 0);
    assert_eq!(published(&outbox), []);
}

#[test]
fn a_takeover_shows_no_closed_bar_as_forming_again() {
    // Closed here, or by its holder alone.
    for is_ours in [true, false] {
        let outbox = standby(0..1);
        outbox.forming(0, &bar(1_000, BarState::Forming));
        if is_ours {
            outbox.closed(0, &bar(1_000, BarState::Closed), 7, TICK);
        }
        outbox.follow(0, &head(0, 3), 0);
        outbox.follow(0, &head(1, 3), 0);
        outbox.hold(0, &hold(4), 0);
        let work = outbox.take();
        assert_eq!((work.closed.len(), work.forming.len()), (0, 0), "{is_ours}");
        // The one of now is shown.
        outbox.leave(0);
        outbox.forming(0, &bar(2_000, BarState::Forming));
        outbox.hold(0, &hold(5), 0);
        assert_eq!(outbox.take().forming.len(), 1);
    }
}

#[test]
fn a_takeover_stores_missing_bars_first_and_only_the_newest_stored_one_again() {
    let (outbox, lane) = outbox(BOUNDS);
    outbox.leave(0);
    for second in 0..5 {
        outbox.closed(0, &bar(second * 1_000, BarState::Closed), 7, TICK);
        outbox.follow(0, &head(second, 3), 0);
    }
    assert!(outbox.settle(0, &last([Some(head(2, 3)), None]), 3));
    outbox.hold(0, &hold(4), 0);
    let later = Instant::now() + Duration::from_secs(1);
    let mut stored = Vec::new();
    while let Next::Store(item) = lane.next(later) {
        let head = BarHead::read(&item.payload).expect("a bar");
        stored.push((item.subject.starts_with("closed."), head.start_ms));
        lane.done(Settled::Stored);
    }
    assert_eq!(stored, [(true, 3_000), (true, 4_000), (false, 2_000)]);
}

#[test]
fn what_is_stored_again_leaves_room_for_bars() {
    let (_, lane) = outbox(BOUNDS);
    let item = |subject: &str| Item::new(subject.into(), Bytes::new());
    for _ in 0..1_000 {
        lane.push_again(item("again"));
    }
    for _ in 0..50 {
        lane.push(item("bar"));
    }
    let later = Instant::now() + Duration::from_secs(1);
    let mut subjects = Vec::new();
    while let Next::Store(item) = lane.next(later) {
        subjects.push(item.subject);
    }
    let bars = subjects.iter().filter(|subject| &***subject == "bar");
    assert_eq!((subjects.len(), bars.count()), (100, 50));
}

#[test]
fn what_a_publisher_has_in_its_hands_does_not_go_out_after_the_lease_was_lost() {
    let (outbox, _) = outbox(BOUNDS);
    outbox.closed(0, &bar(1_000, BarState::Closed), 7, TICK);
    outbox.forming(0, &bar(2_000, BarState::Forming));
    outbox.trades([(0, trade(1))].into_iter());
    outbox.gap(0, &gap_event(), None);
    let work = outbox.take();
    let rights = [
        &work.closed[0].right,
        &work.forming[0].right,
        &work.trades[0].right,
        &work.events[0].right,
    ];
    assert!(rights.iter().all(|right| right.holds()));
    outbox.lose(&[0]);
    assert!(rights.iter().all(|right| !right.holds()));
    outbox.put_back(work.closed, work.events);
    assert!(outbox.take().is_empty(), "its successor publishes it");
    // It is ours again: the bar counts as not published, and goes out under the new number.
    outbox.hold(0, &hold(5), 0);
    let work = outbox.take();
    let head = BarHead::read(&work.closed[0].payload).expect("a bar");
    assert_eq!((head.epoch, head.rev), (5, 0));
    assert!(work.closed[0].right.holds());
    // What waits when a lease is given up still goes out.
    outbox.leave(0);
    outbox.put_back(work.closed, work.events);
    assert_eq!(outbox.take().closed.len(), 1);
}
