//! nats-server as the broker's process.

use std::fs;
use std::process::Command;

use reqwest::Method;
use serde_json::json;
use testkit::nats::{NatsServer, NatsServerOptions};
use testkit::process::Process;
use testkit::wait::{holds, until};

use crate::support::{Setup, has_nats};

fn signal(process_id: u64, signal: &str) {
    let status = Command::new("kill")
        .args(["-s", signal, &process_id.to_string()])
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "kill -s {signal} {process_id}"
    );
}

fn is_running(process_id: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process_id}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some('Z'))
}

async fn until_gone(process_id: u64) {
    until("the end of nats-server", async || {
        holds(!is_running(process_id), || format!("{process_id} runs"))
    })
    .await;
}

#[tokio::test]
async fn a_killed_server_is_started_again_with_its_messages_and_it_is_said() {
    if !has_nats() {
        return;
    }
    let broker = Setup::new(&[], &[]).start().await;
    broker
        .publish("market.binance.BTCUSDT.trade", &json!({"price": "1"}))
        .await;
    let before = broker.get("/api/v1/nats/info").await;
    let process_id = before["pid"].as_u64().expect("a process");
    signal(process_id, "KILL");
    let after = broker
        .until_info("a new server", |info| {
            info["restarts"] == 1 && info["status"] == "running"
        })
        .await;
    assert_ne!(after["pid"], before["pid"]);
    let reason = after["last_end"].as_str().unwrap_or_default();
    assert!(reason.contains("signal: 9"), "{after}");
    broker.until_messages("MARKET_DATA", 1).await;
    until("the streams are there again", async || {
        let (status, health) = broker.ask(Method::GET, "/health", None).await;
        holds(status == 200, || health.to_string())
    })
    .await;
    until("the restart as an event", async || {
        let path = "/api/v1/streams/SYSTEM_EVENTS/messages?subject=system.service.message-broker-service.nats_restarted";
        let page = broker.get(path).await;
        holds(page["messages"][0]["data"].is_string(), || page.to_string())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_stands_still_is_killed_and_started_again() {
    if !has_nats() {
        return;
    }
    let setup = Setup::new(&[], &[]).flags(&["--hang-deadline-ms", "1500"]);
    let broker = setup.start().await;
    let process_id = broker.get("/api/v1/nats/info").await["pid"]
        .as_u64()
        .expect("a process");
    signal(process_id, "STOP");
    let info = broker
        .until_info("a new server", |info| {
            info["restarts"] == 1 && info["status"] == "running"
        })
        .await;
    let reason = info["last_end"].as_str().unwrap_or_default();
    assert!(reason.contains("answered nothing for 1500 ms"), "{info}");
    until_gone(process_id).await;
}

#[tokio::test]
async fn the_server_of_a_killed_broker_is_adopted_with_its_connections_and_then_stopped() {
    if !has_nats() {
        return;
    }
    let mut broker = Setup::new(&[], &[]).start().await;
    let before = broker.get("/api/v1/nats/info").await;
    let process_id = before["pid"].as_u64().expect("a process");
    broker.process.kill();
    assert!(
        is_running(process_id),
        "nats-server outlives a broker that is killed"
    );
    broker.start_again().await;
    let after = broker.get("/api/v1/nats/info").await;
    assert_eq!(after["pid"], before["pid"]);
    assert_eq!(
        (&after["adopted"], &after["restarts"]),
        (&json!(true), &json!(0))
    );
    // An adopted server is watched, too.
    signal(process_id, "KILL");
    let info = broker
        .until_info("a new server", |info| {
            info["restarts"] == 1 && info["status"] == "running"
        })
        .await;
    assert_eq!(info["adopted"], false);
    let process_id = info["pid"].as_u64().expect("a process");
    broker.process.signal("TERM");
    let status = broker.process.until_ended().await;
    assert!(status.success(), "{status}");
    until_gone(process_id).await;
}

#[tokio::test]
async fn a_server_that_is_left_running_outlives_its_broker() {
    if !has_nats() {
        return;
    }
    let setup = Setup::new(&[], &[]).flags(&["--leave-nats-running"]);
    let mut broker = setup.start().await;
    let process_id = broker.get("/api/v1/nats/info").await["pid"]
        .as_u64()
        .expect("a process");
    broker.process.signal("TERM");
    assert!(broker.process.until_ended().await.success());
    assert!(is_running(process_id));
    signal(process_id, "TERM");
    until_gone(process_id).await;
}

#[tokio::test]
async fn a_second_broker_on_a_data_directory_ends_at_once_and_harms_nothing() {
    if !has_nats() {
        return;
    }
    let broker = Setup::new(&[], &[]).start().await;
    let mut second = broker.setup.spawn();
    let status = second.until_ended().await;
    assert!(!status.success());
    let log = second.log();
    assert!(log.contains("another broker supervises"), "{log}");
    let info = broker.get("/api/v1/nats/info").await;
    assert_eq!(
        (&info["restarts"], &info["status"]),
        (&json!(0), &json!("running"))
    );
}

/// A broker that is expected to end with an error.
async fn failure(setup: &Setup) -> String {
    let mut process = Process::start("broker", &mut setup.command());
    let status = process.until_ended().await;
    assert!(!status.success(), "{status}");
    process.log()
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_with_its_field_and_what_to_do() {
    if !has_nats() {
        return;
    }
    let mut setup = Setup::new(&[], &[]);
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = taken.local_addr().expect("it is bound").port();
    setup.yaml = setup.yaml.replace(
        &format!("nats_port: {}", setup.nats_port),
        &format!("nats_port: {port}"),
    );
    let log = failure(&setup).await;
    assert!(
        log.contains("nats.nats_port") && log.contains(&port.to_string()),
        "{log}"
    );
    assert!(log.contains("auto_start_nats: false"), "{log}");
}

#[tokio::test]
async fn a_configuration_that_nats_server_refuses_is_told_in_its_words() {
    if !has_nats() {
        return;
    }
    let port = testkit::ports::reserve();
    let line = format!("cluster_listen: \"no such host:{port}\"");
    let setup = Setup::new(&[], &["cluster_name: c", &line]);
    let log = failure(&setup).await;
    assert!(log.contains("nats-server does not start"), "{log}");
    assert!(log.contains("nats-server ended"), "{log}");
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_written_is_told() {
    if !has_nats() {
        return;
    }
    let setup = Setup::new(&[], &[]);
    fs::write(setup.data_dir(), "a file").expect("the directory can be written");
    let log = failure(&setup).await;
    assert!(log.contains("--data-dir"), "{log}");
}

#[tokio::test]
async fn a_restart_is_said_before_it_is_made_and_takes_the_newest_configuration() {
    if !has_nats() {
        return;
    }
    let mut broker = Setup::new(&[], &[]).start().await;
    broker.process.kill();
    broker.setup.yaml.push_str("    max_connections: 1234\n");
    broker.start_again().await;
    let info = broker.get("/api/v1/nats/info").await;
    assert_eq!(
        (&info["adopted"], &info["config_is_old"]),
        (&json!(true), &json!(true))
    );
    let (status, said) = broker
        .ask(Method::POST, "/api/v1/nats/restart?dry_run=true", None)
        .await;
    assert_eq!((status, &said["dry_run"]), (202, &json!(true)), "{said}");
    let memory = said["loses_streams"].as_array().expect("streams in memory");
    assert!(memory.contains(&json!("SYSTEM")), "{said}");
    assert_eq!(broker.get("/api/v1/nats/info").await["restarts"], 0);
    let (status, _) = broker.ask(Method::POST, "/api/v1/nats/restart", None).await;
    assert_eq!(status, 202);
    let info = broker
        .until_info("the new configuration", |info| {
            info["status"] == "running" && info["server_info"]["max_connections"] == 1234
        })
        .await;
    assert_eq!(
        (&info["restarts"], &info["config_is_old"]),
        (&json!(1), &json!(false))
    );
}

#[tokio::test]
async fn a_server_that_others_started_is_used_and_not_stopped() {
    if !has_nats() {
        return;
    }
    let options = NatsServerOptions {
        user_password: Some(("me".to_owned(), "a p@ss/word".to_owned())),
        ..NatsServerOptions::default()
    };
    let server = NatsServer::start_with(options).expect("it starts");
    let mut setup = Setup::new(
        &["auto_start_nats: false"],
        &["user: me", "password: \"a p@ss/word\""],
    );
    setup
        .yaml
        .push_str(&format!("    nats_url: \"{}\"\n", server.url()));
    let mut broker = setup.start().await;
    broker
        .publish("market.okx.BTC-USDT.orderbook", &json!([1, 2]))
        .await;
    broker.until_messages("MARKET_DATA", 1).await;
    let info = broker.get("/api/v1/nats/info").await;
    assert_eq!(
        (&info["status"], &info["supervised"]),
        (&json!("running"), &json!(false))
    );
    assert_eq!(info["server_info"]["port"], server.port());
    let (status, answer) = broker.ask(Method::POST, "/api/v1/nats/restart", None).await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (409, &json!("not_supervised"))
    );
    broker.process.signal("TERM");
    assert!(broker.process.until_ended().await.success());
    let log = broker.process.log();
    assert!(!log.contains("p@ss") && !log.contains("p%40ss"), "{log}");
    let process_id = server.process_id().expect("it runs");
    assert!(is_running(process_id.into()));
}
