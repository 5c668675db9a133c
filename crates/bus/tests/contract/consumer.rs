//! Reading with acknowledgements.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, BusError, Consumer, ConsumerSpec, Start, StreamSpec, Taken};

use crate::setup::{Setup, on_both, payload, text, within};

on_both! {
    consumer_gives_each_message_once_in_order_while_it_acknowledges,
    message_that_is_not_acknowledged_is_given_out_again,
    messages_in_flight_are_bounded,
    consumer_goes_on_where_it_was_under_its_name,
    readers_of_one_name_share_the_messages,
    consumer_starts_where_it_was_told,
    extended_message_waits_and_retried_message_comes_at_once,
    running_consumer_takes_over_new_bounds_and_no_new_pattern,
    consumer_of_a_stream_that_was_created_anew_reads_all_of_it,
    readers_of_one_name_know_a_stream_that_was_created_anew,
    acknowledging_a_message_of_an_earlier_stream_acknowledges_no_new_one,
    acknowledging_to_a_deleted_consumer_is_no_success,
    waits_beyond_all_reckoning_are_refused_or_shortened,
    deleted_consumer_is_forgotten,
    drained_bus_ends_its_consumers,
}

fn spec() -> ConsumerSpec {
    ConsumerSpec {
        name: "history".to_owned(),
        pattern: "closed.>".to_owned(),
        start: Start::Oldest,
        in_flight_max: 100,
        ack_wait: Duration::from_secs(60),
    }
}

async fn store(bus: &Arc<dyn Bus>, numbers: std::ops::Range<u32>) {
    for number in numbers {
        bus.publish_durable("closed.1m.A", payload(number))
            .await
            .expect("stored");
    }
}

async fn consume(bus: &Arc<dyn Bus>, spec: &ConsumerSpec) -> Consumer {
    bus.streams()
        .consume(spec)
        .await
        .expect("the spec is valid")
}

async fn next(consumer: &mut Consumer) -> Taken {
    within("a message", consumer.next()).await.expect("open")
}

/// The next messages' texts, acknowledged.
async fn acknowledged(consumer: &mut Consumer, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        let taken = next(consumer).await;
        taken.ack().await.expect("connected");
        texts.push(text(&taken.message));
    }
    texts
}

fn numbers(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

async fn consumer_gives_each_message_once_in_order_while_it_acknowledges(setup: Setup) {
    let (publisher, reader) = setup.pair().await;
    store(&publisher, 0..10).await;
    publisher
        .publish_durable("state.other", payload("other"))
        .await
        .expect("stored");
    let mut consumer = consume(&reader, &spec()).await;
    assert_eq!(acknowledged(&mut consumer, 10).await, numbers(0..10));
    // What comes while it waits arrives as well.
    let publishing = tokio::spawn(async move { store(&publisher, 10..20).await });
    let taken = next(&mut consumer).await;
    assert_eq!(text(&taken.message), "10");
    assert_eq!(&*taken.message.subject, "closed.1m.A");
    assert_eq!(taken.deliveries, 1);
    assert_eq!(taken.message.position.as_ref().expect("kept").sequence, 11);
    taken.ack().await.expect("connected");
    assert_eq!(acknowledged(&mut consumer, 9).await, numbers(11..20));
    publishing.await.expect("no panic");
    let status = consumer.status().await.expect("connected");
    assert_eq!(status.acknowledged_to, 20);
    assert_eq!((status.in_flight, status.waiting), (0, 0));
}

async fn message_that_is_not_acknowledged_is_given_out_again(setup: Setup) {
    let bus = setup.bus().await;
    store(&bus, 0..2).await;
    let spec = ConsumerSpec {
        ack_wait: Duration::from_secs(2),
        ..spec()
    };
    let mut consumer = consume(&bus, &spec).await;
    let forgotten = next(&mut consumer).await;
    assert_eq!(
        (text(&forgotten.message).as_str(), forgotten.deliveries),
        ("0", 1)
    );
    assert_eq!(acknowledged(&mut consumer, 1).await, ["1"]);
    let again = next(&mut consumer).await;
    assert_eq!(again.message, forgotten.message);
    assert_eq!(again.deliveries, 2);
    again.ack().await.expect("connected");
    let status = consumer.status().await.expect("connected");
    assert_eq!((status.acknowledged_to, status.in_flight), (2, 0));
}

async fn messages_in_flight_are_bounded(setup: Setup) {
    let bus = setup.bus().await;
    store(&bus, 0..10).await;
    let spec = ConsumerSpec {
        in_flight_max: 3,
        ..spec()
    };
    let mut consumer = consume(&bus, &spec).await;
    let mut taken = Vec::new();
    for _ in 0..3 {
        taken.push(next(&mut consumer).await);
    }
    let status = consumer.status().await.expect("connected");
    assert_eq!((status.in_flight, status.waiting), (3, 7));
    // Nothing comes until one is acknowledged; a reader that stopped waiting lost nothing.
    let waiting = tokio::time::timeout(Duration::from_millis(50), consumer.next()).await;
    assert!(waiting.is_err(), "{waiting:?}");
    taken[0].ack().await.expect("connected");
    assert_eq!(text(&next(&mut consumer).await.message), "3");
}

async fn consumer_goes_on_where_it_was_under_its_name(setup: Setup) {
    let (publisher, reader) = setup.pair().await;
    store(&publisher, 0..4).await;
    // What a dropped reader had taken is given out again after this time.
    let spec = ConsumerSpec {
        ack_wait: Duration::from_secs(2),
        ..spec()
    };
    let mut consumer = consume(&reader, &spec).await;
    assert_eq!(acknowledged(&mut consumer, 2).await, numbers(0..2));
    drop(consumer);
    store(&publisher, 4..6).await;
    // Where it is told to start counts when it is made, not when it goes on.
    let mut consumer = consume(&publisher, &spec).await;
    let mut rest = BTreeSet::new();
    while rest.len() < 4 {
        rest.extend(acknowledged(&mut consumer, 1).await);
    }
    assert_eq!(rest, numbers(2..6).into_iter().collect());
    let other = ConsumerSpec {
        name: "bridge".to_owned(),
        ..spec
    };
    let mut other = consume(&reader, &other).await;
    assert_eq!(acknowledged(&mut other, 6).await, numbers(0..6));
}

async fn readers_of_one_name_share_the_messages(setup: Setup) {
    let (first, second) = setup.pair().await;
    store(&first, 0..30).await;
    let mut readers = Vec::new();
    for bus in [&first, &second] {
        let mut consumer = consume(bus, &spec()).await;
        readers.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            loop {
                match consumer.next().await {
                    Ok(taken) => {
                        taken.ack().await.expect("connected");
                        seen.push(text(&taken.message).parse::<u32>().expect("a number"));
                    }
                    Err(error) => {
                        assert_eq!(error, BusError::Closed);
                        return seen;
                    }
                }
            }
        }));
    }
    let watch = consume(&first, &spec()).await;
    within("all acknowledged", async {
        while watch.status().await.expect("connected").acknowledged_to < 30 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    first.drain().await.expect("connected");
    if !Arc::ptr_eq(&first, &second) {
        second.drain().await.expect("connected");
    }
    let mut seen = Vec::new();
    for reader in readers {
        seen.extend(within("a reader's end", reader).await.expect("no panic"));
    }
    seen.sort_unstable();
    assert_eq!(
        seen,
        (0..30).collect::<Vec<u32>>(),
        "each was given out once"
    );
}

async fn consumer_starts_where_it_was_told(setup: Setup) {
    let bus = setup.bus().await;
    store(&bus, 0..5).await;
    let kept = bus.last_values("closed.>").await.expect("open");
    let third = **kept[2].position.as_ref().expect("kept");
    let after = ConsumerSpec {
        name: "after".to_owned(),
        start: Start::After(third),
        ..spec()
    };
    let mut after = consume(&bus, &after).await;
    assert_eq!(acknowledged(&mut after, 2).await, numbers(3..5));
    let since = ConsumerSpec {
        name: "since".to_owned(),
        start: Start::Since(third.stored_ns),
        ..spec()
    };
    let mut since = consume(&bus, &since).await;
    let first: u32 = acknowledged(&mut since, 1).await[0]
        .parse()
        .expect("a number");
    assert!((1..=2).contains(&first), "{first}");
    let elsewhere = ConsumerSpec {
        name: "elsewhere".to_owned(),
        start: Start::After(bus::Position {
            stream_created_ns: third.stream_created_ns - 1,
            ..third
        }),
        ..spec()
    };
    let refused = bus.streams().consume(&elsewhere).await;
    assert!(
        matches!(refused, Err(BusError::PositionLost { .. })),
        "{refused:?}"
    );
}

async fn extended_message_waits_and_retried_message_comes_at_once(setup: Setup) {
    let bus = setup.bus().await;
    store(&bus, 0..1).await;
    let mut consumer = consume(&bus, &spec()).await;
    let taken = next(&mut consumer).await;
    taken.extend().await.expect("connected");
    let status = consumer.status().await.expect("connected");
    assert_eq!(status.in_flight, 1);
    // Far before its minute is over.
    taken.retry(Duration::ZERO).await.expect("connected");
    let again = next(&mut consumer).await;
    assert_eq!((again.message, again.deliveries), (taken.message, 2));
}

async fn running_consumer_takes_over_new_bounds_and_no_new_pattern(setup: Setup) {
    let bus = setup.bus().await;
    store(&bus, 0..4).await;
    let mut consumer = consume(&bus, &spec()).await;
    assert_eq!(acknowledged(&mut consumer, 1).await, ["0"]);
    drop(consumer);
    let narrow = ConsumerSpec {
        in_flight_max: 1,
        start: Start::Since(0),
        ..spec()
    };
    let consumer = consume(&bus, &narrow).await;
    assert!(consumer.status().await.expect("connected").acknowledged_to >= 1);
    let other = ConsumerSpec {
        pattern: "closed.1h.>".to_owned(),
        ..spec()
    };
    let refused = bus.streams().consume(&other).await.expect_err("it differs");
    assert_eq!(
        refused.to_string(),
        r#"consumer "history" reads closed.>, not closed.1h.>; use another name, or delete it"#
    );
}

async fn consumer_of_a_stream_that_was_created_anew_reads_all_of_it(setup: Setup) {
    let bus = setup.bus().await;
    store(&bus, 0..5).await;
    let mut consumer = consume(&bus, &spec()).await;
    assert_eq!(acknowledged(&mut consumer, 5).await, numbers(0..5));
    assert_eq!(bus.streams().delete_stream("closed").await, Ok(true));
    let spec = StreamSpec::newest("closed", 32, true);
    bus.streams().put_stream(spec).await.expect("created");
    store(&bus, 10..12).await;
    let mut seen = Vec::new();
    within("the new messages", async {
        while seen.len() < 2 {
            match consumer.next().await {
                Ok(taken) => {
                    taken.ack().await.expect("connected");
                    seen.push(text(&taken.message));
                }
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
    })
    .await;
    assert_eq!(seen, numbers(10..12));
}

async fn readers_of_one_name_know_a_stream_that_was_created_anew(setup: Setup) {
    let bus = setup.bus().await;
    store(&bus, 0..1).await;
    let spec = ConsumerSpec {
        // A reader takes no message that another could have.
        in_flight_max: 1,
        ack_wait: Duration::from_millis(500),
        ..spec()
    };
    let mut first = consume(&bus, &spec).await;
    let mut second = consume(&bus, &spec).await;
    let before = next(&mut first).await;
    before.ack().await.expect("connected");
    let before = before.message.position.expect("kept");
    assert_eq!(bus.streams().delete_stream("closed").await, Ok(true));
    let anew = StreamSpec::newest("closed", 32, true);
    bus.streams().put_stream(anew).await.expect("created");
    store(&bus, 10..12).await;
    // The first reader makes the consumer again, and the second one finds it.
    let mut seen = BTreeSet::new();
    for reader in [&mut first, &mut second] {
        let taken = within("a message of the new stream", async {
            loop {
                match reader.next().await {
                    Ok(taken) => break taken,
                    Err(error) => assert!(error.is_retryable(), "{error}"),
                }
            }
        })
        .await;
        taken.ack().await.expect("connected");
        seen.insert(text(&taken.message));
        let position = taken.message.position.expect("kept");
        assert!(
            position.stream_created_ns > before.stream_created_ns,
            "{position:?} is not after {before:?}"
        );
    }
    assert_eq!(seen, numbers(10..12).into_iter().collect());
}

async fn acknowledging_a_message_of_an_earlier_stream_acknowledges_no_new_one(setup: Setup) {
    let bus = setup.bus().await;
    store(&bus, 0..1).await;
    let mut consumer = consume(&bus, &spec()).await;
    let earlier = next(&mut consumer).await;
    assert_eq!(bus.streams().delete_stream("closed").await, Ok(true));
    let anew = StreamSpec::newest("closed", 32, true);
    bus.streams().put_stream(anew).await.expect("created");
    store(&bus, 10..11).await;
    let mut consumer = consume(&bus, &spec()).await;
    let taken = next(&mut consumer).await;
    let number = |taken: &Taken| taken.message.position.as_ref().map(|at| at.sequence);
    assert_eq!(number(&earlier), number(&taken));
    let refused = earlier.ack().await;
    assert!(
        matches!(refused, Err(BusError::PositionLost { .. })),
        "{refused:?}"
    );
    let status = consumer.status().await.expect("connected");
    assert_eq!((status.acknowledged_to, status.in_flight), (0, 1));
    taken.ack().await.expect("connected");
    let status = consumer.status().await.expect("connected");
    assert_eq!((status.acknowledged_to, status.in_flight), (1, 0));
}

async fn acknowledging_to_a_deleted_consumer_is_no_success(setup: Setup) {
    let bus = setup.bus().await;
    store(&bus, 0..1).await;
    let mut consumer = consume(&bus, &spec()).await;
    let taken = next(&mut consumer).await;
    let streams = bus.streams();
    assert_eq!(streams.delete_consumer("closed", "history").await, Ok(true));
    let refused = taken.ack().await.expect_err("nobody heard it");
    assert!(refused.is_retryable(), "{refused}");
}

async fn waits_beyond_all_reckoning_are_refused_or_shortened(setup: Setup) {
    let bus = setup.bus().await;
    store(&bus, 0..2).await;
    let endless = ConsumerSpec {
        ack_wait: Duration::MAX,
        ..spec()
    };
    let refused = bus.streams().consume(&endless).await;
    assert!(
        matches!(refused, Err(BusError::Config { .. })),
        "{refused:?}"
    );
    let longest = ConsumerSpec {
        ack_wait: bus::WAIT_MAX,
        ..spec()
    };
    let mut consumer = consume(&bus, &longest).await;
    let put_off = next(&mut consumer).await;
    put_off.retry(Duration::MAX).await.expect("connected");
    // It is put off, and others come.
    let other = next(&mut consumer).await;
    assert_eq!((text(&other.message).as_str(), other.deliveries), ("1", 1));
    other.ack().await.expect("connected");
    let status = consumer.status().await.expect("connected");
    assert_eq!((status.acknowledged_to, status.in_flight), (0, 1));
}

async fn deleted_consumer_is_forgotten(setup: Setup) {
    let bus = setup.bus().await;
    store(&bus, 0..2).await;
    let mut consumer = consume(&bus, &spec()).await;
    assert_eq!(acknowledged(&mut consumer, 2).await, numbers(0..2));
    drop(consumer);
    let streams = bus.streams();
    assert_eq!(streams.delete_consumer("closed", "history").await, Ok(true));
    assert_eq!(
        streams.delete_consumer("closed", "history").await,
        Ok(false)
    );
    let mut anew = consume(&bus, &spec()).await;
    assert_eq!(acknowledged(&mut anew, 2).await, numbers(0..2));
}

async fn drained_bus_ends_its_consumers(setup: Setup) {
    let bus = setup.bus().await;
    let mut consumer = consume(&bus, &spec()).await;
    let waiting = tokio::spawn(async move { consumer.next().await.map(|_| ()) });
    bus.drain().await.expect("connected");
    let ended = within("the end", waiting).await.expect("no panic");
    assert_eq!(ended, Err(BusError::Closed));
}
