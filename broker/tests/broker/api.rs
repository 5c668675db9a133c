//! Changing and reading streams over HTTP.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::wait::{holds, until};

use crate::support::{Setup, has_nats};

#[tokio::test]
async fn a_dry_run_says_what_a_change_would_lose_and_changes_nothing() {
    if !has_nats() {
        return;
    }
    let broker = Setup::new(&[], &[]).start().await;
    let orders = json!({"name": "ORDERS", "subjects": ["orders.>"], "max_msgs": 1000});
    let (status, said) = broker.post("/api/v1/streams?dry_run=true", &orders).await;
    assert_eq!((status, &said["conflict"]), (200, &Value::Null), "{said}");
    let (status, _) = broker
        .ask(Method::GET, "/api/v1/streams/ORDERS", None)
        .await;
    assert_eq!(status, 404);
    assert_eq!(broker.post("/api/v1/streams", &orders).await.0, 201);
    for number in 0..10 {
        broker
            .publish(&format!("orders.{}", number % 2), &json!(number))
            .await;
    }
    let change = json!({"max_msgs": 4});
    let (status, said) = broker
        .ask(
            Method::PUT,
            "/api/v1/streams/ORDERS?dry_run=true",
            Some(&change),
        )
        .await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(said["change"]["loses"]["messages"], 6);
    assert_eq!(
        said["change"]["differences"],
        json!([{"field": "max_msgs", "now": 1000, "wanted": 4}])
    );
    let purge = json!({"subject": "orders.0", "keep": 2});
    let (_, said) = broker
        .post("/api/v1/streams/ORDERS/purge?dry_run=true", &purge)
        .await;
    assert_eq!(
        (&said["loses"]["messages"], &said["loses"]["is_exact"]),
        (&json!(3), &json!(true)),
        "{said}"
    );
    let (_, said) = broker
        .ask(Method::DELETE, "/api/v1/streams/ORDERS?dry_run=true", None)
        .await;
    assert_eq!(said["loses"]["messages"], 10);
    assert_eq!(broker.stream("ORDERS").await["messages"], 10);
    // And the changes lose what they said.
    let (_, done) = broker.post("/api/v1/streams/ORDERS/purge", &purge).await;
    assert_eq!(done["purged"], 3);
    let (status, _) = broker
        .ask(Method::PUT, "/api/v1/streams/ORDERS", Some(&change))
        .await;
    assert_eq!(
        (status, broker.stream("ORDERS").await["messages"].clone()),
        (200, json!(4))
    );
    assert_eq!(
        broker
            .ask(Method::DELETE, "/api/v1/streams/ORDERS", None)
            .await
            .0,
        200
    );
    assert_eq!(
        broker
            .ask(Method::GET, "/api/v1/streams/ORDERS", None)
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn a_shorter_age_says_how_many_messages_are_older() {
    if !has_nats() {
        return;
    }
    let broker = Setup::new(&[], &[]).start().await;
    let stream = json!({"name": "AGED", "subjects": ["aged.>"], "max_age": "1h"});
    assert_eq!(broker.post("/api/v1/streams", &stream).await.0, 201);
    for number in 0..7 {
        broker.publish("aged.a", &json!(number)).await;
    }
    let change = json!({"max_age": "2m"});
    let (_, said) = broker
        .ask(
            Method::PUT,
            "/api/v1/streams/AGED?dry_run=true",
            Some(&change),
        )
        .await;
    assert_eq!(said["change"]["loses"]["messages"], 0, "{said}");
    // All seven are older than a millisecond by now.
    let change = json!({"max_age": "1ms"});
    let (_, said) = broker
        .ask(
            Method::PUT,
            "/api/v1/streams/AGED?dry_run=true",
            Some(&change),
        )
        .await;
    assert_eq!(said["change"]["loses"]["messages"], 7, "{said}");
}

#[tokio::test]
async fn a_stream_that_differs_from_the_configuration_is_said_and_changed_only_when_asked() {
    if !has_nats() {
        return;
    }
    let own = [
        "streams:",
        "  ORDERS:",
        "    subjects: [\"orders.>\"]",
        "    max_msgs: 10",
    ];
    let mut broker = Setup::new(&[], &own).start().await;
    for number in 0..8 {
        broker.publish("orders.a", &json!(number)).await;
    }
    broker.process.kill();
    broker.setup.yaml = broker.setup.yaml.replace("max_msgs: 10", "max_msgs: 5");
    broker.start_again().await;
    assert_eq!(broker.stream("ORDERS").await["max_msgs"], 10);
    let plan = broker.get("/api/v1/plan").await;
    let orders = plan["plan"]
        .as_array()
        .expect("a plan")
        .iter()
        .find(|planned| planned["name"] == "ORDERS");
    let orders = orders.expect("it is in the plan");
    assert_eq!(
        (&orders["action"], &orders["loses"]["messages"]),
        (&json!("update"), &json!(3)),
        "{plan}"
    );
    assert!(
        broker
            .process
            .log()
            .contains("stream differs from the configuration")
    );
    let names = json!({"streams": ["ORDERS"]});
    let (_, said) = broker.post("/api/v1/plan?dry_run=true", &names).await;
    assert_eq!(said["plan"][0]["name"], "ORDERS");
    assert_eq!(broker.stream("ORDERS").await["messages"], 8);
    let (status, done) = broker.post("/api/v1/plan", &names).await;
    assert_eq!(
        (status, &done["done"][0]["name"]),
        (200, &json!("ORDERS")),
        "{done}"
    );
    let stream = broker.stream("ORDERS").await;
    assert_eq!(
        (&stream["max_msgs"], &stream["messages"]),
        (&json!(5), &json!(5))
    );
    // A change that the server refuses is told in its words.
    let memory = json!({"storage": "memory"});
    let (status, refused) = broker
        .ask(Method::PUT, "/api/v1/streams/ORDERS", Some(&memory))
        .await;
    assert_eq!(status, 503, "{refused}");
    let message = refused["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("storage type"), "{refused}");
}

#[tokio::test]
async fn a_stream_of_the_configuration_that_is_deleted_is_made_again() {
    if !has_nats() {
        return;
    }
    let broker = Setup::new(&[], &[])
        .flags(&["--published-log-lines-max", "0"])
        .start()
        .await;
    broker.publish("service.a.log.info", &json!("one")).await;
    let (status, said) = broker
        .ask(Method::DELETE, "/api/v1/streams/SERVICE_LOGS", None)
        .await;
    assert_eq!(status, 200);
    assert!(said["note"].is_string(), "{said}");
    until("it is there again", async || {
        let (status, stream) = broker
            .ask(Method::GET, "/api/v1/streams/SERVICE_LOGS", None)
            .await;
        holds(status == 200 && stream["messages"] == 0, || {
            stream.to_string()
        })
    })
    .await;
}

#[tokio::test]
async fn messages_are_found_by_subject_and_sequence_page_by_page() {
    if !has_nats() {
        return;
    }
    let broker = Setup::new(&[], &[]).start().await;
    for number in 0..6 {
        let subject = format!("market.v.{}.trade", if number % 2 == 0 { "A" } else { "B" });
        broker.publish(&subject, &json!({"number": number})).await;
    }
    let path = "/api/v1/streams/MARKET_DATA/messages?subject=market.*.A.trade&from_seq=1&limit=2";
    let page = broker.get(path).await;
    let numbers = |page: &Value| -> Vec<u64> {
        let messages = page["messages"].as_array().expect("messages");
        messages
            .iter()
            .filter_map(|message| message["seq"].as_u64())
            .collect()
    };
    assert_eq!(numbers(&page), [1, 3], "{page}");
    assert_eq!(page["messages"][0]["data"], "{\"number\":0}");
    let next = page["next_seq"].as_u64().expect("a sequence");
    let path =
        format!("/api/v1/streams/MARKET_DATA/messages?subject=market.*.A.trade&from_seq={next}");
    assert_eq!(numbers(&broker.get(&path).await), [5]);
    // The newest ones, without a sequence.
    let newest = broker
        .get("/api/v1/streams/MARKET_DATA/messages?limit=2")
        .await;
    assert_eq!(numbers(&newest), [5, 6]);
    let none = broker
        .get("/api/v1/streams/MARKET_DATA/messages?subject=other.%3E")
        .await;
    assert_eq!((numbers(&none), &none["next_seq"]), (vec![], &json!(7)));
    let far = broker
        .get("/api/v1/streams/MARKET_DATA/messages?from_seq=18446744073709551615")
        .await;
    assert!(numbers(&far).is_empty());
}

#[tokio::test]
async fn rules_of_nats_route_messages_and_are_listed() {
    if !has_nats() {
        return;
    }
    let nats = [
        "mappings:",
        "  \"legacy.*\": \"market.legacy.{{wildcard(1)}}.trade\"",
        "streams:",
        "  AUDIT:",
        "    subjects: [\"audit.>\"]",
        "    max_msgs: 10",
        "    republish: {src: \"audit.>\", dest: \"service.audit.>\"}",
        "  RENAMED:",
        "    subjects: [\"old.>\"]",
        "    max_msgs: 10",
        "    subject_transform: {src: \"old.>\", dest: \"new.>\"}",
    ];
    let broker = Setup::new(&[], &nats)
        .flags(&["--published-log-lines-max", "0"])
        .start()
        .await;
    broker.publish("legacy.X", &json!(1)).await;
    broker.publish("audit.a", &json!(2)).await;
    broker.publish("old.b", &json!(3)).await;
    broker.until_messages("MARKET_DATA", 1).await;
    broker.until_messages("SERVICE_LOGS", 1).await;
    let subject = async |stream: &str| {
        let path = format!("/api/v1/streams/{stream}/messages");
        broker.get(&path).await["messages"][0]["subject"].clone()
    };
    assert_eq!(subject("MARKET_DATA").await, "market.legacy.X.trade");
    assert_eq!(subject("SERVICE_LOGS").await, "service.audit.a");
    assert_eq!(subject("RENAMED").await, "new.b");
    let routing = broker.get("/api/v1/routing").await;
    assert_eq!(
        routing["mappings"]["legacy.*"],
        "market.legacy.{{wildcard(1)}}.trade"
    );
    let rules = routing["streams"].as_array().expect("rules");
    assert!(rules.iter().any(|rule| rule["stream"] == "AUDIT" && rule["republish"]["dest"] == "service.audit.>"));
}

#[tokio::test]
async fn every_route_is_in_the_document_and_every_path_of_it_is_a_route() {
    if !has_nats() {
        return;
    }
    let broker = Setup::new(&[], &[]).start().await;
    let document = broker.get("/api/v1/openapi.json").await;
    let paths = document["paths"].as_object().expect("paths");
    let source = include_str!("../../src/http.rs");
    for route in source.split(".route(").skip(1) {
        let path = route.split('"').nth(1).expect("a path");
        let rest = route.split_once(path).map_or("", |(_, rest)| rest);
        let method = rest.split('(').next().unwrap_or_default();
        let method = method.trim_matches(|letter: char| !letter.is_ascii_lowercase());
        if path == "/" || path.starts_with("/page") {
            continue;
        }
        assert!(
            paths.contains_key(path) && paths[path].get(method).is_some(),
            "{method} {path}"
        );
    }
    for (path, methods) in paths {
        for method in methods.as_object().expect("methods").keys() {
            let method: Method = method.to_uppercase().parse().expect("a method");
            let path = path.replace("{name}", "NONE");
            let (status, body) = broker.ask(method.clone(), &path, None).await;
            let code = body["error"]["code"].as_str().unwrap_or_default();
            assert!(
                code != "unknown_route" && code != "wrong_method",
                "{method} {path}: {status}"
            );
        }
    }
}
