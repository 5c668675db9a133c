//! What both buses must do.

use std::sync::Arc;
use std::time::Duration;

use bus::{BusConfig, BusError, Delivery};
use tokio::time::timeout;

use crate::setup::{
    Setup, last_values, metric, next, next_message, on_both, payload, recorder, text, within,
};

on_both! {
    message_reaches_exactly_the_patterns_that_match,
    messages_of_one_publisher_keep_their_order,
    last_values_have_the_retained_depth_oldest_first,
    last_values_follow_the_pattern,
    last_values_span_many_subjects,
    subscribing_then_reading_last_values_leaves_no_hole,
    last_values_are_complete_while_others_publish,
    stalled_subscriber_loses_the_oldest_and_is_told_and_others_are_unaffected,
    dropped_subscription_ends_and_others_go_on,
    cancelled_receive_loses_nothing,
    drain_delivers_all_that_was_published_then_ends,
    drained_bus_refuses_everything,
    second_drain_does_nothing,
    prefix_is_invisible_to_its_users,
    invalid_subjects_and_patterns_are_refused,
    durable_publication_outside_the_retained_roots_is_refused,
    empty_and_binary_payloads_arrive_as_they_were,
    publications_are_counted,
}

async fn message_reaches_exactly_the_patterns_that_match(setup: Setup) {
    let (publisher, receiver) = setup.pair().await;
    let mut all = receiver.subscribe(">").await.expect("valid pattern");
    let mut exact = receiver
        .subscribe("kline.1m.BTC-USD")
        .await
        .expect("valid pattern");
    let mut star = receiver
        .subscribe("kline.*.BTC-USD")
        .await
        .expect("valid pattern");
    let mut tail = receiver
        .subscribe("kline.1m.>")
        .await
        .expect("valid pattern");
    for subject in [
        "kline.1m.ETH-USD",
        "kline.1h.BTC-USD",
        "kline.1m.BTC-USD",
        "market.end",
    ] {
        publisher
            .publish(subject, payload(1))
            .await
            .expect("valid subject");
    }
    for subject in [
        "kline.1m.ETH-USD",
        "kline.1h.BTC-USD",
        "kline.1m.BTC-USD",
        "market.end",
    ] {
        assert_eq!(next_message(&mut all).await, format!("{subject}=1"));
    }
    // Everything has arrived, so what did not match would be here by now.
    receiver.flush().await.expect("connected");
    receiver.drain().await.expect("connected");
    assert_eq!(next_message(&mut exact).await, "kline.1m.BTC-USD=1");
    assert_eq!(next(&mut exact).await, None);
    assert_eq!(next_message(&mut star).await, "kline.1h.BTC-USD=1");
    assert_eq!(next_message(&mut star).await, "kline.1m.BTC-USD=1");
    assert_eq!(next(&mut star).await, None);
    assert_eq!(next_message(&mut tail).await, "kline.1m.ETH-USD=1");
    assert_eq!(next_message(&mut tail).await, "kline.1m.BTC-USD=1");
    assert_eq!(next(&mut tail).await, None);
}

async fn messages_of_one_publisher_keep_their_order(setup: Setup) {
    let (publisher, receiver) = setup.pair().await;
    let mut subscription = receiver.subscribe("market.>").await.expect("valid pattern");
    for number in 0..5_000 {
        let subject = format!("market.okx.{}", number % 7);
        publisher
            .publish(&subject, payload(number))
            .await
            .expect("valid subject");
    }
    for number in 0..5_000 {
        let expected = format!("market.okx.{}={number}", number % 7);
        assert_eq!(next_message(&mut subscription).await, expected);
    }
}

async fn last_values_have_the_retained_depth_oldest_first(setup: Setup) {
    let (publisher, receiver) = setup.pair().await;
    for number in 0..40 {
        for subject in ["kline.1m.BTC-USD", "market.okx.BTC-USDT.trade"] {
            publisher
                .publish(subject, payload(number))
                .await
                .expect("valid subject");
        }
        for subject in [
            "closed.1m.BTC-USD",
            "system.feed.okx",
            "state.marketdata.okx",
        ] {
            publisher
                .publish_durable(subject, payload(number))
                .await
                .expect("stored");
        }
    }
    publisher.flush().await.expect("connected");
    let mut expected: Vec<String> = (8..40)
        .map(|number| format!("closed.1m.BTC-USD={number}"))
        .collect();
    expected.push("kline.1m.BTC-USD=39".to_owned());
    expected.push("state.marketdata.okx=39".to_owned());
    expected.push("system.feed.okx=39".to_owned());
    assert_eq!(last_values(&receiver, ">").await, expected);
}

async fn last_values_follow_the_pattern(setup: Setup) {
    let bus = setup.bus().await;
    for subject in ["closed.1m.A", "closed.1h.A", "closed.1m.B", "kline.1m.A"] {
        bus.publish_durable(subject, payload(1))
            .await
            .expect("stored");
    }
    let both = ["closed.1h.A=1", "closed.1m.A=1"];
    assert_eq!(last_values(&bus, "closed.*.A").await, both);
    assert_eq!(last_values(&bus, "closed.1m.B").await, ["closed.1m.B=1"]);
    let across_roots = ["closed.1m.A=1", "kline.1m.A=1"];
    assert_eq!(last_values(&bus, "*.1m.A").await, across_roots);
    assert!(last_values(&bus, "closed.1d.>").await.is_empty());
    assert!(last_values(&bus, "market.>").await.is_empty());
    assert!(last_values(&bus, "*").await.is_empty());
}

async fn last_values_span_many_subjects(setup: Setup) {
    let bus = setup.bus().await;
    for round in 0..2 {
        for number in 0..2_500 {
            let subject = format!("kline.1m.{number:04}");
            bus.publish(&subject, payload(format!("{round}-{number}")))
                .await
                .expect("valid subject");
        }
    }
    // Stored only after all before it.
    bus.publish_durable("kline.1m.end", payload("end"))
        .await
        .expect("stored");
    let values = last_values(&bus, "kline.>").await;
    assert_eq!(values.len(), 2_501);
    assert_eq!(values[1_234], "kline.1m.1234=1-1234");
}

/// A publisher that never stops; the numbers that a late subscriber sees must have no hole between
/// the retained one and the first live one.
async fn subscribing_then_reading_last_values_leaves_no_hole(setup: Setup) {
    let (publisher, receiver) = setup.pair().await;
    let publishing = tokio::spawn(async move {
        for number in 0_u64.. {
            // Stored, so that what a reader gets is never behind what was delivered before.
            publisher
                .publish_durable("kline.1s.BTC-USD", payload(number))
                .await
                .expect("stored");
        }
    });
    let mut watch = receiver.subscribe("kline.>").await.expect("valid pattern");
    next_message(&mut watch).await;
    for _ in 0..20 {
        let mut subscription = receiver.subscribe("kline.>").await.expect("valid pattern");
        let values = receiver.last_values("kline.>").await.expect("open");
        let retained: u64 = text(&values[0]).parse().expect("a number");
        let Some(Delivery::Message(message)) = next(&mut subscription).await else {
            panic!("a message expected");
        };
        let live: u64 = text(&message).parse().expect("a number");
        assert!(live <= retained + 1, "{live} follows {retained}");
    }
    publishing.abort();
}

async fn last_values_are_complete_while_others_publish(setup: Setup) {
    let (publisher, receiver) = setup.pair().await;
    for number in 0..300 {
        let subject = format!("kline.1m.{number}");
        publisher
            .publish_durable(&subject, payload(0))
            .await
            .expect("stored");
    }
    let publishing = tokio::spawn(async move {
        loop {
            for number in (0..300).rev() {
                let subject = format!("kline.1m.{number}");
                publisher
                    .publish(&subject, payload(1))
                    .await
                    .expect("valid subject");
            }
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..10 {
        assert_eq!(last_values(&receiver, "kline.1m.*").await.len(), 300);
    }
    publishing.abort();
}

async fn stalled_subscriber_loses_the_oldest_and_is_told_and_others_are_unaffected(setup: Setup) {
    recorder();
    let lost_metric = r#"bus_messages_lost_total{reason="subscriber_queue"}"#;
    let lost_before = metric(lost_metric);
    let config = BusConfig {
        bus_buffer_messages: 8,
        ..BusConfig::default()
    };
    let bus = setup.bus_with(config).await;
    let mut stalled = bus.subscribe("kline.>").await.expect("valid pattern");
    let mut live = bus.subscribe("kline.>").await.expect("valid pattern");
    for number in 0..1_000 {
        bus.publish("kline.1m.A", payload(number))
            .await
            .expect("a slow subscriber does not slow the publisher");
        let expected = format!("kline.1m.A={number}");
        assert_eq!(next_message(&mut live).await, expected);
    }
    bus.flush().await.expect("connected");
    bus.drain().await.expect("connected");
    assert_eq!(
        next(&mut stalled).await,
        Some(Delivery::Lagged { lost: 992 })
    );
    for number in 992..1_000 {
        let expected = format!("kline.1m.A={number}");
        assert_eq!(next_message(&mut stalled).await, expected);
    }
    assert_eq!(next(&mut stalled).await, None);
    assert_eq!(next(&mut live).await, None);
    let lost = metric(lost_metric) - lost_before;
    assert!(lost >= 992.0, "{lost} counted");
}

async fn dropped_subscription_ends_and_others_go_on(setup: Setup) {
    let bus = setup.bus().await;
    let dropped = bus.subscribe("kline.>").await.expect("valid pattern");
    let mut kept = bus.subscribe("kline.>").await.expect("valid pattern");
    drop(dropped);
    bus.publish("kline.1m.A", payload(1))
        .await
        .expect("valid subject");
    assert_eq!(next_message(&mut kept).await, "kline.1m.A=1");
}

async fn cancelled_receive_loses_nothing(setup: Setup) {
    let bus = setup.bus().await;
    let mut subscription = bus.subscribe("kline.>").await.expect("valid pattern");
    assert_eq!(subscription.try_recv(), None);
    for number in 0..20 {
        let waiting = timeout(Duration::from_millis(1), subscription.recv()).await;
        assert!(waiting.is_err(), "nothing was published");
        bus.publish("kline.1m.A", payload(number))
            .await
            .expect("valid subject");
        let expected = format!("kline.1m.A={number}");
        assert_eq!(next_message(&mut subscription).await, expected);
    }
}

async fn drain_delivers_all_that_was_published_then_ends(setup: Setup) {
    let (publisher, receiver) = setup.pair().await;
    let mut subscription = receiver.subscribe("kline.>").await.expect("valid pattern");
    for number in 0..10_000 {
        publisher
            .publish("kline.1m.A", payload(number))
            .await
            .expect("valid subject");
    }
    if !Arc::ptr_eq(&publisher, &receiver) {
        within("the publisher's drain", publisher.drain())
            .await
            .expect("connected");
    }
    within("drain", receiver.drain()).await.expect("connected");
    for number in 0..10_000 {
        let expected = format!("kline.1m.A={number}");
        assert_eq!(next_message(&mut subscription).await, expected);
    }
    assert_eq!(next(&mut subscription).await, None);
    assert_eq!(next(&mut subscription).await, None);
}

async fn drained_bus_refuses_everything(setup: Setup) {
    let bus = setup.bus().await;
    assert!(bus.is_connected());
    bus.drain().await.expect("connected");
    assert!(!bus.is_connected());
    let closed = Some(BusError::Closed);
    assert_eq!(bus.publish("kline.1m.A", payload(1)).await.err(), closed);
    assert_eq!(
        bus.publish_durable("kline.1m.A", payload(1)).await.err(),
        closed
    );
    assert_eq!(bus.subscribe("kline.>").await.err(), closed);
    assert_eq!(bus.last_values("kline.>").await.err(), closed);
    assert_eq!(bus.flush().await.err(), closed);
}

async fn second_drain_does_nothing(setup: Setup) {
    let bus = setup.bus().await;
    assert_eq!(bus.drain().await, Ok(()));
    assert_eq!(bus.drain().await, Ok(()));
}

async fn prefix_is_invisible_to_its_users(setup: Setup) {
    let config = BusConfig {
        bus_prefix: "eu.staging".to_owned(),
        ..BusConfig::default()
    };
    let bus = setup.bus_with(config).await;
    let mut all = bus.subscribe(">").await.expect("valid pattern");
    bus.publish_durable("closed.1m.A", payload(1))
        .await
        .expect("stored");
    assert_eq!(next_message(&mut all).await, "closed.1m.A=1");
    assert_eq!(last_values(&bus, "closed.>").await, ["closed.1m.A=1"]);
}

async fn invalid_subjects_and_patterns_are_refused(setup: Setup) {
    let bus = setup.bus().await;
    for subject in [
        "",
        "kline..A",
        "kline.1m.*",
        "kline 1m",
        "kline.\r\nPUB",
        "$JS.API.INFO",
    ] {
        let published = bus.publish(subject, payload(1)).await;
        let Err(BusError::Subject { subject: named, .. }) = &published else {
            panic!("{subject:?} is refused, not {published:?}");
        };
        assert_eq!(named, subject);
        assert_eq!(bus.publish_durable(subject, payload(1)).await, published);
    }
    for pattern in ["", "kline.>.A", "kline.A*", "a b"] {
        let refused = bus.subscribe(pattern).await.err();
        assert!(
            matches!(refused, Some(BusError::Pattern { .. })),
            "{refused:?}"
        );
        assert_eq!(bus.last_values(pattern).await.err(), refused);
    }
}

async fn durable_publication_outside_the_retained_roots_is_refused(setup: Setup) {
    let bus = setup.bus().await;
    let error = bus
        .publish_durable("market.okx.BTC-USDT.trade", payload(1))
        .await
        .expect_err("market is not retained");
    assert!(!error.is_retryable());
    assert_eq!(
        error.to_string(),
        "subject \"market.okx.BTC-USDT.trade\" is not in a retained root, so it cannot be \
         published durably (retained: kline.>, closed.>, system.>, state.>)"
    );
}

async fn empty_and_binary_payloads_arrive_as_they_were(setup: Setup) {
    let bus = setup.bus().await;
    let mut subscription = bus.subscribe("state.>").await.expect("valid pattern");
    let binary: bytes::Bytes = (0..=255_u8).cycle().take(100_000).collect();
    for bytes in [bytes::Bytes::new(), binary] {
        bus.publish_durable("state.marketdata.okx", bytes.clone())
            .await
            .expect("stored");
        let Some(Delivery::Message(message)) = next(&mut subscription).await else {
            panic!("a message expected");
        };
        assert_eq!(message.payload, bytes);
        let values = bus.last_values("state.>").await.expect("open");
        assert_eq!(values.len(), 1);
        assert_eq!(
            (&values[0].subject, &values[0].payload),
            (&message.subject, &message.payload)
        );
        assert_eq!(message.position, None, "it is live");
        assert!(values[0].position.is_some(), "it is kept");
    }
}

async fn publications_are_counted(setup: Setup) {
    recorder();
    let bus = setup.bus().await;
    let before = metric("bus_published_total");
    let stored_before = metric("bus_publish_seconds_count");
    bus.publish("kline.1m.A", payload(1))
        .await
        .expect("valid subject");
    bus.publish_durable("closed.1m.A", payload(1))
        .await
        .expect("stored");
    assert!(metric("bus_published_total") >= before + 2.0);
    assert!(metric("bus_publish_seconds_count") >= stored_before + 1.0);
}
