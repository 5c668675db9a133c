//! Creating, looking at, changing and deleting streams.

use std::time::Duration;

use bus::{BusError, StreamHealth, StreamSpec};

use crate::setup::{Setup, last_values, next_message, on_both, payload};

on_both! {
    stream_says_what_it_keeps_and_how_it_does,
    stream_made_while_running_keeps_what_is_published,
    lower_limit_holds_at_once,
    deleted_stream_keeps_nothing_and_its_subjects_travel_on,
    streams_that_cannot_be_kept_are_refused,
}

async fn stream_says_what_it_keeps_and_how_it_does(setup: Setup) {
    let bus = setup.bus().await;
    let empty = bus.streams().status("closed").await.expect("connected");
    let empty = empty.expect("it is there");
    assert_eq!(empty.name, "CLOSED");
    assert_eq!((empty.messages, empty.bytes, empty.subjects), (0, 0, 0));
    assert_eq!((empty.first_sequence, empty.last_sequence), (1, 0));
    for number in 0..40 {
        let subject = format!("closed.1m.{}", number / 39);
        bus.publish_durable(&subject, payload(number))
            .await
            .expect("stored");
    }
    let full = bus.streams().status("closed").await.expect("connected");
    let full = full.expect("it is there");
    assert_eq!(full.spec, StreamSpec::newest("closed", 32, true));
    assert_eq!((full.messages, full.subjects, full.consumers), (33, 2, 0));
    assert_eq!((full.first_sequence, full.last_sequence), (8, 40));
    assert!(full.bytes >= 33, "{}", full.bytes);
    assert_eq!(full.created_ns, empty.created_ns);
    assert_eq!(full.health, StreamHealth::Whole);
    let names: Vec<String> = bus
        .streams()
        .statuses()
        .await
        .expect("connected")
        .into_iter()
        .map(|status| status.name)
        .collect();
    assert_eq!(names, ["KLINE", "CLOSED", "SYSTEM", "STATE"]);
    assert_eq!(bus.streams().status("market").await, Ok(None));
}

async fn stream_made_while_running_keeps_what_is_published(setup: Setup) {
    let bus = setup.bus().await;
    bus.publish("market.okx.A.trade", payload(1))
        .await
        .expect("valid subject");
    assert!(
        bus.publish_durable("market.okx.A.trade", payload(1))
            .await
            .is_err()
    );
    let spec = StreamSpec {
        messages_per_subject_max: None,
        messages_max: Some(100),
        age_max: Some(Duration::from_secs(60)),
        ..StreamSpec::newest("market", 1, false)
    };
    bus.streams()
        .put_stream(spec.clone())
        .await
        .expect("created");
    for number in 2..5 {
        bus.publish_durable("market.okx.A.trade", payload(number))
            .await
            .expect("stored");
    }
    let expected: Vec<String> = (2..5)
        .map(|number| format!("market.okx.A.trade={number}"))
        .collect();
    assert_eq!(last_values(&bus, "market.>").await, expected);
    let status = bus.streams().status("market").await.expect("connected");
    assert_eq!(status.expect("it is there").spec, spec);
    // Once more is no change.
    assert_eq!(bus.streams().put_stream(spec).await, Ok(()));
    assert_eq!(last_values(&bus, "market.>").await, expected);
}

async fn lower_limit_holds_at_once(setup: Setup) {
    let bus = setup.bus().await;
    for number in 0..10 {
        bus.publish_durable("closed.1m.A", payload(number))
            .await
            .expect("stored");
    }
    let spec = StreamSpec::newest("closed", 3, true);
    bus.streams().put_stream(spec).await.expect("changed");
    let expected = ["closed.1m.A=7", "closed.1m.A=8", "closed.1m.A=9"];
    assert_eq!(last_values(&bus, "closed.>").await, expected);
    bus.publish_durable("closed.1m.A", payload(10))
        .await
        .expect("stored");
    let expected = ["closed.1m.A=8", "closed.1m.A=9", "closed.1m.A=10"];
    assert_eq!(last_values(&bus, "closed.>").await, expected);
}

async fn deleted_stream_keeps_nothing_and_its_subjects_travel_on(setup: Setup) {
    let bus = setup.bus().await;
    let mut subscription = bus.subscribe("closed.>").await.expect("valid pattern");
    bus.publish_durable("closed.1m.A", payload(1))
        .await
        .expect("stored");
    assert_eq!(bus.streams().delete_stream("closed").await, Ok(true));
    assert_eq!(bus.streams().delete_stream("closed").await, Ok(false));
    assert_eq!(bus.streams().status("closed").await, Ok(None));
    assert!(last_values(&bus, "closed.>").await.is_empty());
    let refused = bus.publish_durable("closed.1m.A", payload(2)).await;
    assert!(
        matches!(refused, Err(BusError::NotRetained { .. })),
        "{refused:?}"
    );
    bus.publish("closed.1m.A", payload(3))
        .await
        .expect("valid subject");
    assert_eq!(next_message(&mut subscription).await, "closed.1m.A=1");
    assert_eq!(next_message(&mut subscription).await, "closed.1m.A=3");
}

async fn streams_that_cannot_be_kept_are_refused(setup: Setup) {
    let bus = setup.bus().await;
    for spec in [
        StreamSpec::newest("a.b", 1, true),
        StreamSpec::newest("trades", 0, true),
    ] {
        let refused = bus.streams().put_stream(spec).await;
        assert!(
            matches!(refused, Err(BusError::Config { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(bus.streams().statuses().await.expect("connected").len(), 4);
}
