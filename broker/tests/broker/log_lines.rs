//! The broker's log on the bus.

use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::wait::{holds, until};

use crate::support::{ADMIN, Broker, PUBLISHER, READER, Setup, has_nats};

/// The newest lines of the broker's log that the stream keeps, as subject and line. The answer can be
/// an error, while the server is away.
async fn lines(broker: &Broker) -> Result<Vec<(String, Value)>, String> {
    let path = "/api/v1/streams/SERVICE_LOGS/messages?subject=service.message-broker-service.log.*&limit=100";
    let (status, page) = broker.ask(Method::GET, path, None).await;
    holds(status == 200, || page.to_string())?;
    let messages = page["messages"].as_array().expect("messages");
    let line = |message: &Value| {
        let subject = message["subject"].as_str().expect("a subject").to_owned();
        let text = message["data"].as_str().expect("a text");
        (subject, serde_json::from_str(text).expect("a line is JSON"))
    };
    Ok(messages.iter().map(line).collect())
}

/// Waits for a line with this message.
async fn until_line(broker: &Broker, message: &str) -> (String, Value) {
    until(&format!("'{message}' on the bus"), async || {
        let lines = lines(broker).await?;
        let found = lines.iter().find(|(_, line)| line["message"] == message);
        found.cloned().ok_or_else(|| format!("{lines:?}"))
    })
    .await
}

/// A value of the broker's metrics, 0 where there is none yet.
async fn metric(broker: &mut Broker, name_and_labels: &str) -> u64 {
    let event = broker.process.until_event("admin pages served").await;
    let admin = event["address"].as_str().expect("an address");
    let http = testkit::program::fresh_http();
    let answer = http.get(format!("http://{admin}/metrics")).send().await;
    let text = answer.expect("it is served").text().await.expect("a text");
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name_and_labels)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().expect("a whole number"))
}

/// Asks for what the token does not permit: the log says so.
async fn ask_too_much(broker: &mut Broker) {
    broker.token = Some(READER);
    let body = json!({"subject": "test.a", "message": 1});
    let (status, answer) = broker.post("/api/v1/publish", &body).await;
    assert_eq!(status, 403, "{answer}");
    broker.token = Some(ADMIN);
}

#[tokio::test]
async fn each_line_of_the_brokers_log_is_on_the_bus_under_its_level() {
    if !has_nats() {
        return;
    }
    let mut broker = Setup::new(&[], &[]).tokens().start().await;
    ask_too_much(&mut broker).await;
    // The first lines were logged before there was a server to publish them.
    for (level, message) in [
        ("info", "admin pages served"),
        ("info", "broker serves http"),
        ("info", "broker is ready"),
        ("warn", "a token permits too little"),
    ] {
        let (subject, line) = until_line(&broker, message).await;
        assert_eq!(
            subject,
            format!("service.message-broker-service.log.{level}")
        );
        assert_eq!(
            (&line["level"], &line["service"]),
            (&level.into(), &"message-broker-service".into())
        );
        let time = line["timestamp"].as_str().expect("a time");
        assert!(
            time.ends_with('Z') && time.len() == "2024-01-01T12:00:00.250Z".len(),
            "{time}"
        );
    }
    let (_, line) = until_line(&broker, "a token permits too little").await;
    let fields = json!({"role": "read", "path": "/api/v1/publish"});
    assert_eq!(line["fields"], fields);
}

#[tokio::test]
async fn log_lines_of_an_outage_are_on_the_bus_after_it() {
    if !has_nats() {
        return;
    }
    let broker = Setup::new(&[], &[]).start().await;
    let process_id = broker.get("/api/v1/nats/info").await["pid"].to_string();
    let killed = Command::new("kill")
        .args(["-s", "KILL", &process_id])
        .status();
    assert!(killed.is_ok_and(|status| status.success()));
    broker
        .until_info("a new server", |info| {
            info["restarts"] == 1 && info["status"] == "running"
        })
        .await;
    until("the streams are there again", async || {
        let (status, health) = broker.ask(Method::GET, "/health", None).await;
        holds(status == 200, || health.to_string())
    })
    .await;
    let (subject, line) = until_line(&broker, "nats-server ended").await;
    assert_eq!(subject, "service.message-broker-service.log.error");
    assert!(
        line["fields"]["reason"].to_string().contains("signal: 9"),
        "{line}"
    );
}

#[tokio::test]
async fn publishing_a_log_line_makes_no_other_line_and_no_line_has_a_token() {
    if !has_nats() {
        return;
    }
    let nats = [
        "users:",
        "  - user: producer",
        "    password: a-password-of-a-producer",
    ];
    // Everything that can be logged, libraries included.
    let flags = [
        "--log-level",
        "trace,async_nats=trace,hyper=trace,hyper_util=trace,rustls=trace",
    ];
    let mut broker = Setup::new(&[], &nats).flags(&flags).tokens().start().await;
    ask_too_much(&mut broker).await;
    let path = format!("/api/v1/streams?token={PUBLISHER}");
    // Whatever the answer is.
    let _ = broker.ask(Method::GET, &path, None).await;
    until_line(&broker, "a token permits too little").await;
    // Many lines of the libraries were made meanwhile, by each publication among others.
    let published = metric(&mut broker, "broker_log_lines_published_total").await;
    assert!((1..100).contains(&published), "{published}");
    let lost = metric(&mut broker, "service_tapped_log_lines_dropped_total").await;
    assert_eq!(lost, 0);
    let lines = until("the lines", async || lines(&broker).await).await;
    let text = format!("{lines:?}");
    for secret in [ADMIN, PUBLISHER, READER, "a-password-of-a-producer"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn a_flood_of_log_lines_is_published_at_its_rate_and_the_rest_is_counted() {
    if !has_nats() {
        return;
    }
    let flags = ["--published-log-lines-rate", "1"];
    let mut broker = Setup::new(&[], &[]).flags(&flags).tokens().start().await;
    for _ in 0..40 {
        ask_too_much(&mut broker).await;
    }
    let lost = "broker_log_lines_lost_total{reason=\"rate\"}";
    until("lines are lost and counted", async || {
        let (lost, published) = (
            metric(&mut broker, lost).await,
            metric(&mut broker, "broker_log_lines_published_total").await,
        );
        let all = lost + published;
        holds(lost > 0 && all >= 40, || {
            format!("{lost} lost, {published} published")
        })
    })
    .await;
    // What is kept was published before it is counted here.
    let kept = broker.stream("SERVICE_LOGS").await["messages"].as_u64();
    let published = metric(&mut broker, "broker_log_lines_published_total").await;
    assert!(kept <= Some(published), "{kept:?} {published}");
}

#[tokio::test]
async fn a_broker_that_shall_publish_no_log_publishes_none() {
    if !has_nats() {
        return;
    }
    for (yaml, flags) in [
        (vec!["service_events: false"], vec![]),
        (vec![], vec!["--published-log-lines-max", "0"]),
    ] {
        let mut broker = Setup::new(&yaml, &[]).flags(&flags).tokens().start().await;
        ask_too_much(&mut broker).await;
        broker
            .publish("service.a.log.info", &json!("a line of another program"))
            .await;
        broker.until_messages("SERVICE_LOGS", 1).await;
        let published = metric(&mut broker, "broker_log_lines_published_total").await;
        assert_eq!(published, 0);
    }
}
