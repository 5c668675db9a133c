//! The README does what it says: its commands are run, its answers are compared, its YAML is loaded.

use std::fs;
use std::process::{Command, Stdio};

use clap::Parser;
use serde_json::Value;

use crate::support::{Broker, Setup, has_nats};

const README: &str = include_str!("../../README.md");

/// The code blocks of a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    let pieces = README.split(fence.as_str()).skip(1);
    pieces
        .filter_map(|piece| piece.split("```").next())
        .collect()
}

/// The commands that use curl, each on one line.
fn curls() -> Vec<String> {
    let text = blocks("sh").join("\n").replace("\\\n", " ");
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("curl "));
    lines.map(str::to_owned).collect()
}

/// The README's configuration on the ports of a test.
fn setup() -> Setup {
    let mut setup = Setup::new(&[], &[]);
    let yaml = blocks("yaml")[0];
    setup.yaml = yaml
        .replace("4222", &setup.nats_port.to_string())
        .replace("8222", &setup.http_port.to_string())
        .replace("port: 8085", "port: 0");
    setup
}

fn here(broker: &Broker, text: &str) -> String {
    text.replace("localhost:8085", &broker.address.to_string())
        .replace(
            "localhost:8222",
            &format!("localhost:{}", broker.setup.http_port),
        )
        .replace(
            "localhost:4222",
            &format!("localhost:{}", broker.setup.nats_port),
        )
}

async fn run(command: &str) -> Value {
    let command = command.replacen("curl ", "curl -sS --max-time 60 --fail-with-body ", 1);
    let output = tokio::process::Command::new("sh")
        .args(["-c", &command])
        .output()
        .await;
    let output = output.expect("sh is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command}: {errors}{text}");
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{command}: no JSON: {text}"))
}

/// Whether an answer has every field of the example, with a value of the same kind.
fn assert_has(example: &Value, answer: &Value, path: &str) {
    match (example, answer) {
        (Value::Object(fields), Value::Object(answers)) => {
            for (name, value) in fields {
                let there = answers.get(name);
                let there = there.unwrap_or_else(|| panic!("no {path}.{name}: {answer}"));
                assert_has(value, there, &format!("{path}.{name}"));
            }
        }
        (Value::Array(examples), Value::Array(answers)) => {
            for example in examples {
                // Streams are compared with the stream of the same name.
                let there = answers
                    .iter()
                    .find(|answer| answer["name"] == example["name"]);
                assert_has(example, there.unwrap_or(&Value::Null), path);
            }
        }
        (example, answer) => assert_eq!(
            std::mem::discriminant(example),
            std::mem::discriminant(answer),
            "{path}: {example} {answer}"
        ),
    }
}

#[tokio::test]
async fn every_command_of_the_readme_works_as_written_and_in_its_order() {
    if !has_nats() {
        return;
    }
    let broker = setup().start().await;
    let commands = curls();
    assert!(commands.len() > 20, "{commands:?}");
    for command in &commands {
        let answer = run(&here(&broker, command)).await;
        assert_ne!(answer["success"], false, "{command}: {answer}");
    }
    let examples = blocks("json")
        .into_iter()
        .map(|text| serde_json::from_str::<Value>(text).expect("examples are JSON"));
    let examples: Vec<Value> = examples.collect();
    let published = Value::Bool(true);
    for (example, path) in
        examples
            .iter()
            .zip(["/api/v1/status", "/api/v1/streams", "", "/api/v1/nats/info"])
    {
        if path.is_empty() {
            assert_eq!(example["success"], published);
            continue;
        }
        assert_has(example, &broker.get(path).await, path);
    }
    let custom = broker.stream("CUSTOM_STREAM").await;
    assert_eq!(
        (&custom["max_age"], &custom["max_msgs"]),
        (&7_200.into(), &500_000.into())
    );
}

#[tokio::test]
async fn the_default_streams_are_those_of_the_readme() {
    if !has_nats() {
        return;
    }
    let broker = Setup::new(&[], &[]).start().await;
    for (name, subjects, age, messages) in [
        ("MARKET_DATA", "market.>", 3_600, 1_000_000),
        ("SYSTEM_EVENTS", "system.>", 86_400, 100_000),
        ("SERVICE_LOGS", "service.>", 604_800, 500_000),
    ] {
        let stream = broker.stream(name).await;
        assert_eq!(stream["subjects"], serde_json::json!([subjects]));
        assert_eq!(
            (&stream["max_age"], &stream["max_msgs"]),
            (&age.into(), &messages.into())
        );
        assert_eq!(
            (&stream["retention"], &stream["storage"]),
            (&"limits".into(), &"file".into())
        );
    }
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    broker: broker::BrokerArgs,
}

#[test]
fn every_configuration_of_the_readme_is_accepted() {
    let flags = Flags::parse_from(["broker"]);
    let all = blocks("yaml");
    assert!(all.len() >= 7, "{}", all.len());
    for text in all {
        let config = broker::Config::of_text(text, &flags.broker);
        let config = config.unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(broker::nats_configuration(&config).is_ok());
    }
}

/// nats-py from an environment of its own.
fn python() -> Option<String> {
    if let Some(python) = std::env::var("KLINECAST_BROKER_PYTHON")
        .ok()
        .filter(|path| fs::exists(path).unwrap_or(false))
    {
        return Some(python);
    }
    assert!(
        std::env::var_os("KLINECAST_REQUIRE_CLIENTS").is_none(),
        "KLINECAST_BROKER_PYTHON names no Python with broker/tests/clients/requirements-broker.txt: make tools"
    );
    println!("skipped: set KLINECAST_BROKER_PYTHON to a Python with nats-py");
    None
}

#[tokio::test]
async fn the_python_program_of_the_readme_receives_what_it_publishes() {
    let (true, Some(python)) = (has_nats(), python()) else {
        return;
    };
    let broker = setup().start().await;
    let program = here(&broker, blocks("python")[0]);
    let mut command = Command::new(python);
    command.args(["-c", &program]).stdin(Stdio::null());
    let output = tokio::process::Command::from(command)
        .output()
        .await
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("received"),
        "{text}{errors}"
    );
    let consumers = broker.get("/api/v1/streams/MARKET_DATA/consumers").await;
    assert_eq!(consumers["consumers"][0]["name"], "market-consumer");
}
