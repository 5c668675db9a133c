use std::path::PathBuf;

use clap::Parser;
use serde_json::{Value, json};

use super::*;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    broker: BrokerArgs,
}

fn load(text: &str) -> Result<Config, String> {
    let flags = Flags::parse_from(["broker"]);
    Config::of_text(text, &flags.broker).map_err(|error| error.to_string())
}

#[track_caller]
fn check_refused(text: &str, reasons: &[&str]) {
    let error = load(text).map(drop).expect_err("it is refused");
    for reason in reasons {
        assert!(error.contains(reason), "{error}");
    }
    assert!(!error.contains("s3cret"), "{error}");
}

/// What nats-server would read.
fn rendered(text: &str) -> Value {
    let config = load(text).expect("a configuration");
    let text = crate::nats_configuration(&config).expect("a text");
    let (_, json) = text
        .split_once('\n')
        .expect("a first line that is a comment");
    serde_json::from_str(json).expect("JSON")
}

#[test]
fn no_configuration_is_all_defaults_and_other_blocks_are_not_read() {
    let config = load("").expect("defaults");
    assert_eq!(config.listen.to_string(), "127.0.0.1:8085");
    assert_eq!(config.streams.len(), 3);
    assert_eq!(config.servers(), ["nats://127.0.0.1:4222"]);
    let among = "other-service:\n  port: x\nmessage-broker-service:\n  port: 9000\n";
    assert_eq!(load(among).expect("a configuration").listen.port(), 9_000);
    assert_eq!(
        load("message-broker-service:\n")
            .expect("a configuration")
            .listen
            .port(),
        8_085
    );
}

#[test]
fn wrong_fields_and_types_are_refused_with_their_path() {
    check_refused("nats: {nats_prot: 1}", &["nats", "nats_prot", "nats_port"]);
    check_refused("nats: {nats_port: 70000}", &["nats.nats_port", "70000"]);
    check_refused("nats: {nats_port: \"4222\"}", &["nats.nats_port", "4222"]);
    check_refused("auto_start_nats: \"yes\"", &["auto_start_nats", "boolean"]);
    check_refused(
        "nats: {jetstream_max_memory: lots}",
        &["nats.jetstream_max_memory", "10GB"],
    );
    check_refused(
        "nats: {streams: {A: {subjects: a}}}",
        &["nats.streams.A.subjects", "sequence"],
    );
    check_refused(
        "nats: {streams: {A: {retention: forever}}}",
        &["nats.streams.A.retention", "workqueue"],
    );
    check_refused(
        "nats: {sync_interval: never}",
        &["nats.sync_interval", "always"],
    );
    check_refused("- 1", &["it is no mapping"]);
    check_refused(
        "nats: {users: [{user: a, password: 12345}]}",
        &["nats.users[0].password", "quotes"],
    );
}

#[test]
fn configurations_that_cannot_hold_are_refused_with_what_to_change() {
    check_refused("nats: {nats_port: 8222}", &["nats.http_port", "used twice"]);
    check_refused("port: 4222", &["port", "used twice"]);
    check_refused("nats: {nats_port: 0}", &["nats.nats_port", "choose one"]);
    check_refused(
        "nats: {nats_url: \"nats://other:4333\"}",
        &["nats.nats_url", "auto_start_nats: false"],
    );
    check_refused(
        "nats: {nats_url: \"nats://me:s3cret@localhost\"}",
        &["nats.user and nats.password"],
    );
    check_refused("nats: {max_payload: 1GB}", &["nats.max_payload", "64MB"]);
    check_refused("nats: {ping_interval: 0}", &["nats.ping_interval"]);
    check_refused(
        "nats: {jetstream_enabled: false, streams: {A: {subjects: [a], max_msgs: 1}}}",
        &["jetstream_enabled: true"],
    );
    check_refused(
        "nats: {streams: {A: {subjects: [\"market.x\"], max_msgs: 1}}}",
        &["nats.streams", "MARKET_DATA", "default_streams"],
    );
    check_refused(
        "nats: {streams: {A B: {subjects: [a], max_msgs: 1}}}",
        &["nats.streams.A B", "letters"],
    );
    check_refused(
        "nats: {default_streams: [MARKET]}",
        &["MARKET_DATA, SYSTEM_EVENTS, SERVICE_LOGS"],
    );
    check_refused(
        "nats: {users: [{user: klinecast-broker, password: s3cret}]}",
        &["nats.users[0].user"],
    );
    check_refused(
        "nats: {users: [{user: a, password: \"s3cret\\n\"}]}",
        &["nats.users[0].password", "control"],
    );
    check_refused(
        "nats: {tls: {cert_file: a, key_file: b, verify: true}}",
        &["klinecast_streams: false"],
    );
    check_refused(
        "nats: {cluster_routes: [\"http://me:s3cret@x\"]}",
        &["nats-route://host:port"],
    );
    check_refused(
        "nats: {mappings: {\"$SYS.>\": a}}",
        &["nats.mappings", "reserved"],
    );
    check_refused("nats: {data_dir: \"\"}", &["nats.data_dir"]);
    check_refused("klinecast_prefix: \"a..b\"", &["klinecast_prefix"]);
}

#[test]
fn nats_server_gets_what_the_file_says() {
    let config = rendered(
        "nats:\n  nats_port: 5222\n  max_connections: 1000\n  max_subscriptions: 7\n  write_deadline: 2s\n  ping_interval: 2m\n  jetstream_max_storage: 50GB\n  jetstream_max_streams: 100\n  sync_interval: always\n  cluster_name: c\n  cluster_listen: \"0.0.0.0:6222\"\n  cluster_routes: [\"nats-route://node2:6222\"]\n",
    );
    assert_eq!(config["listen"], "127.0.0.1:5222");
    assert_eq!(
        (&config["max_connections"], &config["max_subscriptions"]),
        (&json!(1000), &json!(7))
    );
    assert_eq!(
        (&config["write_deadline"], &config["ping_interval"]),
        (&json!("2s"), &json!("120s"))
    );
    assert_eq!(config["jetstream"]["max_file_store"], 50u64 << 30);
    assert_eq!(config["jetstream"]["sync_interval"], "always");
    assert_eq!(
        config["accounts"]["KLINECAST"]["jetstream"]["max_streams"],
        100
    );
    assert_eq!(
        config["cluster"]["routes"],
        json!(["nats-route://node2:6222"])
    );
    assert_eq!(config["no_auth_user"], "anonymous");
    let single = rendered("");
    assert_eq!(
        (single.get("cluster"), &single["jetstream"]["sync_interval"]),
        (None, &json!("10s"))
    );
}

#[test]
fn with_users_nobody_is_let_in_without_a_password() {
    let config = rendered(
        "nats: {users: [{user: a, password: \"p\\\"q\", permissions: {publish: [\"market.>\"]}}]}",
    );
    assert_eq!(config.get("no_auth_user"), None);
    let users = &config["accounts"]["KLINECAST"]["users"];
    let names: Vec<&Value> = users
        .as_array()
        .into_iter()
        .flatten()
        .map(|user| &user["user"])
        .collect();
    assert_eq!(names, ["klinecast-broker", "a"]);
    assert_eq!(users[1]["password"], "p\"q");
    assert_eq!(users[1]["permissions"], json!({"publish": ["market.>"]}));
}

#[test]
fn flags_win_over_the_file() {
    let flags = Flags::parse_from([
        "broker",
        "--listen",
        "127.0.0.1:1",
        "--data-dir",
        "/elsewhere",
    ]);
    let config =
        Config::of_text("port: 9\nnats: {data_dir: here}", &flags.broker).expect("a configuration");
    assert_eq!(config.listen.port(), 1);
    assert_eq!(config.nats.data_dir, PathBuf::from("/elsewhere"));
}
