//! Bounds of the memory bus, which no other bus has.

use super::*;
use crate::Delivery;

#[tokio::test]
async fn retained_subjects_are_bounded_and_the_rest_still_travels() {
    let specs = [
        StreamSpec::newest("closed", 32, true),
        StreamSpec::newest("kline", 1, false),
    ];
    let bus = MemoryBus::build(&BusConfig::default(), &specs, 2).expect("the streams can be kept");
    let mut all = bus.subscribe(">").await.expect("the pattern is valid");
    for subject in ["closed.1m.A", "closed.1m.B"] {
        bus.publish_durable(subject, Bytes::new())
            .await
            .expect("there is room");
    }
    let error = bus
        .publish_durable("closed.1m.C", Bytes::new())
        .await
        .expect_err("there is no room");
    assert_eq!(
        error.to_string(),
        r#""closed" retains 2 subjects already, no further one"#
    );
    bus.publish("kline.1m.A", Bytes::new())
        .await
        .expect("another root has room");
    for subject in ["closed.1m.A", "closed.1m.B", "closed.1m.C", "kline.1m.A"] {
        match all.try_recv() {
            Some(Delivery::Message(message)) => assert_eq!(&*message.subject, subject),
            other => panic!("{subject} expected, got {other:?}"),
        }
    }
    let values = bus.last_values(">").await.expect("the bus is open");
    assert_eq!(values.len(), 3);
}

#[tokio::test]
async fn routes_are_bounded() {
    let bus = MemoryBus::with_streams(&[StreamSpec::newest("kline", 1, false)]);
    for index in 0..=ROUTES_MAX {
        bus.publish(&format!("market.{index}"), Bytes::new())
            .await
            .expect("the subject is valid");
    }
    let routes = bus.shared.routing.read().expect("unused").routes.len();
    assert_eq!(routes, 1);
}

#[tokio::test]
async fn dropped_subscription_leaves_nothing_behind() {
    let bus = MemoryBus::with_streams(&[StreamSpec::newest("kline", 1, false)]);
    let subscription = bus
        .subscribe("kline.>")
        .await
        .expect("the pattern is valid");
    bus.publish("kline.1m.A", Bytes::new())
        .await
        .expect("the subject is valid");
    drop(subscription);
    let routing = bus.shared.routing.read().expect("unused");
    assert!(routing.queues.is_empty());
    assert!(routing.routes.is_empty());
}
