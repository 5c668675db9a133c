//! Leases that change hands more than once, and programs that have not heard of it yet.

use bus::Expected;

use super::super::super::fence::Fenced;
use super::*;

/// A lease whose fence is known to the bus.
fn fenced(epoch: u64) -> Hold {
    let fence = Expected::LastOf {
        subject: "closed.lease.okx.OKX.BTC-USDT".to_owned(),
        sequence: epoch,
    };
    Hold {
        epoch,
        fence: Some(Arc::new(fence)),
    }
}

/// The bar that the lane stores next, with what it expects.
fn next_stored(lane: &Lane) -> Fenced {
    let later = Instant::now() + Duration::from_secs(1);
    let Next::Store(item) = lane.next(later) else {
        panic!("a bar to store");
    };
    lane.done(Settled::Fenced);
    *item.fence.expect("a bar has one")
}

/// The start and the epoch of each bar that waits.
fn epochs(outbox: &Outbox) -> Vec<(i64, u64)> {
    let closed = outbox.take().closed;
    closed.iter().map(|bar| (bar.start_ms, bar.epoch)).collect()
}

#[test]
fn a_late_refusal_under_an_old_lease_does_not_take_back_the_bar_of_the_new_one() {
    let (outbox, lane) = outbox(BOUNDS);
    outbox.hold(0, &fenced(4), 0);
    outbox.closed(0, &bar(1_000, BarState::Closed), 7, TICK);
    // The lease is lost before the bar is sent, and is ours again.
    outbox.lose(&[0]);
    outbox.hold(0, &fenced(6), 0);
    assert_eq!(epochs(&outbox), [(1_000, 6)]);
    // The lane has both, one after the other, and the bus refuses the first.
    let refused = next_stored(&lane);
    assert_eq!(refused.epoch, 4);
    outbox.refusals.add(refused);
    assert_eq!(outbox.take_refused(), [(0, false)]);
    outbox.hold(0, &fenced(6), 0);
    assert_eq!(epochs(&outbox), [], "it is on its way already");
    // The same under the lease of now is offered again.
    let refused = next_stored(&lane);
    assert_eq!(refused.epoch, 6);
    outbox.refusals.add(refused);
    assert_eq!(outbox.take_refused(), [(0, true)]);
    outbox.hold(0, &fenced(6), 0);
    assert_eq!(epochs(&outbox), [(1_000, 6)]);
}

#[test]
fn a_bar_that_comes_back_under_an_old_lease_does_not_take_back_the_bar_of_the_new_one() {
    for is_put_back in [true, false] {
        let (outbox, lane) = outbox(BOUNDS);
        outbox.hold(0, &fenced(4), 0);
        outbox.closed(0, &bar(1_000, BarState::Closed), 7, TICK);
        let work = outbox.take();
        outbox.lose(&[0]);
        outbox.refusals.add(next_stored(&lane));
        outbox.take_refused();
        outbox.hold(0, &fenced(6), 0);
        assert_eq!(epochs(&outbox), [(1_000, 6)]);
        if is_put_back {
            outbox.put_back(work.closed, work.events);
        } else {
            outbox.disown(&work.closed[0]);
        }
        outbox.hold(0, &fenced(6), 0);
        assert_eq!(epochs(&outbox), [], "{is_put_back}");
    }
}

#[test]
fn leases_that_are_lost_together_take_their_own_bars_back_and_no_others() {
    let (outbox, _) = outbox_of(&["OKX:A-B", "OKX:C-D", "OKX:E-F"], BOUNDS);
    for symbol in 0..3 {
        outbox.closed(symbol, &bar(1_000, BarState::Closed), 7, TICK);
        outbox.trades([(symbol, trade(1))].into_iter());
        outbox.gap(symbol, &gap_event(), None);
    }
    outbox.lose(&[0, 2]);
    let held = |symbol| outbox.held_epoch(symbol);
    assert_eq!([0, 1, 2].map(held), [None, Some(3), None]);
    let work = outbox.take();
    let subjects = work.closed.iter().map(|bar| &*bar.subject);
    assert_eq!(subjects.collect::<Vec<_>>(), ["kline.1s.OKX.C-D"]);
    assert_eq!((work.trades.len(), work.events.len()), (1, 1));
    // They count as not published.
    outbox.hold(2, &hold(5), 0);
    assert_eq!(epochs(&outbox), [(1_000, 5)]);
}

/// A standby that has made three bars and heard two, before another program took the lease under the
/// number 4. Of the holder before, which does not know it yet, it hears the third.
fn standby_of_three() -> Outbox {
    let outbox = standby(0..3);
    outbox.follow(0, &head(0, 3), 1);
    outbox.follow(0, &head(1, 3), 2);
    outbox.claimed(0, 4);
    outbox.follow(0, &head(2, 3), 3);
    outbox
}

/// What the record has, asked for after everything was heard.
fn since(stored: &[RecordHead]) -> Vec<Newest> {
    let newest = |stored: &[RecordHead]| Newest::Since {
        stored: stored.to_vec(),
        after_ms: 10,
    };
    vec![newest(stored), newest(&[])]
}

#[test]
fn what_a_holder_of_before_sends_counts_as_stored_only_if_the_record_has_it() {
    let outbox = standby_of_three();
    assert!(
        !outbox.settle(0, &since(&[]), 4),
        "it may have been refused"
    );
    for topic in 0..2 {
        outbox.begin_anew(topic);
    }
    for second in 0..2 {
        outbox.seed(0, &head(second, 3));
    }
    assert!(outbox.settle(0, &last([Some(head(1, 3)), None]), 4));
    outbox.hold(0, &hold(5), 0);
    assert_eq!(published(&outbox), [(2_000, 0)]);
    // The same behind a revision that the new holder stored.
    let outbox = standby_of_three();
    let revision = RecordHead {
        rev: 1,
        count: 2,
        ..head(0, 4)
    };
    outbox.follow(0, &revision, 4);
    assert!(!outbox.settle(0, &last([Some(revision), None]), 4));
    // The record has it: it was sent before the lease was taken.
    for stored in [since(&[head(2, 3)]), last([Some(head(2, 3)), None])] {
        let outbox = standby_of_three();
        assert!(outbox.settle(0, &stored, 4));
        outbox.hold(0, &hold(5), 0);
        assert_eq!(published(&outbox), []);
    }
    // The new holder has published it, too.
    let outbox = standby_of_three();
    outbox.follow(0, &head(2, 4), 4);
    assert!(outbox.settle(0, &since(&[]), 4));
    outbox.hold(0, &hold(5), 0);
    assert_eq!(published(&outbox), []);
}

#[test]
fn an_attempt_to_take_a_lease_casts_no_doubt_on_its_holder() {
    let outbox = standby_of_three();
    // It was an attempt: at the takeover, the lease still has the number of before.
    assert!(outbox.settle(0, &since(&[]), 3), "nothing is read again");
    outbox.hold(0, &hold(5), 0);
    assert_eq!(published(&outbox), []);
}

#[test]
fn a_late_answer_about_a_lease_does_not_end_the_doubt_about_its_holder_of_before() {
    let outbox = standby(0..3);
    outbox.follow(0, &head(0, 3), 1);
    outbox.follow(0, &head(1, 3), 2);
    outbox.claimed(0, 4);
    // A question from before the takeover.
    outbox.claimed(0, 3);
    outbox.follow(0, &head(2, 3), 3);
    assert!(
        !outbox.settle(0, &since(&[]), 4),
        "it may have been refused"
    );
}

#[test]
fn the_doubt_about_a_holder_ends_when_an_attempt_to_take_its_lease_was_refused() {
    let outbox = standby_of_three();
    assert_eq!(outbox.take_doubted(), [(0, 4)]);
    assert_eq!(outbox.take_doubted(), [], "once");
    // The lease is looked at, and its number is still that of before.
    outbox.not_claimed(0, 4, 3);
    outbox.follow(0, &head(3, 3), 4);
    assert_eq!(outbox.take_doubted(), []);
    // Another program took it while it was looked at.
    outbox.claimed(0, 4);
    outbox.claimed(0, 5);
    outbox.not_claimed(0, 4, 3);
    outbox.follow(0, &head(4, 3), 5);
    assert_eq!(outbox.take_doubted(), [(0, 5)]);
}

#[tokio::test]
async fn a_mark_waits_for_the_last_bar_of_a_symbol_that_is_handed_over() {
    let (outbox, _) = outbox_of(&["OKX:A-B", "OKX:C-D"], BOUNDS);
    for symbol in 0..2 {
        outbox.begin(symbol, [1_000, 0].into_iter());
        outbox.closed(symbol, &bar(1_000, BarState::Closed), 7, TICK);
    }
    let publish = |symbol, end_ms| {
        let boundaries = outbox.boundaries();
        boundaries.closed(symbol, Timeframe::SECOND, end_ms, 10);
        boundaries.look(10);
        let mark = boundaries.next_due();
        mark.map(|mark| (mark.end_ms, mark.bars, mark.missing))
    };
    assert_eq!(outbox.take().closed.len(), 2);
    outbox.leave(1);
    let flushed = outbox.flushed(1);
    tokio::pin!(flushed);
    assert!(futures_util::poll!(&mut flushed).is_pending());
    assert_eq!(publish(0, 2_000), None, "the other bar is on its way");
    assert_eq!(publish(1, 2_000), Some((2_000, 2, 0)));
    // It is published, and not stored yet.
    outbox.published(2);
    assert!(futures_util::poll!(&mut flushed).is_pending());
    assert_eq!(publish(0, 3_000), Some((3_000, 1, 0)));
    // What comes back meanwhile counts again.
    outbox.hold(1, &hold(5), 0);
    outbox.left(1);
    assert_eq!(publish(0, 4_000), None);
    assert_eq!(publish(1, 4_000), Some((4_000, 2, 0)));
}
