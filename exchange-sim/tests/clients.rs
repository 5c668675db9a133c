//! Third-party clients, as published, against the simulator.
//!
//! `KLINECAST_PYTHON` names an interpreter with `tests/clients/requirements.txt` installed. Without it the
//! tests are skipped; with `KLINECAST_REQUIRE_CLIENTS` set they fail instead.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};

use exchange_sim::Config;
use service::Service;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The scripts that need more than a simulator, and have a test of their own.
const OTHERS: [&str; 2] = ["acceptance", "books"];

/// The interpreter, if there is one.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("KLINECAST_PYTHON");
    if python.is_none() {
        let is_required = std::env::var_os("KLINECAST_REQUIRE_CLIENTS").is_some();
        assert!(!is_required, "run make tools and make test");
        println!(
            "skipped: KLINECAST_PYTHON names no interpreter with tests/clients/requirements.txt installed"
        );
    }
    python.map(PathBuf::from)
}

/// A simulator on a port.
struct Simulator {
    port: u16,
    service: Service,
    running: JoinHandle<Result<(), exchange_sim::Error>>,
}

impl Simulator {
    /// On a free port for 0.
    async fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await;
        let listener = listener.expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let service = Service::for_test();
        // Six of them make their history at once, before any of them answers.
        let config = Config {
            history_minutes: 60,
            ..Config::default()
        };
        let running = tokio::spawn(exchange_sim::run(config, listener, service.clone()));
        Self {
            port,
            service,
            running,
        }
    }

    async fn end(self) {
        self.service.shutdown.trigger();
        self.running
            .await
            .expect("it does not panic")
            .expect("it ends without an error");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn third_party_clients_work_against_the_simulator() {
    let Some(python) = python() else {
        return;
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the scripts' folder")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "py"))
        .filter(|path| {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            stem.is_some_and(|stem| !OTHERS.contains(&stem))
        })
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    let mut runs = tokio::task::JoinSet::new();
    for script in scripts {
        runs.spawn(run(python.clone(), script));
    }
    let mut failures = Vec::new();
    while let Some(run) = runs.join_next().await {
        let (script, succeeded, output) = run.expect("no run panics");
        println!("{}:\n{output}", script.display());
        if !succeeded {
            failures.push(script);
        }
    }
    assert!(failures.is_empty(), "failed: {failures:?}");
}

/// Runs a script against a simulator of its own; the script has its own deadline.
async fn run(python: PathBuf, script: PathBuf) -> (PathBuf, bool, String) {
    let simulator = Simulator::start(0).await;
    let port = simulator.port;
    let script_path = script.clone();
    let output = tokio::task::spawn_blocking(move || {
        Command::new(python)
            .arg(&script_path)
            .arg(port.to_string())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .output()
    })
    .await
    .expect("no wait panics")
    .expect("the interpreter starts");
    simulator.end().await;
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (script, output.status.success(), text)
}

/// ccxt (Binance and OKX), python-binance, cryptofeed and unicorn-binance-local-depth-cache.
#[tokio::test(flavor = "multi_thread")]
async fn books_of_clients_are_the_true_books_through_faults_and_a_restart() {
    let Some(python) = python() else {
        return;
    };
    let mut simulator = Simulator::start(0).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/books.py");
    let mut child = Command::new(python)
        .arg(script)
        .arg(simulator.port.to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the interpreter starts");
    let mut input = child.stdin.take().expect("it is piped");
    let output = BufReader::new(child.stdout.take().expect("it is piped"));
    let (lines, mut said) = mpsc::channel(1_000);
    let reader = std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            println!("{line}");
            let _ = lines.blocking_send(line);
        }
    });
    let restarted = |input: &mut ChildStdin| writeln!(input).and_then(|()| input.flush());
    let mut last = String::new();
    // The script has its own deadline.
    while let Some(line) = said.recv().await {
        if line == "restart" {
            let port = simulator.port;
            simulator.end().await;
            simulator = Simulator::start(port).await;
            restarted(&mut input).expect("it reads");
        }
        last = line;
    }
    let status = child.wait().expect("it has ended");
    reader.join().expect("it reads to the end");
    simulator.end().await;
    assert!(status.success() && last == "ok", "{status}: {last}");
}
