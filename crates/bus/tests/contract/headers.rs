//! What goes beside a payload.

use bus::{Append, Delivery, Headers};

use crate::setup::{Setup, next, on_both, payload, text};

on_both! {
    headers_arrive_with_live_messages_and_are_kept_by_streams,
    message_without_headers_has_none,
}

fn traced(value: &str) -> Headers {
    let mut headers = Headers::new();
    headers.set("traceparent", value).expect("a valid header");
    headers
        .set("Kind", "two words: one")
        .expect("a valid header");
    headers
}

async fn headers_arrive_with_live_messages_and_are_kept_by_streams(setup: Setup) {
    let (publisher, receiver) = setup.pair().await;
    let mut subscription = receiver.subscribe(">").await.expect("valid pattern");
    publisher
        .publish_with("market.okx.A.trade", traced("00-1"), payload(1))
        .await
        .expect("valid subject");
    let append = Append {
        headers: traced("00-2"),
        message_id: Some("once".to_owned()),
        ..Append::new("closed.1m.A", payload(2))
    };
    publisher.streams().append(append).await.expect("stored");
    for (number, trace) in [("1", "00-1"), ("2", "00-2")] {
        let Some(Delivery::Message(message)) = next(&mut subscription).await else {
            panic!("a message expected");
        };
        assert_eq!(text(&message), number);
        assert_eq!(message.header("traceparent"), Some(trace));
        assert_eq!(message.header("Kind"), Some("two words: one"));
        assert_eq!(message.header("Nats-Msg-Id"), None, "that is the broker's");
        assert_eq!(message.position, None);
    }
    let values = receiver.last_values("closed.>").await.expect("open");
    assert_eq!(values[0].header("traceparent"), Some("00-2"));
    let last = receiver.streams().last("closed.1m.A").await.expect("open");
    assert_eq!(last.as_ref(), values.first());
}

async fn message_without_headers_has_none(setup: Setup) {
    let (publisher, receiver) = setup.pair().await;
    let mut subscription = receiver.subscribe(">").await.expect("valid pattern");
    publisher
        .publish_with("market.okx.A.trade", Headers::new(), payload(1))
        .await
        .expect("valid subject");
    publisher
        .streams()
        .append(Append::new("closed.1m.A", payload(2)))
        .await
        .expect("stored");
    for _ in 0..2 {
        let Some(Delivery::Message(message)) = next(&mut subscription).await else {
            panic!("a message expected");
        };
        assert_eq!(message.headers, None);
    }
}
