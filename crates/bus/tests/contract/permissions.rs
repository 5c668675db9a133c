//! Users that may do some things only.

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, BusConfig, Headers, Range, Start};
use testkit::nats::NatsServerOptions;

use crate::setup::{last_values, next_message, payload, server, streams, text, within};

/// Two users, each of which gets the answers to itself alone.
const USERS: &str = r#"
jetstream {}
authorization {
    users: [
        {
            user: publisher, password: a
            permissions: {
                publish: ["kline.>", "closed.>", "$JS.API.>", "_INBOX.publisher.>"]
                subscribe: ["ask.>", "_INBOX.publisher.>"]
                allow_responses: true
            }
        }
        {
            user: reader, password: b
            permissions: {
                publish: [
                    "ask.>", "_INBOX.reader.>", "$JS.API.STREAM.INFO.*"
                    "$JS.API.CONSUMER.CREATE.KLINE", "$JS.API.CONSUMER.*.KLINE.>", "$JS.API.CONSUMER.MSG.NEXT.KLINE.>"
                    "$JS.API.DIRECT.GET.CLOSED"
                ]
                subscribe: ["kline.>", "_INBOX.reader.>"]
            }
        }
    ]
}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_that_may_read_only_its_own_answers_can_do_all_that_a_bus_does() {
    let options = NatsServerOptions {
        configuration: Some(USERS.to_owned()),
        ..NatsServerOptions::default()
    };
    let Some(server) = server(options) else {
        return;
    };
    let connect = async |login: &str| {
        let address = server.url().replace("nats://", &format!("nats://{login}@"));
        let config = BusConfig {
            bus: address.parse().expect("the url is valid"),
            ..BusConfig::default()
        };
        let bus = bus::connect(&config, &streams()).await;
        bus.unwrap_or_else(|error| panic!("{login}: {error}"))
    };
    let publisher: Arc<dyn Bus> = connect("publisher:a").await;
    let reader: Arc<dyn Bus> = connect("reader:b").await;
    let mut bars = reader.subscribe("kline.>").await.expect("permitted");
    publisher
        .publish("kline.1m.A", payload(1))
        .await
        .expect("permitted");
    assert_eq!(next_message(&mut bars).await, "kline.1m.A=1");
    publisher
        .publish_durable("closed.1m.A", payload(2))
        .await
        .expect("permitted");
    assert_eq!(last_values(&reader, "kline.>").await, ["kline.1m.A=1"]);
    let page = reader
        .streams()
        .range(&Range::new("closed.>", Start::Oldest, 10))
        .await
        .expect("permitted");
    assert_eq!(page.messages.len(), 1);
    let mut responder = publisher
        .requests()
        .serve("ask.*", "all")
        .await
        .expect("permitted");
    let serving = tokio::spawn(async move {
        let question = responder.recv().await.expect("open");
        let answer = question.answer(Headers::new(), payload("yes"));
        answer.await.expect("permitted");
    });
    let asked = reader.requests().request(
        "ask.a",
        Headers::new(),
        payload("?"),
        Duration::from_secs(20),
    );
    let answer = within("an answer", asked).await.expect("permitted");
    assert_eq!(text(&answer), "yes");
    serving.await.expect("no panic");
}
