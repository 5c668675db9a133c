//! nginx with the configuration of `nginx/`, behind a balancer.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::thread;

use testkit::directory::Directory;
use testkit::process::Process;
use testkit::wait::until;
use testkit::{nginx, ports};

/// Answers each request with `name`, or without one with what nginx sends in `header`.
fn answer(listener: TcpListener, name: &'static str, header: &'static str) {
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut lines = BufReader::new(&connection).lines();
                let mut named = name.to_owned();
                while let Some(Ok(line)) = lines.next() {
                    if let Some((sent, value)) = line.split_once(": ")
                        && sent.eq_ignore_ascii_case(header)
                        && name.is_empty()
                    {
                        value.clone_into(&mut named);
                    }
                    if line.is_empty() {
                        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length:";
                        let answer = format!("{head} {}\r\n\r\n{named}", named.len());
                        let _ = (&connection).write_all(answer.as_bytes());
                        return;
                    }
                }
            });
        }
    });
}

/// nginx with this environment beside what every test needs, and its address.
struct Edge {
    _process: Process,
    _folder: Directory,
    address: SocketAddr,
}

impl Edge {
    /// None where there is no nginx and none is required.
    async fn start(gateway: &str, environment: &[(&str, &str)]) -> Option<Self> {
        let Some(program) = nginx::find() else {
            let is_required = std::env::var_os("KLINECAST_REQUIRE_NGINX").is_some();
            assert!(!is_required, "{}", nginx::NOT_FOUND);
            println!("skipped: {}", nginx::NOT_FOUND);
            return None;
        };
        let folder = Directory::named("nginx-edge");
        let address: SocketAddr = ports::reserve_address();
        // Only a master that runs as root may name a user.
        let is_root = fs::metadata(folder.path()).is_ok_and(|folder| folder.uid() == 0);
        let rendered = Command::new("sh")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/nginx/render.sh"))
            .arg(gateway)
            .env("STATE", folder.path())
            .env("WEB", folder.path())
            .env("LISTEN", address.to_string())
            .env("WORKERS", "1")
            .env("WORKER_CONNECTIONS", "64")
            .env("RUN_AS", if is_root { "root" } else { "" })
            .envs(environment.iter().copied())
            .output()
            .expect("there is a shell");
        assert!(rendered.status.success(), "{rendered:?}");
        let configuration = folder.path().join("nginx.conf");
        fs::write(&configuration, rendered.stdout).expect("the folder is ours");
        let mut command = Command::new(program);
        command.args(["-e", "stderr", "-p"]).arg(folder.path());
        command.arg("-c").arg(&configuration);
        let mut process = Process::start("nginx", &mut command).asked_to_end();
        until("nginx serves", async || {
            if let Some(status) = process.ended() {
                panic!("nginx does not start: {status}: {}", process.log());
            }
            let answer = reqwest::get(format!("http://{address}/")).await;
            answer.map_err(|error| error.to_string())
        })
        .await;
        Some(Self {
            _process: process,
            _folder: folder,
            address,
        })
    }

    /// What comes back from `path` for a client that says it is these.
    async fn ask(&self, path: &str, claimed: &str) -> (u16, String) {
        let request = reqwest::Client::new().get(format!("http://{}{path}", self.address));
        let sent = request.header("X-Forwarded-For", claimed).send().await;
        let response = sent.expect("nginx answers");
        let status = response.status().as_u16();
        (status, response.text().await.expect("nginx sends the body"))
    }
}

/// The address that nginx passes on for a client that says it is these.
async fn named_client(balancers: &str, claimed: &str) -> Option<String> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let history = listener.local_addr().expect("it listens").to_string();
    answer(listener, "", "x-forwarded-for");
    let environment = [("HISTORY", history.as_str()), ("REAL_IP_FROM", balancers)];
    let edge = Edge::start(&history, &environment).await?;
    Some(edge.ask("/api/v1/status", claimed).await.1)
}

#[tokio::test]
async fn nginx_sends_questions_about_rules_and_alerts_to_alerts_and_the_others_to_history() {
    let [history, alerts] = ["history", "alerts"].map(|name| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it listens").to_string();
        answer(listener, name, "");
        address
    });
    let environment = [("HISTORY", history.as_str()), ("ALERTS", alerts.as_str())];
    let Some(edge) = Edge::start(&history, &environment).await else {
        return;
    };
    for (path, expected) in [
        ("/api/v1/rules", "alerts"),
        ("/api/v1/rules/btc-5", "alerts"),
        ("/api/v1/alerts?limit=5", "alerts"),
        ("/api/v1/alertsx", "history"),
        ("/api/v1/bars", "history"),
    ] {
        assert_eq!(
            edge.ask(path, "").await,
            (200, expected.to_owned()),
            "{path}"
        );
    }
    let Some(edge) = Edge::start(&history, &[("HISTORY", &history)]).await else {
        return;
    };
    assert_eq!(edge.ask("/api/v1/rules", "").await.0, 404);
}

/// Without a token, alerts takes requests by a name of its own host for those of its operator.
#[tokio::test]
async fn nobody_passes_for_the_operator_of_alerts_through_nginx() {
    for (header, expected) in [("host", "alerts.invalid"), ("x-forwarded-for", "127.0.0.1")] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let alerts = listener.local_addr().expect("it listens").to_string();
        answer(listener, "", header);
        let Some(edge) = Edge::start(&alerts, &[("ALERTS", &alerts)]).await else {
            return;
        };
        let request = reqwest::Client::new().get(format!("http://{}/api/v1/rules", edge.address));
        let sent = request.header("Host", "localhost").send().await;
        let named = sent.expect("nginx answers").text().await;
        assert_eq!(named.expect("nginx sends the body"), expected);
    }
}

#[tokio::test]
async fn nginx_believes_the_balancers_that_it_was_given_about_a_clients_address_and_nobody_else() {
    let claimed = "192.0.2.66, 203.0.113.9, 10.1.2.3";
    for (balancers, expected) in [
        // Nobody is before it: what a client claims is worth nothing.
        ("", "127.0.0.1"),
        // The balancer is another one.
        ("10.0.0.0/8", "127.0.0.1"),
        // Two balancers; what is left of the first address that is no balancer's, the client said.
        ("127.0.0.0/8 10.0.0.0/8", "203.0.113.9"),
        ("127.0.0.0/8 10.0.0.0/8 fd00::/8", "203.0.113.9"),
    ] {
        let Some(named) = named_client(balancers, claimed).await else {
            return;
        };
        assert_eq!(named, expected, "{balancers:?}");
    }
}
