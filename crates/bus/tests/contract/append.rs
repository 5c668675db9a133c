//! Publications that say what they expect of their stream.

use std::sync::Arc;

use bus::{Append, BATCH_MESSAGES_MAX, BusError, Expected, StreamSpec};

use crate::setup::{Setup, last_values, on_both, payload};

on_both! {
    of_several_that_expect_the_same_one_is_stored,
    expectation_of_another_subject_fences_the_one_who_lost_it,
    repeat_of_a_message_id_is_stored_once,
    append_outside_the_streams_or_with_impossible_conditions_is_refused,
    batch_is_stored_as_a_whole_or_not_at_all,
    batch_that_no_server_takes_is_refused_before_it_is_sent,
}

fn expecting(subject: &str, number: u32, expected: Expected) -> Append {
    Append {
        expected: Some(expected),
        ..Append::new(subject, payload(number))
    }
}

fn is_refused(result: &Result<bus::Appended, BusError>) -> bool {
    matches!(result, Err(BusError::NotAsExpected { .. }))
}

async fn of_several_that_expect_the_same_one_is_stored(setup: Setup) {
    let (first, second) = setup.pair().await;
    let attempts = (0..8).map(|number| {
        let bus = Arc::clone(if number % 2 == 0 { &first } else { &second });
        let append = expecting("state.epoch.a", number, Expected::LastOfSubject(0));
        async move { bus.streams().append(append).await }
    });
    let results = futures_util::future::join_all(attempts).await;
    let stored: Vec<_> = results
        .iter()
        .filter_map(|result| result.as_ref().ok())
        .collect();
    assert_eq!(stored.len(), 1, "{results:?}");
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        let text = r#""state.epoch.a" is not stored: the stream has changed since it was read"#;
        assert_eq!(error.to_string(), text);
        assert!(!error.is_retryable());
    }
    let sequence = stored[0].sequence;
    let stale = expecting("state.epoch.a", 9, Expected::LastOfSubject(sequence + 1));
    assert!(is_refused(&first.streams().append(stale).await));
    let next = expecting("state.epoch.a", 10, Expected::LastOfSubject(sequence));
    let next = first.streams().append(next).await.expect("it is so");
    assert_eq!(next.sequence, sequence + 1);
    assert_eq!(last_values(&second, "state.>").await, ["state.epoch.a=10"]);
    let of_stream = expecting("state.b", 11, Expected::LastOfStream(sequence));
    assert!(is_refused(&first.streams().append(of_stream).await));
    let of_stream = expecting("state.b", 11, Expected::LastOfStream(sequence + 1));
    assert!(first.streams().append(of_stream).await.is_ok());
}

async fn expectation_of_another_subject_fences_the_one_who_lost_it(setup: Setup) {
    let (holder, thief) = setup.pair().await;
    let fence = |sequence| Expected::LastOf {
        subject: "closed.epoch.a".to_owned(),
        sequence,
    };
    let taken = holder
        .streams()
        .append(Append::new("closed.epoch.a", payload("holder")));
    let taken = taken.await.expect("stored");
    let bar = expecting("closed.1m.A", 1, fence(taken.sequence));
    holder.streams().append(bar).await.expect("it is ours");
    let stolen = thief
        .streams()
        .append(Append::new("closed.epoch.a", payload("thief")));
    let stolen = stolen.await.expect("stored");
    let late = expecting("closed.1m.A", 2, fence(taken.sequence));
    assert!(is_refused(&holder.streams().append(late).await));
    let bar = expecting("closed.1m.A", 3, fence(stolen.sequence));
    thief.streams().append(bar).await.expect("it is theirs");
    let kept = last_values(&holder, "closed.1m.>").await;
    assert_eq!(kept, ["closed.1m.A=1", "closed.1m.A=3"]);
}

async fn repeat_of_a_message_id_is_stored_once(setup: Setup) {
    let bus = setup.bus().await;
    let append = |id: &str, number: u32| Append {
        message_id: Some(id.to_owned()),
        ..Append::new("closed.1m.A", payload(number))
    };
    let first = bus
        .streams()
        .append(append("bar-1", 1))
        .await
        .expect("stored");
    assert!(!first.is_duplicate);
    let other = bus
        .streams()
        .append(append("bar-2", 2))
        .await
        .expect("stored");
    assert!(!other.is_duplicate);
    let repeat = bus
        .streams()
        .append(append("bar-1", 1))
        .await
        .expect("stored");
    assert!(repeat.is_duplicate);
    assert_eq!(repeat.sequence, first.sequence);
    // What it expects is looked at first: a program that repeats such a publication reads the stream.
    let conditional = Append {
        expected: Some(Expected::LastOfSubject(0)),
        ..append("bar-1", 1)
    };
    assert!(is_refused(&bus.streams().append(conditional).await));
    let kept = last_values(&bus, "closed.>").await;
    assert_eq!(kept, ["closed.1m.A=1", "closed.1m.A=2"]);
}

async fn append_outside_the_streams_or_with_impossible_conditions_is_refused(setup: Setup) {
    let bus = setup.bus().await;
    let outside = bus
        .streams()
        .append(Append::new("market.okx.A.trade", payload(1)));
    let outside = outside.await.expect_err("market is not kept");
    assert!(matches!(outside, BusError::NotRetained { .. }), "{outside}");
    let elsewhere = Expected::LastOf {
        subject: "state.epoch.a".to_owned(),
        sequence: 0,
    };
    let refused = bus
        .streams()
        .append(expecting("closed.1m.A", 1, elsewhere))
        .await;
    assert_eq!(
        refused.expect_err("of another stream").to_string(),
        r#""closed.1m.A" cannot expect anything of "state.epoch.a", which is of another stream"#
    );
    let wrong_id = Append {
        message_id: Some("a\r\nb".to_owned()),
        ..Append::new("closed.1m.A", payload(1))
    };
    let refused = bus.streams().append(wrong_id).await;
    assert!(
        matches!(refused, Err(BusError::Header { .. })),
        "{refused:?}"
    );
    assert!(last_values(&bus, "closed.>").await.is_empty());
}

async fn batch_is_stored_as_a_whole_or_not_at_all(setup: Setup) {
    let bus = setup.bus().await;
    bus.streams()
        .put_stream(StreamSpec::newest("bars", 32, true).fenced(true))
        .await
        .expect("it is new");
    let mut fences = Vec::new();
    for holder in ["a", "b"] {
        let lease = Append::new(format!("bars.lease.{holder}"), payload(holder));
        let taken = bus.streams().append(lease).await.expect("stored");
        fences.push(Expected::LastOf {
            subject: format!("bars.lease.{holder}"),
            sequence: taken.sequence,
        });
    }
    let of = |holder: usize, number: u32| {
        let subject = format!("bars.1m.{holder}");
        expecting(&subject, number, fences[holder].clone())
    };
    let batch = vec![of(0, 1), of(1, 2), of(0, 3)];
    let last = bus.streams().append_all(batch).await.expect("both hold");
    let kept = ["bars.1m.0=1", "bars.1m.0=3", "bars.1m.1=2"];
    assert_eq!(last_values(&bus, "bars.1m.>").await, kept);
    let newest = bus.streams().last("bars.1m.0").await.expect("there");
    let newest = newest.and_then(|newest| newest.position);
    assert_eq!(newest.map(|at| at.sequence), Some(last));
    // Another one takes the second lease: nothing of the batch is stored.
    let stolen = Append::new("bars.lease.b", payload("thief"));
    bus.streams().append(stolen).await.expect("stored");
    let refused = bus.streams().append_all(vec![of(0, 4), of(1, 5)]).await;
    let refused = refused.expect_err("one of them is not as expected");
    assert!(
        matches!(refused, BusError::NotAsExpected { .. }),
        "{refused}"
    );
    assert_eq!(last_values(&bus, "bars.1m.>").await, kept);
    let alone = bus.streams().append_all(vec![of(0, 6)]).await;
    assert_eq!(alone.expect("its lease is its own"), last + 2);
    // A stream without fences takes no batches.
    let other = vec![Append::new("state.a", payload(1))];
    let refused = bus.streams().append_all(other).await.expect_err("no batch");
    assert!(matches!(refused, BusError::NoBatches { .. }), "{refused}");
    assert!(!refused.is_retryable());
    assert_eq!(last_values(&bus, "state.>").await, [] as [&str; 0]);
}

async fn batch_that_no_server_takes_is_refused_before_it_is_sent(setup: Setup) {
    let bus = setup.bus().await;
    let plain = |subject: &str| Append::new(subject, payload(1));
    let of = |subject: &str, expected| expecting(subject, 1, expected);
    let fence = |subject: &str| Expected::LastOf {
        subject: subject.to_owned(),
        sequence: 0,
    };
    let own = Expected::LastOfSubject(0);
    let with_id = Append {
        message_id: Some("a".to_owned()),
        ..plain("closed.a")
    };
    for batch in [
        vec![],
        vec![plain("closed.a"); BATCH_MESSAGES_MAX + 1],
        vec![plain("closed.a"), plain("state.a")],
        vec![with_id],
        vec![of("closed.a", Expected::LastOfStream(0))],
        vec![plain("closed.a"), of("closed.b", fence("closed.a"))],
        vec![plain("closed.a"), of("closed.a", own)],
    ] {
        let refused = bus.streams().append_all(batch.clone()).await;
        assert!(
            matches!(refused, Err(BusError::Config { .. })),
            "{batch:?}: {refused:?}"
        );
    }
    assert_eq!(last_values(&bus, "closed.>").await, [] as [&str; 0]);
}
