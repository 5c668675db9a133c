//! One holder at a time, with a number that only rises.

use std::sync::Arc;
use std::time::Duration;

use bus::{
    Append, Bus, BusError, Claim, Holding, Lease, LeaseEvent, LeaseKey, Renewal, StreamSpec,
};

use crate::setup::{Setup, on_both, payload, within};

on_both! {
    of_several_claims_one_wins_and_the_others_learn_who,
    number_rises_with_every_holder_and_stays_above_what_was_published,
    number_rises_even_when_the_stream_was_created_anew,
    holder_that_lost_its_lease_is_told_and_its_publications_are_refused,
    beats_keep_the_fence_and_reach_those_who_watch,
    watch_tells_of_every_change_and_ignores_beats_of_holders_before,
    released_lease_can_be_taken_at_once,
    fence_of_a_stream_that_was_lost_does_not_fit_the_one_created_anew,
    what_is_no_lease_is_refused,
}

fn key() -> LeaseKey {
    LeaseKey {
        subject: "state.epoch.binance-0".to_owned(),
        beat_subject: "beat.binance-0".to_owned(),
    }
}

async fn take(bus: &Arc<dyn Bus>, holder: &str, from: Option<&Holding>) -> Claim {
    let key = key();
    let claim = key.take(bus, holder, from, 0);
    within("a claim", claim).await.expect("connected")
}

async fn taken(bus: &Arc<dyn Bus>, holder: &str) -> Lease {
    let from = key().holding(&**bus).await.expect("connected");
    match take(bus, holder, from.as_ref()).await {
        Claim::Taken(lease) => lease,
        lost @ Claim::Lost(_) => panic!("nobody else tries: {lost:?}"),
    }
}

async fn of_several_claims_one_wins_and_the_others_learn_who(setup: Setup) {
    let (first, second) = setup.pair().await;
    assert_eq!(key().holding(&*first).await, Ok(None));
    let claims = ["a", "b", "c", "d"].map(|holder| {
        let bus = if holder < "c" { &first } else { &second };
        take(bus, holder, None)
    });
    let mut winner = None;
    let mut losers = Vec::new();
    for claim in futures_util::future::join_all(claims).await {
        match claim {
            Claim::Taken(lease) => assert!(winner.replace(lease).is_none(), "two winners"),
            Claim::Lost(to) => losers.push(to),
        }
    }
    let winner = winner.expect("one wins");
    assert_eq!(losers, vec![Some(winner.holding().clone()); 3]);
    assert_eq!(winner.number(), 1);
}

async fn number_rises_with_every_holder_and_stays_above_what_was_published(setup: Setup) {
    let bus = setup.bus().await;
    let first = taken(&bus, "a").await;
    let from = first.holding().clone();
    // Closed bars of the past may carry the clock of a start.
    let claim = key().take(&bus, "b", Some(&from), 1_700_000_000_000).await;
    let Ok(Claim::Taken(second)) = claim else {
        panic!("nobody else tries: {claim:?}");
    };
    assert_eq!(second.number(), 1_700_000_000_000);
    let third = taken(&bus, "c").await;
    assert_eq!(third.number(), 1_700_000_000_001);
    let stale = take(&bus, "d", Some(&from)).await;
    let Claim::Lost(Some(holding)) = stale else {
        panic!("{from:?} is of the past: {stale:?}");
    };
    assert_eq!(holding.holder.as_deref(), Some("c"));
}

async fn number_rises_even_when_the_stream_was_created_anew(setup: Setup) {
    let bus = setup.bus().await;
    let mut watch = key().watch(&bus).await.expect("connected");
    for _ in 0..3 {
        taken(&bus, "a").await;
    }
    let before = taken(&bus, "a").await;
    within("the last holder", async {
        while watch.holding() != Some(before.holding()) {
            watch.next().await.expect("connected");
        }
    })
    .await;
    assert_eq!(bus.streams().delete_stream("state").await, Ok(true));
    let spec = StreamSpec::newest("state", 1, true);
    bus.streams().put_stream(spec).await.expect("created");
    let lost = before.renew().await;
    assert!(matches!(lost, Renewal::Lost(None)), "{lost:?}");
    // The program that goes on remembers the number, here from its watch.
    let known = watch.holding().expect("it was held").number;
    let claim = key().take(&bus, "b", None, known + 1).await;
    let Ok(Claim::Taken(after)) = claim else {
        panic!("nobody else tries: {claim:?}");
    };
    assert!(after.number() > before.number());
}

async fn holder_that_lost_its_lease_is_told_and_its_publications_are_refused(setup: Setup) {
    let (first, second) = setup.pair().await;
    let old = taken(&first, "old").await;
    assert!(matches!(old.renew().await, Renewal::Held));
    let fenced = |lease: &Lease, number: u32| Append {
        expected: Some(lease.fence()),
        ..Append::new("state.bars.A", payload(number))
    };
    let stored = first.streams().append(fenced(&old, 1)).await;
    assert!(stored.is_ok(), "{stored:?}");
    let new = taken(&second, "new").await;
    assert!(new.number() > old.number());
    match old.renew().await {
        Renewal::Lost(Some(now)) => assert_eq!(&now, new.holding()),
        other => panic!("it was taken: {other:?}"),
    }
    let refused = first.streams().append(fenced(&old, 2)).await;
    assert!(
        matches!(refused, Err(BusError::NotAsExpected { .. })),
        "{refused:?}"
    );
    let stored = second.streams().append(fenced(&new, 3)).await;
    assert!(stored.is_ok(), "{stored:?}");
    assert_eq!(old.release().await, Ok(false));
    assert!(matches!(new.renew().await, Renewal::Held));
}

async fn beats_keep_the_fence_and_reach_those_who_watch(setup: Setup) {
    let (holder, standby) = setup.pair().await;
    let lease = taken(&holder, "a").await;
    let mut watch = key().watch(&standby).await.expect("connected");
    assert_eq!(watch.holding(), Some(lease.holding()));
    let fence = lease.fence();
    for _ in 0..3 {
        assert!(matches!(lease.renew().await, Renewal::Held));
        let event = within("a beat", watch.next()).await;
        assert_eq!(event, Ok(LeaseEvent::Beat));
    }
    assert_eq!(lease.fence(), fence);
    // Silence is for the caller to measure.
    let silence = tokio::time::timeout(Duration::from_millis(50), watch.next()).await;
    assert!(silence.is_err(), "{silence:?}");
    lease.beat().await.expect("connected");
    let event = within("a beat", watch.next()).await;
    assert_eq!(event, Ok(LeaseEvent::Beat));
}

async fn watch_tells_of_every_change_and_ignores_beats_of_holders_before(setup: Setup) {
    let (first, second) = setup.pair().await;
    let mut watch = key().watch(&second).await.expect("connected");
    assert_eq!(watch.holding(), None);
    let old = taken(&first, "old").await;
    let change = within("a change", watch.next()).await;
    assert_eq!(change, Ok(LeaseEvent::Changed(Some(old.holding().clone()))));
    let new = taken(&second, "new").await;
    let change = within("a change", watch.next()).await;
    assert_eq!(change, Ok(LeaseEvent::Changed(Some(new.holding().clone()))));
    old.beat().await.expect("connected");
    first.flush().await.expect("connected");
    new.beat().await.expect("connected");
    new.beat().await.expect("connected");
    for _ in 0..2 {
        let event = within("a beat", watch.next()).await;
        assert_eq!(event, Ok(LeaseEvent::Beat));
    }
    let silence = tokio::time::timeout(Duration::from_millis(50), watch.next()).await;
    assert!(silence.is_err(), "the old holder was heard: {silence:?}");
    second.drain().await.expect("connected");
    let ended = within("the end", async {
        loop {
            if let Err(error) = watch.next().await {
                return error;
            }
        }
    });
    assert_eq!(ended.await, BusError::Closed);
}

async fn released_lease_can_be_taken_at_once(setup: Setup) {
    let bus = setup.bus().await;
    let lease = taken(&bus, "a").await;
    let number = lease.number();
    let mut watch = key().watch(&bus).await.expect("connected");
    assert_eq!(lease.release().await, Ok(true));
    let change = within("a change", watch.next()).await;
    let Ok(LeaseEvent::Changed(Some(free))) = change else {
        panic!("a release is a change: {change:?}");
    };
    assert_eq!((free.holder.as_deref(), free.number), (None, number));
    let Claim::Taken(next) = take(&bus, "b", Some(&free)).await else {
        panic!("nobody else tries");
    };
    assert_eq!(next.number(), number + 1);
}

async fn fence_of_a_stream_that_was_lost_does_not_fit_the_one_created_anew(setup: Setup) {
    let bus = setup.bus().await;
    let spec = StreamSpec::newest("state", 1, true).fenced(true);
    let anew = async || {
        let deleted = bus.streams().delete_stream("state").await;
        deleted.expect("connected");
        let put = bus.streams().put_stream(spec.clone()).await;
        put.expect("created");
    };
    anew().await;
    let before = taken(&bus, "a").await;
    anew().await;
    // As many messages as before: sequences that begin at 1 would be the same.
    let after = taken(&bus, "b").await;
    assert!(after.holding().sequence > before.holding().sequence);
    let bar = |fence| Append {
        expected: Some(fence),
        ..Append::new("state.bar", payload(1))
    };
    let stale = bus.streams().append(bar(before.fence())).await;
    assert!(
        matches!(stale, Err(BusError::NotAsExpected { .. })),
        "{stale:?}"
    );
    let stored = bus.streams().append(bar(after.fence())).await;
    assert!(stored.is_ok(), "{stored:?}");
}

async fn what_is_no_lease_is_refused(setup: Setup) {
    let bus = setup.bus().await;
    bus.publish_durable(&key().subject, payload("1700000000000"))
        .await
        .expect("stored");
    let error = key().holding(&*bus).await.expect_err("a bare number");
    assert_eq!(
        error.to_string(),
        r#"lease "state.epoch.binance-0": what is kept there is no lease; purge the subject"#
    );
    let highest = Holding {
        number: u64::MAX - 1,
        holder: None,
        sequence: 1,
    };
    let refused = key().take(&bus, "a", Some(&highest), 0).await;
    assert!(
        matches!(refused, Err(BusError::Lease { .. })),
        "{refused:?}"
    );
}
