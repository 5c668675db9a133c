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

/// Answers each request with the address of the client that nginx names.
fn name_clients(listener: TcpListener) {
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut lines = BufReader::new(&connection).lines();
                let mut named = String::new();
                while let Some(Ok(line)) = lines.next() {
                    if let Some((name, value)) = line.split_once(": ")
                        && name.eq_ignore_ascii_case("x-forwarded-for")
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

/// The address that nginx passes on for a client that says it is these.
async fn named_client(balancers: &str, claimed: &str) -> Option<String> {
    let Some(program) = nginx::find() else {
        let is_required = std::env::var_os("KLINECAST_REQUIRE_NGINX").is_some();
        assert!(!is_required, "{}", nginx::NOT_FOUND);
        println!("skipped: {}", nginx::NOT_FOUND);
        return None;
    };
    let folder = Directory::named("nginx-edge");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let history = listener.local_addr().expect("it listens").to_string();
    name_clients(listener);
    let address: SocketAddr = ports::reserve_address();
    // Only a master that runs as root may name a user.
    let is_root = fs::metadata(folder.path()).is_ok_and(|folder| folder.uid() == 0);
    let rendered = Command::new("sh")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/nginx/render.sh"))
        .arg(&history)
        .env("STATE", folder.path())
        .env("WEB", folder.path())
        .env("LISTEN", address.to_string())
        .env("WORKERS", "1")
        .env("WORKER_CONNECTIONS", "64")
        .env("HISTORY", &history)
        .env("REAL_IP_FROM", balancers)
        .env("RUN_AS", if is_root { "root" } else { "" })
        .output()
        .expect("there is a shell");
    assert!(rendered.status.success(), "{rendered:?}");
    let configuration = folder.path().join("nginx.conf");
    fs::write(&configuration, rendered.stdout).expect("the folder is ours");
    let mut command = Command::new(program);
    command.args(["-e", "stderr", "-p"]).arg(folder.path());
    command.arg("-c").arg(&configuration);
    let mut process = Process::start("nginx", &mut command).asked_to_end();
    let client = reqwest::Client::new();
    let named = until("nginx serves", async || {
        if let Some(status) = process.ended() {
            panic!("nginx does not start: {status}: {}", process.log());
        }
        let request = client.get(format!("http://{address}/api/v1/status"));
        let answer = request.header("X-Forwarded-For", claimed).send().await;
        let answer = answer.map_err(|error| error.to_string())?;
        answer.text().await.map_err(|error| error.to_string())
    })
    .await;
    Some(named)
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
