//! Publications that say what they expect of their stream.

use std::sync::Arc;

use bus::{Append, BusError, Expected};

use crate::setup::{Setup, last_values, on_both, payload};

on_both! {
    of_several_that_expect_the_same_one_is_stored,
    expectation_of_another_subject_fences_the_one_who_lost_it,
    repeat_of_a_message_id_is_stored_once,
    append_outside_the_streams_or_with_impossible_conditions_is_refused,
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
