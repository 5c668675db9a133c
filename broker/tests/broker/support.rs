//! A broker of its own for each test.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use reqwest::Method;
use serde_json::Value;
use testkit::directory::Directory;
use testkit::ports;
use testkit::process::Process;
use testkit::wait::{holds, until};

/// A line of a file of tokens.
pub(crate) const ADMIN: &str = "an-admin-token-of-the-tests";
pub(crate) const PUBLISHER: &str = "a-publish-token-of-the-tests";
pub(crate) const READER: &str = "a-read-token-of-the-tests";

/// Whether there is a nats-server; without one, tests are skipped unless they are required.
pub(crate) fn has_nats() -> bool {
    if testkit::nats::find_binary().is_some() {
        return true;
    }
    let why = testkit::nats::NatsServerError::NotFound;
    assert!(
        std::env::var_os("KLINECAST_REQUIRE_NATS").is_none(),
        "{why}"
    );
    println!("skipped: {why}");
    false
}

/// How a test starts its broker.
pub(crate) struct Setup {
    pub(crate) directory: Directory,
    pub(crate) nats_port: u16,
    pub(crate) http_port: u16,
    pub(crate) yaml: String,
    pub(crate) arguments: Vec<String>,
    /// What runs the broker, if it does not run by itself.
    pub(crate) enter: Option<Command>,
}

impl Setup {
    /// A server of its own; `broker` and `nats` are lines of the two blocks.
    pub(crate) fn new(broker: &[&str], nats: &[&str]) -> Self {
        let [nats_port, http_port] = [ports::reserve(), ports::reserve()];
        let mut yaml = "message-broker-service:\n  port: 0\n".to_owned();
        for line in broker {
            yaml.push_str(&format!("  {line}\n"));
        }
        yaml.push_str(&format!(
            "  nats:\n    nats_port: {nats_port}\n    http_port: {http_port}\n"
        ));
        for line in nats {
            yaml.push_str(&format!("    {line}\n"));
        }
        Self {
            directory: Directory::new(),
            nats_port,
            http_port,
            yaml,
            arguments: Vec::new(),
            enter: None,
        }
    }

    pub(crate) fn flags(mut self, flags: &[&str]) -> Self {
        self.arguments
            .extend(flags.iter().map(|&flag| flag.to_owned()));
        self
    }

    /// With a file of three tokens.
    pub(crate) fn tokens(self) -> Self {
        let file = self.directory.path().join("tokens");
        let text = format!("admin {ADMIN}\npublish {PUBLISHER}\nread {READER}\n");
        fs::write(&file, text).expect("the directory can be written");
        let file = file.to_string_lossy().into_owned();
        self.flags(&["--tokens-file", &file])
    }

    pub(crate) fn data_dir(&self) -> std::path::PathBuf {
        self.directory.path().join("data")
    }

    /// The command, with its configuration written.
    pub(crate) fn command(&self) -> Command {
        let file = self.directory.path().join("services.yaml");
        fs::write(&file, &self.yaml).expect("the directory can be written");
        let program = env!("CARGO_BIN_EXE_broker");
        let mut command = match &self.enter {
            None => Command::new(program),
            Some(enter) => {
                let mut command = Command::new(enter.get_program());
                command.args(enter.get_args()).arg(program);
                command
            }
        };
        command.arg("--config").arg(file);
        command.arg("--data-dir").arg(self.data_dir());
        command.args(["--admin-listen", "127.0.0.1:0", "--log-format", "json"]);
        if let Some(program) = testkit::nats::find_binary() {
            command.arg("--nats-server").arg(program);
        }
        command.args(&self.arguments);
        command
    }

    /// Starts the process.
    pub(crate) fn spawn(&self) -> Process {
        Process::start("broker", &mut self.command()).asked_to_end()
    }

    /// Starts it, and waits until it is ready.
    pub(crate) async fn start(self) -> Broker {
        let process = self.spawn();
        let mut broker = Broker {
            process,
            setup: self,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            http: testkit::program::fresh_http(),
            token: None,
        };
        broker.until_ready().await;
        broker
    }
}

/// A running broker.
pub(crate) struct Broker {
    /// Before the setup, whose directory it uses.
    pub(crate) process: Process,
    pub(crate) setup: Setup,
    pub(crate) address: SocketAddr,
    http: reqwest::Client,
    pub(crate) token: Option<&'static str>,
}

impl Broker {
    async fn until_ready(&mut self) {
        let event = self.process.until_event("broker serves http").await;
        let address = event["address"].as_str().expect("an address");
        self.address = address.parse().expect("an address");
        self.process.until_event("broker is ready").await;
    }

    /// Starts a broker of the same setup where this one was.
    pub(crate) async fn start_again(&mut self) {
        self.process = self.setup.spawn();
        self.until_ready().await;
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let mut request = self
            .http
            .request(method, format!("http://{}{path}", self.address));
        if let Some(token) = self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.expect("the broker answers");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        let value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"));
        (status, value)
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// Publishes, which must succeed.
    pub(crate) async fn publish(&self, subject: &str, message: &Value) -> Value {
        let body = serde_json::json!({ "subject": subject, "message": message });
        let (status, answer) = self.post("/api/v1/publish", &body).await;
        assert_eq!(
            (status, &answer["success"]),
            (200, &true.into()),
            "{answer}"
        );
        answer
    }

    /// A stream of the list.
    pub(crate) async fn stream(&self, name: &str) -> Value {
        let list = self.get("/api/v1/streams").await;
        let streams = list["streams"].as_array().expect("streams");
        let found = streams.iter().find(|stream| stream["name"] == name);
        found.unwrap_or_else(|| panic!("no {name}: {list}")).clone()
    }

    /// Waits until the stream keeps as many messages.
    pub(crate) async fn until_messages(&self, stream: &str, count: u64) {
        until(&format!("{count} messages in {stream}"), async || {
            let kept = self.stream(stream).await["messages"].as_u64();
            holds(kept == Some(count), || format!("{kept:?}"))
        })
        .await;
    }

    /// Waits until the server is as wanted.
    pub(crate) async fn until_info(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        until(what, async || {
            let info = self.get("/api/v1/nats/info").await;
            if is_it(&info) {
                Ok(info)
            } else {
                Err(info.to_string())
            }
        })
        .await
    }
}
