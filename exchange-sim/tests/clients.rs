//! Third-party clients, as published, against the simulator.
//!
//! `KLINECAST_PYTHON` names an interpreter with `tests/clients/requirements.txt` installed.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use exchange_sim::Config;
use service::Service;

#[tokio::test(flavor = "multi_thread")]
async fn third_party_clients_work_against_the_simulator() {
    let Some(python) = std::env::var_os("KLINECAST_PYTHON") else {
        println!(
            "skipped: KLINECAST_PYTHON names no interpreter with tests/clients/requirements.txt installed"
        );
        return;
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the scripts' folder")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "py"))
        .filter(|path| path.file_stem().is_some_and(|stem| stem != "acceptance"))
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    let mut runs = tokio::task::JoinSet::new();
    for script in scripts {
        runs.spawn(run(python.clone().into(), script));
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
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let port = listener.local_addr().expect("a bound address").port();
    let service = Service::for_test();
    // Six of them make their history at once, before any of them answers.
    let config = Config {
        history_minutes: 60,
        ..Config::default()
    };
    let sim = tokio::spawn(exchange_sim::run(config, listener, service.clone()));
    let script_path = script.clone();
    let output = tokio::task::spawn_blocking(move || {
        std::process::Command::new(python)
            .arg(&script_path)
            .arg(port.to_string())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .output()
    })
    .await
    .expect("no wait panics")
    .expect("the interpreter starts");
    service.shutdown.trigger();
    sim.await
        .expect("it does not panic")
        .expect("it ends without an error");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (script, output.status.success(), text)
}
